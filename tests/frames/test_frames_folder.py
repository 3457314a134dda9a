"""Folders of frames: natural order, taken whole, one bad image costs only itself."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import MediaError
from vidface.files.atomic import natural_key
from vidface.frames import DECODERS, ReadReport, fit_frame, read_frames
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
    report = ReadReport()
    frames = list(read_frames(folder, decoder=decoder, fps=fps, report=report))
    assert len(frames) == len(names)
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, picture(10 * number))
        assert frame.pts_seconds == number / 8
    assert (report.decoded, report.sampled, report.faults) == (7, 7, [])


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
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "2.png")
    Image.fromarray(np.dstack([grey] * 3 + [grey // 2])).save(tmp_path / "3.png")
    Image.fromarray(np.dstack([grey] * 3)).quantize(256).save(
        tmp_path / "4.png", transparency=bytes(range(256))
    )
    report = ReadReport()
    frames = list(read_frames(tmp_path, report=report))
    for frame in frames:
        assert frame.pixels.dtype == np.uint8
        np.testing.assert_array_equal(frame.pixels, np.dstack([grey] * 3))
    assert len(frames) == 4
    assert report.faults == []


def huge_png(path: Path) -> None:
    """A small file that unpacks to 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


def test_a_bad_image_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    write(folder, [f"{n}.jpg" for n in range(1, 11)])
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-200])
    (folder / "3.jpg").write_bytes(b"")
    (folder / "4.jpg").write_text("<html>")
    huge_png(folder / "5.jpg")
    (folder / "6.jpg").unlink()
    (folder / "6.jpg").mkdir()
    (folder / "7.jpg").unlink()
    Image.fromarray(picture(0)).save(tmp_path / "secret.jpg")
    (folder / "7.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "8.jpg").unlink()
    (folder / "8.jpg").symlink_to("10.jpg")  # stays inside
    (folder / "9.jpg").unlink()
    (folder / "9.jpg").symlink_to("gone.jpg")
    report = ReadReport()
    frames = list(read_frames(folder, report=report))
    assert [frame.pts_seconds * 8 for frame in frames] == [0, 7, 9]
    kinds = ["unreadable-image"] * 3 + ["too-large"] + ["unreadable-image"] * 3
    assert [kind for kind, _ in report.faults] == kinds
    assert [detail.split(":")[0] for _, detail in report.faults] == [
        f"{n}.jpg" for n in (2, 3, 4, 5, 6, 7, 9)
    ]
    assert all("\n" not in detail and " at 0x" not in detail for _, detail in report.faults)


def test_none_readable_and_none_there(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no \.jpg") as error:
        list(read_frames(tmp_path, report=ReadReport()))
    assert error.value.kind == "no-frames"
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff")
    report = ReadReport()
    with pytest.raises(MediaError, match=r"1\.jpg") as error:
        list(read_frames(tmp_path, report=report))
    assert error.value.kind == "unreadable-image"
    assert len(report.faults) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_decode_as_the_file_does(kind: str, tmp_path: Path) -> None:
    Image.fromarray(picture(50)).save(tmp_path / "1.jpg", format=kind)  # whatever the name says
    pixels = decode_image((tmp_path / "1.jpg").read_bytes())
    (frame,) = read_frames(tmp_path, report=ReadReport())
    np.testing.assert_array_equal(pixels, frame.pixels)
    assert pixels.dtype == np.uint8 and pixels.shape == (20, 30, 3) and pixels.flags.writeable


def test_bytes_that_are_no_image(tmp_path: Path) -> None:
    write(tmp_path, ["1.jpg", "2.png"])
    huge_png(tmp_path / "3.png")
    whole = [(tmp_path / name).read_bytes() for name in ("1.jpg", "2.png")]
    huge = (tmp_path / "3.png").read_bytes()
    for content in (b"", b"<html>", *(data[:-40] for data in whole), huge):
        with pytest.raises(MediaError) as error:
            decode_image(content)
        assert error.value.kind == ("too-large" if content == huge else "unreadable-image")
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


def test_a_picture_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (12, 20, 3), np.uint8)
    for name in ("a.png", "b.PNG"):
        Image.fromarray(pixels).save(tmp_path / name)
        report = ReadReport()
        (frame,) = read_frames(tmp_path / name, report=report)
        assert (frame.pixels == pixels).all() and frame.pts_seconds == 0
        assert (report.decoded, report.sampled, report.faults) == (1, 1, [])


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
    with pytest.raises(MediaError) as caught:
        list(read_frames(path, report=ReadReport()))
    assert caught.value.kind == kind and "\n" not in str(caught.value)


def test_frames_of_other_formats_are_counted(tmp_path: Path) -> None:
    """They would be missing from the video without a word; what is no picture is passed over."""
    for name in ("1.jpg", "2.webp", "3.BMP", ".4.webp"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("taken in May")
    report = ReadReport()
    assert len(list(read_frames(tmp_path, report=report))) == 1
    said = "2 pictures of other formats, 2.webp first: convert them to JPEG or PNG"
    assert report.faults == [("unreadable-image", said)]
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(MediaError, match=said):
        list(read_frames(tmp_path, report=ReadReport()))
