"""Loose crops of IJB-B and IJB-C -> aligned faces and their manifest.

The lists of these sets give five points for every crop, in pixels of that crop; faces are laid by them on the template
of 112x112 that `vidface.frames.faces.align` knows, as the sets' public evaluation code does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import ChangedError, ManifestError, MediaError, StoreError
from vidface.files.atomic import disk_is_full, sha256_file
from vidface.files.json_files import write_json
from vidface.files.locks import exclusive
from vidface.frames.faces.align import align_faces, opencv
from vidface.frames.folder import read_image
from vidface.manifest.formats import format_of
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import Converted, home_of, prefix_of
from vidface.manifest.sources.ijb import aligned_name, check_names, from_ijb
from vidface.manifest.sources.template_lists import (
    CROPS,
    FACES,
    TemplateSet,
    list_path,
    read_crops,
    read_faces,
)
from vidface.runtime import cpu_count, map_ordered, progress

SIDE = 112
MADE_FROM = "alignment.json"  # in the folder of aligned faces
_PNG_END = b"IEND\xaeB`\x82"


def make_manifest(
    kind: TemplateSet,
    meta: Path,
    images: Path,
    output: Path,
    *,
    aligned: Path | None = None,
    workers: int | None = None,
    root: Path | None = None,
) -> Converted:
    """Write the manifest of a set, and before that, where asked for, the aligned faces that it then points to.

    Args:
        kind: ``ijbb`` or ``ijbc``.
        meta: the folder of the lists.
        images: the loose crops.
        output: the manifest.
        aligned: the folder for aligned faces, PNG of 112x112; made if need be. A face is there whole or not at all;
            what an earlier run wrote is kept.
        workers: threads; None for one a core.
        root: where the manifest's paths start; None is the folder of ``output``.

    Raises:
        ManifestError: a list or folder cannot be used; see `from_ijb`.
        ChangedError: ``aligned`` holds faces that were cut by other points.
        StoreError: a face or the manifest cannot be written.
        UsageError: OpenCV is not installed, or another run is writing there.
    """
    if aligned is None:
        return from_ijb(kind, meta, images, output, root=root)
    format_of(output)
    prefix_of(images, images / "manifest")  # it is a folder
    home = home_of(output, root)
    if not aligned.resolve().is_relative_to(home):
        raise ManifestError(f"{aligned}: not under {home}, where the manifest's paths start")
    unreadable = _align_crops(kind, meta, images, aligned, workers or cpu_count())
    return from_ijb(kind, meta, aligned, output, aligned=True, unreadable=unreadable, root=root)


def _align_crops(kind: TemplateSet, meta: Path, images: Path, folder: Path, workers: int) -> list[str]:
    """Cut the faces of a set's loose crops by the points of its list.

    Returns the names of crops that are not there, cannot be read or have impossible points, with the reason, in the
    order of the list.
    """
    opencv()
    path = list_path(meta, kind, CROPS)
    crops = read_crops(path)
    check_names(path, crops.images)
    _check_same_images(path, crops.images, list_path(meta, kind, FACES))
    names = [aligned_name(image) for image in crops.images]
    if len(set(names)) < len(names):
        raise ManifestError(
            f"{path}: two images differ by their suffix only, and would be one PNG file; rename one"
        )
    try:
        folder.mkdir(exist_ok=True)
        for parent in sorted({Path(name).parent for name in names}):
            (folder / parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made: {error.strerror}") from None
    with exclusive(folder):
        _check_made_from(folder, path, names)
        for parent in {(folder / name).parent for name in names}:
            for left_by_a_killed_run in parent.glob(".*.png.*.partial"):
                left_by_a_killed_run.unlink(missing_ok=True)
        todo = [i for i, name in enumerate(names) if not _is_whole(folder / name)]
        tasks = ((images / crops.images[i], crops.points[i], folder / names[i]) for i in todo)
        failed: list[str] = []
        with (
            progress("align", len(todo), "faces") as advance,
            closing(map_ordered(_align, tasks, workers=workers)) as reasons,
        ):
            for i, reason in zip(todo, reasons, strict=True):
                failed += [f"{crops.images[i]} ({reason})"] * bool(reason)
                advance(1)
    return failed


def _check_same_images(path: Path, images: Sequence[str], other: Path) -> None:
    listed, expected = set(images), read_faces(other).images
    missing = [image for image in expected if image not in listed]
    if missing or len(listed) != len(expected):
        which = f"lacks {len(missing)}, the first is {show(missing[0])}" if missing else "has more"
        raise ManifestError(f"{path}: not the images of {other}: it {which}")


def _check_made_from(folder: Path, points: Path, names: Sequence[str]) -> None:
    """Refuse to mix faces that were cut by other points; say by which these are."""
    made = {"points": points.name, "points_sha256": sha256_file(points), "size": [SIDE, SIDE]}
    note = folder / MADE_FROM
    try:
        before = json.loads(note.read_bytes())
    except FileNotFoundError:
        # Faces come after the note: what is there without it, such as the crops themselves, was not cut here.
        other = next((name for name in names if (folder / name).exists()), None)
        if other is not None:
            raise ChangedError(
                f"{folder}: {show(other)} in it is no face that was cut here; name another folder"
            ) from None
        write_json(note, made)
        return
    except (OSError, ValueError):
        raise StoreError(f"{note}: damaged; remove {folder} and align again") from None
    if before != made:
        raise ChangedError(
            f"{folder}: holds faces that were cut by another list of points; name another folder"
        )


def _is_whole(path: Path) -> bool:
    """Whether a PNG file is there and has its end: after a loss of power a name may stand for nothing."""
    try:
        with path.open("rb") as handle:
            handle.seek(-len(_PNG_END), os.SEEK_END)
            return handle.read() == _PNG_END
    except OSError:
        return False


def _align(crop: Path, points: npt.NDArray[np.float64], target: Path) -> str:
    """Cut one face; the reason where there is none, or nothing."""
    if not crop.is_file():
        return "no such file"
    try:
        pixels = read_image(crop)
    except MediaError as error:
        return str(error)
    if np.ptp(points, axis=0).max() == 0:
        return "its five points are one"
    face = align_faces(pixels, points[None], (SIDE, SIDE))[0]
    _, png = opencv().imencode(".png", face[:, :, ::-1])
    # Not synced, as half a million syncs take hours; `_is_whole` looks at what is found again.
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(png.tobytes())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = "no space left; make room and run again" if disk_is_full(error) else error.strerror
        raise StoreError(f"{target}: not written: {reason}") from None
    return ""
