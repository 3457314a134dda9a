"""Manifests from folders of pictures: photographs, each a clip of one frame, or the frames of YouTube Faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from vidface.errors import ManifestError, UsageError
from vidface.manifest.names import IMAGE_SUFFIXES
from vidface.manifest.rows import Row, show
from vidface.manifest.sources.converted import (
    Converted,
    Ignored,
    home_of,
    how_many,
    prefix_of,
    write_converted,
)
from vidface.manifest.sources.folder import (
    SPLITS,
    UNKNOWN,
    add_id,
    check_unknown,
    entries_in,
    nodes_in,
    write_of_folder,
)

YTF_PARTS = ("aligned_images_DB", "frame_images_DB")


def from_pictures(
    folder: Path, output: Path, *, enrol: int = 1, unknown: Collection[str] = (), root: Path | None = None
) -> Converted:
    """Write the manifest of a folder in which every image is a video of its own: LFW, CFP, AgeDB, or one's own.

    The layout is ``folder/<identity>/<image>``, also with more folders between (CFP: ``001/frontal/01.jpg``), or
    ``folder/<image>`` for images of nobody known. The id is the path in ``folder`` without the suffix. Splits,
    folders of nobody known and what is ignored are as in `from_folder`.

    Raises:
        ManifestError: two images would have one id; the folders at the top are splits; ``folder`` is not under
            ``root``, or the folder of ``output``; there is no image; a name cannot stand in a manifest.
        StoreError: The manifest cannot be written.
        UsageError: ``enrol`` is negative, or no folder of a person is called as one of ``unknown``.
    """
    if enrol < 0:
        raise UsageError(f"enrol is {enrol}; it must be 0 or more pictures of each identity")
    prefix = prefix_of(folder, output, root)
    ignored: Ignored = defaultdict(list)
    images = _images(folder, folder, home_of(output, root), ignored)
    if not images:
        left_out = f"; left out: {how_many(ignored)}" if ignored else ""
        raise ManifestError(f"{folder}: no .jpg, .jpeg or .png image in it{left_out}")
    check_unknown(unknown, {image.partition("/")[0] for image in images if "/" in image}, folder)
    people: dict[str, list[str]] = defaultdict(list)
    for image in images:
        first, slash, _ = image.partition("/")
        people[first if slash and first not in (*UNKNOWN, *unknown) else ""].append(image)
    if people.keys() <= {*SPLITS, ""} and people.keys() != {""}:
        raise ManifestError(
            f"{folder}: its folders are splits ({', '.join(sorted(people))}): give each by itself"
        )
    who = {image: identity for identity, mine in people.items() for image in mine}
    enrolled = {
        image for identity, mine in people.items() if identity for image in mine[: min(enrol, len(mine) - 1)]
    }
    rows: list[Row] = []
    seen: dict[str, str] = {}
    for image in images:
        video_id = image[: image.rindex(".")]
        add_id(seen, video_id, image, folder)
        rows.append((video_id, prefix + image, who[image], "train" if image in enrolled else "val"))
    return write_of_folder(output, rows, ignored)


def _images(folder: Path, base: Path, home: str, ignored: Ignored) -> list[str]:
    """The images below a folder, as paths in ``base``, in natural order."""
    images = []
    for path, name, is_folder in entries_in(folder, base, home, ignored):
        below = _images(path, base, home, ignored) if is_folder else []
        images += below
        if is_folder and not below:
            ignored["folder without images"].append(name)
        elif not is_folder and path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(name)
        elif not is_folder:
            ignored["file that is no image"].append(name)
    return images


def from_ytf(folder: Path, output: Path, *, root: Path | None = None) -> Converted:
    """Write the manifest of YouTube Faces' ``aligned_images_DB`` or ``frame_images_DB``: ``<person>/<video>/*.jpg``.

    The id of a video is ``<person>/<video>``, as ``splits.txt`` names it; the identity is ``<person>``, the split
    ``test``. Folders without frames, and files beside the persons' folders, are ignored and returned by reason.

    Raises:
        ManifestError: the layout is another one; ``folder`` is not under ``root``, or the folder of ``output``; no
            video is there.
        StoreError: The manifest cannot be written.
    """
    prefix = prefix_of(folder, output, root)
    inside = [name for name in YTF_PARTS if (folder / name).is_dir()]
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
            what = "folders of folders" if person.height else "a video"
            raise ManifestError(f"{folder / person.name}: {what}, where <person>/<video>/<frame>.jpg belongs")
        for video in person.children:
            name = f"{person.name}/{video.name}"
            if video.is_file:
                ignored["video file where a folder of frames belongs"].append(name)
            else:
                rows.append((name, prefix + name, person.name, "test"))
    if not rows:
        left_out = "".join(
            f"; {len(names)} {reason}, {show(names[0])} first" for reason, names in ignored.items()
        )
        raise ManifestError(f"{folder}: no <person>/<video>/<frame>.jpg in it{left_out}")
    return write_converted(output, rows, ignored=ignored)
