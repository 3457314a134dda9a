"""Semi-hard mining and the triplet loss that it feeds.

The paper names semi-hard mining as its last stage and does not say what the mined samples feed. Here it is the triplet
term of FaceNet (Schroff et al. 2015), where the expression comes from, on cosines in place of squared distances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vidface.training.losses.precision import full_precision


@torch.no_grad()
def semi_hard_triplets(similarity: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Choose for every ordered pair anchor-positive the hardest negative that is semi-hard.

    Semi-hard: farther from the anchor than the positive, but by less than the margin, cos_p - margin < cos_n < cos_p.
    A pair that has none is left out. Of equal negatives the first is taken. ``similarity`` is [N, N], cosines of the
    batch with itself; row: anchor.

    Returns:
        Anchors, positives and negatives, int64 [T] each, ordered by anchor, then positive. Memory is O(N^2).
    """
    same = labels[:, None] == labels
    pairs = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero()
    mined = []
    for anchors, positives in (block.T for block in torch.split(pairs, len(labels))):
        near = similarity[anchors, positives][:, None]
        rows = similarity[anchors]
        semi_hard = ~same[anchors] & (rows < near) & (rows > near - margin)
        negatives = rows.masked_fill(~semi_hard, -math.inf).argmax(dim=1)
        mined.append(torch.stack([anchors, positives, negatives])[:, semi_hard.any(dim=1)])
    anchors, positives, negatives = torch.cat(mined, dim=1)
    return anchors, positives, negatives


@full_precision
def triplet_loss(embeddings: Tensor, labels: Tensor, *, margin: float) -> Tensor:
    """Compute the mean over the mined triplets of cos_n - cos_p + margin, from embeddings [N, D] of any length.

    The choice of the triplets is a constant for the gradient. No hinge is needed: a semi-hard triplet is within
    the margin. The result is in (0, margin); 0 with a gradient of 0 where no triplet is semi-hard.
    """
    unit = functional.normalize(embeddings, dim=1)
    similarity = unit @ unit.T
    anchors, positives, negatives = semi_hard_triplets(similarity, labels, margin)
    excess = similarity[anchors, negatives] - similarity[anchors, positives] + margin
    return excess.sum() / max(len(anchors), 1)
