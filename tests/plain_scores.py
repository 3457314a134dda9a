"""Scores by loops, from their definitions: what they are compared with shares no code with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def retrieval(rows: Sequence[tuple[str, str, str]], embeddings: np.ndarray) -> dict[str, float]:
    """mAP@100 and hit@k of videos (id, identity, ``train`` or ``val``): every template against every gallery video."""
    wide = embeddings.astype(np.float64)
    gallery = [i for i, (_, _, split) in enumerate(rows) if split == "val"]
    truth = sorted({rows[i][1] for i in gallery} - {""})
    ap, hits = [], {1: [], 5: [], 10: []}
    for identity in truth:
        enrolled = [i for i, row in enumerate(rows) if row[1:] == (identity, "train") and wide[i].any()]
        ranked: list[int] = []
        if enrolled:
            template = np.mean(wide[enrolled], axis=0)
            searched = [i for i in gallery if wide[i].any()]
            ranked = sorted(searched, key=lambda i: (-float(wide[i] @ template), rows[i][0]))
        right = [rows[i][1] == identity for i in ranked[:100]]
        precisions = [sum(right[:rank]) / rank for rank, hit in enumerate(right, 1) if hit]
        ap.append(sum(precisions) / sum(rows[i][1] == identity for i in gallery))
        for k in hits:
            hits[k].append(any(right[:k]))
    return {"mAP@100": float(np.mean(ap)), **{f"hit@{k}": float(np.mean(each)) for k, each in hits.items()}}
