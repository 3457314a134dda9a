"""A manifest beside a set that the program knows: what is missing, what is extra, which count differs.

Media are not looked for: features of another tool, or a matrix for a submission, need none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from vidface.errors import UsageError
from vidface.manifest.formats import parse
from vidface.manifest.known_sets import Count, KnownSet
from vidface.manifest.manifest import read_manifest, row_problems, row_warnings
from vidface.manifest.rows import Problem, Row, show

_NAMED = 3  # of the rows that a line is about


class ComparedCount(NamedTuple):
    """A count of a set and of a manifest; ``at_least``: the set may have more than ``in_set``."""

    of: str
    split: str
    at_least: bool
    in_set: int
    in_manifest: int

    @property
    def agrees(self) -> bool:
        return self.in_manifest == self.in_set or (self.at_least and self.in_manifest > self.in_set)

    def text(self, rows: str) -> str:
        """``3 videos in split train: 60,563 here, 60,566 in the set``, or how many there are if they agree."""
        things, which = {
            "identified": (rows, " with an identity"),
            "distractors": (rows, " without an identity"),
        }.get(self.of, (self.of, ""))
        which += f" in split {self.split}" if self.split else ""
        in_set = f"{'at least ' if self.at_least else ''}{self.in_set:,} in the set"
        if self.agrees:
            return _some(self.in_manifest, things) + which + (f", {in_set}" if self.at_least else "")
        differ = _some(abs(self.in_manifest - self.in_set), things)
        return f"{differ}{which}: {self.in_manifest:,} here, {in_set}"


@dataclass(frozen=True)
class Compared:
    """A manifest beside a known set.

    ``rows`` is what a row stands for. If there are ``problems`` of the rows themselves, nothing is compared.
    ``missing``, ``extra`` and ``differs`` say what does not agree, a line each.
    """

    known: str
    rows: str
    problems: list[Problem]
    counts: list[ComparedCount] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not (self.problems or self.missing or self.extra or self.differs)


def compare_manifest(path: Path, known: KnownSet) -> Compared:
    """Compare the rows of a manifest with a known set; their media are not looked for.

    Raises:
        ManifestError: The manifest, or the set's own list of rows, cannot be used.
        UsageError: No manifest can be compared with this set, or its counts are not those of its list.
    """
    if known.manifest.not_comparable:
        raise UsageError(f"a manifest cannot be compared with {known.name}: {known.manifest.not_comparable}")
    lines, rows, problems = parse(path)
    problems = sorted([*problems, *row_problems(lines, rows)], key=lambda problem: problem.line)
    found = Compared(known.name, known.manifest.rows, problems, warnings=row_warnings(lines, rows))
    if problems:
        return found
    found.counts.extend(_counted(rows, known))
    if known.manifest.listed is not None:
        _compare_rows(found, rows, _listed(known, known.manifest.listed))
        return found
    for both in found.counts:
        if not both.agrees:
            said = found.missing if both.in_manifest < both.in_set else found.extra
            said.append(both.text(found.rows))
    _compare_patterns(found, lines, rows, known)
    return found


def _counted(rows: Sequence[Row], known: KnownSet) -> list[ComparedCount]:
    counts = [count for count in known.counts if count.compared]
    return [
        ComparedCount(count.of, count.split, count.known == "at least", count.value, _number(rows, count))
        for count in counts
    ]


def _number(rows: Sequence[Row], count: Count) -> int:
    identities = [identity for _, _, identity, split in rows if count.split in ("", split)]
    named = [identity for identity in identities if identity]
    return {
        "identities": len(set(named)),
        "identified": len(named),
        "distractors": len(identities) - len(named),
    }.get(count.of, len(identities))


def _compare_patterns(found: Compared, lines: Sequence[int], rows: Sequence[Row], known: KnownSet) -> None:
    """Find rows that are in no split of the set, or whose id or identity is of another kind."""
    splits = known.manifest.splits
    strange: dict[str, list[str]] = defaultdict(list)  # reason -> places
    for line, (video_id, _, identity, split) in zip(lines, rows, strict=True):
        patterns = splits.get(split, splits.get("*", ()))
        if splits and not patterns:
            has = ", ".join(splits)
            place = f"in split {show(split)}" if split else "without a split"
            strange[f"{place}, where the set has {has}"].append(f"line {line}")
        elif splits and not _is_one_of(video_id, patterns):
            reason = f"whose id is none of the set's: not {' or '.join(patterns)}"
            strange[reason].append(f"{show(video_id)} in line {line}")
        elif identity and known.manifest.identities and not _is_one_of(identity, known.manifest.identities):
            reason = f"whose identity is none of the set's: not {' or '.join(known.manifest.identities)}"
            strange[reason].append(f"{show(identity)} in line {line}")
    for reason, places in strange.items():
        found.extra.append(f"{_some(len(places), found.rows)} {reason}; {_first(places)}")


def _is_one_of(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _listed(known: KnownSet, path: Path) -> dict[str, Row]:
    """The rows of a set by id, which must be as many as it says."""
    manifest = read_manifest(path, media=False)
    rows = list(zip(manifest.video_ids, manifest.paths, manifest.identities, manifest.splits, strict=True))
    for both in _counted(rows, known):
        if not both.agrees:
            raise UsageError(
                f"{path}: not what [[counts]] of {known.name} says: {both.text(known.manifest.rows)}"
            )
    return {row[0]: row for row in rows}


def _compare_rows(found: Compared, rows: Sequence[Row], wanted: Mapping[str, Row]) -> None:
    """Compare with the set's own rows, by id; where the media lie is everybody's own affair."""
    have = {row[0]: row for row in rows}
    for names, lines in (
        ([name for name in wanted if name not in have], found.missing),
        ([name for name in have if name not in wanted], found.extra),
    ):
        if names:
            lines.append(f"{_some(len(names), found.rows)}: {_first([show(name) for name in names])}")
    for place, column in ((2, "identity"), (3, "split")):
        other = [
            f"{show(name)} has {show(row[place])}, in the set {show(wanted[name][place])}"
            for name, row in have.items()
            if name in wanted and row[place] != wanted[name][place]
        ]
        if other:
            found.differs.append(f"{column} of {_some(len(other), found.rows)}: {_first(other)}")


def _some(count: int, things: str) -> str:
    """``1 video``, ``1 identity``, ``60,563 videos``."""
    one = "identity" if things == "identities" else things.removesuffix("s")
    return f"{count:,} {one if count == 1 else things}"


def _first(texts: Sequence[str]) -> str:
    some = ", ".join(texts[:_NAMED])
    return f"the first are {some}, ..." if len(texts) > _NAMED else some
