"""Small made-up sets of videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidface.manifest.manifest import Manifest


def manifest_of(rows: list[tuple[str, str, str]]) -> Manifest:
    ids, identities, splits = (list(column) for column in zip(*rows, strict=True))
    return Manifest(Path("set.csv"), Path(), ids, [f"{i}.mp4" for i in ids], identities, splits, "0" * 64)


def random_set(seed: int, people: int, per_person: int, distractors: int):
    """Videos of people around their own direction, some without usable frames."""
    rng = np.random.default_rng(seed)
    rows, vectors = [], []
    for person in range(people):
        centre = rng.normal(size=16)
        for take in range(per_person + 2):
            rows.append((f"v{person}_{take}", f"p{person}", "train" if take < 2 else "val"))
            vectors.append(centre + rng.normal(size=16) * 1.5)
    for number in range(distractors):
        rows.append((f"d{number}", "", "val"))
        vectors.append(rng.normal(size=16))
    embeddings = np.array(vectors, np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings[rng.random(len(rows)) < 0.03] = 0
    order = rng.permutation(len(rows))
    return manifest_of([rows[i] for i in order]), embeddings[order]
