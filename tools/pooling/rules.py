"""The rules of the study: the frames of one video to a weight for each, without knowing who is who.

Those that vidface offers are its own functions; the others are written as plainly as they are published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import weigh_frames
from vidface.embeddings.union_find import cluster_frames

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Video:
    """The features float32 [n, D] of one video, and what rules ask of them."""

    rows: NDArray[np.float32]

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        return normalise_rows(self.rows)

    @cached_property
    def norms(self) -> Weights:
        return np.linalg.norm(self.rows.astype(np.float64), axis=1)

    @cached_property
    def cosines(self) -> Weights:
        wide = self.unit.astype(np.float64)
        return wide @ wide.T

    @cached_property
    def _labels(self) -> dict[float, NDArray[np.int32]]:
        return {}

    def labels(self, threshold: float) -> NDArray[np.int32]:
        if threshold not in self._labels:
            self._labels[threshold] = cluster_frames(self.unit, threshold)
        return self._labels[threshold]


Rule = Callable[[Video], Weights]


def mean_of(video: Video, weights: Weights) -> NDArray[np.float32]:
    """float32 [D], the weighted mean of the unit rows, of unit length."""
    mean = weights @ video.unit.astype(np.float64)
    length = np.linalg.norm(mean)
    return (mean / length if length > 0 else mean).astype(np.float32)


def largest(threshold: float) -> Rule:
    """The paper's: the largest cluster."""
    return lambda video: (video.labels(threshold) == 0).astype(np.float64)


def size_norm(threshold: float) -> Rule:
    """``--pool size-norm``."""
    return lambda video: weigh_frames(video.norms, video.labels(threshold), by_norm=True)


def size(threshold: float) -> Rule:
    """``--pool size``."""
    return lambda video: weigh_frames(video.norms, video.labels(threshold), by_norm=False)


def first_power(threshold: float) -> Rule:
    """Every frame by the size of its cluster, not the square of it."""
    return lambda video: size(threshold)(video) ** 0.5


def heaviest(threshold: float, power: float) -> Rule:
    """The cluster with the largest sum of a power of the norms, in place of the largest one."""

    def rule(video: Video) -> Weights:
        labels = video.labels(threshold)
        return (labels == np.argmax(np.bincount(labels, video.norms**power))).astype(np.float64)

    return rule


def clear_largest(threshold: float) -> Rule:
    """The cluster with the most clear frames, clear as for size-norm; the others are left out."""

    def rule(video: Video) -> Weights:
        labels = video.labels(threshold)
        clear = weigh_frames(video.norms, np.arange(len(labels)), by_norm=True) ** (
            1 / 3
        )  # clusters of one frame: g^3
        return (labels == np.argmax(np.bincount(labels, clear))) * clear

    return rule


def average(video: Video) -> Weights:
    """All frames alike."""
    return np.ones(len(video.norms))


def by_norm(power: float) -> Rule:
    """All frames by a power of their norm."""
    return lambda video: video.norms**power


def clear_average(video: Video) -> Weights:
    """All frames by how clear they are, as for size-norm; no clusters."""
    return weigh_frames(video.norms, np.zeros(len(video.norms), int), by_norm=True)


def density(power: float) -> Rule:
    """A power of the sum of a frame's cosines to all frames, negative ones as 0."""
    return lambda video: np.maximum(video.cosines, 0).sum(axis=1) ** power


def attention(sharpness: float) -> Rule:
    """A softmax of the mean cosine to all frames."""
    return lambda video: np.exp(sharpness * video.cosines.mean(axis=1))


def mean_shift(sharpness: float, rounds: int = 5) -> Rule:
    """Again and again: a softmax of the cosine to the mean so far."""

    def rule(video: Video) -> Weights:
        weights = average(video)
        for _ in range(rounds):
            weights = np.exp(sharpness * (video.unit @ mean_of(video, weights).astype(np.float64)))
        return weights

    return rule


def geometric_median(video: Video) -> Weights:
    """Weiszfeld's iteration: frames by one over the distance to the mean so far."""
    weights = average(video)
    for _ in range(30):
        mean = weights @ video.unit / weights.sum()
        weights = 1 / np.maximum(np.linalg.norm(video.unit - mean, axis=1), 1e-3)
    return weights


def trimmed(video: Video) -> Weights:
    """The half of the frames that is nearest to the mean."""
    near = video.unit @ mean_of(video, average(video))
    return (near >= np.median(near)).astype(np.float64)


def around_medoid(threshold: float) -> Rule:
    """The frames at such a cosine to the frame with the largest sum of cosines."""
    return lambda video: (video.cosines[np.argmax(video.cosines.sum(axis=1))] >= threshold - 1e-6).astype(
        float
    )


def own_threshold(video: Video) -> Weights:
    """The largest cluster at the largest gap between the cosines at which clusters join."""
    n = len(video.norms)
    reach = video.cosines[0].copy()
    inside = np.zeros(n, bool)
    inside[0] = True
    joins = []
    for _ in range(n - 1):  # Prim: the maximum spanning tree
        frame = int(np.argmax(np.where(inside, -np.inf, reach)))
        joins.append(float(reach[frame]))
        inside[frame] = True
        reach = np.maximum(reach, video.cosines[frame])
    if len(joins) < 2:
        return average(video)
    joins.sort(reverse=True)
    gap = int(np.argmax(-np.diff(joins)))
    return largest((joins[gap] + joins[gap + 1]) / 2)(video)


def rules_at(threshold: float) -> dict[str, Rule]:
    """The rules that join frames at a threshold."""
    return {
        "largest": largest(threshold),
        "size": size(threshold),
        "size-norm": size_norm(threshold),
        "size, first power": first_power(threshold),
        "largest sum of norm^4": heaviest(threshold, 4),
        "most clear frames": clear_largest(threshold),
        "around the medoid": around_medoid(threshold),
    }


RULES: dict[str, Rule] = {
    "average": average,
    "norm^2": by_norm(2),
    "clear frames": clear_average,
    "density": density(1),
    "density^2": density(2),
    "attention, 5": attention(5),
    "mean shift, 5": mean_shift(5),
    "geometric median": geometric_median,
    "nearest half": trimmed,
    "threshold of its own": own_threshold,
}
