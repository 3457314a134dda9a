"""Pixels that are not square: frames come as they are shown, by both decoders, from every container."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import HEIGHT, WIDTH, numbered, read, read_number, refusal
from command_line import encode
from PIL import Image

from vidface.frames import DECODERS, Frame
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
) -> Path:
    """Six numbered pictures of 160x96, stored at another size whose pixels are said to be so wide."""
    stored = [Image.fromarray(np.ascontiguousarray(np.rot90(numbered(n), -turn // 90))) for n in range(6)]
    small = [np.array(each.resize(size, Image.Resampling.LANCZOS)) for each in stored]
    options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {"b": "2000k"}
    return encode(path, small, size, codec=codec, options=options, form=form, aspect=aspect, turn=turn)


def shapes(frames: list[Frame]) -> set[tuple[int, ...]]:
    return {frame.pixels.shape for frame in frames}


def check_shown(path: Path, decoder: str) -> None:
    frames, report = read(path, decoder)
    assert shapes(frames) == {(HEIGHT, WIDTH, 3)} and report.faults == []
    assert [read_number(frame.pixels) for frame in frames] == list(range(6))


CONTAINERS = [
    *((name, "libx264", None) for name in ("a.mp4", "a.mov", "a.mkv", "a.ts", "a.flv")),
    ("a.avi", "mpeg4", None),
    *(("a.vob", "mpeg2video", "vob"), ("a.mpg", "mpeg2video", "mpeg"), ("a.m2v", "mpeg2video", "mpeg2video")),
    ("a.wmv", "wmv2", "asf"),
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("name", "codec", "form"), CONTAINERS, ids=lambda value: str(value))
def test_wide_pixels_in_every_container(
    name: str, codec: str, form: str | None, decoder: str, tmp_path: Path
) -> None:
    """Stored at 120x96 and said to be 4:3, as HDV is. MPEG-2 knows the shape of the picture alone: 16:9 here."""
    aspect = Fraction(64, 45) if codec == "mpeg2video" else Fraction(4, 3)
    path = write(tmp_path / name, aspect, (120, 96), codec=codec, form=form)
    if decoder == "decord" and name == "a.wmv":
        assert refusal(path, "use --decoder pyav", decoder) == "decoder-refused"
    elif codec == "mpeg2video":
        frames, report = read(path, decoder)
        assert shapes(frames) == {(96, 171, 3)} and report.faults == []
    else:
        check_shown(path, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("aspect", "size", "turn"),
    [
        (Fraction(2, 3), (160, 64), 0),  # tall pixels make the picture taller
        *(
            (Fraction(4, 3), (72, 160), 90),
            (Fraction(4, 3), (120, 96), 180),
            (Fraction(4, 3), (72, 160), 270),
        ),
    ],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_tall_and_turned(
    name: str, aspect: Fraction, size: tuple[int, int], turn: int, decoder: str, tmp_path: Path
) -> None:
    """Pixels are wide as they are stored: after a quarter turn they are tall."""
    check_shown(write(tmp_path / name, aspect, size, turn=turn), decoder)


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
    aspects = (Fraction(4, 3), Fraction(1), Fraction(16, 11))
    parts = [write(tmp_path / f"{n}.ts", aspect, (120, 96)) for n, aspect in enumerate(aspects)]
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
        read(write(tmp_path / f"{aspect.numerator}.mp4", aspect, (112, 112)))[0]
        for aspect in (Fraction(1), Fraction(300, 299))
    )
    assert all((one.pixels == other.pixels).all() for one, other in zip(plain, odd, strict=True))
    pixels = numbered(1)
    assert square(pixels, Fraction(300, 301)) is pixels


def test_pixels_are_between_their_neighbours() -> None:
    """Twice as wide, of a ramp: what lies between is in between, and rows stay apart."""
    ramp = np.broadcast_to(np.arange(0, 240, 4, dtype=np.uint8)[:, np.newaxis], (4, 60, 3)).copy()
    ramp[2:] = 255 - ramp[2:]
    wide = square(ramp, Fraction(2))
    expected = np.clip((np.arange(120) + 0.5) / 2 - 0.5, 0, 59) * 4
    assert wide.shape == (4, 120, 3)
    assert np.abs(wide[0, 4:-4, 0] - expected[4:-4]).max() <= 1
    assert np.abs(255.0 - wide[3, 4:-4, 1] - expected[4:-4]).max() <= 1


def test_the_other_side_shrinks_if_a_frame_would_become_too_large() -> None:
    tall = np.zeros((MAX_PIXELS // 64, 33, 3), np.uint8)
    assert square(tall, Fraction(3)).shape == (tall.shape[0] // 3, 33, 3)
