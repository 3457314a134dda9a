"""What all converters share: the text of lists, the result, the way to the media, the order of names."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidface.errors import ManifestError
from vidface.files.atomic import read_regular
from vidface.manifest.identities import suspicions
from vidface.manifest.manifest import row_problems, write_manifest
from vidface.manifest.media import find_media
from vidface.manifest.rows import Row

Ignored = defaultdict[str, list[str]]


@dataclass(frozen=True)
class Converted:
    """What a converter wrote.

    ``splits`` has videos by split, ``unknown`` counts videos without identity, ``missing`` those whose media are not
    there. ``ignored`` has the names of what was left out by reason, ``notes`` what the user should know, one line each.
    """

    rows: int
    identities: int
    splits: dict[str, int]
    unknown: int
    missing: int = 0
    ignored: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_converted(
    output: Path, rows: Sequence[Row], *, missing: int = 0, ignored: dict[str, list[str]] | None = None
) -> Converted:
    count = write_manifest(output, rows)
    people: dict[str, set[str]] = defaultdict(set)
    for _, _, identity, split in rows:
        people[identity].add(split)
    unknown = sum(not identity for _, _, identity, _ in rows)
    people.pop("", None)
    odd = suspicions([identity for _, _, identity, _ in rows], [split for _, _, _, split in rows])
    notes = [str(each.warning) for each in odd]
    if not people:
        notes.append("no video has an identity: there is nobody to search for, and no pair of one person")
    lonely = sum("val" in splits and "train" not in splits for splits in people.values())
    if lonely:
        notes.append(
            f"{lonely} identities have gallery videos but no enrolment video, and will score 0 in iqiyi"
        )
    spaced = sum(row[0].split() != [row[0]] for row in rows)
    if spaced:
        notes.append(f"{spaced} video ids contain white space, which the iQIYI submission file cannot hold")
    splits = dict(Counter(split for _, _, _, split in rows))
    left_out = {reason: names for reason, names in (ignored or {}).items() if names}
    return Converted(count, len(people), splits, unknown, missing, left_out, notes)


def prefix_of(folder: Path, output: Path, root: Path | None = None) -> str:
    """What leads from the root, the folder of ``output`` if None, to ``folder``: ``""`` or with a final slash.

    Raises:
        ManifestError: ``folder`` is not under the root, or one of them is no folder.
    """
    for place in (folder, root):
        if place is not None and not place.is_dir():
            raise ManifestError(f"{place}: no such folder")
    top, place = (output.parent if root is None else root).resolve(), folder.resolve()
    if not place.is_relative_to(top):
        if root is not None:
            raise ManifestError(f"{folder}: not under {root}, the root; name a folder above it with --root")
        better = repr(str(place.parent / output.name))  # whole, however long: it is to be typed
        raise ManifestError(
            f"{folder}: not under {top}, the manifest's folder; write it above, as -o {better}, or name the folder "
            "that its paths are to start from with --root, here and wherever videos are opened"
        )
    relative = place.relative_to(top).as_posix()
    return "" if relative == "." else relative + "/"


def home_of(output: Path, root: Path | None) -> str:
    return os.path.realpath(output.parent if root is None else root)


def base_of(filelist: Path, root: Path | None) -> Path:
    """The folder that the names in a list start from: the list's own, or the root where the list lies outside of it."""
    outside = root is not None and not filelist.resolve().is_relative_to(root.resolve())
    return root if root is not None and outside else filelist.parent


def count_missing(rows: Sequence[Row], output: Path, root: Path | None) -> int:
    problems, _ = find_media(((line, row[1]) for line, row in enumerate(rows)), Path(home_of(output, root)))
    return sum(problem.kind == "missing-file" for problem in problems)


def refuse_names(path: Path, names: Sequence[str]) -> None:
    """Refuse the first line of a list of names that cannot be an id and a path."""
    bare = [(name, name, "", "test") for name in names]  # a prefix must not hide an absolute name
    for problem in row_problems(range(1, len(bare) + 1), bare):
        raise ManifestError(f"{path}:{problem.line}: {problem.message}")


def how_many(ignored: Mapping[str, Sequence[str]]) -> str:
    """What was left out, in a message."""
    return ", ".join(f"{len(names)} {reason}" for reason, names in ignored.items())


def text_of(path: Path) -> str:
    """The text of a list, without its byte-order mark; a ManifestError names the line that is not UTF-8."""
    try:
        return read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a list, without white space around them; see `text_of`."""
    text = text_of(path)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []
