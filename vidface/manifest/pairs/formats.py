"""The formats of pair lists that are one text file, told by their content; our CSV, YouTube Faces, and three words.

Sources: YouTube Faces' ``splits.txt`` as it is mirrored (five fields, no header) and the programs that read it or
``splits_corrected.txt`` (some skip a header; the corrected list has six fields, and the last is what they take); the
three words are what public training code writes for AgeDB-30 and CFP-FP when it unpacks the ``.bin`` sets, and how
VoxCeleb's trials are published (the label first). `vidface.manifest.pairs.published` has LFW's and what is like it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from vidface.errors import ManifestError
from vidface.manifest.pairs.parsed import (
    NOT_SPLIT,
    Lines,
    PairLine,
    Parsed,
    is_number,
    read_text,
    split_line,
)
from vidface.manifest.pairs.published import (
    is_head_of_csv,
    is_list_of_people,
    is_mismatch,
    is_two_lines,
    parse_folder,
    read_lfw,
    read_two_lines,
)
from vidface.manifest.rows import show

COLUMNS = ["first", "second", "same"]
# Also as tables of other programs have them; what -1 means beside 0 is not clear, see `_leave_out_third_label`.
LABELS = {
    **{"0": False, "1": True, "-1": False, "false": False, "true": True},
    **{"0.0": False, "1.0": True, "-1.0": False},
}
KNOWN = (
    "a CSV that begins with first,second,same[,fold]; splits.txt of YouTube Faces; pairs.txt or pairs.csv of LFW; the "
    "lists of CALFW and CPLFW; lines of two names and 0 or 1, such as VoxCeleb's; the folder Split/FP of CFP"
)


def parse_list(path: Path) -> Parsed:
    """Read a list of pairs, whose format is told by its content, or CFP's folder of them.

    Raises:
        ManifestError: it cannot be read, is empty, or is none of the known formats.
    """
    if path.is_dir():
        return parse_folder(path)
    text, raw = read_text(path)
    numbered = enumerate(io.StringIO(text, newline=None), 1)
    written = [(f"{path}:{number}", line.strip()) for number, line in numbered if line.strip()]
    # A name may begin with #: a comment has a space after it, or stands above all that is none.
    begun = next((i for i, (_, line) in enumerate(written) if not line.startswith("#")), len(written))
    lines = [(at, line) for at, line in written[begun:] if line != "#" and not line.startswith(("# ", "#\t"))]
    if not lines:
        raise ManifestError(f"{path}: an empty file, no list of pairs")
    parsed = _reader_of(path, lines)(path, lines)
    _leave_out_third_label(parsed)
    if comments := len(written) - len(lines):
        parsed.notes.append(f"{path.name}: {comments} lines begin with # and are taken as comments")
    parsed.sha256 = hashlib.sha256(raw).hexdigest()
    return parsed


def _reader_of(path: Path, lines: Lines) -> Callable[[Path, Lines], Parsed]:
    begin = [line for _, line in lines[:2]]
    if any(_is_header(split_line(begin[0], separator)) for separator in _SEPARATORS):
        return _read_csv
    if any(_is_ytf(_fields(line)) for line in begin):
        return _read_ytf
    if is_list_of_people(begin):
        raise ManifestError(
            f"{path}: a list of people and how many images each has, not of pairs; LFW's pairs are in pairs.txt or "
            "pairs.csv"
        )
    words = begin[0].split()
    if is_head_of_csv(begin[0]) or (len(words) <= 2 and all(is_number(word) for word in words)):
        return read_lfw
    if any(is_mismatch(line) for _, line in lines):
        return read_lfw
    if is_two_lines(begin):
        return read_two_lines
    if _separator_of_words(begin[0]) != "":
        return _read_words
    raise ManifestError(
        f"{lines[0][0]}: no list of pairs that is known, it begins with {show(begin[0])}; known are {KNOWN}"
    )


_SEPARATORS = (",", ";", "\t")


def _is_header(fields: Sequence[str]) -> bool:
    return [field.lower() for field in fields[:3]] == COLUMNS


def _read_csv(_path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("CSV")
    place, line = lines[0]
    separator = next(each for each in _SEPARATORS if _is_header(split_line(line, each)))
    header = [field.lower() for field in split_line(line, separator)]
    if header not in (COLUMNS, [*COLUMNS, "fold"]):
        raise ManifestError(
            f"{place}: the columns are first,second,same or first,second,same,fold, not "
            f"{show(','.join(header))}"
        )
    for place, line in lines[1:]:  # each by itself: an open quote costs its own line, not all that follow
        row = split_line(line, separator)
        if row == NOT_SPLIT:
            parsed.trouble(place, f"not CSV (is there a quote too few or too many?): {show(line)}")
        elif len(row) != len(header):
            parsed.trouble(place, f"{len(row)} fields instead of {','.join(header)}")
        elif len(row) > 3 and not is_number(row[3]):
            parsed.trouble(place, f"fold must be a whole number, not {show(row[3])}")
        else:
            _add(parsed, place, row[0], row[1], row[2], int(row[3]) if len(row) > 3 else None)
    return parsed


def _read_ytf(_path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("YouTube Faces splits")
    corrected = 0
    for place, line in lines:
        fields = _fields(line)
        if place == lines[0][0] and not is_number(fields[0]) and "/" not in line:
            continue  # some copies have a line of the fields' names
        if not _is_ytf(fields):
            parsed.trouble(place, f"not split, pair, Name/video, Name/video, ..., 0 or 1, but {show(line)}")
            continue
        corrected += len(fields) > 5 and fields[-2] in ("0", "1") and fields[-2] != fields[-1]
        _add(parsed, place, fields[2], fields[3], fields[-1], int(fields[0]))
    if corrected:
        parsed.notes.append(
            f"{corrected} lines have another 0 or 1 in the field before the last one: the last one is taken"
        )
    return parsed


def _separator_of_words(line: str) -> str | None:
    """What stands between two names and a label, None for white space; empty if the line is no such thing."""
    for separator in ("\t", ";", ",", None):
        words = split_line(line, separator)
        if len(words) == 3 and (_is_label(words[0]) or _is_label(words[2])):
            return separator
    return ""


def _read_words(path: Path, lines: Lines) -> Parsed:
    parsed = Parsed("two names and 0 or 1")
    separator = _separator_of_words(lines[0][1])
    words = [split_line(line, separator) for _, line in lines]
    at_end = sum(len(found) == 3 and _is_label(found[2]) for found in words)
    at_start = sum(len(found) == 3 and _is_label(found[0]) for found in words)
    if at_end == at_start:
        raise ManifestError(
            f"{path}: it can't be told whether the first or the third word is the label; write it as CSV with "
            "first,second,same"
        )
    for (place, line), found in zip(lines, words, strict=True):
        if len(found) != 3:
            parsed.trouble(place, f"{len(found)} words instead of two names and 0 or 1: {show(line)}")
            continue
        first, second, same = found if at_end > at_start else (found[1], found[2], found[0])
        _add(parsed, place, first, second, same, None)
    return parsed


def _is_label(text: str) -> bool:
    return text.lower() in LABELS


def _add(parsed: Parsed, place: str, first: str, second: str, same: str, fold: int | None) -> None:
    if not _is_label(same):
        parsed.trouble(place, f"same must be 1 or 0, not {show(same)}")
    elif not (first and second):
        parsed.trouble(place, "a name is empty")
    else:
        parsed.labels.append(same.lower().removesuffix(".0"))
        parsed.lines.append(PairLine(place, first, second, LABELS[same.lower()], fold))


def _leave_out_third_label(parsed: Parsed) -> None:
    """-1 means two people where it stands for 0; in a list that has 0 as well it means something else."""
    if not {"0", "-1"} <= set(parsed.labels):
        return
    kept = []
    for line, label in zip(parsed.lines, parsed.labels, strict=True):
        if label == "-1":
            parsed.trouble(line.place, "same is -1, in a list that has 0 as well: what is meant is not clear")
        else:
            kept.append(line)
    parsed.lines = kept
    parsed.troubles.sort(key=lambda trouble: int(trouble.place.rpartition(":")[2]))


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _is_ytf(fields: Sequence[str]) -> bool:
    return len(fields) >= 5 and is_number(fields[0]) and is_number(fields[1]) and "/" in fields[2]
