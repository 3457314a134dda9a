"""The paper's equations 1 to 9 as loops over single samples with ``math``, to test the tensors against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

Vector = Sequence[float]


def vectors(tensor: Tensor) -> list[list[float]]:
    rows: list[list[float]] = tensor.detach().double().tolist()
    return rows


def cosine(a: Vector, b: Vector) -> float:
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    lengths = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    return max(-1.0, min(1.0, product / lengths))


def falling(phi: float) -> float:
    """cos(phi) on [0, pi]; after that the same fall once more, from -1 down to -3, and so on; the same below 0."""
    turns = 0
    while phi > math.pi:
        phi -= math.pi
        turns += 1
    while phi < 0:
        phi += math.pi
        turns -= 1
    return math.cos(phi) - 2 * turns


def margin(cos: float, m1: float, m2: float, m3: float) -> float:
    return falling(m1 * math.acos(cos) + m2) - m3


def cross_entropy(own: float, others: Vector) -> float:
    """-log(e^own / (e^own + sum e^others)), the largest taken out first: nothing overflows, no digits are lost."""
    largest = max([own, *others])
    if largest == own:
        return math.log1p(math.fsum(math.exp(z - own) for z in others))
    return largest + math.log(math.fsum(math.exp(z - largest) for z in [own, *others])) - own


def classification(
    embeddings: Tensor,
    weights: Tensor,
    labels: Tensor,
    *,
    scale: float,
    m1: float,
    m2: float,
    m3: float,
    t: float = 1.0,
) -> list[float]:
    """Equations 1 (m1 = 1, m3 = 0, t = 1), 3 (t = 1) and 5, per sample."""
    losses = []
    for x, y in zip(vectors(embeddings), labels.tolist(), strict=True):
        cosines = [cosine(x, w) for w in vectors(weights)]
        own = margin(cosines[y], m1, m2, m3)
        others = []
        for j, c in enumerate(cosines):
            if j != y:
                wins = 1 if own - c < 0 else 0
                others.append(scale * (t - 1) * (c + 1) * wins + scale * c)
        losses.append(cross_entropy(scale * own, others))
    return losses


def intra(embeddings: Tensor, weights: Tensor, labels: Tensor) -> list[float]:
    classes = vectors(weights)
    return [
        math.acos(cosine(x, classes[y])) for x, y in zip(vectors(embeddings), labels.tolist(), strict=True)
    ]


def inter(weights: Tensor) -> float:
    classes = vectors(weights)
    largest = [max(cosine(a, b) for j, b in enumerate(classes) if j != i) for i, a in enumerate(classes)]
    return math.fsum(largest) / len(classes)


def class_weight(n: int, beta: float) -> float:
    """Exact, in fractions: nothing cancels."""
    if n == 0:
        return 0.0
    b = Fraction(beta)
    return float((1 - b) / (1 - b**n))


def triplets(similarity: Tensor, labels: Tensor, margin: float) -> list[tuple[int, int, int]]:
    rows, y = similarity.tolist(), labels.tolist()
    count, mined = len(y), []
    lowest = (similarity - margin).tolist()  # the subtraction in the tensor's own precision
    for a in range(count):
        for p in range(count):
            if p == a or y[p] != y[a]:
                continue
            chosen = None
            for n in range(count):
                semi_hard = y[n] != y[a] and lowest[a][p] < rows[a][n] < rows[a][p]
                if semi_hard and (chosen is None or rows[a][n] > rows[a][chosen]):
                    chosen = n
            if chosen is not None:
                mined.append((a, p, chosen))
    return mined


def triplet_loss(embeddings: Tensor, labels: Tensor, margin: float) -> float:
    x = vectors(embeddings)
    similarity = torch.tensor([[cosine(a, b) for b in x] for a in x], dtype=torch.float64)
    mined = triplets(similarity, labels, margin)
    excess = [float(similarity[a, n] - similarity[a, p]) + margin for a, p, n in mined]
    return math.fsum(excess) / max(len(excess), 1)


def problem(
    *, samples: int = 7, classes: int = 5, size: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Random class weights, embeddings not far from their class, all of any length; no label is the last class."""
    made = torch.Generator().manual_seed(seed)
    weights = torch.randn(classes, size, generator=made, dtype=torch.float64)
    labels = torch.randint(max(classes - 1, 1), (samples,), generator=made)
    embeddings = weights[labels] + torch.randn(samples, size, generator=made, dtype=torch.float64)
    embeddings *= torch.rand(samples, 1, generator=made, dtype=torch.float64) * 3 + 0.2
    return embeddings.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_(), labels
