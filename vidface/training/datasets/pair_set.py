"""Listed pairs of images once they are read, whatever file they were in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidface.manifest.rows import show


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images that a face verification protocol compares.

    Attributes:
        names: what every image is called in messages.
        read: the encoded bytes (JPEG or PNG) of image ``i``. Raises MediaError.
        first: int64 [P], the first image of every pair, an index into ``names``.
        second: int64 [P], the second one.
        same: bool [P], whether both show one person.
        source: where they come from, for messages.
        problems: what was found when the list was opened, one line each, with its line or pair number. Pairs that
            are listed twice, or are of one image with itself, are among the P all the same.
        left_out: how many listed pairs are not among the P: their images are not there, or the line is no pair.
        folds: int64 [P], the fold the list puts a pair in; None where it has none.
    """

    names: Sequence[str]
    read: Callable[[int], bytes]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    source: str
    problems: tuple[str, ...] = ()
    left_out: int = 0
    folds: NDArray[np.int64] | None = None


def note_repeats(
    first: Sequence[int],
    second: Sequence[int],
    same: Sequence[bool],
    names: Sequence[str],
    places: Sequence[str],
) -> list[str]:
    """A line for every pair that was there before, in either order, and for every image paired with itself."""
    seen: dict[tuple[int, int], int] = {}
    notes = []
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one == other:
            notes.append(f"{places[number]}: {show(names[one])} is paired with itself")
        before = seen.setdefault((min(one, other), max(one, other)), number)
        if before != number:
            how = "" if same[before] == same[number] else ", where it says the opposite"
            notes.append(f"{places[number]}: the same pair as {places[before]}{how}")
    return notes
