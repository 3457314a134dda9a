"""Files for the fuzzer of containers: small ones of every kind, and changes of them."""

from __future__ import annotations

import io
import os
import random
import struct
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from PIL import Image

__all__ = ["Input", "changed", "seeds", "words"]

MOST_BYTES = 60_000  # of a file

Input = tuple[str, bytes]  # the suffix that decides who reads it, and the content


def seeds() -> list[Input]:
    """A small clip of each container, and a picture of each kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found: list[Input] = []
    for name, codec, options in (
        *(("mp4", "libx264", {}), ("mov", "png", {}), ("matroska", "libx264", {}), ("webm", "libvpx", {})),
        *(("avi", "mpeg4", {}), ("avi", "mjpeg", {}), ("mpeg", "mpeg2video", {}), ("mpegts", "libx264", {})),
        *(
            ("mpeg2video", "mpeg2video", {}),
            ("flv", "libx264", {}),
            ("ogg", "libvpx", {}),
            ("asf", "wmv2", {}),
        ),
        *(
            ("mpegts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
            ("mp4", "libx265", {}),
            ("mov", "libx264rgb", {}),
        ),
        *(("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), ("matroska", "ffv1", {})),
    ):
        file = io.BytesIO()
        with av.logging.Capture(), av.open(file, "w", format=name, container_options=options) as out:
            quiet = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "libx265" else {}
            stream: Any = out.add_stream(codec, rate=25, options=quiet)
            stream.width, stream.height = 64, 64
            form = {"libx264rgb": "rgb24", "png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            stream.pix_fmt = form
            stream.codec_context.thread_count = 1
            for index, one in enumerate(pixels):
                picture = av.VideoFrame.from_ndarray(one, format="rgb24").reformat(format=form)
                picture.pts = index
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        found.append((".mp4", file.getvalue()))
    for kind, suffix in (("JPEG", ".jpg"), ("PNG", ".png")):
        file = io.BytesIO()
        Image.fromarray(pixels[0]).save(file, format=kind)
        found.append((suffix, file.getvalue()))
    return found


def words(canary: Path, port: int) -> list[bytes]:
    """What a file might say to have another one opened, and marks that the gate or FFmpeg looks for."""
    names = [
        os.fsencode(name)
        for name in (canary.name, canary, f"file:{canary}", f"http://127.0.0.1:{port}/a.mp4")
    ]
    lists = [
        *(b"ffconcat version 1.0\nfile %s\n", b"#EXTM3U\n#EXTINF:1,\n%s\n", b"#!/bin/sh\n%s\n"),
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=control:%s\n",
        b'<?xml version="1.0"?><MPD><BaseURL>%s</BaseURL></MPD>',
        b"\x00\x00\x00\x20dref\x00\x00\x00\x00\x00\x00\x00\x01url \x00\x00\x00\x00%s",
    ]
    marks = b"ftyp moov mdat free skip wide pnot styp moof trak edts elst stsd stco co64 stsz stts ctts dref cmov rmra"
    return [
        *names,
        *(text % name for text in lists for name in names),
        *(mark.ljust(4) for mark in marks.split(b" ")),
        *(bytes.fromhex(text) for text in ("1a45dfa3", "000001ba", "000001b3", "47", "464c5601", "4f676753")),
        *(
            b"RIFF",
            b"AVI ",
            b"LIST",
            b"movi",
            b"idx1",
            b"IHDR",
            b"IDAT",
            b"iCCP",
            b"\xff\xc0",
            b"\xff\xda",
            b"\xff\xd8",
        ),
    ]


NUMBERS = [
    0,
    1,
    7,
    8,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    16_000,
    60_000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFFFF8,
]


def changed(data: bytes, others: list[bytes], dictionary: list[bytes], rng: random.Random) -> bytes:
    """The content with a few changes."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        # Headers decide, and lie in front or at the end.
        at = rng.randrange(min(len(new), 256) if rng.random() < 0.4 else len(new)) if new else 0
        size = min(rng.choice((1, 2, 4, 8, 32, 200, 2000)), len(new) - at)
        way = rng.randrange(9)
        if way == 0 and new:
            new[at] ^= 1 << rng.randrange(8)
        elif way == 1 and new:
            new[at : at + size] = rng.randbytes(size)
        elif way == 2:
            form = rng.choice((">I", "<I", ">H", "<H", ">Q"))
            number = rng.choice([*NUMBERS, len(new), rng.randrange(1 << 16)]) % (
                1 << 8 * struct.calcsize(form)
            )
            new[at : at + struct.calcsize(form)] = struct.pack(form, number)
        elif way == 3:
            del new[at : at + size]
        elif way == 4:
            new[at:at] = new[at : at + size] * rng.choice((1, 1, 2, 20))
        elif way == 5:
            word = rng.choice(dictionary)
            new[at : at + rng.choice((0, len(word)))] = word
        elif way == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            new[at : at + size] = other[start : start + rng.choice((size, 2000))]
        elif way == 7:
            del new[at:]
        else:
            new = bytearray(rng.choice(dictionary)) + new[rng.choice((0, 4, 8, at)) :]
    return bytes(new[:MOST_BYTES])
