"""Clips written by the project: whole, the same bytes each time, and read back as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import numbered, read, read_numbers

from vidface.errors import StoreError, UsageError
from vidface.frames import DECODERS
from vidface.frames.write import write_clip


def noise(count: int, height: int = 112, width: int = 112) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [(112, 112), (97, 75)])
def test_lossless_is_exact(size: tuple[int, int], decoder: str, tmp_path: Path) -> None:
    frames = noise(9, *size)
    write_clip(tmp_path / "a.mp4", frames, lossless=True)
    back, report = read(tmp_path / "a.mp4", decoder)
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in back]), frames)
    np.testing.assert_allclose([frame.pts_seconds for frame in back], np.arange(9) / 8, atol=1e-6)
    assert report.faults == []


@pytest.mark.parametrize("fps", [8.0, 25.0, 29.97])
def test_lossy_is_near_and_in_time(fps: float, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", (numbered(number) for number in range(40)), fps=fps)
    numbers, times, report = read_numbers(tmp_path / "a.mp4")
    assert numbers == list(range(40)) and report.faults == []
    np.testing.assert_allclose(times, np.arange(40) / fps, atol=1e-4)


@pytest.mark.parametrize("colour", [(200, 30, 90), (20, 220, 40), (128, 128, 128), (250, 250, 10)])
def test_colours_are_kept(colour: tuple[int, int, int], tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", np.full((3, 64, 64, 3), colour, np.uint8))
    for frame in read(tmp_path / "a.mp4")[0]:
        assert np.abs(frame.pixels.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("lossless", [False, True])
def test_the_same_frames_give_the_same_bytes(lossless: bool, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, noise(5), lossless=lossless)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_wrong_frames_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("old")
    for frames in (
        [],
        noise(2, 97, 112),
        noise(2).astype(np.float32),
        noise(2)[..., 0],
        [noise(1)[0], noise(1, 64, 64)[0]],
    ):
        with pytest.raises(UsageError):
            write_clip(path, frames)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_text() == "old"
    with pytest.raises(StoreError, match="nowhere"):
        write_clip(tmp_path / "nowhere" / "a.mp4", noise(2))


DIGESTS = """
import hashlib, sys
from pathlib import Path
from vidface.demo.people.drawing import draw_person
from vidface.frames.write import write_clip
for clip in range(10):
    path = Path(sys.argv[1])
    write_clip(path, [draw_person(clip, view, seed=5, scene=view % 4) for view in range(18)])
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_what_memory_held_before_does_not_change_the_bytes(tmp_path: Path) -> None:
    """glibc fills fresh memory with a value of our choice: an encoder that reads what it never wrote shows it."""
    digests = [
        subprocess.run(
            [sys.executable, "-c", DIGESTS, str(tmp_path / f"{value}.mp4")],
            env={**os.environ, "MALLOC_PERTURB_": str(value)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for value in (0, 85, 170)
    ]
    assert len(digests[0]) == 10
    assert digests[0] == digests[1] == digests[2]
