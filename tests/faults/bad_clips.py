"""Files that are no sound video or picture, each by the function that writes it to a path."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from command_line import SIDE, encode, frames_of, write_folder, write_video
from PIL import ExifTags, Image

LARGE = 16_000  # pixels a side
LONG = 40  # frames, 5 seconds
MANY = 30_000  # frames
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def folder(
    *pictures: Callable[[Path], object], person: int = 7, suffix: str = "png"
) -> Callable[[Path], None]:
    """A folder of these pictures, with a good one in front and behind."""

    def write(path: Path) -> None:
        first, *_, last = frames_of(person, len(pictures) + 2)
        write_folder(path, [first])
        Image.fromarray(last).save(path / f"{len(pictures) + 1}.png")
        for number, picture in enumerate(pictures, 1):
            picture(path / f"{number}.{suffix}")

    return write


def wide(path: Path, aspect: Fraction, frames: np.ndarray) -> Path:
    """An h264 clip without loss of luma, 8 frames a second, whose pixels are said to be so wide."""
    height, width = frames.shape[1:3]
    return encode(path, frames, (width, height), rate=8, pix_fmt="yuv444p", aspect=aspect)


def turned(upright: np.ndarray) -> bytes:
    """A PNG as a phone held upright stores it: lying, with EXIF orientation 6."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(upright)).save(file, "PNG", exif=exif)
    return file.getvalue()


def moving() -> np.ndarray:
    """Frames with so much change in them that every one takes its share of the file."""
    random = np.random.default_rng(5)
    return random.integers(0, 256, (LONG, 28, 28, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)


def halved(path: Path, **container: str) -> None:
    write_video(path, moving(), **container)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_of_a_picture(path: Path) -> None:
    Image.fromarray(frames_of(0, 1)[0]).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped_bits(path: Path) -> None:
    """Only of picture data: one bit in every 2,000 bytes, past the first frame."""
    data = bytearray(write_video(path, moving(), lossless=False).read_bytes())
    start, (length,) = data.index(b"mdat") + 4, struct.unpack(">I", data[data.index(b"mdat") - 4 :][:4])
    for position in range(start + length // 4, start + length - 8, 2000):
        data[position] ^= 0x10
    path.write_bytes(data)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of that size, by its header, with these chunks behind it; grey, 8 bits."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def whole_png(path: Path) -> None:
    """All black: its pixels are a thousand times larger than it is."""
    deflate = zlib.compressobj(9)
    parts = [deflate.compress(bytes((LARGE + 1) * 100)) for _ in range(LARGE // 100)]
    path.write_bytes(png(LARGE, LARGE, (b"IDAT", b"".join([*parts, deflate.flush()]))))


def large_text(kind: bytes) -> Callable[[Path], None]:
    """A small PNG whose text or colour profile unpacks to 200 MB."""

    def write(path: Path) -> None:
        profile = b"icc\0\0" + zlib.compress(bytes(200_000_000), 9)
        pixels = b"IDAT", zlib.compress(bytes((SIDE + 1) * SIDE))
        path.write_bytes(png(SIDE, SIDE, (kind, profile), pixels))

    return write


def jpeg(side: int) -> Callable[[Path], None]:

    def write(path: Path) -> None:
        Image.fromarray(frames_of(0, 1)[0]).save(path, format="JPEG")
        path.write_bytes(resized_jpegs(path.read_bytes(), side))

    return write


def resized_jpegs(data: bytes, side: int) -> bytes:
    begin, *others = data.split(b"\xff\xc0\x00\x11\x08")
    assert others
    claimed = struct.pack(">HH", side, side)
    return b"\xff\xc0\x00\x11\x08".join([begin, *(claimed + other[4:] for other in others)])


def coded(path: Path, codec: str, form: str, frames: np.ndarray) -> bytearray:
    encode(path, frames, (SIDE, SIDE), codec=codec, rate=8, pix_fmt=form, options={"threads": "1"})
    return bytearray(path.read_bytes())


def large_vp8(path: Path) -> None:
    """The first picture of a WebM says that it is 16,383 pixels a side; the container says 112."""
    data = coded(path, "libvpx", "yuv420p", frames_of(1, 3))
    at = data.index(b"\x9d\x01\x2a")  # start code of a key frame; its width and height follow
    data[at + 3 : at + 7] = struct.pack("<HH", 16_383, 16_383)
    path.write_bytes(data)


def large_pngs(path: Path) -> None:
    """A QuickTime file of PNG pictures, small and good but for the sizes that they claim."""
    data, at = coded(path, "png", "rgb24", frames_of(1, 3)), 0
    while (at := data.find(b"IHDR", at)) >= 0:
        data[at + 4 : at + 12] = struct.pack(">II", LARGE, LARGE)
        data[at + 17 : at + 21] = struct.pack(">I", zlib.crc32(data[at : at + 17]))
        at += 21
    path.write_bytes(data)


def large_by_header(path: Path) -> None:
    """The header of an AVI and its pictures claim the size alike."""
    data = coded(path, "mjpeg", "yuvj420p", frames_of(1, 3))
    at = data.index(b"strf") + 12
    data[at : at + 8] = struct.pack("<II", LARGE, LARGE)
    path.write_bytes(resized_jpegs(bytes(data), LARGE))


def add_sound(out: Any, stream: Any) -> None:
    for begin in range(0, 48_000, 960):
        sound = av.AudioFrame(format="fltp", layout="mono", samples=960)
        sound.planes[0].update(bytes(4 * 960))
        sound.sample_rate, sound.pts, sound.time_base = 48_000, begin, Fraction(1, 48_000)
        out.mux(stream.encode(sound))
    out.mux(stream.encode(None))


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as out:
        add_sound(out, out.add_stream("aac", rate=48_000, layout="mono"))


def sound_with_cover(path: Path) -> None:
    """A picture that is a cover is no video."""
    cover = io.BytesIO()
    Image.fromarray(frames_of(0, 1)[0]).save(cover, format="PNG")
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=48_000, layout="mono")
        picture: Any = out.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        packet: Any = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        add_sound(out, stream)
        out.mux(packet)


def concealed(path: Path) -> None:
    """One picture of ten is broken: the decoder makes up a part of it, says so, and goes on."""
    data = coded(path, "mpeg2video", "yuv420p", frames_of(4, 10))
    starts = [at for at in range(len(data) - 4) if data[at : at + 4] == b"\x00\x00\x01\x00"]  # of pictures
    middle = (starts[5] + starts[6]) // 2
    data[middle : middle + 12] = bytes(range(12))
    path.write_bytes(data)


def many_frames(path: Path) -> None:
    """30,000 frames at 500 a second: one picture, and then packets that say that nothing has changed."""
    options = {"preset": "ultrafast", "qp": "0", "g": "1000000", "bf": "0"}
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264rgb", rate=500, options=options)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "rgb24"
        stream.codec_context.thread_count = 1
        picture = av.VideoFrame.from_ndarray(frames_of(5, 1)[0], format="rgb24")
        made: list[Any] = []
        for picture.pts in range(40):
            made += stream.encode(picture)
        made += stream.encode(None)
        first, *rest = map(bytes, made[:17])  # their frame numbers count up to 16, and begin again
        for index in range(MANY):
            packet = av.Packet(rest[(index - 1) % 16] if index else first)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 500)
            packet.is_keyframe = index == 0
            out.mux(packet)


def absurd_table(path: Path, count: int) -> Path:
    """An mp4 of some kilobytes whose table of frames claims many millions, of one byte each."""
    data = bytearray(write_video(path, frames_of(6, 5)).read_bytes())
    sizes, chunks = data.index(b"stsz"), data.index(b"stsc")
    struct.pack_into(">II", data, sizes + 8, 1, count)
    struct.pack_into(">I", data, chunks + 16, count)
    path.write_bytes(data)
    return path


def tiles(path: Path) -> None:
    """Of such a HEIF FFmpeg gives one tile. The main picture is none of the streams, as in those of phones."""
    Image.fromarray(frames_of(0, 1)[0]).save(path)
    data = path.read_bytes()
    place = data.index(b"pitm") + 8
    assert data[place : place + 2] == b"\0\1"
    path.write_bytes(data[:place] + b"\0\2" + data[place + 2 :])
