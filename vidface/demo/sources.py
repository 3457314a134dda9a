"""Where the people of a benchmark come from: drawn by this project, or photographs in folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidface.demo.people.drawing import SIZE, Frame, draw_person
from vidface.errors import MediaError, UsageError
from vidface.frames.folder import decode_image

DRAWN_PICTURES = 1000  # of every drawn person; any number could be drawn
SETTINGS = 4  # that a drawn video cuts between, each with its own light, clothes and background
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


@dataclass(frozen=True)
class FaceSource:
    """People and their pictures.

    Attributes:
        counts: how many pictures there are of every person.
        picture: (name, index from 0, video) -> uint8 [112, 112, 3]; drawn pictures of a video share its few settings.
        min_images: only people with so many pictures get an identity.
    """

    counts: dict[str, int]
    picture: Callable[[str, int, int], Frame]
    min_images: int = 1


def drawn_faces(people: int, *, seed: int) -> FaceSource:
    """``people`` drawn people of the population ``seed``."""
    names = [f"person{number:05d}" for number in range(people)]

    def picture(name: str, index: int, video: int) -> Frame:
        return draw_person(int(name[6:]), index, seed=seed, scene=video * SETTINGS + index % SETTINGS)

    return FaceSource(dict.fromkeys(names, DRAWN_PICTURES), picture)


def faces_from_folder(folder: Path, *, min_images: int = 6) -> FaceSource:
    """Real people: ``folder/<person>/<image>``, aligned faces of 112x112.

    UsageError if there are no images; MediaError, when a picture is used, if it cannot be read or is not 112x112.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; it should hold one folder of face images a person")
    files = {
        person.name: sorted(p for p in person.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
        for person in sorted(folder.iterdir())
        if person.is_dir()
    }
    counts = {name: len(images) for name, images in files.items() if images}
    if not counts:
        raise UsageError(f"{folder}: no images found; it should hold {folder.name}/PERSON/IMAGE.jpg")

    def picture(name: str, index: int, video: int) -> Frame:
        path = files[name][index]
        try:
            frame = decode_image(path.read_bytes())
        except OSError as error:
            raise MediaError("unreadable", f"{path}: not a readable image: {error}") from error
        except MediaError as error:
            raise MediaError(error.kind, f"{path}: not a readable image: {error}") from None
        if frame.shape != (SIZE, SIZE, 3):
            high, wide = frame.shape[:2]
            raise MediaError(
                "wrong-size", f"{path}: {wide}x{high}, but faces must be aligned to {SIZE}x{SIZE}"
            )
        return frame

    return FaceSource(counts, picture, min_images)
