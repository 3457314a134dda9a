"""The iQIYI-VID 2019 submission: ``<identity> <video>.mp4 <video>.mp4 ...``, best first, one identity a line.

Names and ids: a video is written as its id, with ``.mp4`` added unless the id ends so (in lower case, as the
organisers write it); reading takes one ``.mp4`` away. So the ids ``a`` and ``a.mp4`` share one name, and an
id that has its ``.mp4`` in the manifest comes back without, unless `read_iqiyi` is given the manifest's ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vidface.errors import StoreError
from vidface.files.atomic import read_regular, write_atomic
from vidface.manifest.manifest import CONTROL
from vidface.manifest.names import composed
from vidface.manifest.rows import Problem, show

MOST_VIDEOS = 100  # how many of an identity's videos count


class Line(NamedTuple):
    """One line of a submission; names still end in ``.mp4``."""

    number: int
    identity: str
    names: list[str]


def video_name(video_id: str) -> str:
    """The name under which a video stands in the file."""
    return video_id if video_id.endswith(".mp4") else video_id + ".mp4"


def write_iqiyi(path: Path, rankings: Mapping[str, Sequence[str]]) -> None:
    """Write rankings, whole or not at all: identity -> video ids, best first, at most 100.

    Identities stand in the order of their numbers if all are digits, else in that of their text. An identity without
    videos has a line, too.

    Raises:
        StoreError: An identity or video id is empty or holds white space or control characters; an identity
            has more than 100 videos, or one twice; or the file cannot be written. Nothing is cut or dropped.
    """
    if all(name.isascii() and name.isdigit() for name in rankings):
        order = sorted(rankings, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name))
    else:
        order = sorted(rankings)
    with write_atomic(path) as handle:
        for identity in order:
            handle.write(_line(path, identity, rankings[identity]).encode())


def _line(path: Path, identity: str, videos: Sequence[str]) -> str:
    for what, text in [("identity", identity), *(("video id", video_id) for video_id in videos)]:
        if text.split() != [text] or CONTROL.search(text) or (what == "video id" and text == ".mp4"):
            message = f"{what} {show(text)} is empty or holds white space, which this format cannot write"
            raise StoreError(f"{path}: {message}; rename it in the manifest")
    if len(videos) > MOST_VIDEOS:
        raise StoreError(
            f"{path}: identity {show(identity)} has {len(videos)} videos; at most {MOST_VIDEOS} fit"
        )
    names = [video_name(video_id) for video_id in videos]
    for name, count in Counter(names).items():
        if count > 1:
            raise StoreError(f"{path}: identity {show(identity)} has the video {show(name)} {count} times")
    return " ".join((identity, *names)) + "\n"


def read_iqiyi(
    path: Path, *, video_ids: Iterable[str] | None = None, identities: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Read rankings back: identity -> video ids, in the order of the file.

    Repeated videos and more than 100 of them are returned as they stand: the score's definition says how they
    count, and `check_iqiyi` reports them. With the manifest's ``video_ids`` and ``identities`` names come back as they
    are there, which may be with ``.mp4`` or in the other Unicode form; else a video is its name without ``.mp4``.

    Raises:
        StoreError: With file and line: not UTF-8, an empty line, a name that does not end in ``.mp4``, an
            identity twice; two of ``video_ids`` with one name; or the file is empty or cannot be read.
    """
    ids: dict[str, str] = {}
    for video_id in video_ids or ():
        first = ids.setdefault(video_name(video_id), video_id)
        if first != video_id:
            raise StoreError(
                f"{path}: ids {show(first)} and {show(video_id)} of the manifest share one name here"
            )
    lines, problems = parse_iqiyi(path)
    for problem in problems:
        if problem.kind != "spacing":
            raise StoreError(problem.at(path))
    alike = {composed(name): video_id for name, video_id in ids.items()}
    people = {name: name for name in identities}
    people = {composed(name): name for name in people} | people
    rankings = {
        people.get(line.identity) or people.get(composed(line.identity), line.identity): [
            ids.get(name) or alike.get(composed(name), name.removesuffix(".mp4")) for name in line.names
        ]
        for line in lines
    }
    if len(rankings) < len(lines):
        raise StoreError(f"{path}: an identity has two lines, in two Unicode forms")
    return rankings


def parse_iqiyi(path: Path) -> tuple[list[Line], list[Problem]]:
    """Read every line that has an identity, and what is wrong with the form of the file.

    Kinds: ``empty`` (file or line), ``undecodable``, ``spacing`` (harmless to `read_iqiyi`), ``not-mp4``,
    ``repeated-identity``.
    """
    try:
        raw = read_regular(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    lines: list[Line] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    if not raw.strip():
        return [], [Problem(0, "empty", "no rankings in it")]
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n"), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            problems.append(Problem(number, "undecodable", "not UTF-8"))
            continue
        if text.startswith("\ufeff"):
            problems.append(Problem(number, "undecodable", "a byte order mark in front; save it without"))
            text = text[1:]
        words = text.split()
        if not words:
            problems.append(Problem(number, "empty", "an empty line; remove it"))
            continue
        if text.rstrip(" ") != " ".join(words):
            message = "words must be parted by single spaces, and lines end in a line feed only"
            problems.append(Problem(number, "spacing", message))
        identity, *names = words
        if identity in first:
            message = f"identity {show(identity)} is already in line {first[identity]}"
            problems.append(Problem(number, "repeated-identity", message))
        first.setdefault(identity, number)
        bad = [name for name in names if not name.endswith(".mp4") or name == ".mp4"]
        if bad:
            more = f" (and {len(bad) - 1} more words)" if len(bad) > 1 else ""
            message = f"{show(bad[0])} is not the name of an .mp4{more}; every word but the first must be"
            problems.append(Problem(number, "not-mp4", message))
        lines.append(Line(number, identity, names))
    return lines, problems
