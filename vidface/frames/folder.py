"""Read a folder of frames: JPEG or PNG images, taken whole in the natural order of their names.

Tested in ``tests/frames/test_frames_folder.py``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from vidface.errors import MediaError
from vidface.files.atomic import natural_key
from vidface.files.pointers import NOT_FETCHED, POINTER_BYTES, pointer_in
from vidface.frames.containers import picture_kind
from vidface.frames.frame import MAX_PIXELS, Frame, Pixels, ReadReport
from vidface.frames.orientation import exif_matrix, turn
from vidface.manifest.names import IMAGE_SUFFIXES

FOLDER_FPS = 8.0  # LFRC 2019 cuts its videos at 8 fps; a folder itself carries no times

SUFFIXES = frozenset(IMAGE_SUFFIXES)

# Pictures by their names that are not read. A folder may hold other things, but frames are not left out without a word.
OTHER_PICTURES = frozenset(
    ".webp .bmp .gif .tif .tiff .heic .heif .avif .jp2 .jxl .jfif .jpe .ppm".split()  # noqa: SIM905 - a list of words
)

# What Pillow raises on damaged images; its PNG reader knows SyntaxError too.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError)


def frame_files(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """The images of a folder in natural order: 2.jpg before 10.jpg. Hidden and other files are left out.

    Raises:
        MediaError: ``unreadable``, where the folder cannot be listed.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise MediaError("unreadable", f"{folder}: cannot be listed: {error.strerror or error}") from error
    images = [path for path in entries if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    return sorted(images, key=lambda path: natural_key(path.name))


def evenly(count: int, most: int | None) -> list[int]:
    """Which of ``count`` things are taken where ``most`` may be: the middle one of that many equal parts; None: all."""
    if most is None or count <= most:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * most) for part in range(most)]


def read_folder(folder: Path, *, most: int | None = None, report: ReadReport) -> Iterator[Frame]:
    """Read every image of a folder, or at most so many, evenly spaced as `evenly` has it.

    An image that cannot be read, and a link that leads out of the folder, is a fault ``unreadable-image`` that names
    the file; one of more than ``MAX_PIXELS`` pixels, which its header tells, is one ``too-large``; none is replaced by
    another. The others are read all the same, in natural order, each at its own index / 8 s.

    Raises:
        MediaError: ``unreadable``; ``no-frames`` if there is no image; ``unreadable-image`` or ``too-large`` if none of
            the images can be read.
    """
    files, others = frame_files(folder), frame_files(folder, OTHER_PICTURES)
    left_out = (
        f"{len(others)} pictures of other formats, {others[0].name} first: convert them" if others else ""
    )
    if not files:
        has = f", but {left_out} to JPEG or PNG" if left_out else ""
        raise MediaError("no-frames", f"{folder}: the folder has no .jpg, .jpeg or .png file{has}")
    home = folder.resolve()
    taken = evenly(len(files), most)
    for index in taken:
        path = files[index]
        try:
            pixels = read_image(path, home)
        except MediaError as error:
            report.faults.append((error.kind, f"{path.name}: {error}"))
            continue
        report.decoded += 1
        report.sampled += 1
        yield Frame(pixels, index / FOLDER_FPS)
    if report.decoded == 0:
        name, reason = files[taken[0]].name, report.faults[-1][1]
        kinds = {kind for kind, _ in report.faults}
        raise MediaError(
            kinds.pop() if len(kinds) == 1 else "unreadable-image",
            f"{folder}: none of its {len(taken)} images, {name} first, can be read ({reason})",
        )
    if left_out:
        report.faults.append(("unreadable-image", f"{left_out} to JPEG or PNG"))


def read_picture(path: Path, *, report: ReadReport) -> Iterator[Frame]:
    """Read one image file as a clip of one frame, at 0 s: sets of photographs have such. Errors as `read_frames`."""
    if not path.exists():
        raise MediaError("missing", f"{path}: no such file or folder")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError("empty-file", "the file is empty")
        pixels = read_image(path)
    except MediaError as error:
        raise MediaError(error.kind, f"{path}: {error}") from None
    report.decoded += 1
    report.sampled += 1
    yield Frame(pixels, 0.0)


def read_image(path: Path, home: Path | None = None) -> Pixels:
    """As `decode_image`, of a file, whatever its name says; with ``home`` of one in that folder alone."""
    try:
        if home is not None and not path.resolve().is_relative_to(home):
            raise ValueError("it is a link that leads out of the folder")
        if not path.is_file():
            raise ValueError("it is not a regular file")
        with path.open("rb") as file:
            return _decode(file)
    except IMAGE_ERRORS as error:
        raise MediaError("unreadable-image", _reason(error)) from None


def decode_image(content: bytes) -> Pixels:
    """Decode the bytes of one JPEG or PNG image to upright RGB, uint8 [H, W, 3].

    Transparency is ignored, and so is a resolution that differs across and down, as in viewers. Of several pictures in
    a file (MPO, APNG) the first is read, of 16 bits a channel the upper 8.

    Raises:
        MediaError: ``unreadable-image``, if they are not an image, cut short or damaged; ``too-large``.
    """
    try:
        return _decode(io.BytesIO(content))
    except IMAGE_ERRORS as error:
        raise MediaError("unreadable-image", _reason(error)) from None


class _Jpeg(JpegImageFile):
    """Does not look for a resolution in the EXIF, which is of no use here: where that is damaged, Pillow warns."""

    def _read_dpi_from_exif(self) -> None:
        pass


def _decode(file: BinaryIO) -> Pixels:
    head = file.read(POINTER_BYTES)
    if advice := pointer_in(head):
        raise MediaError(NOT_FETCHED, advice)
    file.seek(0)
    if other := picture_kind(head):
        raise ValueError(f"it is {other}")
    is_png = head.startswith(b"\x89PNG")
    # Not Image.open: it prints a warning for a large picture, where this is a fault of its own.
    image = PngImageFile(file) if is_png else _Jpeg(file)
    if image.width * image.height > MAX_PIXELS:
        raise MediaError("too-large", f"{image.width}x{image.height} is more than {MAX_PIXELS} pixels")
    image.load()
    if image.mode.startswith("I;16"):
        grey = (np.array(image) >> 8).astype(np.uint8)
        pixels = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    else:
        image.info.pop("transparency", None)  # converting would warn that it is lost
        pixels = np.array(image.convert("RGB"))
    return turn(pixels, exif_matrix(image.info))


def _reason(error: Exception) -> str:
    """A damaged image in a few words: Pillow puts a memory address or nothing in some of its messages."""
    if isinstance(error, SyntaxError):
        return "it is neither a JPEG nor a PNG image, or is damaged"
    return getattr(error, "strerror", None) or str(error) or "it is damaged"
