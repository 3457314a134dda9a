"""Videos that are sound and odd: each is read rightly, the whole way through extract, and leaves no fault.

How every decoder reads many more of them, frame by frame, stands in tests/frames/test_frames_contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from command_line import (
    SIDE,
    Ran,
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    vidface,
    write_manifest,
    write_video,
)

TICKS = 90_000
LEVELS = 3 / 64  # three levels of 256, as the small model sees them
GREY = (0.299, 0.587, 0.114)


class Found(NamedTuple):
    """What one run made of all of them."""

    ran: Ran
    rows: dict[str, np.ndarray]
    faults: str


def write_stream(
    path: Path,
    *streams: np.ndarray,
    form: str = "rgb24",
    times: Sequence[float] | None = None,
    turn: int = 0,
    cut: int = 0,
    options: dict[str, str] | None = None,
) -> None:
    """An h264 clip without loss, one stream of pictures or several.

    With ``times`` a frame comes at each, in seconds, else 8 a second. With ``turn`` the pictures are stored so that
    they must be turned by so many degrees; with ``cut`` so many frames lie before the start, by an edit list.
    """
    with av.logging.Capture(), av.open(str(path), "w") as out:
        made = []
        for _ in streams:
            codec = "libx264rgb" if form == "rgb24" else "libx264"
            stream: Any = out.add_stream(
                codec, rate=8, options={"preset": "ultrafast", "qp": "0", **(options or {})}
            )
            stream.width = stream.height = SIDE
            stream.pix_fmt = form
            stream.codec_context.thread_count = 1
            stream.codec_context.time_base = Fraction(1, TICKS)
            if turn:
                stream.set_display_rotation(turn)
            made.append(stream)
        for stream, frames in zip(made, streams, strict=True):
            for index, upright in enumerate(frames):
                stored = np.ascontiguousarray(np.rot90(upright, -turn // 90))
                if form == "gray":  # by hand: an untagged video is in limited range, 16 to 235
                    luma = (16 + (stored @ np.array(GREY)) * 219 / 255).round().astype(np.uint8)
                    picture = av.VideoFrame.from_ndarray(luma, format="gray")
                else:
                    picture = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(format=form)
                seconds = index / 8 if times is None else times[index]
                picture.pts, picture.time_base = round(seconds * TICKS), Fraction(1, TICKS)
                mux(out, stream.encode(picture), cut)
            mux(out, stream.encode(None), cut)


def mux(out: Any, packets: Sequence[Any], cut: int) -> None:
    for packet in packets:
        packet.pts -= round(cut / 8 / packet.time_base)
        packet.dts -= round(cut / 8 / packet.time_base)
        out.mux(packet)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("odd")
    write_stream(root / "two.mp4", frames_of(0, 6), frames_of(1, 9))
    write_stream(root / "two.mkv", frames_of(0, 6), frames_of(1, 9))
    for turn in (90, 180, 270):
        write_stream(root / f"turned-{turn}.mp4", frames_of(2, 5), turn=turn)
    write_stream(root / "edit-list.mp4", frames_of(3, 12), cut=5, options={"g": "12"})
    write_stream(root / "variable.mp4", frames_of(4, 7), times=[0, 0.05, 0.3, 0.31, 0.9, 1.4, 1.5])
    write_stream(root / "ten-bit.mp4", frames_of(6, 6), form="yuv444p10le")
    write_stream(root / "grey.mp4", frames_of(5, 6), form="gray")
    write_video(root / "good.mp4", frames_of(7, 5))
    names = sorted(path.name for path in root.iterdir())
    manifest = write_manifest(root / "manifest.csv", [(name, name) for name in names])
    model = pooling_model(root / "cells.onnx")
    ran = vidface("extract", manifest, "-o", root / "features.h5", "--model", model, "--json", code=0)
    ids, status, rows = read_features(root / "features.h5")
    assert ids == names and set(status) == {"ok"}
    return Found(ran, dict(zip(ids, rows, strict=True)), (root / "faults.jsonl").read_text())


def test_sound_and_odd_videos_leave_no_fault(found: Found) -> None:
    """The exit code is 0."""
    assert found.faults == "" and found.ran.json["faults"] == {} and found.ran.err == ""
    assert np.allclose(found.rows["good.mp4"], cells_of(frames_of(7, 5)), atol=1e-5)


@pytest.mark.parametrize("name", ["two.mp4", "two.mkv"])
def test_two_video_streams(found: Found, name: str) -> None:
    """One of them is read, and whole: rows of the other never come between."""
    rows = found.rows[name]
    assert any(
        len(rows) == count and np.allclose(rows, cells_of(frames_of(person, count)), atol=1e-5)
        for person, count in ((0, 6), (1, 9))
    )


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_rotated_video(found: Found, turn: int) -> None:
    assert np.allclose(found.rows[f"turned-{turn}.mp4"], cells_of(frames_of(2, 5)), atol=1e-5)


def test_an_edit_list(found: Found) -> None:
    """The five frames before the start that the list cuts away give no rows."""
    assert np.allclose(found.rows["edit-list.mp4"], cells_of(frames_of(3, 12)[5:]), atol=1e-5)


def test_a_variable_frame_rate(found: Found) -> None:
    """Of 7 frames, those that are on screen at a multiple of 1/8 s, each once: worked out by hand."""
    assert np.allclose(found.rows["variable.mp4"], cells_of(frames_of(4, 7)[[0, 1, 3, 4, 6]]), atol=1e-5)


def test_ten_bits(found: Found) -> None:
    rows = found.rows["ten-bit.mp4"]
    assert rows.shape == (6, 48) and np.abs(rows - cells_of(frames_of(6, 6))).max() < LEVELS


def test_grey(found: Found) -> None:
    """The three channels are alike, and as light as the picture was."""
    rows = found.rows["grey.mp4"].reshape(6, 3, -1)
    assert np.abs(rows - rows.mean(axis=1, keepdims=True)).max() < 1e-6
    light = cells_of(frames_of(5, 6)).reshape(6, 3, -1)
    expected = np.einsum("c,nck->nk", GREY, light)
    assert np.abs(rows[:, 0] - expected).max() < LEVELS
