"""Identities that are probably no person, or one person in two spellings: said with their number, never merged.

An identity is text and may be anything: so these are a list of what tables and tools write for a missing value, and a
rule for what a person would read as the same name.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from vidface.errors import Warned
from vidface.manifest.rows import show

# What is written for nobody, in letters and digits alone; each also stands before or after one of `_FILLERS`.
_FOR_NOBODY = """
    nan nat none null nil undefined missing tbd 1ind 1qnan notavailable notapplicable noname noid noidentity noface
    nofaces nolabel nomatch nobody notknown unknown unknowns unk unkn unidentified unlabeled unlabelled unassigned
    unnamed anonymous stranger strangers distractor distractors background noise other others impostor impostors
    imposter imposters nonmember nonmembers inconnu inconnus unbekannt unbekannte desconocido desconocidos
    desconhecido sconosciuto onbekend ukjent nieznany bilinmeyen неизвестно неизвестный 未知 不明 陌生人 なし
"""
# The same if it holds far more videos than anybody else: some people are called so.
_FOR_SOME = "na nan nn x xx xxx noone extra extras random misc empty negative negatives bg crowd"
_BESIDE = "person persons people face faces identity id man woman subject user video videos"
_NOBODY, _PERHAPS, _FILLERS = (frozenset(words.split()) for words in (_FOR_NOBODY, _FOR_SOME, _BESIDE))
_NUMBER = re.compile(r"[+-]?\d{1,24}(\.\d{0,24})?(e[+-]?\d{1,2})?")
_DASHES, _QUOTES = re.compile("[‐-―−﹣－]"), re.compile("['`´‘’ʼ\"]")
_ZEROS, _BETWEEN_WORDS = re.compile(r"(?<![0-9])0+(?=[0-9])"), re.compile("[^a-z0-9]+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_FAR_MORE = 2  # times the videos of anybody else
_FEW = 3  # numbers below 0 that may all be written for nobody


class Suspicion(NamedTuple):
    """One thing that is odd: the first row with it, a word for machines, a sentence, all identities or splits."""

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
    found = []
    if missing := _missing(counts):
        touched = sum(counts[name] for name in missing)
        some = ", ".join(f"{show(name)} ({counts[name]:,})" for name in missing[:named])
        some += f" and {len(missing) - named} more" if len(missing) > named else ""
        text = (
            f"{touched:,} of {len(identities):,} videos have the identity {some}, which looks like a missing value and "
            "counts as one person: if these are unknown people, leave the identity empty in the manifest"
        )
        warning = Warned(text, touched / len(identities))
        found.append(Suspicion(_first(identities, missing), "missing-value", warning, missing))
    people = {name: count for name, count in counts.items() if name not in missing}
    if twice := _spelled_twice(people):
        names = [name for group in twice for name in group]
        touched = sum(people[name] for name in names)
        text = (
            f"{len(names):,} of {len(counts):,} identities differ from another only by spelling "
            f"({_listed(twice, named)}) and count as different people, in {touched:,} of {len(identities):,} videos: "
            "if they are the same, spell each name the same way in the manifest"
        )
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
    if name == "Nan":  # as a person's name is written, and no program writes a missing number
        return False
    words = _words(name).split()
    if not words or "".join(words) in _NOBODY:
        return True
    return len(words) > 1 and "".join(word for word in words if word not in _FILLERS) in _NOBODY


def _missing(counts: Mapping[str, int]) -> list[str]:
    """The identities that are probably missing values, those with the most videos first."""
    found = [name for name in counts if is_nobody(name)]
    others = dict(counts)
    for name in found:
        del others[name]
    most = sorted(others.values(), reverse=True)[:2] or [0]
    numbers = {name: number for name in others if (number := _number(name)) is not None}
    odd = _odd_numbers(numbers, len(others))
    initials = any(name.isupper() and len(name) == 2 and name != "NA" for name in others)
    for name, count in others.items():
        if name in numbers:
            is_odd, may_be = name in odd, numbers[name] <= 0
        else:
            word = _words(name).replace(" ", "")
            may_be = word in _PERHAPS
            # N/A, <NA>; NA itself if nobody else is called by two initials
            is_odd = word == "na" and (not name.isalpha() or (name == "NA" and not initials))
        rest = most[-1] if count == most[0] else most[0]  # the most that anybody else has
        if len(others) > 1 and (is_odd or (may_be and count > _FAR_MORE * rest)):
            found.append(name)
    return sorted(found, key=lambda name: (-counts[name], name))


def _odd_numbers(numbers: Mapping[str, Decimal], people: int) -> set[str]:
    """The numbers that are 0 or below and none of the numbers that the other people have."""
    below = [name for name, number in numbers.items() if number < 0]
    nought = [name for name, number in numbers.items() if number == 0]
    others = len(numbers) - 1
    if 2 * others < people - 1:
        return {*below, *nought}  # the others have names
    # -1 and -2 are written for nobody; ids made by hashing are below 0 half of the time.
    odd = set(below) if len(below) <= _FEW and 2 * (len(below) - 1) < others else set()
    widths = Counter(map(len, numbers))
    padded = sum(name[0] == "0" for name in numbers)
    for name in nought:
        of_others = set(widths) - ({len(name)} if widths[len(name)] == 1 else set())
        if len(of_others) == 1 and len(name) not in of_others and padded > (name[0] == "0"):
            odd.add(name)
    return odd


def _spelled_twice(names: Mapping[str, int]) -> list[list[str]]:
    """Groups of names that a person would read as one, the most frequent spelling first; largest groups first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, text in as_read(names).items():
        groups[text].append(name)
    # Two Unicode forms of one text are a problem of their own: `vidface.manifest.manifest` refuses them.
    several = [
        sorted(group, key=lambda name: (-names[name], name))
        for group in groups.values()
        if len({unicodedata.normalize("NFKC", name) for name in group}) > 1
    ]
    return sorted(several, key=lambda group: (-sum(names[name] for name in group), group))


def as_read(names: Iterable[str]) -> dict[str, str]:
    """What a person reads in each name: a number by its value, else words without case, accents and leading zeros."""
    found = {}
    for name in names:
        number = _number(name)
        words = _words_as_read(name) if number is None else format(number.normalize() + 0, "f")
        found[name] = words or name
    return found


def _words(text: str) -> str:
    """What stands between white space, punctuation and symbols."""
    text = _plain(text)
    if text.isascii():
        text = _BETWEEN_WORDS.sub(" ", text)
    else:
        text = "".join(each if unicodedata.category(each)[0] in "LNM" else " " for each in text)
    return " ".join(text.split())


def _words_as_read(text: str) -> str:
    text = _plain(text)
    if not text.isascii():
        # Marks below 200 make other letters in Indic, Arabic and Japanese; the others are accents.
        apart = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFKC", "".join(c for c in apart if unicodedata.combining(c) < 200))
    return _ZEROS.sub("", _words(_QUOTES.sub("", text)))


def _plain(name: str) -> str:
    """Without case and compatibility forms: full-width digits are digits, marks without width are not there."""
    if name.isascii():
        return name.lower()
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(each for each in text if unicodedata.category(each) != "Cf")


def _number(name: str) -> Decimal | None:
    """The number that a name is, whichever way it is written; None if it is none."""
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


def _first(texts: Sequence[str], wanted: Collection[str]) -> int:
    return next(row for row, text in enumerate(texts) if text in wanted)
