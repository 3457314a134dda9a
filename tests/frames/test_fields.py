"""Interlaced video: one moment a picture where scenes are read, every bit as stored elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clips import kinds, read, refusal
from command_line import encode

from vidface.frames import Frame

WIDTH, HEIGHT, FRAMES = 128, 64, 8
STEP = 6  # pixels that the bar moves from one field to the next
LIGHT, DARK = 220, 40


def scene(moment: int) -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH, 3), DARK, np.uint8)
    pixels[:, 8 + STEP * moment : 24 + STEP * moment] = LIGHT
    pixels[:16] = np.where(np.arange(16)[:, None, None] % 2, LIGHT, DARK)  # fine lines that stand still
    return pixels


def write(path: Path, *, flagged: bool) -> Path:
    """Two moments a picture, the first in the odd lines, as PyAV has x264 say it; without loss."""
    pictures = [scene(2 * number) for number in range(FRAMES)]
    for number, pixels in enumerate(pictures):
        pixels[::2] = scene(2 * number + 1)[::2]
    options = {"preset": "ultrafast", "qp": "0", "bf": "0"} | ({"x264-params": "tff=1"} if flagged else {})
    return encode(path, pictures, (WIDTH, HEIGHT), pix_fmt="yuv444p", options=options)


def whole(path: Path, *, film: bool, fps: float | None = None, decoder: str = "pyav") -> list[Frame]:
    frames, report = read(path, decoder, fps, film=film)
    assert report.faults == []
    return frames


def test_interlaced_pictures_show_one_moment(tmp_path: Path) -> None:
    """Every line has the bar where the odd lines have it; the lines that stand still keep their sharpness."""
    frames = whole(write(tmp_path / "a.mkv", flagged=True), film=True)
    assert [round(frame.pts_seconds * 25) for frame in frames] == list(range(FRAMES))
    for number, frame in enumerate(frames):
        moving = np.abs(frame.pixels[20:60].astype(int) - scene(2 * number)[20:60])
        assert moving.mean() < 6, number
        # At either end of the file there is no picture beside it to see that nothing moved.
        still = np.abs(frame.pixels[2:14, 100:].astype(int) - scene(2 * number)[2:14, 100:])
        assert number in (0, FRAMES - 1) or still.mean() < 12, number
    combed = whole(tmp_path / "a.mkv", film=False)
    even = np.abs(combed[3].pixels[20:60:2].astype(int) - scene(6)[20:60:2])
    assert even.mean() > 12


def test_what_is_not_flagged_keeps_every_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", flagged=False)
    for one, other in zip(whole(path, film=True), whole(path, film=False), strict=True):
        assert (one.pixels == other.pixels).all() and one.pts_seconds == other.pts_seconds


def test_the_same_frames_are_sampled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", flagged=True)
    every, taken = whole(path, film=True), whole(path, film=True, fps=8.0)
    times = [frame.pts_seconds for frame in whole(path, film=False, fps=8.0)]
    assert [frame.pts_seconds for frame in taken] == times
    by_time = {frame.pts_seconds: frame.pixels for frame in every}
    assert all((frame.pixels == by_time[frame.pts_seconds]).all() for frame in taken)


def test_decord_refuses_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", flagged=True)
    assert len(whole(path, film=False, decoder="decord")) == FRAMES
    said = "does not deinterlace: use --decoder pyav"
    assert refusal(path, said, "decord", film=True) == "decoder-refused"


def test_a_size_that_changes_and_interlaced_parts_between_others(tmp_path: Path) -> None:
    """Joined transport streams: progressive, interlaced, and interlaced of another size."""
    small = write(tmp_path / "1.ts", flagged=False), write(tmp_path / "2.ts", flagged=True)
    greys = [np.full((96, 192, 3), 20 * number, np.uint8) for number in range(FRAMES)]
    large = encode(tmp_path / "3.ts", greys, (192, 96), options={"x264-params": "tff=1", "qp": "0"})
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in (*small, large)))
    frames, report = read(path, film=True)
    assert [frame.pixels.shape[:2] for frame in frames] == [(64, 128)] * 16 + [(96, 192)] * 8
    assert set(kinds(report)) == {"joined"}
    levels = [frame.pixels.mean() for frame in frames[16:]]
    assert np.allclose(levels, [20 * number for number in range(FRAMES)], atol=3)
    assert np.abs(frames[2].pixels[20:60:2].astype(int) - scene(5)[20:60:2]).mean() < 6, "as it is stored"
    assert np.abs(frames[10].pixels[20:60].astype(int) - scene(4)[20:60]).mean() < 6
