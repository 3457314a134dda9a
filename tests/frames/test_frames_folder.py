"""Folders of frames: natural order, taken whole, one bad image costs only itself."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from clips import kinds, read, refusal
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import MediaError
from vidface.files.atomic import natural_key
from vidface.frames import DECODERS, fit_frame
from vidface.frames.folder import decode_image


def picture(value: int) -> np.ndarray:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10], pixels[10:, :15] = (value, 0, 255 - value), (0, value, 0)
    return pixels


def write(folder: Path, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        kind = "PNG" if name.lower().endswith("png") else "JPEG"
        Image.fromarray(picture(10 * number)).save(folder / name, format=kind)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("fps", [None, 1.0, 8.0])
def test_natural_order_taken_whole(decoder: str, fps: float | None, tmp_path: Path) -> None:
    names = ["1.png", "2.PNG", "9.png", "10.png", "a1.png", "a02.png", "a10.png"]
    folder = tmp_path / "frames"
    write(folder, names)
    (folder / "notes.txt").write_text("not a frame")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "deeper").mkdir()
    frames, report = read(folder, decoder, fps)
    assert len(frames) == len(names)
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, picture(10 * number))
        assert frame.pts_seconds == number / 8
    assert (report.decoded, report.faults) == (7, [])


@given(st.lists(st.integers(0, 10**12), unique=True, max_size=30))
def test_numbers_sort_as_numbers(numbers: list[int]) -> None:
    names = [f"frame{number}.jpg" for number in numbers]
    random.Random(0).shuffle(names)
    assert [int(name[5:-4]) for name in sorted(names, key=natural_key)] == sorted(numbers)


@given(st.lists(st.text("01 9aB._-é٣", max_size=8), unique=True, max_size=12))
def test_the_order_is_total(names: list[str]) -> None:
    once = sorted(names, key=natural_key)
    names.reverse()
    assert sorted(names, key=natural_key) == once


def test_more_digits_than_python_reads_as_a_number_are_sorted_all_the_same() -> None:
    small, large = "1" + "0" * 5000, "2" + "0" * 5000
    assert sorted([large, "00" + small, small, "9"], key=natural_key) == ["9", "00" + small, small, large]


def test_modes_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.dstack([grey] * 3)
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "2.png")
    Image.fromarray(np.dstack([rgb, grey // 2])).save(tmp_path / "3.png")
    Image.fromarray(rgb).quantize(256).save(tmp_path / "4.png", transparency=bytes(range(256)))
    frames, report = read(tmp_path)
    for frame in frames:
        assert frame.pixels.dtype == np.uint8
        np.testing.assert_array_equal(frame.pixels, rgb)
    assert len(frames) == 4 and report.faults == []


def huge_png() -> bytes:
    """A small file that unpacks to 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bad_image_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    write(folder, [f"{n}.jpg" for n in range(1, 11)])
    Image.fromarray(picture(0)).save(tmp_path / "secret.jpg")
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-200])
    (folder / "3.jpg").write_bytes(b"")
    (folder / "4.jpg").write_text("<html>")
    (folder / "5.jpg").write_bytes(huge_png())
    for number in (6, 7, 8, 9):
        (folder / f"{number}.jpg").unlink()
    (folder / "6.jpg").mkdir()
    (folder / "7.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "8.jpg").symlink_to("10.jpg")  # stays inside
    (folder / "9.jpg").symlink_to("gone.jpg")
    frames, report = read(folder)
    assert [frame.pts_seconds * 8 for frame in frames] == [0, 7, 9]
    assert kinds(report) == ["unreadable-image"] * 3 + ["too-large"] + ["unreadable-image"] * 3
    assert [detail.split(":")[0] for _, detail in report.faults] == [
        f"{n}.jpg" for n in (2, 3, 4, 5, 6, 7, 9)
    ]
    assert all("\n" not in detail and " at 0x" not in detail for _, detail in report.faults)


def test_none_readable_and_none_there(tmp_path: Path) -> None:
    assert refusal(tmp_path, r"no \.jpg") == "no-frames"
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff")
    assert refusal(tmp_path, r"1\.jpg") == "unreadable-image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_decode_as_the_file_does(kind: str, tmp_path: Path) -> None:
    Image.fromarray(picture(50)).save(tmp_path / "1.jpg", format=kind)  # whatever the name says
    pixels = decode_image((tmp_path / "1.jpg").read_bytes())
    ((frame,), _) = read(tmp_path)
    np.testing.assert_array_equal(pixels, frame.pixels)
    assert pixels.dtype == np.uint8 and pixels.shape == (20, 30, 3) and pixels.flags.writeable


def test_bytes_that_are_no_image(tmp_path: Path) -> None:
    write(tmp_path, ["1.jpg", "2.png"])
    cut = [(tmp_path / name).read_bytes()[:-40] for name in ("1.jpg", "2.png")]
    for content in (b"", b"<html>", *cut, huge_png()):
        with pytest.raises(MediaError) as error:
            decode_image(content)
        assert error.value.kind == ("too-large" if content == huge_png() else "unreadable-image")
        assert str(error.value) and " at 0x" not in str(error.value)


def test_fit_frame() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (112, 96, 3), dtype=np.uint8)
    assert fit_frame(pixels, (112, 96), resize=False) is pixels
    assert fit_frame(pixels, (112, 96), resize=True) is pixels
    with pytest.raises(MediaError, match="96x112, the model takes 112x112") as error:
        fit_frame(pixels, (112, 112), resize=False)
    assert error.value.kind == "wrong-size"
    square = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert np.array_equal(fit_frame(square, (112, 96), resize=True), square[:, 8:104])  # not squeezed
    resized = fit_frame(pixels, (56, 48), resize=True)
    assert (resized.shape, resized.dtype) == ((56, 48, 3), np.uint8)
    # Shrinking averages: the mean stays, which point sampling of noise would not give pixel by pixel.
    assert np.abs(resized.mean() - pixels.mean()) < 1
    assert resized.std() < 0.7 * pixels.std()


@pytest.mark.parametrize("name", ["a.png", "b.PNG"])
def test_a_picture_is_a_clip_of_one_frame(name: str, tmp_path: Path) -> None:
    Image.fromarray(picture(70)).save(tmp_path / name)
    ((frame,), report) = read(tmp_path / name)
    assert (frame.pixels == picture(70)).all() and frame.pts_seconds == 0
    assert (report.decoded, report.faults) == (1, [])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "missing"),
        (b"", "empty-file"),
        (b"<html></html>", "unreadable-image"),
        (b"\xff\xd8\xff", "unreadable-image"),
    ],
)
def test_a_picture_that_is_none(tmp_path: Path, content: bytes | None, kind: str) -> None:
    path = tmp_path / "picture.jpg"
    if content is not None:
        path.write_bytes(content)
    assert refusal(path) == kind


def test_frames_of_other_formats_are_counted(tmp_path: Path) -> None:
    """They would be missing from the video without a word; what is no picture is passed over."""
    for name in ("1.jpg", "2.webp", "3.BMP", ".4.webp"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("taken in May")
    frames, report = read(tmp_path)
    said = "2 pictures of other formats, 2.webp first: convert them to JPEG or PNG"
    assert len(frames) == 1 and report.faults == [("unreadable-image", said)]
    (tmp_path / "1.jpg").unlink()
    assert refusal(tmp_path, said) == "no-frames"
