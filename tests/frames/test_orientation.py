"""EXIF orientation: all eight, of JPEG and PNG, wherever the picture lies; damaged blocks cost nothing."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from clips import read
from PIL import ExifTags, Image

from vidface.frames.folder import decode_image
from vidface.frames.orientation import exif_matrix, turn

# Where the corners A B / C D of the stored picture are shown, from the drawing in the EXIF standard (2.32, page 29).
SHOWN = {1: "AB/CD", 2: "BA/DC", 3: "DC/BA", 4: "CD/AB", 5: "AC/BD", 6: "CA/DB", 7: "DB/CA", 8: "BD/AC"}
COLOURS = {"A": (250, 250, 250), "B": (230, 20, 20), "C": (20, 200, 20), "D": (20, 20, 230)}


def stored() -> np.ndarray:
    """uint8 [32, 48, 3]: a colour a quarter."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    for place, name in enumerate("ABCD"):
        pixels[16 * (place // 2) :][:16, 24 * (place % 2) :][:, :24] = COLOURS[name]
    return pixels


def corners(pixels: np.ndarray) -> str:
    def name(y: int, x: int) -> str:
        return min(COLOURS, key=lambda one: np.abs(pixels[y, x].astype(int) - COLOURS[one]).sum())

    return f"{name(4, 4)}{name(4, -4)}/{name(-4, 4)}{name(-4, -4)}"


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = orientation
    return made.tobytes()


def picture(kind: str, block: bytes, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    options = {"quality": 95} if kind == "JPEG" else {}
    if mode == "I;16":
        made = Image.fromarray(stored()[..., 0].astype(np.uint16) * 257)
    else:
        made = Image.fromarray(stored()).convert(mode)
    made.save(file, kind, exif=block, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_orientation_of_jpeg_and_png(kind: str, orientation: int, tmp_path: Path) -> None:
    content = picture(kind, exif(orientation))
    expected = SHOWN[orientation]
    pixels = decode_image(content)
    assert corners(pixels) == expected and pixels.flags.c_contiguous
    assert pixels.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    for path in (tmp_path / "one.jpg", tmp_path):  # what it is, its content says
        (tmp_path / "one.jpg").write_bytes(content)
        ((frame,), _) = read(path)
        assert corners(frame.pixels) == expected


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16"])
def test_kinds_of_pictures_are_turned_alike(mode: str) -> None:
    kind = "JPEG" if mode in ("L", "CMYK") else "PNG"
    upright, plain = (decode_image(picture(kind, exif(orientation), mode)) for orientation in (6, 1))
    assert upright.shape == (48, 32, 3) and (upright == np.rot90(plain, -1)).all()


def with_chunk(chunk: bytes) -> bytes:
    """The picture as PNG, with a chunk (its kind, then its content) before the pixels."""
    file = io.BytesIO()
    Image.fromarray(stored()).save(file, "PNG")
    content = file.getvalue()
    at = content.index(b"IDAT") - 4
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:at] + framed + content[at:]


@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_exif_as_imagemagick_writes_it_into_png(name: str) -> None:
    """A text block "Raw profile type exif": its name, its length, then hexadecimal digits in lines."""
    block = exif(8)
    digits = block.hex()
    text = (
        f"\n{name}\n{len(block):8}\n"
        + "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
        + "\n"
    )
    content = with_chunk(f"zTXtRaw profile type {name}\0\0".encode() + zlib.compress(text.encode()))
    assert corners(decode_image(content)) == SHOWN[8]


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_an_exif_chunk_of_png_with_and_without_the_prefix_of_jpeg(prefix: bytes) -> None:
    content = with_chunk(b"eXIf" + prefix + exif(6).removeprefix(b"Exif\0\0"))
    assert corners(decode_image(content)) == SHOWN[6]


def entry(order: str, tag: int, kind: int, value: int) -> bytes:
    return struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(
        order + ("HH" if kind == 3 else "I"), value, *[0] * (kind == 3)
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_both_byte_orders_and_both_widths(order: str, kind: int) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 2)
    block = head + entry(order, 0x010F, 4, 99) + entry(order, 0x0112, kind, 6) + bytes(4)
    assert turn(stored(), exif_matrix({"exif": b"Exif\0\0" + block})).shape == (48, 32, 3)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry(">", 0x0112, 3, 9),
        b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry(">", 0x0112, 3, 0),
        b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry(">", 0x0112, 5, 6),
        b"nonsense" * 9,
    ],
)
def test_damaged_exif_leaves_the_picture_as_it_is_without_a_word(
    block: bytes, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    assert corners(decode_image(picture("JPEG", block or b"Exif\0\0"))) == SHOWN[1]
    assert exif_matrix({"exif": block}) == (1, 0, 0, 1)
    assert exif_matrix({"Raw profile type exif": "\nexif\n 9\nnot hex\n"}) == (1, 0, 0, 1)
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_what_viewers_ignore_is_ignored() -> None:
    """A resolution that differs across and down, transparency, and pictures after the first."""
    plain = Image.fromarray(stored())
    other = Image.fromarray(255 - stored())

    def saved(kind: str, image: Image.Image = plain, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    clear = Image.fromarray(np.dstack([stored(), np.zeros((32, 48), np.uint8)]))
    for content in (
        saved("JPEG", dpi=(72, 144)),
        saved("PNG", dpi=(72, 144)),
        saved("PNG", clear),
        saved("PNG", save_all=True, append_images=[other]),
        saved("MPO", save_all=True, append_images=[other]),
    ):
        pixels = decode_image(content)
        assert pixels.shape == (32, 48, 3) and corners(pixels) == SHOWN[1]
