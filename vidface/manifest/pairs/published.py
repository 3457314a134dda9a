"""LFW's lists of pairs, as text and as CSV, those of CALFW and CPLFW, with two lines a pair, and CFP's folders.

Sources: LFW's own README (names and numbers, sets of matched then mismatched pairs); the CSV files that LFW is passed
around with (``pairs.csv``: ``name,imagenum1,imagenum2``, the rows as in ``pairs.txt``); for CALFW and CPLFW public
programs that read ``pairs_CALFW.txt`` and ``pairs_CPLFW.txt``: ``IMAGE NUMBER``, a pair in two lines with the same
number, 0 for two people. CALFW numbers the folds of its pairs of one person from 1 to 10; CPLFW has 1 for all of them.

CFP has ``Protocol/Split/FP/01 .. 10/{same,diff}.txt`` of ``a,b`` lines: image a of ``Protocol/Pair_list_F.txt`` and b
of ``Pair_list_P.txt`` (of ``Pair_list_F.txt`` for ``Split/FF``), from 1 up. A list's line is ``number path``, such as
``1 ../Data/Images/001/frontal/01.jpg``; three independent public readers agree on it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidface.errors import ManifestError
from vidface.files.atomic import natural_key
from vidface.manifest.pairs.parsed import Lines, PairLine, Parsed, is_number, read_text, split_line
from vidface.manifest.rows import show

FOLDS = 10


def is_head_of_csv(line: str) -> bool:
    """Whether a line names the columns of LFW's CSV of pairs: matched, mismatched or both."""
    return [field.lower() for field in split_line(line, ",")[:2]] == ["name", "imagenum1"]


def is_list_of_people(lines: Sequence[str]) -> bool:
    """Whether a list begins as LFW's people.txt or people.csv: names, and how many images there are of each."""
    if [field.lower() for field in split_line(lines[0], ",") if field] == ["name", "images"]:
        return True
    begin = [_words(line) for line in lines[:2]]
    return len(begin) == 2 and len(begin[0]) == 1 and is_number(begin[0][0]) and _is_two_lines(begin[1:])


def is_mismatch(line: str) -> bool:
    """Whether a line is NAME NUMBER NAME NUMBER."""
    words = _words(line)
    return len(words) == 4 and is_number(words[1]) and is_number(words[3])


def is_two_lines(lines: Sequence[str]) -> bool:
    """Whether a list begins with two lines of an image and a number."""
    return len(lines) == 2 and _is_two_lines([_words(line) for line in lines])


def _is_two_lines(lines: Sequence[Sequence[str]]) -> bool:
    return all(len(words) == 2 and is_number(words[1]) and not is_number(words[0]) for words in lines)


def _words(line: str) -> list[str]:
    """Words between tabs, commas or white space, by which of them a number comes second; empty ones are left out."""
    for separator in "\t,":
        words = [word for word in split_line(line, separator) if word]
        if len(words) > 1 and is_number(words[1]):
            return words
    return line.split()


def read_lfw(path: Path, lines: Lines) -> Parsed:
    """Read NAME N1 N2 and NAME1 N1 NAME2 N2; folds are blocks of matched then mismatched pairs.

    They are the list's if its first line says how many there are, or if there are ten of one size.
    """
    parsed = Parsed("LFW pairs", flat=True)
    head: list[int] = []
    if len(begin := lines[0][1].split()) <= 2 and all(map(is_number, begin)):
        head = [int(word) for word in begin]
    lines = [line for line in lines[bool(head) :] if not is_head_of_csv(line[1])]
    block, before = 1, True
    for place, line in lines:
        words = _words(line)
        same = len(words) == 3 and all(map(is_number, words[1:]))
        if not (same or is_mismatch(line)):
            parsed.trouble(place, f"neither name n1 n2 nor name1 n1 name2 n2, but {show(line)}")
            continue
        block += same and not before
        before = same
        first = _name(words[0], words[1])
        second = _name(words[0], words[2]) if same else _name(words[2], words[3])
        parsed.lines.append(PairLine(place, first, second, same, block))
    _check_head(parsed, path, head, len(lines), block)
    return parsed


def _check_head(parsed: Parsed, path: Path, head: list[int], found: int, blocks: int) -> None:
    """Compare a list with its first line: how many folds, and how many matched (and mismatched) pairs in each."""
    sizes = Counter((line.fold, line.same) for line in parsed.lines)
    folds_known = len(head) == 2 and blocks == head[0]
    if not head:
        folds_known = blocks == FOLDS and len(sizes) == 2 * FOLDS and len(set(sizes.values())) == 1
    if not folds_known:
        parsed.lines = [line._replace(fold=None) for line in parsed.lines]
    if not head:
        return
    folds, each = head if len(head) == 2 else (1, head[0])
    promised = 2 * folds * each
    if len(head) == 1 and found == each:
        promised = each  # of both kinds together
    parsed.missing = max(promised - found, 0)
    if promised != found:
        parsed.notes.append(f"{path}: {found} pairs, where its first line says {promised}")
    if len(head) == 2 and blocks != folds:
        parsed.notes.append(f"{path}: {blocks} blocks of pairs, where its first line says {folds} folds")


def _name(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}"


def read_two_lines(path: Path, lines: Lines) -> Parsed:
    """Read IMAGE NUMBER, a pair in two lines; see `_two_line_folds` for the folds.

    Raises:
        ManifestError: a line is missing or of another form: from there on it is not known which lines are a pair.
    """
    parsed = Parsed("CALFW or CPLFW pairs", flat=True)
    tokens: list[int] = []
    for couple in (lines[start : start + 2] for start in range(0, len(lines), 2)):
        place, line = couple[0]
        words = [_words(text) for _, text in couple]
        if len(words) < 2 or not _is_two_lines(words) or words[0][1] != words[1][1]:
            second = show(couple[1][1]) if len(couple) > 1 else "nothing"
            raise ManifestError(
                f"{place}: {show(line)} and {second} are not a pair, which is two lines, each with an image "
                "and the same number: is a line missing above?"
            )
        tokens.append(int(words[0][1]))
        parsed.lines.append(PairLine(place, words[0][0], words[1][0], tokens[-1] > 0))
    folds = _two_line_folds(tokens)
    if folds:
        parsed.lines = [line._replace(fold=fold) for line, fold in zip(parsed.lines, folds, strict=True)]
        parsed.notes.append(
            f"{path.name} does not give the folds of its pairs of two people: they are cut into {len(set(folds))} "
            "equal parts in their order" + ("" if max(tokens) > 1 else ", and so are those of one person")
        )
    return parsed


def _two_line_folds(tokens: Sequence[int]) -> list[int]:
    """The fold of every pair: its number if numbers are more than 0 and 1, else ten parts of its kind in order.

    Pairs of one kind stand together in these lists, so that folds cut across both kinds would be of one kind each.
    """
    numbers = sorted(set(tokens) - {0})
    folds = numbers if len(numbers) > 1 else list(range(1, FOLDS + 1))
    count = Counter(token > 0 for token in tokens)
    if min(count[True], count[False]) < len(folds):
        return []
    seen: Counter[bool] = Counter()
    found = []
    for token in tokens:
        same = token > 0
        part = folds[seen[same] * len(folds) // count[same]]
        seen[same] += 1
        found.append(token if same and len(numbers) > 1 else part)
    return found


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
    parsed.sha256 = hashlib.sha256(b"".join(contents)).hexdigest()
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
