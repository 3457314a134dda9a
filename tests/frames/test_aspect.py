"""Pixels that are not square: frames come as they are shown, by both decoders, from every container."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import HEIGHT, WIDTH, numbered, read_number
from command_line import encode
from PIL import Image

from vidface.errors import MediaError
from vidface.frames import DECODERS, Frame, ReadReport, read_frames
from vidface.frames.frame import MAX_PIXELS
from vidface.frames.picture import square


def write(
    path: Path,
    aspect: Fraction,
    size: tuple[int, int],
    *,
    codec: str = "libx264",
    form: str | None = None,
    turn: int = 0,
    frames: int = 6,
) -> Path:
    """Numbered pictures of 160x96, stored at another size whose pixels are said to be so wide."""
    stored = [
        Image.fromarray(np.ascontiguousarray(np.rot90(numbered(n), -turn // 90))) for n in range(frames)
    ]
    small = [np.array(each.resize(size, Image.Resampling.LANCZOS)) for each in stored]
    options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {"b": "2000k"}
    return encode(path, small, size, codec=codec, options=options, form=form, aspect=aspect, turn=turn)


def read(path: Path, decoder: str = "pyav") -> tuple[list[Frame], ReadReport]:
    report = ReadReport()
    return list(read_frames(path, decoder=decoder, fps=None, report=report)), report


def shapes(frames: list[Frame]) -> set[tuple[int, ...]]:
    return {frame.pixels.shape for frame in frames}


CONTAINERS = [
    ("a.mp4", "libx264", None),
    ("a.mov", "libx264", None),
    ("a.mkv", "libx264", None),
    ("a.ts", "libx264", None),
    ("a.flv", "libx264", None),
    ("a.avi", "mpeg4", None),
    ("a.vob", "mpeg2video", "vob"),
    ("a.mpg", "mpeg2video", "mpeg"),
    ("a.m2v", "mpeg2video", "mpeg2video"),
    ("a.wmv", "wmv2", "asf"),
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("name", "codec", "form"), CONTAINERS, ids=lambda value: str(value))
def test_wide_pixels_in_every_container(
    name: str, codec: str, form: str | None, decoder: str, tmp_path: Path
) -> None:
    """Stored at 120x96 and said to be 4:3, as HDV is. MPEG-2 knows the shape of the picture alone: 16:9 here."""
    mpeg2 = codec == "mpeg2video"
    path = write(
        tmp_path / name, Fraction(64, 45) if mpeg2 else Fraction(4, 3), (120, 96), codec=codec, form=form
    )
    if decoder == "decord" and name == "a.wmv":
        with pytest.raises(MediaError, match="use --decoder pyav"):
            read(path, decoder)
        return
    frames, report = read(path, decoder)
    assert shapes(frames) == {(96, 171 if mpeg2 else 160, 3)} and report.faults == []
    if not mpeg2:
        assert [read_number(frame.pixels) for frame in frames] == list(range(6))


@pytest.mark.parametrize("decoder", DECODERS)
def test_tall_pixels_make_the_picture_taller(decoder: str, tmp_path: Path) -> None:
    frames, _ = read(write(tmp_path / "a.mp4", Fraction(2, 3), (160, 64)), decoder)
    assert shapes(frames) == {(96, 160, 3)} and [read_number(frame.pixels) for frame in frames] == list(
        range(6)
    )


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_turned_and_not_square(name: str, turn: int, decoder: str, tmp_path: Path) -> None:
    """Pixels are wide as they are stored: after a quarter turn they are tall."""
    size = (120, 96) if turn == 180 else (72, 160)
    frames, _ = read(write(tmp_path / name, Fraction(4, 3), size, turn=turn), decoder)
    assert shapes(frames) == {(96, 160, 3)} and [read_number(frame.pixels) for frame in frames] == list(
        range(6)
    )


def test_both_decoders_give_the_same_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", Fraction(16, 11), (110, 96))
    ours, theirs = (read(path, decoder)[0] for decoder in DECODERS)
    assert all((one.pixels == two.pixels).all() for one, two in zip(ours, theirs, strict=True))


def test_what_the_container_says_goes_before_the_codec(tmp_path: Path) -> None:
    """FFmpeg's rule, and so that of players: the box `pasp` of an mp4 against the header of its h264."""
    path = write(tmp_path / "a.mp4", Fraction(4, 3), (120, 96))
    data = path.read_bytes()
    place = data.index(b"pasp") + 4
    for aspect, width in (((2, 1), 240), ((1, 1), 120), ((0, 1), 160), ((1, 0), 160)):
        said = b"".join(number.to_bytes(4, "big") for number in aspect)
        path.write_bytes(data[:place] + said + data[place + 8 :])
        assert shapes(read(path)[0]) == {(96, width, 3)}, aspect


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_aspect_changes_within_a_file(decoder: str, tmp_path: Path) -> None:
    """A film after an advertisement, in one transport stream: each frame as it is meant."""
    parts = [
        write(tmp_path / "1.ts", Fraction(4, 3), (120, 96)),
        write(tmp_path / "2.ts", Fraction(1), (120, 96)),
        write(tmp_path / "3.ts", Fraction(16, 11), (120, 96)),
    ]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, _ = read(path, decoder)
    assert [frame.pixels.shape[1] for frame in frames] == [160] * 6 + [120] * 6 + [175] * 6


@pytest.mark.parametrize("aspect", [Fraction(2, 9), Fraction(9, 2)])
def test_an_absurd_aspect_is_taken_as_square_and_said(aspect: Fraction, tmp_path: Path) -> None:
    frames, report = read(write(tmp_path / "a.mp4", aspect, (WIDTH, HEIGHT)))
    assert shapes(frames) == {(96, 160, 3)}
    ((kind, detail),) = report.faults
    assert kind == "pixel-aspect" and f"{aspect.numerator}:{aspect.denominator}" in detail


def test_a_ratio_that_rounds_away_changes_no_bit(tmp_path: Path) -> None:
    """As FFmpeg's filter `scale` writes it after a crop that was one pixel off."""
    plain, odd = (
        write(tmp_path / f"{aspect.numerator}.mp4", aspect, (112, 112))
        for aspect in (Fraction(1), Fraction(300, 299))
    )
    assert all((a.pixels == b.pixels).all() for a, b in zip(read(plain)[0], read(odd)[0], strict=True))
    pixels = numbered(1)
    assert square(pixels, Fraction(300, 301)) is pixels


def test_pixels_are_between_their_neighbours() -> None:
    """Twice as wide, of a ramp: what lies between is in between, and rows stay apart."""
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2).repeat(
        4, axis=0
    )
    ramp[2:] = 255 - ramp[2:]
    wide = square(ramp, Fraction(2))
    expected = np.clip((np.arange(120) + 0.5) / 2 - 0.5, 0, 59) * 4
    assert wide.shape == (4, 120, 3)
    assert np.abs(wide[0, 4:-4, 0] - expected[4:-4]).max() <= 1
    assert np.abs(255.0 - wide[3, 4:-4, 1] - expected[4:-4]).max() <= 1


def test_the_other_side_shrinks_where_a_frame_would_become_too_large() -> None:
    tall = np.zeros((MAX_PIXELS // 64, 33, 3), np.uint8)
    assert square(tall, Fraction(3)).shape == (tall.shape[0] // 3, 33, 3)
