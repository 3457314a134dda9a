"""A manifest from a folder whose own layout says who is who."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vidface.errors import ManifestError, UsageError
from vidface.files.atomic import natural_key
from vidface.manifest.identities import is_nobody, suspicions
from vidface.manifest.names import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vidface.manifest.rows import Row, show
from vidface.manifest.sources.converted import (
    Converted,
    Ignored,
    home_of,
    how_many,
    prefix_of,
    write_converted,
)

IdentityFrom = Literal["first-folder", "last-folder"]
SPLITS = ("train", "val", "test")
UNKNOWN = ("_distractors", "_unknown")


class Node(NamedTuple):
    """A video (height 0), or a folder with others in it, the highest of them one lower than itself."""

    name: str
    height: int
    is_file: bool
    children: list[Node]


def from_folder(
    folder: Path,
    output: Path,
    *,
    enrol: int = 1,
    unknown: Collection[str] = (),
    root: Path | None = None,
    identity_from: IdentityFrom | None = None,
) -> Converted:
    """Write the manifest of a folder, whose own layout says who is who.

    A *video* is a file with a video's suffix, or a folder with images directly in it. The layout is one of

    - ``folder/<video>``: identity empty, split ``val``;
    - ``folder/<identity>/<video>``: the first ``enrol`` videos of an identity, in natural order, go to
      ``train`` and the others to ``val``. One video at least is left for ``val``. Folders called ``_distractors``
      or ``_unknown``, or as one of ``unknown``, hold videos without identity, all ``val``;
    - ``folder/<split>/<identity>/<video>`` or ``folder/<split>/<video>`` (identity empty), where every folder
      at the top is called ``train``, ``val`` or ``test``; ``enrol`` is not used.

    The id of a video is its path in ``folder``, for files without the suffix. With ``identity_from`` videos may lie at
    any depth below an identity, which is the first folder of a path (VoxCeleb's ``<identity>/<video>/<clip>``) or the
    last (``<year>/<identity>/<video>``); ``enrol`` then counts what lies in one folder below the identity's as one
    video, so that clips of one recording are not both enrolled and searched. Hidden entries, other files, folders
    without any video, and links that leave the root or lead back up are ignored and returned by reason.

    Raises:
        ManifestError: The layout is none of these or a mixture; two files would have one id; ``folder`` is
            not under ``root``, or the folder of ``output``; there is no video; a name cannot stand in a manifest.
        StoreError: The manifest cannot be written.
        UsageError: ``enrol`` is negative, or no folder of a person is called as one of ``unknown``.
    """
    if enrol < 0:
        raise UsageError(f"enrol is {enrol}; it must be 0 or more videos of each identity")
    prefix = prefix_of(folder, output, root)
    ignored: Ignored = defaultdict(list)
    images, top = nodes_in(folder, folder, home_of(output, root), ignored)
    if images:
        raise ManifestError(
            f"{folder}: has images directly in it, so it is one video; give the folder above it"
        )
    if not top:
        why = f"left out: {how_many(ignored)}" if ignored else "it is empty"
        raise ManifestError(f"{folder}: no videos or folders of frames in it; {why}")
    if identity_from is not None:
        top = _by_people(top, identity_from)
    rows: list[Row] = []
    seen: dict[str, str] = {}
    met: set[str] = set()
    for parent, split, person in _people(folder, top):
        name = person.name.rpartition("/")[2]
        met.add(name)
        identity = "" if name in (*UNKNOWN, *unknown) else name
        train = _enrolled(person.children, enrol) if identity else 0
        for number, video in enumerate(person.children):
            path = parent + (f"{person.name}/" if name else "") + video.name
            video_id = path.removesuffix(Path(video.name).suffix) if video.is_file else path
            add_id(seen, video_id, path, folder)
            rows.append((video_id, prefix + path, identity, split or ("train" if number < train else "val")))
    check_unknown(unknown, met - {""}, folder)
    made = write_of_folder(output, rows, ignored)
    if not any(node.height or node.is_file for node in top):  # DIR/PERSON/IMAGE looks the same
        made.notes.append(
            "each folder was taken for one video: if they are people, and their images photographs, pass --pictures"
        )
    return made


def add_id(seen: dict[str, str], video_id: str, path: str, folder: Path) -> None:
    """Note the id of a path, and refuse a second path with it."""
    other = seen.setdefault(video_id, path)
    if other != path:
        both = f"{show(other)} and {show(path)}"
        raise ManifestError(f"{folder}: {both} would both have the id {show(video_id)}; rename one")


def check_unknown(unknown: Collection[str], met: Collection[str], folder: Path) -> None:
    """Refuse a name that is said to hold nobody known if no folder has it."""
    for name in unknown:
        if name not in met:
            near = [other for other in met if is_nobody(other) or other.casefold() == name.casefold()]
            hint = f"; did you mean {show(min(near))}?" if near else ""
            raise UsageError(f"--unknown {show(name)}: no person's folder in {folder} has this name{hint}")


def write_of_folder(output: Path, rows: Sequence[Row], ignored: Ignored) -> Converted:
    """Write the manifest; of names that are probably of nobody it is noted how they are no person."""
    made = write_converted(output, rows, ignored=ignored)
    odd = suspicions([identity for _, _, identity, _ in rows], [])
    names = [name for each in odd if each.kind == "missing-value" for name in each.names]
    if names:
        flags = " ".join(f"--unknown {shlex.quote(name)}" for name in names)
        made.notes.insert(1, f"to give the videos in these folders no identity, pass {flags}")
    return made


def _people(folder: Path, top: Sequence[Node]) -> Iterator[tuple[str, str, Node]]:
    """What stands before the name of a person, the split if a folder says it, and the person; ``""`` is nobody."""
    splits = [node for node in top if node.name in SPLITS and node.height]
    others = [node for node in top if node not in splits]
    if splits and others:
        both = f"{splits[0].name}/ is a split but {show(others[0].name)} is not"
        raise ManifestError(f"{folder}: {both}; let all folders at the top be train, val or test, or none")
    for node in splits:
        _one_height(folder, [node])
        if node.height > 2:
            raise ManifestError(
                f"{folder / node.name}: deeper than <split>/<identity>/<video>; pass "
                "--identity-from first-folder, or last-folder"
            )
        for person in node.children if node.height == 2 else [node._replace(name="")]:
            yield f"{node.name}/", node.name, person
    if splits:
        return
    height = _one_height(folder, top)
    if height > 1:
        raise ManifestError(
            f"{folder}: deeper than <identity>/<video>; pass --identity-from first-folder (or last-folder), or "
            "call the folders at its top train, val, test"
        )
    for person in top if height else [Node("", 1, False, list(top))]:
        yield "", "", person


def _by_people(top: Sequence[Node], identity_from: IdentityFrom) -> list[Node]:
    """The same videos as ``<identity>/<video>``, with names that are paths; splits at the top stay there."""
    if all(node.name in SPLITS and node.height for node in top):
        return [node._replace(height=2, children=_by_people(node.children, identity_from)) for node in top]
    people: dict[str, list[Node]] = {}
    found = [node for node in top if not node.height]  # of nobody
    for person in top:
        for video in _videos(person.children, person.name):
            folders, _, name = video.name.rpartition("/")
            first, _, rest = video.name.partition("/")
            who, name = (first, rest) if identity_from == "first-folder" else (folders, name)
            people.setdefault(who, []).append(video._replace(name=name))
    return found + [Node(who, 1, False, videos) for who, videos in people.items()]


def _videos(nodes: Sequence[Node], parents: str) -> Iterator[Node]:
    """Every video below, in order, called by its path."""
    for node in nodes:
        name = f"{parents}/{node.name}"
        if node.height:
            yield from _videos(node.children, name)
        else:
            yield node._replace(name=name)


def _enrolled(videos: Sequence[Node], enrol: int) -> int:
    """How many of a person's videos go to ``train``: what is in one folder goes together, and one such is left."""
    recordings = [video.name.partition("/")[0] for video in videos]
    each = list(dict.fromkeys(recordings))
    taken = set(each[: min(enrol, len(each) - 1)])
    return sum(recording in taken for recording in recordings)


def nodes_in(folder: Path, base: Path, home: str, ignored: Ignored) -> tuple[int, list[Node]]:
    """The number of images directly in a folder, and the nodes in it."""
    images = 0
    nodes = []
    for path, name, is_folder in entries_in(folder, base, home, ignored):
        suffix = path.suffix.lower()
        if is_folder:
            frames, children = nodes_in(path, base, home, ignored)
            height = 1 + max((child.height for child in children), default=0)
            if frames or children:
                nodes.append(Node(path.name, 0 if frames else height, False, children))
            else:
                ignored["folder without videos or frames"].append(name)
        elif suffix in IMAGE_SUFFIXES:
            images += 1
        elif suffix in VIDEO_SUFFIXES:
            nodes.append(Node(path.name, 0, True, []))
        else:
            ignored["file that is no video or image"].append(name)
    if images and nodes:
        message = f"images beside {show(nodes[0].name)}: is it one video or several? Separate them"
        raise ManifestError(f"{folder}: {message}")
    return images, nodes


def entries_in(folder: Path, base: Path, home: str, ignored: Ignored) -> Iterator[tuple[Path, str, bool]]:
    """Path, name below ``base`` and whether it is a folder, of what may be looked at, in natural order."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be listed: {error.strerror}") from None
    for entry in entries:
        path = folder / entry.name
        name = path.relative_to(base).as_posix()
        if reason := _reason_to_skip(entry, folder, home):
            ignored[reason].append(name)
        else:
            yield path, name, entry.is_dir()


def _reason_to_skip(entry: os.DirEntry[str], folder: Path, home: str) -> str:
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if not real.startswith(home.rstrip("/") + "/"):
            return "link that leaves the root"
        if (os.path.realpath(folder) + "/").startswith(real + "/"):
            return "link to a folder above"
    return "" if entry.is_dir() or entry.is_file() else "neither file nor folder"


def _one_height(folder: Path, nodes: Sequence[Node]) -> int:
    """The height that all nodes share, also below; what a mixture means is not guessed."""
    for node in nodes:
        if node.children:
            _one_height(folder / node.name, node.children)
        if node.height != nodes[0].height:
            both = f"{show(nodes[0].name)} and {show(node.name)}"
            what = "one is a video, or holds videos less deep than the other"
            raise ManifestError(f"{folder}: {both} do not go together, {what}; see the layouts in the help")
    return nodes[0].height
