"""Reports by the command, of a drawn benchmark and of raw clips, opened in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, examine, looking_at
from command_line import vidface, write_manifest

import vidface as package
from vidface.demo.benchmark import Plan, make_benchmark
from vidface.demo.sources import drawn_faces

DEMO = Path(package.__file__).parent / "demo" / "weights"
PLAN = {"identities": 8, "videos_per_identity": 2, "frames_per_video": 4, "noise_frames": 5}
PLAN |= {"distractors": 4, "seed": 3}
ALL = ["sweep", "roc", "det", "histogram", "cmc", "map"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


def test_a_report_of_drawn_people(chromium: Any, tmp_path: Path) -> None:
    manifest = make_benchmark(tmp_path / "bench", drawn_faces(45, seed=5), Plan(**PLAN))
    features, embeddings = tmp_path / "features.h5", tmp_path / "embeddings.h5"
    (model,) = DEMO.glob("*.safetensors")
    vidface("extract", manifest, "-o", features, "--model", model, code=0)
    vidface("cluster", features, "-o", embeddings, "--threshold", 0.5, code=0)
    files = ("--manifest", manifest, "--features", features)
    told = (*files, "--thresholds", "none,0.4,0.5,0.6", "--json")
    ran = vidface("report", embeddings, "-o", tmp_path / "report", *told, code=0).json
    names = ALL if "map" not in ran["missing"] else ALL[:-1]
    examine(chromium, Path(ran["page"]), names)
    with looking_at(chromium, Path(ran["page"])) as page:
        words = page.evaluate("document.body.innerText")
        assert f"{ran['headline']['mAP@100']:.4f} (" in words
        assert "0.5 (chosen)" in words
        assert page.evaluate("document.querySelectorAll('.strip').length") >= 8
        kept, dropped = (
            page.evaluate(f"document.querySelectorAll('.strip .{kind}').length")
            for kind in ("kept", "dropped")
        )
        assert kept > 30 and dropped > 30
    assert ran["page_bytes"] < 3e6


def test_a_report_of_raw_clips(chromium: Any, shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    clips = [
        ("hamilton", "short_hamilton_clip.mp4", "", "val"),
        ("bbaf2n", "grid_bbaf2n.mpg", "", "val"),
        ("pwij3p", "grid_pwij3p.mpg", "speaker", "train"),
        ("swwp2s", "grid_id2_vcd_swwp2s.mpg", "speaker", "val"),
    ]
    (tmp_path / "clips").mkdir()
    for _, path, _, _ in clips:
        shutil.copyfile(shared_data / "clips" / path, tmp_path / "clips" / path)
    manifest = write_manifest(
        tmp_path / "clips.csv", [(name, f"clips/{path}", who, split) for name, path, who, split in clips]
    )
    features, embeddings = tmp_path / "features.h5", tmp_path / "embeddings.h5"
    model, yunet = (shared_data / "models" / name for name in ("mobilefacenet_128.onnx", "yunet.onnx"))
    detection = ("--faces", "detect", "--detector-weights", yunet, "--track", "all", "--fps", 4)
    vidface("extract", manifest, "-o", features, "--model", model, *detection, code=0)
    vidface("cluster", features, "-o", embeddings, "--threshold", 0.4, code=0)
    files = ("--manifest", manifest, "--features", features)
    ran = vidface("report", embeddings, "-o", tmp_path / "report", *files, "--json", code=0).json
    examine(chromium, Path(ran["page"]), [name for name in ALL if name not in ran["missing"]])
    with looking_at(chromium, Path(ran["page"])) as page:
        words = page.evaluate("document.body.innerText")
        assert "hamilton nobody known" in words and "track by track" in words
        assert page.evaluate("[...document.images].filter(each => /track 1$/.test(each.alt)).length") > 0
