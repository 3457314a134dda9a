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
from vidface.manifest.formats import format_of
from vidface.manifest.identities import is_nobody, suspicions
from vidface.manifest.manifest import Row
from vidface.manifest.names import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import Converted, Ignored, home_of, prefix_of, write_converted

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
      ``train`` and the others to ``val``. One video at least is left for ``val``, so an identity with a
      single video has no enrolment. Folders called ``_distractors`` or ``_unknown``, or as one of ``unknown``,
      hold videos without identity, all ``val``;
    - ``folder/<split>/<identity>/<video>`` or ``folder/<split>/<video>`` (identity empty), where every folder
      at the top is called ``train``, ``val`` or ``test``; ``_distractors``, ``_unknown`` and those of
      ``unknown`` as above, but in their split, and ``enrol`` is not used.

    The id of a video is its path in ``folder``, for files without the suffix: ``<identity>/<stem>``, with the
    split in front where there is one. With ``identity_from`` videos may lie at any depth below an identity, see
    `by_people`; ``enrol`` then counts what lies in one folder below the identity's as one video, so that clips of
    one recording are not both enrolled and searched. Hidden entries, other files, folders without any video,
    and links that leave the root or lead back up are ignored and returned by reason. A folder whose name is given
    to nobody in particular (``strangers``, ``others`` ...) is a person as any other; a note says so.

    Raises:
        ManifestError: The layout is none of these or a mixture; two files would have one id; ``folder`` is
            not under ``root``, or the folder of ``output``; there is no video; a name cannot stand in a manifest.
        StoreError: The manifest cannot be written.
        UsageError: ``enrol`` is negative, or no folder of a person is called as one of ``unknown``.
    """
    if enrol < 0:
        raise UsageError(f"enrol is {enrol}; it must be 0 or more videos of each identity")
    format_of(output)
    met: set[str] = set()
    prefix = prefix_of(folder, output, root)
    ignored: Ignored = defaultdict(list)
    images, top = nodes_in(folder, folder, home_of(output, root), ignored)
    if images:
        raise ManifestError(
            f"{folder}: has images directly in it, so it is one video; give the folder above it"
        )
    if not top:
        raise ManifestError(f"{folder}: no videos or folders of frames in it; {_left_out(ignored)}")
    if identity_from is not None:
        top = by_people(top, identity_from)
    rows: list[Row] = []
    seen: dict[str, str] = {}

    def add(parents: tuple[str, ...], videos: Sequence[Node], identity: str, splits: Sequence[str]) -> None:
        for video, split in zip(videos, splits, strict=True):
            path = "/".join((*parents, video.name))
            video_id = "/".join((*parents, video.name))
            video_id = video_id.removesuffix(Path(video.name).suffix) if video.is_file else video_id
            if video_id in seen:
                both = f"{show(seen[video_id])} and {show(path)}"
                raise ManifestError(f"{folder}: {both} would both have the id {show(video_id)}; rename one")
            seen[video_id] = path
            rows.append((video_id, prefix + path, identity, split))

    def add_people(parents: tuple[str, ...], people: Sequence[Node], split: str | None) -> None:
        for person in people:
            count = len(person.children)
            name = person.name.rpartition("/")[2]
            met.add(name)
            identity = "" if name in UNKNOWN or name in unknown else name
            train = _enrolled(person.children, enrol) if identity else 0
            splits = [split] * count if split else ["train"] * train + ["val"] * (count - train)
            add((*parents, person.name), person.children, identity, splits)

    named = [node for node in top if node.name in SPLITS and node.height]
    if named:
        others = [node for node in top if node not in named]
        if others:
            both = f"{named[0].name}/ is a split but {show(others[0].name)} is not"
            raise ManifestError(
                f"{folder}: {both}; let all folders at the top be train, val or test, or none"
            )
        for node in named:
            _one_height(folder, [node])
            if node.height == 1:
                add((node.name,), node.children, "", [node.name] * len(node.children))
            elif node.height == 2:
                add_people((node.name,), node.children, node.name)
            else:
                raise ManifestError(
                    f"{folder / node.name}: deeper than <split>/<identity>/<video>; pass "
                    "--identity-from first-folder, or last-folder"
                )
    else:
        height = _one_height(folder, top)
        if height > 1:
            message = (
                "deeper than <identity>/<video>; pass --identity-from first-folder (or last-folder), or "
                "call the folders at its top train, val, test"
            )
            raise ManifestError(f"{folder}: {message}")
        if height == 1:
            add_people((), top, None)
        else:
            add((), top, "", ["val"] * len(top))
    check_unknown(unknown, met, folder)
    made = write_of_folder(output, rows, ignored)
    if top and not any(node.height or node.is_file for node in top):  # DIR/PERSON/IMAGE looks the same
        made.notes.append(
            "each folder was taken for one video: if they are people, and their images photographs, pass --pictures"
        )
    return made


def check_unknown(unknown: Collection[str], met: Collection[str], folder: Path) -> None:
    """Look whether all folders are there that are said to hold nobody known.

    Raises:
        UsageError: one is not.
    """
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


def by_people(top: Sequence[Node], identity_from: IdentityFrom) -> list[Node]:
    """The same videos as ``<identity>/<video>``, with names of videos and people that are paths.

    ``first-folder`` takes the first folder of a path for the identity (VoxCeleb's ``<identity>/<video>/<clip>``),
    ``last-folder`` the last one (``<year>/<identity>/<video>``). Splits at the top stay there.
    """
    if all(node.name in SPLITS and node.height for node in top):
        return [node._replace(height=2, children=by_people(node.children, identity_from)) for node in top]
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
    """Return the number of images directly in a folder and the nodes in it, in natural order."""
    images = 0
    nodes = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be listed: {error.strerror}") from None
    for entry in entries:
        path = folder / entry.name
        name = path.relative_to(base).as_posix()
        suffix = path.suffix.lower()
        reason = reason_to_skip(entry, folder, home)
        if reason:
            ignored[reason].append(name)
        elif entry.is_dir():
            node = _node(path, base, home, ignored)
            if node:
                nodes.append(node)
            else:
                ignored["folder without videos or frames"].append(name)
        elif not entry.is_file():
            ignored["neither file nor folder"].append(name)
        elif suffix in IMAGE_SUFFIXES:
            images += 1
        elif suffix in VIDEO_SUFFIXES:
            nodes.append(Node(entry.name, 0, True, []))
        else:
            ignored["file that is no video or image"].append(name)
    if images and nodes:
        message = f"images beside {show(nodes[0].name)}: is it one video or several? Separate them"
        raise ManifestError(f"{folder}: {message}")
    return images, nodes


def reason_to_skip(entry: os.DirEntry[str], folder: Path, home: str) -> str:
    """Why an entry of a folder is not looked at: it is hidden, or a link that leads out or back up; or nothing."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if not real.startswith(home.rstrip("/") + "/"):
            return "link that leaves the root"
        if (os.path.realpath(folder) + "/").startswith(real + "/"):
            return "link to a folder above"
    return ""


def _node(folder: Path, base: Path, home: str, ignored: Ignored) -> Node | None:
    images, children = nodes_in(folder, base, home, ignored)
    if images:
        return Node(folder.name, 0, False, [])
    height = 1 + max((child.height for child in children), default=0)
    return Node(folder.name, height, False, children) if children else None


def _one_height(folder: Path, nodes: Sequence[Node]) -> int:
    """Return the height that all nodes share, also below, or refuse to guess what a mixture means."""
    for node in nodes:
        if node.children:
            _one_height(folder / node.name, node.children)
        if node.height != nodes[0].height:
            both = f"{show(nodes[0].name)} and {show(node.name)}"
            what = "one is a video, or holds videos less deep than the other"
            raise ManifestError(f"{folder}: {both} do not go together, {what}; see the layouts in the help")
    return nodes[0].height


def _left_out(ignored: Ignored) -> str:
    counts = ", ".join(f"{len(names)} {reason}" for reason, names in ignored.items())
    return f"left out: {counts}" if counts else "it is empty"
