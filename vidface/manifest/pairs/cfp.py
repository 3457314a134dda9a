"""The pairs of CFP (Celebrities in Frontal-Profile) as its authors give them: numbers into two lists of images.

``Protocol/Split/FP/01 .. 10/{same,diff}.txt`` hold ``a,b`` lines: image a of ``Protocol/Pair_list_F.txt`` and image b
of ``Pair_list_P.txt`` (of ``Pair_list_F.txt`` for ``Split/FF``), from 1 up. A list's line is ``number path``, such as
``1 ../Data/Images/001/frontal/01.jpg``. The layout is confirmed by three independent public readers, not by a copy of
the set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidface.errors import ManifestError
from vidface.files.atomic import natural_key
from vidface.manifest.pairs.parsed import PairLine, Parsed, digest, read_text
from vidface.manifest.rows import show


def parse_folder(folder: Path) -> Parsed:
    """Read the pairs of one of the two protocols; ids are ``PERSON/frontal/IMAGE`` and ``PERSON/profile/IMAGE``.

    Raises:
        ManifestError: it is no such folder, or one of its files cannot be read.
    """
    kind = folder.resolve().name
    second = {"FP": "Pair_list_P.txt", "FF": "Pair_list_F.txt"}.get(kind)
    splits = sorted(
        (path.parent for path in folder.glob("*/same.txt")), key=lambda path: natural_key(path.name)
    )
    if second is None or not splits:
        raise ManifestError(
            f"{folder}: a folder of pairs must be Protocol/Split/FP (or FF) of CFP, with 01/same.txt and so on in it"
        )
    contents: list[bytes] = []
    first_names, second_names = (
        _names(folder.resolve().parent.parent / name, contents) for name in ("Pair_list_F.txt", second)
    )
    parsed = Parsed(f"CFP {kind}")
    for fold, split in enumerate(splits, 1):
        for name in ("same.txt", "diff.txt"):
            for place, line in _lines(split / name, contents):
                left, _, right = (part.strip() for part in line.partition(","))
                if left in first_names and right in second_names:
                    pair = first_names[left], second_names[right]
                    parsed.lines.append(PairLine(place, *pair, name == "same.txt", fold))
                else:
                    parsed.trouble(place, f"not two numbers of the lists of images, but {show(line)}")
    parsed.sha256 = digest(*contents)
    return parsed


def _lines(path: Path, contents: list[bytes]) -> Iterator[tuple[str, str]]:
    """Place and text of the lines that have any; what was read is added to ``contents``."""
    text, raw = read_text(path)
    contents.append(raw)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def _names(path: Path, contents: list[bytes]) -> dict[str, str]:
    """Number, as it is written -> the last three parts of the path."""
    names: dict[str, str] = {}
    for place, line in _lines(path, contents):
        number, *name = line.split(maxsplit=1)
        if not name or not number.isdecimal():
            raise ManifestError(f"{place}: not a number and a path, but {show(line)}")
        if number in names:
            raise ManifestError(f"{place}: image {number} is listed already; a number is of one image")
        names[number] = "/".join(name[0].split("/")[-3:])
    return names
