"""The formats of pair lists that are one text file: our CSV, YouTube Faces, LFW, and lists of three words.

Sources: LFW's own README (names and numbers, sets of matched then mismatched pairs); YouTube Faces' ``splits.txt`` as
it is mirrored (five fields, no header) and the programs that read it or ``splits_corrected.txt`` (some skip a header;
the corrected list has six fields, and the last is what they take); the three words are what public training code
writes for AgeDB-30 and CFP-FP when it unpacks the ``.bin`` sets.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from vidface.errors import ManifestError
from vidface.manifest.pairs.parsed import PairLine, Parsed, digest, read_text
from vidface.manifest.rows import show

COLUMNS = ["first", "second", "same"]
LABELS = {"0": False, "1": True}
KNOWN = (
    "a CSV that begins with first,second,same[,fold]; splits.txt of YouTube Faces; pairs.txt of LFW; lines of two "
    "names and 0 or 1; the folder Split/FP of CFP"
)

Lines = Sequence[tuple[int, str]]  # number and text of the lines that have any


def parse_file(path: Path) -> Parsed:
    """Read a list whose format is told by its content.

    Raises:
        ManifestError: it cannot be read, is empty, or is none of the known formats.
    """
    text, raw = read_text(path)
    numbered = enumerate(io.StringIO(text, newline=None), 1)
    lines = [(number, line.strip()) for number, line in numbered if line.strip()]
    if not lines:
        raise ManifestError(f"{path}: an empty file, no list of pairs")
    parsed = _reader_of(path, [line for _, line in lines[:2]], lines)(path, lines)
    parsed.sha256 = digest(raw)
    return parsed


def _reader_of(path: Path, begin: list[str], lines: Lines) -> Callable[[Path, Lines], Parsed]:
    if [field.strip('"') for field in _fields(begin[0])[:3]] == COLUMNS:
        return _read_csv
    if any(_is_ytf(_fields(line)) for line in begin):
        return _read_ytf
    words = begin[0].split()
    if len(words) <= 2 and all(_is_number(word) for word in words):
        return _read_lfw
    if any(_is_mismatch(line.split()) for _, line in lines):
        return _read_lfw
    if len(words) == 3 and (words[0] in LABELS or words[2] in LABELS):
        return _read_words
    raise ManifestError(
        f"{path}:{lines[0][0]}: no list of pairs that is known, it begins with {show(begin[0])}; known are {KNOWN}"
    )


def _read_csv(path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("CSV")
    header: list[str] = []
    for (
        number,
        line,
    ) in lines:  # each by itself: a quote that is not closed costs its own line, not all that follow
        place = f"{path}:{number}"
        try:
            (row,) = csv.reader([line], strict=True)
        except csv.Error as error:
            parsed.trouble(place, f"not CSV: {error}")
            continue
        row = [field.strip() for field in row]
        if not header:
            header = row
            if header not in (COLUMNS, [*COLUMNS, "fold"]):
                raise ManifestError(
                    f"{place}: the columns are first,second,same or first,second,same,fold, not {show(','.join(row))}"
                )
        elif len(row) != len(header):
            parsed.trouble(place, f"{len(row)} fields instead of {','.join(header)}")
        elif len(row) > 3 and not _is_number(row[3]):
            parsed.trouble(place, f"fold must be a whole number, not {show(row[3])}")
        else:
            _add(parsed, place, row[0], row[1], row[2], int(row[3]) if len(row) > 3 else None)
    return parsed


def _read_ytf(path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("YouTube Faces splits")
    corrected = 0
    for place, line in enumerate(lines):
        where, fields = f"{path}:{line[0]}", _fields(line[1])
        if place == 0 and not _is_number(fields[0]) and "/" not in line[1]:
            continue  # some copies have a line of the fields' names
        if not _is_ytf(fields):
            parsed.trouble(
                where, f"not split, pair, Name/video, Name/video, ..., 0 or 1, but {show(line[1])}"
            )
            continue
        corrected += len(fields) > 5 and fields[-2] in LABELS and fields[-2] != fields[-1]
        _add(parsed, where, fields[2], fields[3], fields[-1], int(fields[0]))
    if corrected:
        parsed.notes.append(
            f"{corrected} lines have another 0 or 1 in the field before the last one: the last one is taken"
        )
    return parsed


def _read_lfw(path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("LFW pairs", flat=True)
    head = [int(word) for word in lines[0][1].split() if _is_number(word)]
    if len(head) != len(lines[0][1].split()):
        head = []
    block, before = 1, True
    for number, line in lines[1:] if head else lines:
        place, words = f"{path}:{number}", line.split()
        same = len(words) == 3
        if not ((same and all(map(_is_number, words[1:]))) or _is_mismatch(words)):
            parsed.trouble(place, f"neither name n1 n2 nor name1 n1 name2 n2, but {show(line)}")
            continue
        block += same and not before
        before = same
        first = _lfw_name(words[0], words[1])
        second = _lfw_name(words[0], words[2]) if same else _lfw_name(words[2], words[3])
        parsed.lines.append(PairLine(place, first, second, same, block if len(head) == 2 else None))
    if head:
        _check_head(parsed, path, head, len(lines) - 1, block)
    return parsed


def _check_head(parsed: Parsed, path: Path, head: list[int], found: int, blocks: int) -> None:
    """Compare an LFW list with its first line: how many folds, and how many matched (and mismatched) pairs in each."""
    folds, each = head if len(head) == 2 else (1, head[0])
    promised = 2 * folds * each
    if len(head) == 1 and found == each:
        promised = each  # of both kinds together
    parsed.missing = max(promised - found, 0)
    if promised != found:
        parsed.notes.append(f"{path}: {found} pairs, where its first line says {promised}")
    if len(head) == 2 and blocks != folds:
        parsed.notes.append(f"{path}: {blocks} blocks of pairs, where its first line says {folds} folds")
        parsed.lines = [line._replace(fold=None) for line in parsed.lines]


def _lfw_name(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}"


def _read_words(path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("two names and 0 or 1")
    words = [line.split() for _, line in lines]
    at_end = sum(len(found) == 3 and found[2] in LABELS for found in words)
    at_start = sum(len(found) == 3 and found[0] in LABELS for found in words)
    if at_end == at_start:
        raise ManifestError(
            f"{path}: it can't be told whether the first or the third word is the label; write it as CSV with "
            "first,second,same"
        )
    for (number, line), found in zip(lines, words, strict=True):
        place = f"{path}:{number}"
        if len(found) != 3:
            parsed.trouble(place, f"{len(found)} words instead of two names and 0 or 1: {show(line)}")
            continue
        first, second, same = found if at_end > at_start else (found[1], found[2], found[0])
        _add(parsed, place, first, second, same, None)
    return parsed


def _add(parsed: Parsed, place: str, first: str, second: str, same: str, fold: int | None) -> None:
    if same not in LABELS:
        parsed.trouble(place, f"same must be 1 or 0, not {show(same)}")
    elif not (first and second):
        parsed.trouble(place, "a name is empty")
    else:
        parsed.lines.append(PairLine(place, first, second, LABELS[same], fold))


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _is_ytf(fields: Sequence[str]) -> bool:
    return len(fields) >= 5 and _is_number(fields[0]) and _is_number(fields[1]) and "/" in fields[2]


def _is_mismatch(words: Sequence[str]) -> bool:
    return len(words) == 4 and _is_number(words[1]) and _is_number(words[3])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
