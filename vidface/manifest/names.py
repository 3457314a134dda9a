"""Names that mean the same: with a suffix and without, in either Unicode form, with the slashes of another system.

A disk may keep ``é`` as one character (NFC) or as a letter and an accent (NFD), and a list may have the other form.
Both look alike to a person, so neither is refused: what is found keeps its own spelling.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".f4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".mpg"),
    *(".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".flv", ".ogv", ".ogg", ".wmv", ".asf"),
)
# What lists call clips whose sound, or whose uncompressed pictures, the set was published with as well.
_SUFFIXES_IN_LISTS = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, ".wav", ".m4a", ".bmp", ".ppm"))


def composed(text: str) -> str:
    """The text in Unicode form NFC: texts that look alike letter by letter are equal in it."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """What two texts share that a person, or a file system, may take for one another."""
    if text.isascii():
        return text.lower()
    # Folding can undo the normal form, hence twice.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def without_suffix(name: str) -> str:
    """A name without the suffix of a video, a picture or a sound file, in capitals or not."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in _SUFFIXES_IN_LISTS else name


class NameIndex:
    """Finds names as other files write them: exactly, else in the other Unicode form, else without the suffix.

    In what is looked for, ``./`` in front is left off, and a backslash may stand for a slash.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {name: place for place, name in enumerate(names)}
        # These are filled when a name is not there as it is written: a set may have millions.
        self._composed: dict[str, list[int]] = defaultdict(list)
        self._bare: dict[str, list[int]] = defaultdict(list)
        self._last: dict[str, list[int]] = defaultdict(list)

    def find(self, name: str, *, flat: bool = False) -> list[int]:
        """Places of the names that this one may mean; no place or several: it does not say which.

        With ``flat`` the last part of a path is enough, on both sides: ``Ann_1.jpg`` is found as ``aligned/Ann_1``.
        """
        found = self._find(name)
        last = name.replace("\\", "/").rpartition("/")[2]
        if not flat or (found := found or self._find(last)):
            return found
        if not self._last:
            for bare, places in self._bare.items():
                self._last[bare.rpartition("/")[2]] += places
        return self._last.get(without_suffix(composed(last)), [])

    def _find(self, name: str) -> list[int]:
        tidy = name if name in self._exact else name.replace("\\", "/").removeprefix("./")
        if tidy in self._exact:
            return [self._exact[tidy]]
        if not self._bare:
            self._look_closer()
        whole = composed(tidy)
        return self._composed.get(whole) or self._bare.get(without_suffix(whole), [])

    def _look_closer(self) -> None:
        for name, place in self._exact.items():
            whole = composed(name)
            if not whole.isascii():
                self._composed[whole].append(place)
            self._bare[without_suffix(whole)].append(place)
