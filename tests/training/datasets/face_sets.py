"""Small labelled sets, made and read without vidface."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MAGIC = 0xCED7230A
Contents = dict[str, bytes]  # by PERSON/IMAGE

# Not in the order of their code points: 2 before 10, and a person whose name starts another's.
PEOPLE = {"person10": 2, "person2": 3, "Zoe": 1, "ada": 2, "ada b": 1}
NATURAL = ["Zoe", "ada", "ada b", "person2", "person10"]


def jpeg(seed: int, size: tuple[int, int] = (12, 10), kind: str = "JPEG") -> bytes:
    """A small picture of (height, width), its own for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def contents(people: Mapping[str, int] = PEOPLE) -> Contents:
    """Pictures 1.jpg, 2.jpg, ... 9.jpg, 10.jpg of everyone."""
    names = [f"{person}/{number}.jpg" for person, count in people.items() for number in range(1, count + 1)]
    return {name: jpeg(seed) for seed, name in enumerate(names)}


def write_people(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_shard(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(content)
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        member.linkname = "elsewhere.jpg"
    archive.addfile(member, io.BytesIO(content))


def naive_records(path: Path) -> list[tuple[int, bytes]]:
    """(offset, payload) of every record of a .rec file, one after the other, byte for byte as it is written."""
    data, place, records = path.read_bytes(), 0, []
    while place < len(data):
        begin, payload = place, b""
        while True:
            magic, word = struct.unpack("<II", data[place : place + 8])
            assert magic == MAGIC, place
            kind, length = word >> 29, word % 2**29
            part = data[place + 8 : place + 8 + length]
            assert len(part) == length
            payload += part
            place += 8 + length
            while place % 4:
                assert data[place] == 0
                place += 1
            if kind in (0, 3):
                break
            payload += struct.pack("<I", MAGIC)
        records.append((begin, payload))
    return records


def naive_write(path: Path, payloads: Sequence[tuple[int, bytes]]) -> Path:
    """A .rec and .idx file of (number, payload), none of which may hold the magic."""
    data, lines = b"", []
    for number, payload in payloads:
        assert struct.pack("<I", MAGIC) not in payload
        lines.append(f"{number}\t{len(data)}\n")
        data += struct.pack("<II", MAGIC, len(payload)) + payload
        data += bytes(-len(data) % 4)
    path.write_bytes(data)
    path.with_suffix(".idx").write_text("".join(lines))
    return path


def payload(*labels: float, content: bytes = b"", number: int = 0) -> bytes:
    """As MXNet packs: one label in the header, several behind it."""
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], number, 0) + content
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), 0, number, 0, *labels) + content


def content_of(pairs: Any) -> list[tuple[bytes, bytes, bool]]:
    """(one image, the other, whether they are the same person) of every pair of a `PairSet`."""
    return [
        (pairs.read(int(one)), pairs.read(int(other)), bool(same))
        for one, other, same in zip(pairs.first, pairs.second, pairs.same, strict=True)
    ]
