"""A manifest from folders of photographs, each a clip of one frame: LFW, CFP, AgeDB, or one's own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from vidface.errors import ManifestError, UsageError
from vidface.files.atomic import natural_key
from vidface.manifest.formats import format_of
from vidface.manifest.manifest import Row
from vidface.manifest.names import IMAGE_SUFFIXES
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import Converted, Ignored, home_of, prefix_of
from vidface.manifest.sources.folder import (
    SPLITS,
    UNKNOWN,
    check_unknown,
    reason_to_skip,
    write_of_folder,
)


def from_pictures(
    folder: Path, output: Path, *, enrol: int = 1, unknown: Collection[str] = (), root: Path | None = None
) -> Converted:
    """Write the manifest of a folder in which every image is a video of its own.

    The layout is ``folder/<identity>/<image>``, also with more folders between (CFP: ``001/frontal/01.jpg``), or
    ``folder/<image>`` for images of nobody known. The id is the path in ``folder`` without the suffix:
    ``<identity>/<stem>``. Splits, and the folders ``_distractors``, ``_unknown`` and ``unknown``, are those of
    `from_folder`. What is no JPEG or PNG image by its suffix, hidden entries, and links that leave the root or lead
    back up are ignored and returned by reason.

    Raises:
        ManifestError: two images would have one id; the folders at the top are splits; ``folder`` is not under
            ``root``, or the folder of ``output``; there is no image; a name cannot stand in a manifest.
        StoreError: The manifest cannot be written.
        UsageError: ``enrol`` is negative, or no folder of a person is called as one of ``unknown``.
    """
    if enrol < 0:
        raise UsageError(f"enrol is {enrol}; it must be 0 or more pictures of each identity")
    format_of(output)
    prefix = prefix_of(folder, output, root)
    ignored: Ignored = defaultdict(list)
    images = _images(folder, folder, home_of(output, root), ignored)
    if not images:
        left_out = ", ".join(f"{len(names)} {reason}" for reason, names in ignored.items())
        raise ManifestError(
            f"{folder}: no .jpg, .jpeg or .png image in it" + (f"; left out: {left_out}" if left_out else "")
        )
    check_unknown(unknown, {image.partition("/")[0] for image in images if "/" in image}, folder)
    people: dict[str, list[str]] = defaultdict(list)
    for image in images:
        first, slash, _ = image.partition("/")
        people[first if slash and first not in (*UNKNOWN, *unknown) else ""].append(image)
    if people.keys() <= {*SPLITS, ""} and people.keys() != {""}:
        raise ManifestError(
            f"{folder}: its folders are splits ({', '.join(sorted(people))}): give each by itself"
        )
    place = {
        image: (identity, number, len(mine))
        for identity, mine in people.items()
        for number, image in enumerate(mine)
    }
    rows: list[Row] = []
    seen: dict[str, str] = {}
    for image in images:
        video_id = image[: image.rindex(".")]
        other = seen.setdefault(video_id, image)
        if other != image:
            both = f"{show(other)} and {show(image)}"
            raise ManifestError(f"{folder}: {both} would both have the id {show(video_id)}; rename one")
        identity, number, count = place[image]
        split = "train" if identity and number < min(enrol, count - 1) else "val"
        rows.append((video_id, prefix + image, identity, split))
    return write_of_folder(output, rows, ignored)


def _images(folder: Path, base: Path, home: str, ignored: Ignored) -> list[str]:
    """The images below a folder, as paths in ``base``, in natural order."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be listed: {error.strerror}") from None
    images = []
    for entry in entries:
        path = folder / entry.name
        name = path.relative_to(base).as_posix()
        reason = reason_to_skip(entry, folder, home)
        if reason:
            ignored[reason].append(name)
        elif entry.is_dir():
            below = _images(path, base, home, ignored)
            images += below
            if not below:
                ignored["folder without images"].append(name)
        elif not entry.is_file():
            ignored["neither file nor folder"].append(name)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(name)
        else:
            ignored["file that is no image"].append(name)
    return images
