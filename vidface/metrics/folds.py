"""Ten-fold accuracy over listed pairs, as LFW, CFP-FP and AgeDB-30 are reported.

The pairs are cut into folds in their order, without shuffling. For each fold, the threshold with the best accuracy
on all the others decides on it. A pair is taken for the same person where its squared Euclidean distance is below
the threshold. Tested in ``tests/metrics/test_folds.py`` against scikit-learn's KFold and a loop over thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["THRESHOLDS", "FoldResult", "ten_folds"]

# 0 <= d <= 4 for the squared distance of unit vectors; 4 itself is not among them in the reference either.
THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, 0.01)


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Accuracy over folds.

    Attributes:
        accuracy: mean over folds.
        std: population standard deviation over folds, as these sets are reported in papers.
        standard_error: of the mean: sample standard deviation / sqrt(folds), as LFW's own page defines it.
        accuracies: float64 [K], of every fold.
        thresholds: float64 [K], chosen on the other folds.
        best_threshold: the first with the best accuracy on all pairs at once.
        best_accuracy: that accuracy; it has seen the pairs it is measured on.
    """

    accuracy: float
    std: float
    standard_error: float
    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    best_threshold: float
    best_accuracy: float


def ten_folds(
    distances: ArrayLike, same: ArrayLike, *, folds: int = 10, thresholds: ArrayLike = THRESHOLDS
) -> FoldResult:
    """Accuracy of the threshold chosen on nine folds, on the tenth.

    Args:
        distances: [P], squared Euclidean distances of L2-normalised embeddings; compared in float64.
        same: bool [P], whether the pair is of one person.
        folds: K >= 2; fold sizes differ by one at most, the larger ones come first.
        thresholds: [T], ascending. Of equally good ones the first is taken.

    Raises:
        ValueError: shapes that do not fit, distances that are not finite, fewer pairs than folds, fewer than two
            folds, or pairs that are all of one kind, where every accuracy could be had by saying so.
    """
    values, labels = np.asarray(distances, np.float64), np.asarray(same, np.bool_)
    levels = np.asarray(thresholds, np.float64)
    if values.ndim != 1 or labels.shape != values.shape or levels.ndim != 1 or levels.size == 0:
        raise ValueError(
            f"distances and same must be [P] and thresholds [T], not {values.shape}, {labels.shape}"
        )
    if np.any(np.diff(levels) < 0):
        raise ValueError("thresholds must ascend")
    if not np.isfinite(values).all():
        raise ValueError("distances that are not finite")
    if folds < 2 or len(values) < folds:
        raise ValueError(
            f"{len(values)} pairs cannot be cut into {folds} folds: take from 2 folds to that many"
        )
    if labels.all() or not labels.any():
        raise ValueError(f"all pairs are of {'the same person' if labels[0] else 'different people'}")

    sizes = np.full(folds, len(values) // folds)
    sizes[: len(values) % folds] += 1
    fold = np.repeat(np.arange(folds), sizes)
    # The first threshold that lies above a distance is the first to call the pair the same; a count of where
    # those are, summed up along the thresholds, gives the right answers at each.
    place = np.searchsorted(levels, values, side="right")
    shape = (folds, levels.size + 1)
    steps = np.zeros(shape, np.int64)
    np.add.at(steps, (fold, place), np.where(labels, 1, -1))
    different = np.bincount(fold[~labels], minlength=folds)
    right = different[:, None] + np.cumsum(steps, axis=1)[:, :-1]  # [K, T]

    total = right.sum(axis=0)
    chosen = np.argmax(total - right, axis=1)
    accuracies = right[np.arange(folds), chosen] / sizes
    best = int(np.argmax(total))
    return FoldResult(
        accuracy=float(accuracies.mean()),
        std=float(accuracies.std()),
        standard_error=float(accuracies.std(ddof=1) / np.sqrt(folds)),
        accuracies=accuracies,
        thresholds=levels[chosen],
        best_threshold=float(levels[best]),
        best_accuracy=float(total[best] / len(values)),
    )
