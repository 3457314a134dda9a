"""Virtual videos of LFW's people: which threshold joins tracklets of one person and no others, with and without
strangers' level.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from faces.material import WORSE, Array, Material, each
from vidface.frames.faces.link import link_tracks

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
KINDS = (
    *("as it is", "blurred, sigma 2", "blurred, sigma 3", "was 24 pixels wide", "was 16 pixels wide"),
    "an eighth of the light",
)
VIDEOS, PEOPLE, SHOTS, TOGETHER, FACES = 60, 6, 5, 3, 3


@functools.cache
def features(material: Material, part: int) -> tuple[dict[str, Array], npt.NDArray[np.int64]]:
    """Of every second person with 10 photographs, from ``part``: for choosing (0) and for reporting (1)."""
    faces, who = material.people(10, 12, part, 2)
    return {kind: material.embed(each(faces, WORSE[kind])) for kind in KINDS}, who


def f_score(material: Material, part: int, kind: str, threshold: float, strangers: bool) -> float:
    """Of pairs of tracklets, over all videos: joined against of one person. ``mixed``: each tracklet its own kind."""
    of_kind, who = features(material, part)
    rng = np.random.default_rng(5)
    right = joined = true = 0
    for _ in range(VIDEOS):
        cast = rng.choice(who.max() + 1, PEOPLE, replace=False)
        left = {person: rng.permutation(np.flatnonzero(who == person)).tolist() for person in cast}
        tracklets, times, rows, people = [], [], [], []
        for shot in range(SHOTS):
            for person in rng.permutation(cast)[:TOGETHER]:
                if len(left[person]) < FACES:
                    continue
                used = KINDS[rng.integers(len(KINDS))] if kind == "mixed" else kind
                for k in range(FACES):
                    # Where strangers are not to be known, no two tracklets share a time.
                    times.append(shot + k / 8 if strangers else float(len(times)))
                    tracklets.append(len(people))
                    rows.append(of_kind[used][left[person].pop()])
                people.append(person)
        number = np.array(tracklets, np.int32)
        tracks = link_tracks(
            number, np.array(times), np.ones(len(number)), np.array(rows), threshold=threshold
        )
        first = np.searchsorted(number, np.arange(len(people)))
        upper = np.triu_indices(len(people), 1)
        one = (np.array(people)[:, None] == people)[upper]
        together = (tracks[first][:, None] == tracks[first])[upper]
        right, joined, true = right + (one & together).sum(), joined + together.sum(), true + one.sum()
    return float(2 * right / (joined + true))


def table(material: Material) -> list[list[str]]:
    rows = [["people", "faces", "strangers", *map(str, THRESHOLDS)]]
    for part, name in enumerate(("for choosing", "for reporting")):
        for strangers in (False, True):
            scores = [
                [f_score(material, part, kind, threshold, strangers) for threshold in THRESHOLDS]
                for kind in (*KINDS, "mixed")
            ]
            for kind, score in zip((*KINDS, "mixed"), scores, strict=True):
                if part:
                    rows.append(
                        [name, kind, "kept apart" if strangers else "unknown", *(f"{s:.3f}" for s in score)]
                    )
            mean = np.mean(scores, axis=0)
            rows.append(
                [name, "mean of all", "kept apart" if strangers else "unknown", *(f"{s:.3f}" for s in mean)]
            )
    return rows
