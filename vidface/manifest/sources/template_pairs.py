"""The listed pairs of templates of IJB-B and IJB-C: 15.7 million lines in a few seconds, each of them checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import ManifestError
from vidface.files.atomic import require_regular
from vidface.manifest.rows import show
from vidface.manifest.sources.template_lists import FACES, LARGEST, Integers, refuse, whole_number

CHUNK = 1 << 24  # bytes of the list that are parsed at once
LONGEST = 1 << 26  # bytes without a line end, before they are taken for something else
_NUMBERS = b"0123456789 \n"


class TemplatePairs(NamedTuple):
    """``template_pair_label``: int32 [P] twice, places in the list of templates, and bool [P]."""

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    same: npt.NDArray[np.bool_]


def read_template_pairs(path: Path, templates: Integers) -> TemplatePairs:
    """Read ``template_pair_label``, in bounded memory: 9 bytes a pair stay.

    Raises:
        ManifestError: it cannot be read, a line is not ``template template label``, or names a template that is not
            among ``templates``, int64 [T], ascending, each once.
    """
    parts: list[TemplatePairs] = []
    lines = 0
    for chunk in _chunks(path):
        columns = _three_columns(path, chunk, lines)
        places = np.searchsorted(templates, columns[:, :2])
        known = templates[np.minimum(places, len(templates) - 1)] == columns[:, :2]
        problems = []
        for row in np.flatnonzero(~known.all(axis=1)).tolist():
            names = " and ".join(map(str, columns[row, :2][~known[row]].tolist()))
            problems.append((lines + row + 1, f"no image of template {names} in {FACES}"))
        refuse(path, problems)
        first, second = places.T.astype(np.int32)
        parts.append(TemplatePairs(first, second, columns[:, 2].astype(np.bool_)))
        lines += len(columns)
    if not lines:
        raise ManifestError(f"{path}: empty")
    return TemplatePairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file in chunks of whole lines; the last may lack its line end."""
    try:
        with require_regular(path).open("rb") as handle:
            rest = handle.read(3)
            rest = b"" if rest == b"\xef\xbb\xbf" else rest
            while block := handle.read(CHUNK):
                whole, end, rest_of_block = block.rpartition(b"\n")
                if end:
                    yield rest + whole + end
                    rest = rest_of_block
                else:
                    rest += block
                    if len(rest) > LONGEST:
                        raise ManifestError(f"{path}: no line end in {len(rest)} bytes: not a list of pairs")
            if rest:
                yield rest
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None


def _three_columns(path: Path, chunk: bytes, before: int) -> Integers:
    """int64 [n, 3] of a chunk's lines; ``before`` of the file are in earlier chunks."""
    plain = chunk.replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n"
    if not plain.translate(None, _NUMBERS) and (columns := _fast(plain)) is not None:
        return columns
    # Something is not as it should be, or is written in an unusual way: word by word tells which.
    rows: list[list[int]] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(plain.removesuffix(b"\n").split(b"\n"), before + 1):
        words = line.decode("utf-8", "replace").split()
        row = [found for word in words if (found := whole_number(word)) is not None]
        if len(words) != 3 or len(row) != 3 or row[2] > 1:
            problems.append(
                (number, f"{show(' '.join(words))} is not: template template label, which is 1 or 0")
            )
        else:
            rows.append(row)
    refuse(path, problems)
    return np.array(rows, np.int64)


def _fast(plain: bytes) -> Integers | None:
    """The same at the speed of a disk, of digits and white space; None if they are not three numbers a line."""
    raw = np.frombuffer(plain, np.uint8)
    between = raw[raw <= ord(" ")]
    numbers = np.fromstring(plain, np.int64, sep=" ")
    lines = len(numbers) // 3
    if len(numbers) != 3 * lines or bytes(between) != b"  \n" * lines:
        return None
    columns = numbers.reshape(lines, 3)
    inside = columns[:, 2].max(initial=0) <= 1 and columns.max(initial=0) <= LARGEST
    return columns if inside else None
