"""One video of a features file, by the name that a person types."""

from __future__ import annotations

import difflib
import heapq
import itertools
from collections import Counter
from collections.abc import Sequence

from vidface.errors import UsageError, printable
from vidface.files.store import FeaturesInfo
from vidface.manifest.names import NameIndex

LONGEST = 256  # letters of a name that is compared with what was typed


def find_video(info: FeaturesInfo, video: str) -> tuple[int, int | None]:
    """The place of a video in its file, and the number of the track that ``ID#TRACK`` names.

    A name in the other Unicode form, or with the suffix of the media, is found as well; UsageError names close ones.
    """
    index = NameIndex(info.video_ids)
    found = index.find(video)
    if len(found) == 1:
        return found[0], None
    name, mark, track = video.rpartition("#")
    of_track = index.find(name) if mark and track.isdecimal() and "faces" in info.attributes else []
    if len(of_track) == 1:
        return of_track[0], int(track)
    close = ", ".join(printable(name) for name in _close(video, info.video_ids))
    hint = f"; close: {close}" if close else ""
    raise UsageError(f"{info.path}: no video {printable(video)} among {len(info.video_ids)}{hint}")


def _close(video: str, names: Sequence[str], most: int = 3) -> list[str]:
    text = (video.rpartition("#")[0] or video)[:LONGEST]
    holding = itertools.islice((name for name in names if text.casefold() in name.casefold()), most)
    alike = difflib.get_close_matches(text, _of_the_same_letters(text, names), most)
    return list(dict.fromkeys([*holding, *alike]))[:most]


def _of_the_same_letters(text: str, names: Sequence[str], most: int = 5_000) -> list[str]:
    """The names that share the most letters with a text: `difflib` takes ten seconds for 200,000 of them."""
    wanted = Counter(text)

    def shared(name: str) -> float:
        return (Counter(name) & wanted).total() / (len(text) + len(name))

    return heapq.nlargest(most, (name for name in names if len(name) <= LONGEST), key=shared)
