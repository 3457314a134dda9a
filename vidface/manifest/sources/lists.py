"""Manifests from the lists of the challenges; their formats are those of the organisers' public code."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from vidface.errors import ManifestError
from vidface.files.atomic import natural_key
from vidface.manifest.names import composed
from vidface.manifest.rows import Row, show
from vidface.manifest.sources.converted import (
    Converted,
    Ignored,
    base_of,
    count_missing,
    lines_of,
    prefix_of,
    refuse_names,
    text_of,
    write_converted,
)

_OTHER_PARTS = ("IQIYI_VID_TRAIN_", "IQIYI_VID_TEST_")  # how official videos outside of the gallery begin


def from_iqiyi(
    train_list: Path,
    val_list: Path,
    train_folder: Path | None,
    val_folder: Path | None,
    output: Path,
    *,
    names: Iterable[str] = (),
    root: Path | None = None,
) -> Converted:
    """Write the manifest of iQIYI-VID 2019 from its two lists, and its videos or the names in its feature files.

    ``train_list`` has ``<video>.mp4 <identity>`` lines, ``val_list`` has ``<identity> <video>.mp4 ...``
    lines; identity 0 means nobody. The id of a video is its name without ``.mp4``; its media are
    ``<id>.mp4``, or else a folder ``<id>`` of frames. What ``val_folder`` and ``names`` (of the feature pickles) hold
    beyond the lists are distractors, except names of the other parts of the set. Both folders may be one. Without a
    folder the path of a video is ``<id>.mp4``, and nobody looks for it: features of another tool need no media.

    Rows come in the order of the lists, then the distractors of the folder and those of ``names``, each in natural
    order. The paths start at ``root``; None is the folder of ``output``.

    Raises:
        ManifestError: A line is not of this form; a video has two identities or is in both lists; a folder is
            not under the root.
        StoreError: The manifest cannot be written.
    """
    ignored: Ignored = defaultdict(list)
    listed = _iqiyi_lists(train_list, val_list, ignored)
    folders = {"train": train_folder, "val": val_folder}
    prefixes = {split: prefix_of(folder, output, root) if folder else "" for split, folder in folders.items()}
    there = {split: _names(folder) if folder else {} for split, folder in folders.items()}
    forms = {split: {composed(name): name for name in found} for split, found in there.items()}
    rows: list[Row] = []
    missing = 0
    for video_id, (identity, split) in listed.items():
        name = forms[split].get(composed(f"{video_id}.mp4")) or forms[split].get(composed(video_id))
        missing += name is None and folders[split] is not None
        rows.append((video_id, prefixes[split] + (name or f"{video_id}.mp4"), identity, split))
    used = {path for _, path, _, _ in rows}
    if prefixes["train"] != prefixes["val"]:
        spare = [name for name in there["train"] if prefixes["train"] + name not in used]
        ignored["in the training folder, but not in the list"] += spare
    known = set(listed)
    for name, is_folder in there["val"].items():
        if prefixes["val"] + name in used:
            continue
        video_id = name if is_folder else name.removesuffix(".mp4")
        if name.startswith("."):
            ignored["hidden"].append(name)
        elif not is_folder and video_id == name:
            ignored["not an .mp4 file"].append(name)
        elif name.startswith(_OTHER_PARTS):
            ignored["of another part of the set"].append(name)
        elif video_id in known:
            ignored["a second copy of a listed video"].append(name)
        else:
            known.add(video_id)
            rows.append((video_id, prefixes["val"] + name, "", "val"))
    of_features = sorted({name.removesuffix(".mp4") for name in names}, key=natural_key)
    for video_id in of_features:
        if video_id in known:
            continue
        if video_id.startswith(_OTHER_PARTS):
            ignored["of another part of the set"].append(video_id)
        else:
            rows.append((video_id, f"{prefixes['val']}{video_id}.mp4", "", "val"))
            missing += val_folder is not None
    made = write_converted(output, rows, missing=missing, ignored=ignored)
    unknown = [f"--{split}-folder" for split, folder in folders.items() if folder is None]
    if unknown:
        made.notes.append(
            f"no {' and no '.join(unknown)}: paths of those videos are <video_id>.mp4 beside the manifest, and nobody "
            "looked for them; features from-iqiyi needs no media, extract does"
        )
    if val_folder is None and not of_features:
        made.notes.append(
            "no distractors: validation videos that are not listed are known from --val-folder or --features only, and "
            "without them scores are higher than the challenge's"
        )
    return made


def _iqiyi_lists(train_list: Path, val_list: Path, ignored: Ignored) -> dict[str, tuple[str, str]]:
    """Video id -> identity and split."""
    listed: dict[str, tuple[str, str, str]] = {}  # and where it is listed
    problems: list[str] = []
    for path, split in ((train_list, "train"), (val_list, "val")):
        for number, line in enumerate(text_of(path).split("\n"), 1):
            fields, place = line.split(), f"{path}:{number}"
            if split == "train" and len(fields) not in (0, 2):
                problems.append(f"{place}: {len(fields)} words, where <video>.mp4 <identity> belongs")
                continue
            if split == "train":
                fields.reverse()
            for name in fields[1:]:
                video_id = name.removesuffix(".mp4")
                found = ("" if fields[0] == "0" else fields[0], split, place)
                first = listed.setdefault(video_id, found)
                if video_id in ("", name):
                    problems.append(f"{place}: {show(name)} is not the name of an .mp4 file")
                elif first[:2] != found[:2]:
                    other = f"listed as {first[1]} {first[0] or '0'} in {first[2]}"
                    problems.append(f"{place}: video {show(video_id)} is {other} already; keep one")
                elif first is not found:
                    ignored["listed again for the same identity"].append(name)
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ManifestError(problems[0] + more)
    return {video_id: found[:2] for video_id, found in listed.items()}


def from_lfrc(
    filelist: Path, output: Path, *, identities: Path | None = None, root: Path | None = None
) -> Converted:
    """Write the manifest of an LFRC 2019 file list, in its order: row i of a submission is its line i.

    The first word of a line is the video's name, both its id and its folder of frames beside the list; the
    other words are not used. The organisers' identities are not public. The split is ``test``.

    Args:
        filelist: the official list.
        output: the manifest.
        identities: text, line i is the identity of the list's line i; an empty line or 0 is nobody known.
        root: where the paths start; None is the folder of ``output``. Names of a list outside of it start there too.

    Raises:
        ManifestError: An empty line among the others, a repeated name or one that leaves the folder; the list
            is not under the root; or there is another number of identities than of videos.
        StoreError: The manifest cannot be written.
    """
    names = [(line.split() or [""])[0] for line in lines_of(filelist)]
    return _from_list(filelist, names, identities, output, root, ("video", "0"))


def from_trillionpairs(
    filelist: Path, output: Path, *, labels: Path | None = None, root: Path | None = None
) -> Converted:
    """Write the manifest of a list of images, such as Trillion-Pairs', as `from_lfrc` does; a line is one path.

    A path is relative to the list's folder and is the image's id as well; spaces belong to it. In ``labels`` an
    empty line, 0 or -1 is a distractor.

    Raises:
        ManifestError, StoreError: as in `from_lfrc`, or the list names no image.
    """
    names = lines_of(filelist)
    if not any(names):
        raise ManifestError(f"{filelist}: names no image: give one relative path a line")
    return _from_list(filelist, names, labels, output, root, ("image", "0", "-1"))


def _from_list(
    filelist: Path,
    names: list[str],
    people: Path | None,
    output: Path,
    root: Path | None,
    kind: tuple[str, ...],
) -> Converted:
    """``kind``: what a line is of, and what stands for nobody beside an empty line."""
    prefix = prefix_of(base_of(filelist, root), output, root)
    while names and not names[-1]:
        names.pop()
    if "" in names:
        raise ManifestError(
            f"{filelist}:{names.index('') + 1}: an empty line; rows are counted by lines, so remove it"
        )
    identities = [""] * len(names)
    thing, *nobody = kind
    if people is not None:
        identities = lines_of(people)
        if len(identities) != len(names):
            empty = "empty or 0 for nobody" if thing == "video" else "empty, 0 or -1 for a distractor"
            raise ManifestError(
                f"{people}: {len(identities)} lines for the {len(names)} {thing}s of {filelist}; give one line "
                f"{'a' if thing == 'video' else 'an'} {thing}, {empty}"
            )
        identities = ["" if name in nobody else name for name in identities]
    refuse_names(filelist, names)
    rows = [(name, prefix + name, who, "test") for name, who in zip(names, identities, strict=True)]
    return write_converted(output, rows, missing=count_missing(rows, output, root))


def _names(folder: Path) -> dict[str, bool]:
    """Return the names in a folder, in natural order, and whether each is a folder."""
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir() for entry in entries}
    return {name: found[name] for name in sorted(found, key=natural_key)}
