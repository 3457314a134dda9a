"""Bad videos: each keeps its row and status, is listed, and leaves the others as they are."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest
from command_line import (
    cells_of,
    frames_of,
    picture,
    pooling_model,
    read_features,
    read_lines,
    vidface,
    write_folder,
    write_manifest,
    write_video,
)

LONG = 40  # frames, 5 seconds


def moving(count: int = LONG) -> np.ndarray:
    """Frames with so much change in them that every one takes its share of the file."""
    random = np.random.default_rng(5)
    return random.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)


def test_empty_file(tmp_path: Path, extract_beside_good: Any) -> None:
    (tmp_path / "set" / "bad.mp4").touch()
    found = extract_beside_good("bad.mp4")
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"empty-file"}, 0)


def test_missing_file(extract_beside_good: Any) -> None:
    found = extract_beside_good("nowhere.mp4")
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"missing"}, 0)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_html_called_mp4(tmp_path: Path, extract_beside_good: Any, decoder: str) -> None:
    text = "<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 50
    (tmp_path / "set" / "bad.mp4").write_text(text)
    found = extract_beside_good("bad.mp4", "--decoder", decoder)
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"not-a-video"}, 0)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_ffconcat_text_called_mp4_opens_no_other_file(
    tmp_path: Path, extract_beside_good: Any, decoder: str
) -> None:
    other = write_video(tmp_path / "set" / "other.mp4", frames_of(7, 4))
    text = f"ffconcat version 1.0\nfile other.mp4\nfile '{other}'\n"
    (tmp_path / "set" / "bad.mp4").write_text(text)
    # The trap is real: asked by its content, FFmpeg takes the text for a list and gives the other clip's frames.
    with av.open(str(tmp_path / "set" / "bad.mp4"), options={"safe": "0"}) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    found = extract_beside_good("bad.mp4", "--decoder", decoder)
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"not-a-video"}, 0)


def test_truncated_mp4_with_its_index_in_front(tmp_path: Path, extract_beside_good: Any) -> None:
    path = write_video(tmp_path / "set" / "bad.mp4", moving(), movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = extract_beside_good("bad.mp4")
    assert found.status == "partial"
    assert "truncated" in found.kinds
    assert LONG // 4 < len(found.features) < LONG * 3 // 4


def test_truncated_mp4_with_its_index_behind(tmp_path: Path, extract_beside_good: Any) -> None:
    path = write_video(tmp_path / "set" / "bad.mp4", moving())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = extract_beside_good("bad.mp4")
    assert (found.status, len(found.features)) == ("failed", 0)
    assert found.kinds == {"unreadable"}


def test_truncated_mkv(tmp_path: Path, extract_beside_good: Any) -> None:
    path = write_video(tmp_path / "set" / "bad.mkv", moving())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = extract_beside_good("bad.mkv")
    assert found.status == "partial"
    assert "truncated" in found.kinds
    assert LONG // 4 < len(found.features) < LONG * 3 // 4


def test_flipped_bits(tmp_path: Path, extract_beside_good: Any) -> None:
    path = write_video(tmp_path / "set" / "bad.mp4", moving(), lossless=False)
    data = bytearray(path.read_bytes())
    start, (length,) = data.index(b"mdat") + 4, struct.unpack(">I", data[data.index(b"mdat") - 4 :][:4])
    # Only picture data: one bit in every 2,000 bytes, past the first frame.
    for position in range(start + length // 4, start + length - 8, 2000):
        data[position] ^= 0x10
    path.write_bytes(data)
    found = extract_beside_good("bad.mp4")
    assert found.status == "partial"
    assert found.kinds & {"concealed", "partial"}


def test_folder_with_an_unreadable_image(tmp_path: Path, extract_beside_good: Any) -> None:
    frames = frames_of(9, 6)
    folder = write_folder(tmp_path / "set" / "bad", frames)
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    found = extract_beside_good("bad")
    assert (found.status, found.kinds) == ("partial", {"unreadable-image"})
    assert "2.png" in found.faults[0]["detail"]
    assert np.allclose(found.features, cells_of(np.delete(frames, 2, axis=0)), atol=1e-5)


def test_folder_without_frames(tmp_path: Path, extract_beside_good: Any) -> None:
    (tmp_path / "set" / "bad").mkdir()
    (tmp_path / "set" / "bad" / "notes.txt").write_text("no picture")
    found = extract_beside_good("bad")
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"no-frames"}, 0)


def test_video_without_frames(tmp_path: Path, extract_beside_good: Any) -> None:
    with av.open(str(tmp_path / "set" / "bad.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        for begin in range(0, 48_000, 960):
            sound = av.AudioFrame(format="fltp", layout="mono", samples=960)
            sound.planes[0].update(bytes(4 * 960))
            sound.sample_rate, sound.pts = 48_000, begin
            out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    found = extract_beside_good("bad.mp4")
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"no-frames"}, 0)


def test_frames_of_another_size(tmp_path: Path, extract_beside_good: Any) -> None:
    write_video(tmp_path / "set" / "bad.mp4", np.full((3, 96, 64, 3), 90, np.uint8))
    found = extract_beside_good("bad.mp4")
    assert (found.status, found.kinds, len(found.features)) == ("failed", {"wrong-size"}, 0)
    detail = found.faults[0]["detail"]
    assert "64x96" in detail and detail.index("--faces detect") < detail.index("--resize")
    assert found.ran.json["warnings"] == [
        "1 of 3 videos have frames that do not have the model's size: to find the faces in them, "
        "use --faces detect"
    ]


def test_whole_scenes_that_are_resized(tmp_path: Path, model: Path) -> None:
    """Squeezed into the input of a network they give numbers, so that it is said; faces stored larger are no scenes."""
    shapes = {
        "wide": (96, 160),
        "large": (500, 500),
        "tall": (224, 192),
        "face": (224, 224),
        "small": (40, 40),
    }
    for name, shape in shapes.items():
        write_folder(tmp_path / "set" / name, np.full((2, *shape, 3), 90, np.uint8))
    manifest = write_manifest(tmp_path / "set" / "m.csv", [(name, name) for name in shapes])
    output = tmp_path / "f.h5"
    command = ("extract", manifest, "-o", output, "--model", model, "--resize")
    for _ in range(2):  # also where all is there already
        ran = vidface(*command, "--json")
        assert ran.json["status"] == {"ok": 5} and ran.json["faults"] == {"resized": 3}
        (warning,) = ran.json["warnings"]
        assert (
            warning.startswith("3 of 5 videos have frames")
            and "--faces detect instead of --resize" in warning
        )
    assert f"warning: {warning}" in vidface(*command).err
    faults = read_lines(tmp_path / "faults.jsonl")
    assert [fault["video"] for fault in faults] == ["wide", "large", "tall"]
    assert faults[0]["detail"].endswith("resized whole: 2 of 160x96")


def test_nan_from_the_model(tmp_path: Path, model: Path) -> None:
    """Frames darker than the model can take give NaN: left out and counted; a video of only such frames fails."""
    rooted = pooling_model(tmp_path / "root.onnx", mean=100.0, root=True)
    light, dark = (picture(np.full((4, 4, 3), value)) for value in (164, 40))
    write_folder(tmp_path / "light", [light, light])
    write_folder(tmp_path / "mixed", [light, dark, light])
    write_folder(tmp_path / "dark", [dark, dark])
    manifest = write_manifest(
        tmp_path / "manifest.csv", [(name, name) for name in ("light", "mixed", "dark")]
    )
    output = tmp_path / "features.h5"
    ran = vidface("extract", manifest, "-o", output, "--model", rooted, "--json", code=1)
    assert ran.json["faults"] == {"not-finite": 2}
    _, status, features = read_features(output)
    assert status == ["ok", "partial", "failed"]
    assert [len(rows) for rows in features] == [2, 2, 0]
    assert np.allclose(np.concatenate(features), 1.0)
    faults = read_lines(tmp_path / "faults.jsonl")
    assert [(fault["video"], fault["kind"]) for fault in faults] == [
        ("mixed", "not-finite"),
        ("dark", "not-finite"),
    ]
    assert "1 of 3 frames" in faults[0]["detail"]


def test_zeros_from_the_model(tmp_path: Path) -> None:
    """A frame that the model gives nothing but zeros for has no direction: left out and counted."""
    zero = pooling_model(tmp_path / "zero.onnx", mean=100.0)
    light, grey = (picture(np.full((4, 4, 3), value)) for value in (164, 100))
    write_folder(tmp_path / "mixed", [light, grey, light])
    write_folder(tmp_path / "grey", [grey, grey])
    manifest = write_manifest(tmp_path / "manifest.csv", [(name, name) for name in ("mixed", "grey")])
    output = tmp_path / "features.h5"
    ran = vidface("extract", manifest, "-o", output, "--model", zero, "--json", code=1)
    assert ran.json["faults"] == {"zero-features": 2}
    _, status, features = read_features(output)
    assert (status, [len(rows) for rows in features]) == (["partial", "failed"], [2, 0])


@pytest.mark.parametrize(
    "path", ["../outside.mp4", "sub/../../outside.mp4", "ABSOLUTE", "link.mp4", "linked/outside.mp4"]
)
def test_path_that_leaves_the_root(
    tmp_path: Path, model: Path, good_videos: list[tuple[str, str]], path: str
) -> None:
    """Nothing is run at all: the manifest is refused, with the line."""
    outside = write_video(tmp_path / "outside.mp4", frames_of(3, 2))
    root = tmp_path / "set"
    (root / "sub").mkdir()
    (root / "link.mp4").symlink_to(outside)
    (root / "linked").symlink_to(tmp_path, target_is_directory=True)
    path = str(outside) if path == "ABSOLUTE" else path
    manifest = write_manifest(root / "manifest.csv", [*good_videos, ("bad", path)])
    ran = vidface("extract", manifest, "-o", tmp_path / "features.h5", "--model", model, code=1)
    assert f"{manifest}:4: " in ran.error
    assert "root" in ran.error
    assert not (tmp_path / "features.h5").exists()


def test_one_bad_video_goes_on_to_the_submission(tmp_path: Path, model: Path) -> None:
    """It keeps its row and status in every file down to the submission, and the scores of the others stay."""
    people = [("ann", 0), ("bob", 1), ("cat", 2)]
    rows = []
    for name, person in people:
        for seed, split in enumerate(["train", "val", "val"]):
            write_folder(tmp_path / "set" / f"{name}{seed}", frames_of(person, 3, seed=seed))
            rows.append((f"{name}{seed}", f"{name}{seed}", name, split))
    good = write_manifest(tmp_path / "set" / "good.csv", rows)
    rows.insert(4, ("bad", "bad.mp4", "bob", "val"))
    (tmp_path / "set" / "bad.mp4").write_bytes(b"not a video")
    both = write_manifest(tmp_path / "set" / "both.csv", rows)

    def run(name: str, manifest: Path, code: int) -> tuple[Path, Any]:
        folder = tmp_path / name
        folder.mkdir()
        features, embeddings = folder / "features.h5", folder / "embeddings.h5"
        vidface("extract", manifest, "-o", features, "--model", model, code=code)
        vidface("cluster", features, "-o", embeddings, code=code)
        if not code:
            return folder, None
        score = vidface("score", embeddings, "--manifest", manifest, "--json", "--targets", "0.1", code=code)
        vidface(
            "submit",
            embeddings,
            "--manifest",
            manifest,
            "--format",
            "lfrc",
            "-o",
            folder / "s.bin",
            code=code,
        )
        vidface(
            "submit",
            embeddings,
            "--manifest",
            manifest,
            "--format",
            "iqiyi",
            "-o",
            folder / "s.txt",
            code=code,
        )
        return folder, score.json

    clean, _ = run("clean", good, 0)
    folder, score = run("with-bad", both, 1)
    assert read_lines(clean / "faults.jsonl") == []
    (fault,) = read_lines(folder / "faults.jsonl")
    assert (fault["video"], fault["stage"], fault["kind"]) == ("bad", "extract", "not-a-video")

    with h5py.File(folder / "embeddings.h5") as file, h5py.File(clean / "embeddings.h5") as other:
        assert [text.decode() for text in file["video_ids"][:]] == [row[0] for row in rows]
        assert [text.decode() for text in file["status"][:]] == [
            "failed" if row[0] == "bad" else "ok" for row in rows
        ]
        assert not file["embeddings"][4].any()
        assert (file["frames"][4], file["kept"][4]) == (0, 0)
        assert np.array_equal(np.delete(file["embeddings"][:], 4, axis=0), other["embeddings"][:])
        embeddings = file["embeddings"][:]

    data = (folder / "s.bin").read_bytes()
    assert struct.unpack("<4i", data[:16]) == (len(rows), 48, 48 * 4, 5)
    matrix = np.frombuffer(data[16:], "<f4").reshape(len(rows), 48)
    assert np.array_equal(matrix, embeddings) and not matrix[4].any()
    assert "bad.mp4" not in (folder / "s.txt").read_text()
    assert score["counts"]["status"] == {"ok": 9, "failed": 1}
    assert any("no usable frame" in warning for warning in score["warnings"])
    # bob has 3 gallery videos, one of them lost: it is missed, not forgotten.
    assert score["per_identity"]["bob"] == pytest.approx(2 / 3)
    text = json.dumps(score)
    assert "NaN" not in text and os.linesep not in text
