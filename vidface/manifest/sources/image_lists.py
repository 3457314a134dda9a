"""Manifests from lists of images, such as those of LFRC's image track and Trillion-Pairs."""

from __future__ import annotations

from pathlib import Path

from vidface.errors import ManifestError
from vidface.manifest.formats import format_of
from vidface.manifest.manifest import row_problems
from vidface.manifest.sources.converted import (
    Converted,
    base_of,
    count_missing,
    lines_of,
    prefix_of,
    write_converted,
)

__all__ = ["from_trillionpairs"]

NOBODY = ("", "0", "-1")


def from_trillionpairs(
    filelist: Path, output: Path, *, labels: Path | None = None, root: Path | None = None
) -> Converted:
    """Write the manifest of a list of images, in its order: row i of a submission is its line i.

    A line is the path of one image, relative to the list's folder; it is the image's id as well. Spaces within it
    belong to it. The split is ``test``.

    Args:
        filelist: the list, UTF-8.
        output: the manifest.
        labels: text, line i is the identity of the list's line i; an empty line, 0 or -1 is a distractor. Without
            labels nobody is known.
        root: where the manifest's paths start; None is the folder of ``output``. The names of a list that lies outside
            of it start there as well.

    Raises:
        ManifestError: The list is empty or an empty line stands in it, a path is repeated or leaves the folder; the
            list is not under the folder of ``output``; or there is another number of labels than of images.
        StoreError: The manifest cannot be written.
    """
    format_of(output)
    prefix = prefix_of(base_of(filelist, root), output, root)
    names = lines_of(filelist)
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ManifestError(f"{filelist}: names no image: give one relative path a line")
    if "" in names:
        raise ManifestError(
            f"{filelist}:{names.index('') + 1}: an empty line; rows are counted by lines, so remove it"
        )
    people = [""] * len(names)
    if labels is not None:
        people = lines_of(labels)
        if len(people) != len(names):
            raise ManifestError(
                f"{labels}: {len(people)} lines for the {len(names)} images of {filelist}; give one line an image, "
                "empty, 0 or -1 for a distractor"
            )
        people = ["" if name in NOBODY else name for name in people]
    bare = [(name, name, person, "test") for name, person in zip(names, people, strict=True)]
    for problem in row_problems(range(1, len(bare) + 1), bare):  # a prefix must not hide an absolute path
        raise ManifestError(f"{filelist}:{problem.line}: {problem.message}")
    rows = [(name, prefix + name, person, "test") for name, person in zip(names, people, strict=True)]
    return write_converted(output, rows, missing=count_missing(rows, output, root))
