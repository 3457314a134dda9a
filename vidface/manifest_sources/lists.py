"""Manifests from the lists of the two challenges; their formats are those of the organisers' public code."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vidface.errors import ManifestError
from vidface.files import natural_key
from vidface.manifest import Row, row_problems
from vidface.manifest_formats import format_of, show
from vidface.manifest_sources.converted import Converted, Ignored, prefix_of, write_converted


def from_iqiyi(
    train_list: Path, val_list: Path, train_folder: Path, val_folder: Path, output: Path
) -> Converted:
    """Write the manifest of iQIYI-VID 2019 from its two lists and its videos.

    ``train_list`` has ``<video>.mp4 <identity>`` lines, ``val_list`` has ``<identity> <video>.mp4 ...``
    lines; identity 0 means nobody. The id of a video is its name without ``.mp4``; its media are
    ``<id>.mp4``, or else a folder ``<id>`` of frames. What ``val_folder`` holds beyond the lists are
    distractors, except names of the other parts of the set (``IQIYI_VID_TRAIN_``, ``IQIYI_VID_TEST_``). Both
    folders may be one.

    Rows come in the order of the lists, then the distractors in natural order.

    Raises:
        ManifestError: A line is not of this form; a video has two identities or is in both lists; a folder is
            not under the folder of ``output``.
        StoreError: The manifest cannot be written.
    """
    format_of(output)
    ignored: Ignored = defaultdict(list)
    listed: dict[str, tuple[str, str, str]] = {}  # id -> identity, split, where it is listed
    problems: list[str] = []
    for path, split in ((train_list, "train"), (val_list, "val")):
        for line, fields in _lines(path):
            if split == "train" and len(fields) != 2:
                problems.append(f"{path}:{line}: {len(fields)} words, where <video>.mp4 <identity> belongs")
                continue
            identity, names = (fields[1], fields[:1]) if split == "train" else (fields[0], fields[1:])
            for name in names:
                video_id = name.removesuffix(".mp4")
                found = ("" if identity == "0" else identity, split, f"{path}:{line}")
                first = listed.setdefault(video_id, found)
                if video_id in ("", name):
                    problems.append(f"{path}:{line}: {show(name)} is not the name of an .mp4 file")
                elif first[:2] != found[:2]:
                    other = f"listed as {first[1]} {first[0] or '0'} in {first[2]}"
                    problems.append(f"{path}:{line}: video {show(video_id)} is {other} already; keep one")
                elif first is not found:
                    ignored["listed again for the same identity"].append(name)
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ManifestError(problems[0] + more)

    prefixes = {"train": prefix_of(train_folder, output), "val": prefix_of(val_folder, output)}
    there = {"train": _names(train_folder), "val": _names(val_folder)}
    rows: list[Row] = []
    missing = 0
    used: set[str] = set()
    for video_id, (identity, split, _) in listed.items():
        name = video_id + ".mp4"
        if name not in there[split]:
            if video_id in there[split]:
                name = video_id
            else:
                missing += 1
        used.add(prefixes[split] + name)
        rows.append((video_id, prefixes[split] + name, identity, split))
    if prefixes["train"] != prefixes["val"]:
        spare = [name for name in there["train"] if prefixes["train"] + name not in used]
        ignored["in the training folder, but not in the list"] += spare
    for name, is_folder in there["val"].items():
        if prefixes["val"] + name in used:
            continue
        video_id = name if is_folder else name.removesuffix(".mp4")
        if name.startswith("."):
            ignored["hidden"].append(name)
        elif not is_folder and video_id == name:
            ignored["not an .mp4 file"].append(name)
        elif name.startswith(("IQIYI_VID_TRAIN_", "IQIYI_VID_TEST_")):
            ignored["of another part of the set"].append(name)
        elif video_id in listed:
            ignored["a second copy of a listed video"].append(name)
        else:
            listed[video_id] = ("", "val", "")
            rows.append((video_id, prefixes["val"] + name, "", "val"))
    return write_converted(output, rows, missing=missing, ignored=ignored)


def from_lfrc(filelist: Path, output: Path) -> Converted:
    """Write the manifest of an LFRC 2019 file list, in its order: row i of a submission is its line i.

    The first word of a line is the video's name, both its id and its folder of frames beside the list; the
    other words are not used. The identities are not public: they are empty, and the split is ``test``.

    Raises:
        ManifestError: An empty line among the others, a repeated name or one that leaves the folder; the list
            is not under the folder of ``output``.
        StoreError: The manifest cannot be written.
    """
    format_of(output)
    prefix = prefix_of(filelist.parent, output)
    names: list[str] = []
    for line, fields in _lines(filelist):
        if line != len(names) + 1:
            raise ManifestError(
                f"{filelist}:{line - 1}: an empty line; rows are counted by lines, so remove it"
            )
        names.append(fields[0])
    rows = [(name, prefix + name, "", "test") for name in names]
    bare = [(name, name, "", "test") for name in names]  # a prefix must not hide an absolute name
    for problem in row_problems(range(1, len(rows) + 1), bare):
        raise ManifestError(f"{filelist}:{problem.line}: {problem.message}")
    missing = sum(not (filelist.parent / name).exists() for name in names)
    return write_converted(output, rows, missing=missing)


def _names(folder: Path) -> dict[str, bool]:
    """Return the names in a folder, in natural order, and whether each is a folder."""
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir() for entry in entries}
    return {name: found[name] for name in sorted(found, key=natural_key)}


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and words of the lines that have any."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            fields = line.decode().split()
        except UnicodeDecodeError:
            raise ManifestError(f"{path}:{number}: not UTF-8; save the file as UTF-8") from None
        if fields:
            yield number, fields
