"""Ten-fold accuracy over listed pairs, as LFW, CFP-FP and AgeDB-30 are reported.

The pairs are cut into folds in their order, without shuffling, or the list says which fold a pair belongs to. For each
fold, the threshold with the best accuracy on all the others decides on it. A pair is taken for the same person where
its squared Euclidean distance is below the threshold. Tested in ``tests/scores/metrics/test_folds.py`` against
scikit-learn's KFold and a loop over thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import booleans, integers, numbers
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import fpr_fraction, tpr_of_listed_pairs

__all__ = ["THRESHOLDS", "FoldResult", "ValResult", "cut_folds", "given_folds", "ten_folds", "val_at_far"]

# 0 <= d <= 4 for the squared distance of unit vectors; 4 itself is not among them in the reference either.
THRESHOLDS: NDArray[np.float64] = np.arange(0, 4, 0.01)
ROUNDING = 0.02  # beyond 0..4: of rows whose lengths are 1 but for `UNIT_TOLERANCE`, and of 2 - 2 * cosine


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
    """Accuracy of the threshold chosen on nine folds, on the tenth: `given_folds` with the folds of `cut_folds`."""
    fold = cut_folds(len(numbers(distances, "distances")), folds)
    return given_folds(distances, same, fold, thresholds=thresholds)


def cut_folds(pairs: int, folds: int) -> NDArray[np.int64]:
    """The fold of every pair, int64 [P] from 0 up: cut in their order; sizes differ by one at most, larger ones first.

    Raises:
        ValueError: fewer than two folds, or fewer pairs than folds.
    """
    if folds < 2 or pairs < folds:
        raise ValueError(f"{pairs} pairs cannot be cut into {folds} folds: take from 2 folds to that many")
    sizes = np.full(folds, pairs // folds)
    sizes[: pairs % folds] += 1
    return np.repeat(np.arange(folds), sizes)


def given_folds(
    distances: ArrayLike, same: ArrayLike, fold: ArrayLike, *, thresholds: ArrayLike = THRESHOLDS
) -> FoldResult:
    """Accuracy of the threshold chosen on all other folds, where the list says which pairs are a fold.

    Args:
        distances: [P], squared Euclidean distances of L2-normalised embeddings; compared in float64.
        same: bool [P], whether the pair is of one person.
        fold: int [P], the fold of every pair: any numbers, which need not stand together. Results are in the order
            of the numbers; every fold counts alike, however many pairs it has.
        thresholds: [T], ascending. Of equally good ones the first is taken.

    Raises:
        ValueError: shapes that do not fit, distances outside 0..4, all pairs in one fold, or pairs that are all of
            one kind, where every accuracy could be had by saying so.
    """
    values = numbers(distances, "distances")
    labels = booleans(same, "same", len(values))
    levels = numbers(thresholds, "thresholds")
    if levels.size == 0 or np.any(np.diff(levels) < 0):
        raise ValueError("thresholds must be one or more, and ascend")
    if len(values) and not (values.min() >= -ROUNDING and values.max() <= 4 + ROUNDING):
        raise ValueError(
            f"distances are {values.min():.4g} to {values.max():.4g}: squared distances of rows of unit length lie in "
            "0..4; divide every row by its length first"
        )
    given, place, sizes = np.unique(
        integers(fold, "fold", len(values)), return_inverse=True, return_counts=True
    )
    folds = len(given)
    if folds < 2:
        raise ValueError(f"fold must be [P] with two folds or more, not {place.shape} with {folds}")
    if labels.all() or not labels.any():
        raise ValueError(f"all pairs are of {'the same person' if labels[0] else 'different people'}")
    # The first threshold that lies above a distance is the first to call the pair the same; a count of where
    # those are, summed up along the thresholds, gives the right answers at each.
    steps = np.zeros((folds, levels.size + 1), np.int64)
    np.add.at(steps, (place, np.searchsorted(levels, values, side="right")), np.where(labels, 1, -1))
    different = np.bincount(place[~labels], minlength=folds)
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


class ValResult(NamedTuple):
    """The validation rate of FaceNet's report: TPR where the threshold is chosen for an FPR, on other folds.

    Attributes:
        val: mean over folds of accepted genuine pairs / genuine pairs.
        standard_error: of that mean: sample standard deviation / sqrt(folds).
        far: mean over folds of the FPR really reached on the fold: no rule can promise it.
    """

    val: float
    standard_error: float
    far: float


def val_at_far(
    scores: ArrayLike, same: ArrayLike, fold: ArrayLike, target: str, rule: FprRule = DEFAULT_RULE
) -> ValResult | None:
    """VAL at FAR by folds (Schroff et al., FaceNet, 2015, section 4), the threshold chosen on all other folds.

    Args:
        scores: [P], higher for more alike.
        same: bool [P].
        fold: int [P].
        target: an FPR as text.
        rule: which threshold of the others is meant; ``interpolated`` has none.

    Returns:
        None where it can't be had: a fold without pairs of both kinds, others with fewer than 1 / target impostor
        pairs, or a rule without threshold.

    Raises:
        ValueError: shapes that do not fit, scores that are not finite, all pairs in one fold, or a target outside
            (0, 1).
    """
    values = numbers(scores, "scores")
    labels, given = booleans(same, "same", len(values)), integers(fold, "fold", len(values))
    fpr_fraction(target, rule)  # one that is none is refused whatever the folds
    numbered = np.unique(given)
    if len(numbered) < 2:
        raise ValueError("fold must be [P] with two folds or more")
    rates = []
    for number in numbered:
        test = given == number
        kinds = (labels[part] for part in (test, ~test))
        if rule == "interpolated" or not all(part.any() and not part.all() for part in kinds):
            return None
        (point,) = tpr_of_listed_pairs(values[~test], labels[~test], [target], rule)
        if point.tpr is None:
            return None
        accepted = values[test] >= (np.inf if point.threshold is None else point.threshold)
        rates.append((accepted[labels[test]].mean(), accepted[~labels[test]].mean()))
    val, far = np.array(rates).T
    return ValResult(float(val.mean()), float(val.std(ddof=1) / np.sqrt(len(val))), float(far.mean()))
