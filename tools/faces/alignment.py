"""Crops of another tool against ours, for several estimators and interpolations; and the points of the detector."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from faces.material import Array, Material, pixels
from vidface.frames.faces.align import TEMPLATE, align_faces, similarities
from vidface.frames.frame import Pixels

ESTIMATORS: dict[str, Callable[[Array], Array]] = {
    "similarity, least squares": lambda points: similarities(points[None], TEMPLATE)[0],
    "similarity, OpenCV's LMEDS": lambda points: cv2.estimateAffinePartial2D(
        points, TEMPLATE, method=cv2.LMEDS
    )[0],
    "similarity, OpenCV's RANSAC": lambda points: cv2.estimateAffinePartial2D(points, TEMPLATE)[0],
    "least squares, half a pixel off": lambda points: similarities(points[None], TEMPLATE + 0.5)[0],
}
READ = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST}


def apart(a: Pixels, b: Pixels) -> Array:
    """Mean absolute difference of each pair, of 255."""
    return np.asarray(np.abs(a.astype(np.int16) - b).mean(axis=(1, 2, 3)))


def stored_again(face: Pixels, like: bytes) -> Pixels:
    """Through a JPEG with the tables of another."""
    content = io.BytesIO()
    Image.fromarray(face).save(content, "JPEG", qtables=Image.open(io.BytesIO(like)).quantization)
    return np.array(Image.open(content))


def table(material: Material) -> list[list[str]]:
    photos = {name: pixels(content) for name, content in material.stored("photos.tar").items()}
    stored = [material.crops[name] for name in photos]
    theirs = np.stack([pixels(content) for content in stored])
    rows = [["estimator", "pixels read", "difference, mean", "difference, worst crop"]]
    for name, estimate in ESTIMATORS.items():
        for read, flag in READ.items():
            if read != "bilinear" and name != next(iter(ESTIMATORS)):
                continue
            ours = np.stack(
                [
                    cv2.warpAffine(photo, estimate(material.points[file]), (112, 112), flags=flag)
                    for file, photo in photos.items()
                ]
            )
            away = apart(ours, theirs)
            rows.append([name, read, f"{away.mean():.2f}", f"{away.max():.2f}"])
    ours = np.concatenate([align_faces(photo, material.points[file][None]) for file, photo in photos.items()])
    away = apart(np.stack([stored_again(*pair) for pair in zip(ours, stored, strict=True)]), theirs)
    rows.append(["ours", "bilinear, stored as the same JPEG", f"{away.mean():.2f}", f"{away.max():.2f}"])
    return rows


def agreement(material: Material) -> str:
    """One line on the detector's points, and on the features of what is aligned by them."""
    photos = {name: pixels(content) for name, content in material.stored("photos.tar").items()}
    away, cosines, found_in = [], [], 0
    for file, photo in photos.items():
        found = material.detector(photo)
        if not len(found.points):
            continue
        found_in += 1
        distance = np.linalg.norm(found.points - material.points[file], axis=2)
        nearest = int(distance.mean(axis=1).argmin())
        away.append(distance[nearest])
        ours = align_faces(photo, found.points[nearest : nearest + 1])
        a, b = material.embed(np.concatenate([ours, pixels(material.crops[file])[None]]))
        cosines.append(float(a @ b))
    return (
        f"a face in {found_in} of {len(photos)} photographs; points: mean {np.mean(away):.4f}, "
        f"at most {np.max(away):.4f} pixels from the list; features of the aligned faces and of the crops: "
        f"cosine {np.mean(cosines):.4f}, at least {np.min(cosines):.4f}"
    )
