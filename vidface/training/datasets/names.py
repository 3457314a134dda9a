"""Names of millions of images without a Python object for each, and what was left out, in a few lines.

Tested in ``tests/training/datasets/test_image_names.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from vidface.manifest.names import IMAGE_SUFFIXES
from vidface.manifest.rows import show

__all__ = ["IMAGE_SUFFIXES", "LeftOut", "NumberedNames", "PackedNames", "SelectedNames", "usable_name"]


class _Names(Sequence[str]):
    """Names that are made when asked for: what is not said of them here is ``_name``, of a place from 0 up."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._some(index) if isinstance(index, slice) else self._name(range(len(self))[index])

    def _name(self, place: int) -> str:
        raise NotImplementedError

    def _some(self, which: slice) -> Sequence[str]:
        return [self._name(place) for place in range(*which.indices(len(self)))]


class PackedNames(_Names):
    """Strings kept as one block of UTF-8 and where each ends.

    Worker processes share it: reading a list of strings would copy its pages for their reference counts.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode() for name in names]
        self._text = np.frombuffer(b"".join(encoded), np.uint8)  # an array, as joblib shares those
        self._ends: NDArray[np.int64] = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def _name(self, place: int) -> str:
        begin = int(self._ends[place - 1]) if place else 0
        return self._text[begin : int(self._ends[place])].tobytes().decode()


class NumberedNames(_Names):
    """Names such as "record 17", made when asked for."""

    def __init__(self, noun: str, numbers: NDArray[np.int64]) -> None:
        self._noun = noun
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def _name(self, place: int) -> str:
        return f"{self._noun} {self._numbers[place]}"

    def _some(self, which: slice) -> Sequence[str]:
        return NumberedNames(self._noun, self._numbers[which])


class SelectedNames(_Names):
    """Some of the names, by their places."""

    def __init__(self, names: Sequence[str], places: NDArray[np.int64]) -> None:
        self._names = names
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def _name(self, place: int) -> str:
        return self._names[int(self._places[place])]

    def _some(self, which: slice) -> Sequence[str]:
        return SelectedNames(self._names, self._places[which])


class LeftOut:
    """What an opener met and left out, counted by reason with one example each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count one more; ``reason`` is a plural noun, e.g. "links out of the folder"."""
        count, first = self._found.get(reason, (0, name))
        self._found[reason] = (count + 1, first)

    def lines(self) -> tuple[str, ...]:
        """A line each, e.g. "left out: 2 hidden files, first '.DS_Store'"."""
        return tuple(
            f"left out: {count:,} {reason}, first {show(first)}"
            for reason, (count, first) in self._found.items()
        )


def usable_name(name: str) -> bool:
    """Whether a name can stand in a message, a CSV file and JSON: UTF-8 on one line."""
    return name.isprintable() or not any(category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
