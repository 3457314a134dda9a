"""Manifests of IJB-B and IJB-C: a row an image, in the order of the set's own list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vidface.errors import ManifestError
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import Converted, Ignored, prefix_of, refuse_names, write_converted
from vidface.manifest.sources.template_lists import FACES, TemplateSet, list_path, read_faces

UNREADABLE = "crops that no face could be cut from (their rows stay)"


def from_ijb(
    kind: TemplateSet,
    meta: Path,
    folder: Path,
    output: Path,
    *,
    aligned: bool = False,
    unreadable: Sequence[str] = (),
    root: Path | None = None,
) -> Converted:
    """Write the manifest of IJB-B or IJB-C: the id of an image is its name, its media the picture of that name.

    The identity stays empty, as templates say whose an image is, and the split is ``test``. An image that is not
    there has its row all the same and is counted.

    Args:
        kind: ``ijbb`` or ``ijbc``.
        meta: the folder of the lists, of which ``face_tid_mid`` is read.
        folder: the pictures.
        output: the manifest.
        aligned: the pictures are what aligning wrote, with names as `aligned_name`.
        unreadable: names of images that could not be aligned, to be reported.
        root: where the paths start; None is the folder of ``output``.

    Raises:
        ManifestError: the list cannot be used, an image's name leaves the folder, or the folder is not under the root.
    """
    prefix = prefix_of(folder, output, root)
    path = list_path(meta, kind, FACES)
    images = read_faces(path).images
    check_names(path, images)
    names = [aligned_name(image) for image in images] if aligned else images
    rows = [(image, prefix + name, "", "test") for image, name in zip(images, names, strict=True)]
    there = _files(folder, names)
    ignored: Ignored = defaultdict(list)
    ignored[UNREADABLE] += unreadable
    made = write_converted(output, rows, missing=sum(name not in there for name in names), ignored=ignored)
    notes = [
        f"whose an image is stands in the lists: extract, then score with --protocol {kind} --meta {meta}"
    ]
    if not aligned:
        notes.insert(0, "these are the pictures as they are; --aligned DIR cuts the faces from loose crops")
    return replace(made, notes=notes)


def check_names(path: Path, images: Sequence[str]) -> None:
    """Refuse the first line of a list whose image cannot be an id and lie in its folder."""
    refuse_names(path, images)
    for line, image in enumerate(images, 1):
        if image != PurePosixPath(image).as_posix() or image == ".":  # else one file would have two names
            raise ManifestError(
                f"{path}:{line}: {show(image)} is no name of a file: write it without . and //"
            )


def aligned_name(image: str) -> str:
    """The picture that the aligned face of an image is in: ``7.jpg`` gives ``7.png``."""
    return PurePosixPath(image).with_suffix(".png").as_posix()


def _files(folder: Path, names: Sequence[str]) -> set[str]:
    """What files there are beside these names; a folder is listed once, as half a million questions take their time."""
    return {
        str(parent / path.name)
        for parent in {PurePosixPath(name).parent for name in names}
        if (folder / parent).is_dir()
        for path in (folder / parent).iterdir()
        if path.is_file()
    }
