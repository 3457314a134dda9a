"""Measures of sharpness on faces made worse: which follows what a network still recognises?"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from faces.material import WORSE, Array, Material, each, units
from vidface.frames.faces.quality import sharpness
from vidface.frames.frame import Pixels

INNER = slice(24, 104), slice(20, 92)


def per_face(measure: Callable[[Pixels], float]) -> Callable[[Pixels], Array]:
    return lambda faces: np.array([measure(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)) for face in faces])


MEASURES: dict[str, Callable[[Pixels], Array]] = {
    "variance of the Laplacian": per_face(lambda grey: cv2.Laplacian(grey, cv2.CV_64F)[INNER].var()),
    "the same over the variance of grey": per_face(
        lambda grey: cv2.Laplacian(grey, cv2.CV_64F)[INNER].var() / (grey[INNER].var() + 1)
    ),
    "ours": lambda faces: sharpness(faces).astype(np.float64),
}


def table(material: Material) -> list[list[str]]:
    """Cosine is that with the mean of the person's other photographs, which stay as they are; 100 people, 6 each."""
    faces, who = material.people(6, 6)
    faces, who = faces[:600], who[:600]
    clean = material.embed(faces)
    others = units(clean.reshape(100, 6, -1).sum(axis=1)[who] - clean)
    rows = [["faces", "cosine", *MEASURES]]
    cosines, values = [], []
    for name, change in WORSE.items():
        worse = each(faces, change)
        cosines.append((material.embed(worse) * others).sum(axis=1))
        values.append([measure(worse) for measure in MEASURES.values()])
        medians = [f"{np.median(value):.3g}" for value in values[-1]]
        rows.append([name, f"{cosines[-1].mean():.2f}", *medians])
    usable = np.concatenate(cosines) >= 0.4
    whole = np.concatenate([np.stack(value, axis=1) for value in values])
    areas = [f"{roc_auc_score(usable, whole[:, k]):.2f}" for k in range(len(MEASURES))]
    rows.append(["all: area under the curve, cosine 0.4 or more", "", *areas])
    return rows
