"""report as a command: what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Small, vidface


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report"
    said = vidface(
        *("report", small.embeddings, "--manifest", small.manifest, "-o", output, "--json"),
        *("--thresholds", "none,0.3,0.9", "--video", "v05-3"),
        code=0,
    ).json
    assert said["page"] == str(output / "index.html")
    assert said["page_bytes"] == (output / "index.html").stat().st_size
    assert sorted(said["files"]) == sorted(
        str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()
    )
    assert said["missing"] == {} and said["faults"] == 1
    return output


def test_the_numbers_are_those_of_score(report: Path, small: Small) -> None:
    scores = vidface("score", small.embeddings, "--manifest", small.manifest, "--json", code=1).json
    said = {row["measure"]: row["value"] for row in rows_of(report / "data" / "headline.csv")}
    assert float(said["mAP@100"]) == scores["mAP@100"]
    assert float(said["hit@5"]) == scores["hit@5"]
    for target in ("1e-2", "1e-3"):
        assert float(said[f"TPR at FPR {target}"]) == scores["tpr@fpr"][target]
    assert said["TPR at FPR 1e-6"] == ""
    swept = {row["threshold"]: row for row in rows_of(report / "data" / "sweep.csv")}
    assert float(swept["0.3"]["mAP@100"]) == scores["mAP@100"]


def test_frames_are_shown_as_pictures_and_faults_are_listed(report: Path) -> None:
    page = (report / "index.html").read_text("utf-8")
    assert page.count("data:image/") > 50
    frames = rows_of(report / "data" / "strips.csv")
    assert len({row["video_id"] for row in frames}) >= 12
    assert [row["video"] for row in rows_of(report / "data" / "faults.csv")] == ["v05-3"]
    assert "v05-3" in page  # failed, but asked for: shown without frames
    for name in ("sweep", "roc", "det", "histogram", "cmc", "map"):
        assert (report / "figures" / f"{name}.svg").is_file()
        assert (report / "figures" / f"{name}.png").is_file()


def test_a_report_is_replaced_and_the_same_again(report: Path, small: Small) -> None:
    before = {path.name: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    arguments = ("report", small.embeddings, "--manifest", small.manifest, "-o", report)
    vidface(*arguments, "--thresholds", "none,0.3,0.9", "--video", "v05-3", code=0)
    after = {path.name: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    assert after == before


def test_what_is_refused(small: Small, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("all of it")
    arguments = ("report", small.embeddings, "--manifest", small.manifest, "-o")
    assert "holds something else than a report" in vidface(*arguments, full, code=2).error
    assert [path.name for path in full.iterdir()] == ["thesis.tex"]
    new = tmp_path / "new"
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    shutil.copy(small.embeddings, lonely / "e.h5")
    assert "pass --manifest FILE" in vidface("report", lonely / "e.h5", "-o", new, code=2).error
    assert "no such video" in vidface(*arguments, new, "--video", "x\x1b[2J", code=2).error
    assert "cannot read 'high'" in vidface(*arguments, new, "--thresholds", "high", code=2).error
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(small.embeddings, moved / "embeddings.h5")
    bare = ("report", moved, "--manifest", small.manifest, "-o", new, "--thresholds", "0.3")
    assert "pass --features FILE" in vidface(*bare, code=2).error
    assert not new.exists()


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_said_before_any_work(small: Small, tmp_path: Path, library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; from vidface.commands.main import main; main()"
    words = ["report", small.embeddings, "--manifest", small.manifest, "-o", tmp_path / "r"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and library in lines[0] and "[report]" in lines[0]
    assert not (tmp_path / "r").exists()


def test_a_recipes_folder_is_enough_and_pictures_can_be_left_out(small: Small, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'manifest = "{small.manifest}"\noutput = "out"\nfeatures = "{small.features}"\n'
        '[cluster]\nthreshold = 0.3\n[score]\ntargets = ["1e-2"]\n[sweep]\nthresholds = "0.3"\n'
    )
    vidface("run", recipe, code=1)
    told = json.loads((tmp_path / "out" / "run.json").read_text())["run"]
    assert not Path(told["manifest"]).is_absolute() and told["targets"] == ["1e-2"]
    said = vidface("report", tmp_path / "out", "-o", tmp_path / "r", "--no-pictures", "--json", code=0).json
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert said["headline"]["TPR at FPR 1e-2"] == scores["tpr@fpr"]["1e-2"]
    assert list(said["headline"]) == ["mAP@100", "hit@1", "hit@5", "hit@10", "TPR at FPR 1e-2"]
    assert said["missing"] == {}
    (warning,) = said["warnings"]
    assert re.fullmatch(
        r"1 of \d+ videos have no usable frame: never ranked, score 0 in pairs; see faults.jsonl", warning
    )
    assert "data:image/" not in (tmp_path / "r" / "index.html").read_text("utf-8")
