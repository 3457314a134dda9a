"""Identities that are probably no person, or one person in two spellings: said with their number, never merged.

An identity is text and may be anything: so these are a list of what tables and tools write for a missing value, and a
rule for what a person would read as the same name. Nothing is changed by them. Tested in
``tests/manifest/test_identities.py`` and ``tests/faults/test_labels.py``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from vidface.errors import Warned
from vidface.manifest.rows import show

__all__ = ["Suspicion", "as_read", "is_nobody", "suspicions"]

# What is written for nobody, in letters and digits alone; each also stands before or after one of `_FILLERS`.
_FOR_NOBODY = """
    nan nat none null nil undefined missing tbd 1ind 1qnan notavailable notapplicable noname noid noidentity noface
    nofaces nolabel nomatch nobody notknown unknown unknowns unk unkn unidentified unlabeled unlabelled unassigned
    unnamed anonymous stranger strangers distractor distractors background noise other others impostor impostors
    imposter imposters nonmember nonmembers inconnu inconnus unbekannt unbekannte desconocido desconocidos
    desconhecido sconosciuto onbekend ukjent nieznany bilinmeyen неизвестно неизвестный 未知 不明 陌生人 なし
"""
# The same where it holds far more videos than anybody else: some people are called so.
_FOR_SOME = "na nan nn x xx xxx noone extra extras random misc empty negative negatives bg crowd"
_BESIDE = "person persons people face faces identity id man woman subject user video videos"
_NOBODY, _PERHAPS, _FILLERS = (frozenset(words.split()) for words in (_FOR_NOBODY, _FOR_SOME, _BESIDE))
_NUMBER = re.compile(r"[+-]?\d{1,24}(\.\d{0,24})?(e[+-]?\d{1,2})?")
_DASHES, _QUOTES = re.compile("[‐-―−﹣－]"), re.compile("['`´‘’ʼ\"]")
_ZEROS, _ASCII_WORDS = re.compile(r"(?<![0-9])0+(?=[0-9])"), re.compile("[A-Za-z0-9]+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_FAR_MORE = 2  # times the videos of anybody else


class Suspicion(NamedTuple):
    """One thing that is odd about the identities or splits.

    Attributes:
        row: the first with it.
        kind: a word for machines.
        warning: a sentence, with the number of videos.
        names: all identities or splits that it is about.
    """

    row: int
    kind: str
    warning: Warned
    names: list[str]


def suspicions(identities: Sequence[str], splits: Sequence[str], *, named: int = 3) -> list[Suspicion]:
    """What is odd about the identities and splits of a manifest, a text a video; the kinds have one sentence each.

    ``missing-value``: an identity that is the text of a missing value, or 0 or -1 among other names or with far more
    videos than anybody. ``two-spellings``: identities that differ only by case, leading zeros, ``.0``, accents, or the
    signs between their words. ``two-splits``: splits that do. A sentence names ``named`` of those that it is about.
    """
    counts = Counter(identities)
    counts.pop("", None)
    missing = _missing(counts)
    found = [] if not missing else [_missing_values(missing, counts, identities, named)]
    people = {name: count for name, count in counts.items() if name not in missing}
    if twice := _spelled_twice(people):
        touched = sum(people[name] for group in twice for name in group)
        text = (
            f"{sum(map(len, twice)):,} of {len(counts):,} identities differ from another only by spelling "
            f"({_listed(twice, named)}) and count as different people, in {touched:,} of {len(identities):,} videos: "
            "if they are the same, spell each name the same way in the manifest"
        )
        names = [name for group in twice for name in group]
        row = _first(identities, {name for group in twice for name in group[1:]})
        found.append(Suspicion(row, "two-spellings", Warned(text, touched / len(identities)), names))
    in_split = Counter(splits)
    if twice := _spelled_twice({name: count for name, count in in_split.items() if name}):
        rarer = {name for group in twice for name in group[1:]}
        touched = sum(in_split[name] for name in rarer)
        text = (
            f"{touched:,} of {len(splits):,} videos are in a split that differs from another only by spelling "
            f"({_listed(twice, named)}) and is left out if the other is asked for: spell it the same way in the "
            "manifest"
        )
        warning = Warned(text, touched / len(splits))
        found.append(Suspicion(_first(splits, rarer), "two-splits", warning, sorted(rarer)))
    return found


def is_nobody(name: str) -> bool:
    """Whether a name is one that is given to nobody in particular, as of a folder of strangers; it may have a ``_``."""
    words = _words(_plain(name))
    if name == "Nan":  # as a person's name is written, and no program writes a missing number
        return False
    return not words or "".join(words) in _NOBODY or "".join(w for w in words if w not in _FILLERS) in _NOBODY


def _missing_values(
    missing: Sequence[str], counts: Mapping[str, int], identities: Sequence[str], named: int
) -> Suspicion:
    touched = sum(counts[name] for name in missing)
    some = ", ".join(f"{show(name)} ({counts[name]:,})" for name in missing[:named])
    some += f" and {len(missing) - named} more" if len(missing) > named else ""
    text = (
        f"{touched:,} of {len(identities):,} videos have the identity {some}, which looks like a missing value and "
        "counts as one person: if these are unknown people, leave the identity empty in the manifest"
    )
    row = _first(identities, set(missing))
    return Suspicion(row, "missing-value", Warned(text, touched / len(identities)), list(missing))


def _missing(counts: Mapping[str, int]) -> list[str]:
    """The identities that are probably missing values, those with the most videos first."""
    found = [name for name in counts if is_nobody(name)]
    others = {name: count for name, count in counts.items() if name not in found}
    most = sorted(others.values(), reverse=True)[:2] or [0]
    numbers = {name: number for name in others if (number := _number(name)) is not None}
    for name, count in others.items():
        rest = most[-1] if count == most[0] else most[0]  # the most that anybody else has
        far_more = count > _FAR_MORE * rest
        word = "".join(_words(_plain(name)))
        if word in _PERHAPS:
            initials = any(other.isupper() and len(other) == 2 for other in others if other != name)
            is_odd = word == "na" and (not name.isalpha() or (name == "NA" and not initials))  # N/A, <NA>, NA
        else:
            is_odd = name in numbers and numbers[name] <= 0 and _is_odd_number(name, numbers, len(others))
            far_more = far_more and name in numbers and numbers[name] <= 0
        if len(others) > 1 and (is_odd or far_more):
            found.append(name)
    return sorted(found, key=lambda name: (-counts[name], name))


def _is_odd_number(name: str, numbers: Mapping[str, Decimal], people: int) -> bool:
    """Whether a number that is 0 or below is none of the numbers that the other people have."""
    others = {other: number for other, number in numbers.items() if other != name}
    if 2 * len(others) < people - 1:
        return True  # the others have names
    if numbers[name] < 0:
        return 2 * sum(number < 0 for number in others.values()) < len(others)
    widths = {len(other) for other in others}
    return len(widths) == 1 and len(name) not in widths and any(other[0] == "0" for other in others)


def _spelled_twice(names: Mapping[str, int]) -> list[list[str]]:
    """Groups of names that a person would read as one, the most frequent spelling first; largest groups first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[as_read(name)].append(name)
    # Two Unicode forms of one text are a problem of their own: `vidface.manifest.manifest` refuses them.
    several = [
        sorted(group, key=lambda name: (-names[name], name))
        for group in groups.values()
        if len({unicodedata.normalize("NFKC", name) for name in group}) > 1
    ]
    return sorted(several, key=lambda group: (-sum(names[name] for name in group), group))


def as_read(name: str) -> str:
    """What a person reads: a number by its value, else words without case, accents and leading zeros."""
    number = _number(name)
    if number is not None:
        return str(number.normalize() + 0)
    if name.isascii():
        text = name.lower()
    else:
        parted = unicodedata.normalize("NFKD", _plain(name))
        # Accents above and below letters; the marks of Indic, Arabic or Japanese letters make other letters.
        text = "".join(each for each in parted if unicodedata.combining(each) < 200)
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_ZEROS.sub("", word) for word in _words(_QUOTES.sub("", text))) or name


def _words(text: str) -> list[str]:
    """What stands between white space, punctuation and symbols."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    return "".join(each if unicodedata.category(each)[0] in "LNM" else " " for each in text).split()


def _plain(name: str) -> str:
    """Without case and compatibility forms: full-width digits are digits, marks without width are not there."""
    if name.isascii():
        return name.lower()
    text = unicodedata.normalize("NFKC", name).casefold()
    return text if text.isascii() else "".join(each for each in text if unicodedata.category(each) != "Cf")


def _number(name: str) -> Decimal | None:
    """The number that a name is, whichever way it is written; None where it is none."""
    if name.isascii() and name[:1] not in "+-0123456789":
        return None
    text = _DASHES.sub("-", _plain(name))
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _listed(groups: Sequence[Sequence[str]], named: int) -> str:
    """``'Ann' and 'ann', '7' and '007'``; escaped, as two spellings may look the same."""
    some = [
        " and ".join(ascii(name) if not name.isascii() else show(name) for name in group[:named])
        for group in groups
    ]
    return ", ".join(some[:named]) + (f" and {len(groups) - named} more" if len(groups) > named else "")


def _first(texts: Sequence[str], wanted: set[str]) -> int:
    return next(row for row, text in enumerate(texts) if text in wanted)
