"""`extract --folder-frames N`: which images of a folder are taken, and that a run says so and is never mixed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import (
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    read_lines,
    vidface,
    write_folder,
    write_manifest,
    write_video,
)
from hypothesis import given
from hypothesis import strategies as st

from vidface.frames.folder import evenly


@given(st.integers(1, 400), st.integers(1, 60))
def test_evenly_spaced(count: int, most: int) -> None:
    taken = evenly(count, most)
    assert evenly(count, None) == list(range(count))
    assert len(taken) == min(count, most) and taken == sorted(set(taken))
    assert taken[0] >= 0 and taken[-1] < count
    # Before the first, between two, and after the last lies the same number of images, give or take one.
    gaps = np.diff(taken)
    if len(gaps):
        assert gaps.max() - gaps.min() <= 1
        assert abs(taken[0] - (count - 1 - taken[-1])) <= 1


def test_by_hand() -> None:
    assert [evenly(10, n) for n in (1, 2, 3, 5)] == [[5], [2, 7], [1, 5, 8], [1, 3, 5, 7, 9]]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    frames = frames_of(0, 10)
    write_folder(tmp_path / "set" / "long", frames)
    write_folder(tmp_path / "set" / "short", frames[:2])
    write_video(tmp_path / "set" / "clip.mp4", frames[:6])
    manifest = write_manifest(
        tmp_path / "set" / "set.csv", [("long", "long"), ("short", "short"), ("clip", "clip.mp4")]
    )
    return manifest, pooling_model(tmp_path / "cells.onnx"), frames


def test_folders_are_thinned_out_and_clips_are_not(
    small: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    manifest, model, frames = small
    features, embeddings = tmp_path / "features.h5", tmp_path / "embeddings.h5"
    command = ("extract", manifest, "-o", features, "--model", model, "--workers", 0)
    vidface(*command, "--folder-frames", 3, code=0)
    _, _, (long, short, clip) = read_features(features)
    assert np.allclose(long, cells_of(frames[[1, 5, 8]]), atol=1e-5)
    assert (len(short), len(clip)) == (2, 6)
    with h5py.File(features) as file:
        assert file.attrs["folder_frames"] == 3
        # Their own times, so reports find them again.
        assert file["timestamps"][:3].tolist() == [1 / 8, 5 / 8, 1.0]
    assert "already there" in vidface(*command, "--folder-frames", 3, code=0).out
    for other in ((), ("--folder-frames", 4)):
        assert "folder_frames" in vidface(*command, *other, code=2).error
    vidface("cluster", features, "-o", embeddings, "--threshold", "none", code=0)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("first,second,same\nlong,short,1\nlong,clip,0\n")
    options = ("--manifest", manifest, "--protocol", "pairs", "--pairs", pairs, "--json")
    said = vidface("score", embeddings, *options, code=0).json["definitions"]["frames"]
    assert "folders of frames at most 3 a folder, evenly spaced, video files 8 frames a second" in said
    assert "frames a video: 2 to 6, median 3, 11 in all" in said


def test_a_damaged_image_among_those_taken_is_a_fault(
    small: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    manifest, model, frames = small
    for name in ("5.png", "6.png"):  # 5 is taken, 6 is not
        (manifest.parent / "long" / name).write_bytes(b"no image")
    features = tmp_path / "features.h5"
    words = ("extract", manifest, "-o", features, "--model", model, "--workers", 0, "--folder-frames", 3)
    vidface(*words, code=1)
    assert np.allclose(read_features(features)[2][0], cells_of(frames[[1, 8]]), atol=1e-5)
    assert [fault["detail"].split(":")[0] for fault in read_lines(tmp_path / "faults.jsonl")] == ["5.png"]
