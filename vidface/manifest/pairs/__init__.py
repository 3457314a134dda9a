"""Lists of pairs of videos or pictures, as public sets and people write them, brought to the rows of a manifest.

The format is told by the content, never by the name. What is no pair of the manifest is left out, counted by reason and
listed with its line: an id that matches nothing is never an impostor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.manifest.names import NameIndex
from vidface.manifest.pairs.formats import parse_list
from vidface.manifest.pairs.parsed import PairLine, Parsed, Trouble
from vidface.manifest.rows import show

__all__ = ["ListedPairs", "read_pairs"]

NO_VIDEO, SEVERAL = "no such video", "more than one such video"
ITSELF, OPPOSITE = "a video with itself", "listed as same and as different"
MISSING = "promised by the first line, not there"


@dataclass(frozen=True, eq=False)
class ListedPairs:
    """The P pairs of a list that are pairs of the manifest, in the order of the list.

    Attributes:
        first: int64 [P], rows of the manifest.
        second: int64 [P].
        same: bool [P], what the list says.
        folds: int64 [P], the fold the list puts a pair in; None if it has none.
        form: the kind of list, in words.
        listed: pairs that the list holds or promises; P and those of ``left_out``.
        left_out: reason -> pairs that were left out.
        repeated: pairs, among the P, that stand in an earlier line too, in either order.
        against_manifest: pairs, among the P, whose label is not what the identities of the manifest say.
        problems: a line for every pair of the last three, with its place.
        notes: what the user should know, one line each.
        inputs: the list's name, kind and SHA-256.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64] | None
    form: str
    listed: int
    left_out: dict[str, int]
    repeated: int
    against_manifest: int
    problems: list[str]
    notes: list[str]
    inputs: dict[str, Any]


def read_pairs(path: Path, manifest: Manifest) -> ListedPairs:
    """Read a list of pairs of a manifest's videos, in any format that `vidface.manifest.pairs` knows.

    A name matches an id as `NameIndex` finds it: the same, or the same in the other Unicode form, or without the suffix
    of an image or video; in lists of LFW and its kin also the image's name without its folder. The label is the list's:
    the identities of the manifest are only compared with it. Pairs listed again count again, as published numbers count
    them; a pair that is listed with both labels, and a video with itself, are left out.

    Raises:
        ManifestError: the list cannot be read or is of no known format, or none of its pairs can be used.
    """
    parsed = parse_list(path)
    rows, lines, troubles = _match(parsed, manifest)
    listed = len(lines) + len(troubles) + parsed.missing
    first: dict[tuple[int, int, bool], str] = {}  # a pair and a label -> where it stands first
    for (one, other), line in zip(rows, lines, strict=True):
        first.setdefault((min(one, other), max(one, other), line.same), line.place)
    kept: list[tuple[int, int, PairLine]] = []
    repeated, against = [], []
    for (one, other), line in zip(rows, lines, strict=True):
        pair = min(one, other), max(one, other)
        if opposite := first.get((*pair, not line.same)):
            said = f"{show(line.first)}, {show(line.second)}, the other way in {opposite}"
            troubles.append(Trouble(line.place, OPPOSITE, said))
            continue
        kept.append((one, other, line))
        if (before := first[(*pair, line.same)]) != line.place:
            repeated.append(f"{line.place}: counted again: the same pair as {before}")
        people = manifest.identities[one], manifest.identities[other]
        if all(people) and (people[0] == people[1]) != line.same:
            against.append(
                f"{line.place}: counted as {'same' if line.same else 'different'}, as it says, though the manifest "
                f"has {show(people[0])} and {show(people[1])}"
            )
    left_out = Counter(trouble.reason for trouble in troubles)
    if parsed.missing:
        left_out[MISSING] += parsed.missing
    if not kept:
        raise ManifestError(_nothing(path, parsed, listed, left_out, troubles, manifest))
    folds = [line.fold for _, _, line in kept if line.fold is not None]
    gone = sorted({line.fold for line in parsed.lines if line.fold is not None} - set(folds))
    if gone:
        parsed.notes.append(f"no pair is left of fold {', '.join(map(str, gone))}")
    problems = [f"{found.place}: left out: {found.reason}: {found.detail}" for found in troubles]
    return ListedPairs(
        np.array([one for one, _, _ in kept], np.int64),
        np.array([other for _, other, _ in kept], np.int64),
        np.array([line.same for _, _, line in kept], np.bool_),
        np.array(folds, np.int64) if len(folds) == len(kept) else None,
        parsed.form,
        listed,
        dict(left_out),
        len(repeated),
        len(against),
        [*problems, *repeated, *against],
        parsed.notes,
        {"pairs": path.name, "pairs_kind": parsed.form, "pairs_sha256": parsed.sha256},
    )


def _match(parsed: Parsed, manifest: Manifest) -> tuple[list[tuple[int, int]], list[PairLine], list[Trouble]]:
    """The rows of every line whose two names are videos, those lines, and trouble with the others."""
    index = NameIndex(manifest.video_ids)
    rows, lines, troubles = [], [], list(parsed.troubles)
    for line in parsed.lines:
        found = [index.find(name, flat=parsed.flat) for name in (line.first, line.second)]
        wrong = [name for name, at in zip((line.first, line.second), found, strict=True) if len(at) != 1]
        if wrong:
            reason = NO_VIDEO if any(not at for at in found) else SEVERAL
            troubles.append(Trouble(line.place, reason, " and ".join(map(show, wrong))))
        elif found[0] == found[1]:
            troubles.append(Trouble(line.place, ITSELF, show(line.first)))
        else:
            rows.append((found[0][0], found[1][0]))
            lines.append(line)
    return rows, lines, troubles


def _nothing(
    path: Path,
    parsed: Parsed,
    listed: int,
    left_out: Counter[str],
    troubles: list[Trouble],
    manifest: Manifest,
) -> str:
    """Why no pair is left, and what the ids look like where the names match none."""
    if not troubles:
        return f"{path}: it lists no pair"
    first = troubles[0]
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    hint = ""
    if left_out[NO_VIDEO]:
        hint = f"; the ids of {manifest.path} look like {show(manifest.video_ids[0])}"
    return (
        f"{path}: none of its {listed} pairs ({parsed.form}) can be used: {reasons}; "
        f"the first: {first.place}: {first.detail}{hint}"
    )
