"""A manifest from YouTube Faces as it is unpacked: a folder of frames a video, in a folder a person."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from vidface.errors import ManifestError
from vidface.manifest.formats import format_of
from vidface.manifest.manifest import Row
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import Converted, Ignored, home_of, prefix_of, write_converted
from vidface.manifest.sources.folder import nodes_in

SPLIT = "test"
PARTS = ("aligned_images_DB", "frame_images_DB")


def from_ytf(folder: Path, output: Path, *, root: Path | None = None) -> Converted:
    """Write the manifest of ``aligned_images_DB`` or ``frame_images_DB``: ``<person>/<video>/*.jpg``.

    The id of a video is ``<person>/<video>``, as ``splits.txt`` names it; the identity is ``<person>``, the split
    ``test``. Persons and videos come in natural order; frames are taken in natural order by `vidface.frames`. Folders
    without frames, and files beside the persons' folders (``<person>.labeled_faces.txt``), are ignored and returned by
    reason.

    Raises:
        ManifestError: the layout is another one; ``folder`` is not under ``root``, or the folder of ``output``; no
            video is there.
        StoreError: The manifest cannot be written.
    """
    format_of(output)
    prefix = prefix_of(folder, output, root)
    inside = [name for name in PARTS if (folder / name).is_dir()]
    if inside:
        raise ManifestError(
            f"{folder}: the whole set; give {' or '.join(str(folder / name) for name in inside)}"
        )
    ignored: Ignored = defaultdict(list)
    images, people = nodes_in(folder, folder, home_of(output, root), ignored)
    if images:
        raise ManifestError(
            f"{folder}: has images directly in it, where <person>/<video>/<frame>.jpg belongs"
        )
    rows: list[Row] = []
    for person in people:
        if person.height != 1:
            raise ManifestError(
                f"{folder / person.name}: {'a video' if person.height == 0 else 'folders of folders'}, where "
                "<person>/<video>/<frame>.jpg belongs"
            )
        for video in person.children:
            name = f"{person.name}/{video.name}"
            if video.is_file:
                ignored["video file where a folder of frames belongs"].append(name)
            else:
                rows.append((name, prefix + name, person.name, SPLIT))
    if not rows:
        left_out = ", ".join(
            f"{len(names)} {reason}, {show(names[0])} first" for reason, names in ignored.items()
        )
        raise ManifestError(
            f"{folder}: no <person>/<video>/<frame>.jpg in it" + (f"; {left_out}" if left_out else "")
        )
    return write_converted(output, rows, ignored=ignored)
