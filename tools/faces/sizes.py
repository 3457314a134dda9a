"""Faces of every size in frames of every size: found, where their points are, and what a network makes of them.

Photographs of LFW are scaled so that the face has the height that is asked for, in a frame of the size that is asked
for. "Before" is one search by YuNet, the surest candidate of each face, and a bilinear warp. Each way is held against
what it makes itself of the same face at the height where it is best.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import NamedTuple

import cv2
import numpy as np

from faces.material import Array, Material, pixels
from vidface.frames.faces.align import TEMPLATE, align_faces, similarities
from vidface.frames.faces.faces import Detect, Faces
from vidface.frames.faces.search import LONGEST_SIDE
from vidface.frames.frame import Pixels

FRAMES = {"480p": (480, 854), "1080p": (1080, 1920), "4K": (2160, 3840), "12 MP": (3000, 4000)}
HEIGHTS: dict[str, float] = {
    **{"30 pixels": 30, "60 pixels": 60, "10 % of the frame": 0.1, "25 %": 0.25, "50 %": 0.5},
    **{"80 %": 0.8, "95 %": 0.95},
}
BEST = (120, 300)  # heights of a face, before and after, chosen on other people
MIN_SCORE, PHOTOS = 0.7, 18
CONDITIONS = ("as it is", "grain", "blur")


class Photo(NamedTuple):
    """A photograph, its given points [5, 2], and the box of the face (x, y, width, height)."""

    pixels: Pixels
    points: Array
    box: Array


class Seen(NamedTuple):
    """What became of one face in one frame, by one way.

    Attributes:
        error: of its points, in distances of the eyes; None where it was not found.
        cosine: to the same face at its best size; None likewise.
        right: the same with the right points.
    """

    error: float | None
    cosine: float | None
    right: float


def plain(material: Material) -> Detect:
    """One search, as it was before."""
    network = cv2.FaceDetectorYN.create(str(material.detector.weights), "", (320, 320), MIN_SCORE, 0.3, 5000)

    def detect(frame: Pixels) -> Faces:
        scale = max(1.0, max(frame.shape[:2]) / LONGEST_SIDE)
        size = round(frame.shape[1] / scale), round(frame.shape[0] / scale)
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
        network.setInputSize(size)
        found = network.detect(image)[1]
        rows = np.empty((0, 15), np.float32) if found is None else found
        back = np.array([frame.shape[1] / size[0], frame.shape[0] / size[1]], np.float32)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) * np.tile(back, 2)
        return Faces(boxes, rows[:, 4:14].reshape(-1, 5, 2) * back, rows[:, 14])

    return detect


def bilinear(frame: Pixels, points: Array) -> Pixels:
    matrix = similarities(points[None], TEMPLATE)[0]
    return np.asarray(cv2.warpAffine(frame, matrix, (112, 112), flags=cv2.INTER_LINEAR))


def ours(frame: Pixels, points: Array) -> Pixels:
    return align_faces(frame, points[None])[0]


def nearest(found: Faces, points: Array) -> tuple[int, float] | None:
    """The face whose points are where they should be, and their mean error in distances of the eyes."""
    away = np.linalg.norm(found.points - points, axis=2).mean(axis=1) / np.linalg.norm(points[1] - points[0])
    return (int(away.argmin()), float(away.min())) if len(away) and away.min() < 0.5 else None


def photos(material: Material, part: int) -> list[Photo]:
    """Of every second person, by a hash: 0 for choosing, 1 for reporting."""
    out = []
    for name, content in sorted(material.stored("photos.tar").items()):
        if hashlib.sha256(name.split("/")[0].encode()).digest()[0] % 2 != part:
            continue
        photo, points = pixels(content), material.points[name]
        found = material.detector(photo)
        if (which := nearest(found, points)) is not None:
            box = found.boxes[which[0]].astype(np.float64)
            out.append(Photo(photo, points, np.append(box[:2], box[2:] - box[:2])))
    return out


def framed(
    photo: Photo, height: float, size: tuple[int, int], condition: str, rng: np.random.Generator
) -> tuple[Pixels, Array]:
    """A frame with the face in this height, uint8 [*size, 3], and the matrix from the photograph to it."""
    scale = height / photo.box[3]
    room = np.maximum(0, (np.array(size[::-1]) - scale * photo.box[2:]) / 2)
    middle = np.array(size[::-1]) / 2 + rng.uniform(-1, 1, 2) * room
    shift = middle - 0.5 - scale * (photo.box[:2] + photo.box[2:] / 2 - 0.5)
    matrix = np.column_stack([scale * np.eye(2), shift])
    source, warp = photo.pixels, matrix
    if scale < 1:
        side = np.array(source.shape[1::-1])
        small = np.round(side * scale).astype(int)
        source = cv2.resize(source, small.tolist(), interpolation=cv2.INTER_AREA)
        left = scale * side / small
        warp = np.column_stack([np.diag(left), shift + 0.5 * left - 0.5 * scale])
    frame = cv2.warpAffine(source, warp, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if condition == "blur":
        frame = cv2.GaussianBlur(frame, (0, 0), height / 160)
    if condition == "grain":
        # A sheet of it laid over the frame again and again, which is quick.
        sheet = rng.normal(0, 10, (601, 701, 3)).astype(np.int16)
        times = [-(-side // length) for side, length in zip(frame.shape, sheet.shape, strict=True)]
        grain = np.tile(sheet, times)[: frame.shape[0], : frame.shape[1]]
        frame = np.clip(frame + grain, 0, 255).astype(np.uint8)
    return np.asarray(frame), matrix


def seen(material: Material, part: int, count: int) -> dict[tuple[str, str, str], list[list[Seen]]]:
    """For every height, size of frame and condition what became of the faces, before and after."""
    ways = ((plain(material), bilinear), (material.sure_detector(MIN_SCORE), ours))
    faces = photos(material, part)
    faces = [faces[i] for i in np.linspace(0, len(faces) - 1, count).astype(int)]
    best = []
    for (detect, cut), height in zip(ways, BEST, strict=True):
        points, crops = [], []
        for photo in faces:
            frame, matrix = framed(
                photo, height, (2 * height, 2 * height), "as it is", np.random.default_rng(0)
            )
            scale, shift = matrix[0, 0], matrix[:, 2]
            found = detect(frame)
            which = nearest(found, photo.points * scale + shift)
            assert which is not None, "photographs are of faces that are found"
            five = found.points[which[0]].astype(np.float64)
            points.append((five - shift) / scale)
            crops.append(cut(frame, five))
        best.append((points, material.embed(np.stack(crops))))
    out: dict[tuple[str, str, str], list[list[Seen]]] = {}
    for (name, value), (frame_name, size) in itertools.product(HEIGHTS.items(), FRAMES.items()):
        rng = np.random.default_rng(0)
        for i, photo in enumerate(faces):
            condition = CONDITIONS[i % len(CONDITIONS)]
            height = value if value > 1 else value * size[0]
            frame, matrix = framed(photo, height, size, condition, rng)
            for k, (detect, cut) in enumerate(ways):
                points, features = best[k]
                right = points[i] * matrix[0, 0] + matrix[:, 2]
                found = detect(frame)
                which = nearest(found, right)
                own = right if which is None else found.points[which[0]].astype(np.float64)
                near = material.embed(np.stack([cut(frame, own), cut(frame, right)])) @ features[i]
                one = (None, None) if which is None else (which[1], float(near[0]))
                out.setdefault((name, frame_name, condition), [[], []])[k].append(Seen(*one, float(near[1])))
    return out


def table(material: Material, part: int = 1, count: int = PHOTOS) -> list[list[str]]:
    """Rows of a height and a frame are over all conditions; those of a condition over all from 60 pixels."""
    found = seen(material, part, count)
    what = ("found", "points", "cosine", "below 0.85", "right points")
    rows = [["face", "frame", *(f"{name}, {when}" for when in ("before", "after") for name in what)]]
    for height, frame in itertools.product(HEIGHTS, FRAMES):
        rows.append([height, frame, *summary([found[height, frame, kind] for kind in CONDITIONS])])
    for kinds in (*((kind,) for kind in CONDITIONS), CONDITIONS):
        some = [cell for key, cell in found.items() if key[2] in kinds and key[0] != "30 pixels"]
        rows.append(["60 pixels to 95 %", "all" if len(kinds) > 1 else f"all, {kinds[0]}", *summary(some)])
    return rows


def summary(cells: list[list[list[Seen]]]) -> list[str]:
    out = []
    for k in range(2):
        all_of = [one for cell in cells for one in cell[k]]
        errors = [one.error for one in all_of if one.error is not None]
        cosines = np.array([one.cosine for one in all_of if one.cosine is not None])
        out.append(f"{100 * len(errors) / len(all_of):.0f} %")
        if errors:
            out += [
                f"{np.mean(errors):.3f}",
                f"{cosines.mean():.3f}",
                f"{100 * (cosines < 0.85).mean():.0f} %",
            ]
        else:
            out += ["", "", ""]
        out.append(f"{np.mean([one.right for one in all_of]):.3f}")
    return out
