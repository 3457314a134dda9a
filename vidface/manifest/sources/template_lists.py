"""The lists of IJB-B and IJB-C as they come with their public evaluation code: templates, media, pairs, galleries.

A *template* is the faces that stand for one person in one comparison; those of one *medium* are frames of one video,
or a photograph. ``SET`` is ``ijbb`` or ``ijbc``; every list is a text file in one folder:

- ``SET_face_tid_mid.txt``: image, template, medium; a line an image.
- ``SET_name_5pts_score.txt``: image, x and y of five points in pixels of the loose crop, the detector's score.
- ``SET_template_pair_label.txt``: template, template, 1 if they are of one person, else 0.
- ``ijbb_1N_gallery_S1.csv`` and ``_S2.csv``, ``ijbc_1N_gallery_G1.csv`` and ``_G2.csv``, ``SET_1N_probe_mixed.csv``: a
  header, then template and subject in the first two columns; a template may have a line for each of its faces.

Words are separated by white space, numbers are whole if nothing else is said. Nothing is skipped: what is wrong
anywhere in a list is an error that names its file and lines. Tested in ``tests/scores/protocols/test_templates.py`` and
``tests/faults/test_template_lists.py``.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import ManifestError
from vidface.manifest.rows import show
from vidface.manifest.sources.converted import text_of

TemplateSet = Literal["ijbb", "ijbc"]
GALLERIES: dict[TemplateSet, tuple[str, str]] = {
    "ijbb": ("1N_gallery_S1.csv", "1N_gallery_S2.csv"),
    "ijbc": ("1N_gallery_G1.csv", "1N_gallery_G2.csv"),
}
FACES, CROPS = "face_tid_mid.txt", "name_5pts_score.txt"
PAIRS, PROBES = "template_pair_label.txt", "1N_probe_mixed.csv"

LARGEST = 2**53  # beyond it no template of anybody's is
_NAMED_LINES = 5  # of those that are wrong

Integers = npt.NDArray[np.int64]


class Faces(NamedTuple):
    """The image of line i + 1 of ``face_tid_mid``, its template and its medium."""

    images: list[str]
    templates: Integers
    media: Integers


class Crops(NamedTuple):
    """``name_5pts_score``: image; float64 [N, 5, 2], x and y in the loose crop; float64 [N], the detector's score."""

    images: list[str]
    points: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


class Subjects(NamedTuple):
    """A gallery or the probes: every template once, in the order of the list, and whose it is."""

    templates: Integers
    subjects: Integers


def list_path(meta: Path, kind: TemplateSet, name: str) -> Path:
    """Where a list of a set lies; a ManifestError if it is not there."""
    path = meta / f"{kind}_{name}"
    if path.is_file():
        return path
    if (meta / "meta" / path.name).is_file():
        raise ManifestError(f"{meta}: the lists are one folder below: say {meta / 'meta'}")
    raise ManifestError(f"{path}: no such file; {meta} must be the folder of the lists of {kind}")


def read_faces(path: Path) -> Faces:
    """Read ``face_tid_mid``.

    Raises:
        ManifestError: it cannot be read, a line is not ``image template medium``, or an image is in two lines.
    """
    images: list[str] = []
    numbers: list[list[int]] = []
    problems: list[tuple[int, str]] = []
    for line, words in _lines(path):
        row = [number for word in words[1:] if (number := whole_number(word)) is not None]
        if len(words) != 3 or len(row) != 2:
            problems.append((line, f"{show(' '.join(words))} is not: image template medium"))
        else:
            images.append(words[0])
            numbers.append(row)
    _refuse(path, problems, images)
    columns = np.array(numbers, np.int64)
    return Faces(images, columns[:, 0].copy(), columns[:, 1].copy())


def read_crops(path: Path) -> Crops:
    """Read ``name_5pts_score``.

    Raises:
        ManifestError: as in `read_faces`, or a number is not finite, or a score below 0.
    """
    images: list[str] = []
    rows: list[list[float]] = []
    problems: list[tuple[int, str]] = []
    for line, words in _lines(path):
        try:
            row = [float(word) for word in words[1:]]
        except ValueError:
            row = []
        if len(row) != 11 or not math.isfinite(sum(row)) or row[10] < 0:
            what = f"{len(words)} words, where an image, 10 coordinates and a score of 0 or more belong"
            problems.append((line, f"{show(' '.join(words))}: {what}"))
        else:
            images.append(words[0])
            rows.append(row)
    _refuse(path, problems, images)
    values = np.array(rows)
    return Crops(images, values[:, :10].reshape(-1, 5, 2), values[:, 10].copy())


def read_subjects(path: Path, templates: Integers, *, gallery: bool) -> Subjects:
    """Read a gallery, in which a subject may have one template only, or the probes.

    ``templates``, int64 [T], are ascending, each once.

    Raises:
        ManifestError: it cannot be read, has no header, a line does not begin with two whole numbers, names a
            template that is not among these or gives it to a second subject; or two templates of one subject are
            in a gallery.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
    known = set(templates.tolist())
    subject_of: dict[int, int] = {}
    template_of: dict[int, int] = {}
    problems: list[tuple[int, str]] = []
    try:
        for row in reader:
            line = reader.line_num
            template, subject = [whole_number(word.strip()) for word in [*row, "", ""][:2]]
            if line == 1:
                if template is not None:
                    problems.append((1, "the header is not there: the first line must name the columns"))
                continue
            if template is None or subject is None:
                what = f"{show(','.join(row))} does not begin with a template and a subject"
            elif template not in known:
                what = f"no image of template {template} in {FACES}"
            elif subject_of.setdefault(template, subject) != subject:
                what = f"template {template} is of subject {subject_of[template]} further up"
            elif gallery and template_of.setdefault(subject, template) != template:
                what = f"subject {subject} has template {template_of[subject]} already; a gallery has one"
            else:
                continue
            problems.append((line, what))
    except csv.Error as error:
        problems.append((reader.line_num, f"not CSV: {error}"))
    refuse(path, problems)
    if not subject_of:
        raise ManifestError(f"{path}: no template in it")
    return Subjects(np.array(list(subject_of), np.int64), np.array(list(subject_of.values()), np.int64))


def whole_number(word: str) -> int | None:
    """A whole number of 0 or more, or None."""
    if not (word.isascii() and word.isdecimal()) or len(word) > 16:
        return None
    number = int(word)
    return number if number <= LARGEST else None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and words of every line; a line that is empty has none."""
    text = text_of(path)
    if not text.strip():
        raise ManifestError(f"{path}: empty")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        yield number, line.split()


def refuse(path: Path, problems: Sequence[tuple[int, str]]) -> None:
    """Say what is wrong in the first of these lines, and where else."""
    if not problems:
        return
    (line, message), others = problems[0], [str(line) for line, _ in problems[1:]]
    more = ""
    if others:
        some = ", ".join(others[:_NAMED_LINES]) + (", ..." if len(others) > _NAMED_LINES else "")
        more = f" ({len(others)} more, in line {some})"
    raise ManifestError(f"{path}:{line}: {message}{more}")


def _refuse(path: Path, problems: Sequence[tuple[int, str]], images: Sequence[str]) -> None:
    """Refuse a list with these problems, or with an image in two lines."""
    refuse(path, problems)
    first: dict[str, int] = {}
    places = [(line, first.setdefault(image, line), image) for line, image in enumerate(images, 1)]
    refuse(
        path,
        [(line, f"image {show(image)} is in line {at} already") for line, at, image in places if at != line],
    )
