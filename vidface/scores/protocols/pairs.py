"""Listed pairs: 1:1 verification over the pairs of a list, as a whole or by folds, as LFW and YouTube Faces report it.

A pair's score is the cosine of its embeddings, accepted from the threshold on; its label is the list's. A video
without a usable frame has a zero embedding: its pairs score 0, as in `vidface.scores.protocols.lfrc`, at squared
distance 2, that of vectors at a right angle, even if both are zero. Tested in
``tests/scores/protocols/test_listed_pairs.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.arrays import integers
from vidface.scores.metrics.bootstrap import auc_eer_intervals, bootstrap_mean, bootstrap_ratio
from vidface.scores.metrics.folds import THRESHOLDS, cut_folds, given_folds, val_at_far
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.scores.metrics.listed_pairs import Operating, auc, equal_error_rate, tpr_of_listed_pairs
from vidface.scores.protocols.protocol import rates
from vidface.scores.text import too_few

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

TARGETS = ("1e-1", "1e-2", "1e-3", "1e-4")
VAL_TARGET = "1e-3"
FOLDS = 10
MOST_FOLDS = 1000  # each is scored against all others, so time grows with pairs times folds
_BLOCK = 4096


def definitions(rule: FprRule, *, folds: bool) -> dict[str, str]:
    found = {
        "score": "cosine of the two embeddings; 0 where one of them is zero; accepted where score >= threshold",
        "tpr@fpr": (
            f"{FPR_RULE_TEXT[rule]}, over the listed pairs; null where fewer than one impostor pair may be accepted; "
            "intervals draw the people of the genuine pairs again, at the threshold found"
        ),
        "auc": "chance that a genuine pair scores above an impostor pair, ties half; the interval draws people again",
        "eer": (
            "error rate where FPR and FNR are equal, on the straight line between the points around it; the interval "
            "draws people again"
        ),
    }
    if folds:
        found["accuracy"] = (
            f"squared Euclidean distance of unit embeddings, same where below a threshold of {THRESHOLDS[0]:g} to "
            f"{THRESHOLDS[-1]:g} in steps of 0.01; each fold with the best threshold of the others; mean over folds; "
            "std: population standard deviation; standard_error: sample standard deviation / sqrt(folds); the interval "
            "draws folds again"
        )
        found["val@far"] = (
            f"by folds: TPR on a fold at the threshold that has FPR {VAL_TARGET} on the others ({rule}); mean over "
            "folds; far: the FPR reached on the folds themselves"
        )
    return found


def pair_scores(embeddings: NDArray[np.float32], first: Integers, second: Integers) -> tuple[Floats, Flags]:
    """The cosine of every pair of rows (int64 [P] each) of float32 [V, D], unit or zero.

    Returns:
        float64 [P], exactly 0 if one of the two rows is zero; and bool [P], whether neither is.

    Raises:
        ValueError: lists of different lengths, or a number below 0.
    """
    first = integers(first, "first", at_least=0)
    second = integers(second, "second", len(first), at_least=0)
    scores = np.zeros(len(first))
    usable = np.zeros(len(first), np.bool_)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        one, other = (np.asarray(embeddings[rows[part]], np.float64) for rows in (first, second))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        usable[part] = lengths > 0
        np.divide(np.einsum("pd,pd->p", one, other), lengths, out=scores[part], where=lengths > 0)
    return scores, usable


def score_listed_pairs(
    scores: Floats,
    same: Flags,
    first: Integers,
    second: Integers,
    targets: Sequence[str] = TARGETS,
    *,
    fpr_rule: FprRule = DEFAULT_RULE,
) -> dict[str, Any]:
    """Rates over all pairs at once.

    Args:
        scores: float64 [P].
        same: bool [P], what the list says.
        first, second: int64 [P], people's numbers, from 0 up; an unknown person has one that no other has.
        targets: FPR targets as text.
        fpr_rule: which point of the curve a target means.

    Raises:
        ValueError: pairs that are all of one kind.
    """
    points = tpr_of_listed_pairs(scores, same, targets, fpr_rule)
    different = int((~same).sum())
    _, person = np.unique(first[same], return_inverse=True)
    intervals = auc_eer_intervals(scores, same, first, second)
    return {
        **rates(points),
        "auc": auc(scores, same),
        "eer": equal_error_rate(scores, same),
        "ci95": {
            "tpr@fpr": {point.target: _interval(point, scores[same], person) for point in points},
            "auc": None if intervals is None else list(intervals[0]),
            "eer": None if intervals is None else list(intervals[1]),
        },
        "counts": {"pairs": len(same), "same": len(same) - different, "different": different},
        "warnings": too_few(
            "TPR at FPR", [p.target for p in points if p.tpr is None], different, "pairs of different people"
        ),
    }


def _interval(point: Operating, genuine: Floats, person: Integers) -> list[float] | None:
    """Genuine pairs are drawn by person; a rule without threshold has no interval."""
    if point.tpr is None or (point.threshold is None and point.tpr > 0):
        return None
    threshold = np.inf if point.threshold is None else point.threshold
    return list(bootstrap_ratio(np.bincount(person, genuine >= threshold), np.bincount(person)))


def fold_numbers(folds: Integers | None, pairs: int) -> Integers:
    """The folds that the list gives, or ten in its order, from 1 up.

    Raises:
        ValueError: fewer than ten pairs without folds, or more folds than `MOST_FOLDS`.
    """
    if folds is None:
        return 1 + cut_folds(pairs, FOLDS)
    given = len(np.unique(folds))
    if given > MOST_FOLDS:
        raise ValueError(f"{given} folds; at most {MOST_FOLDS} are scored")
    return folds


def accuracy_of(scores: Floats, same: Flags, folds: Integers | None, used: Flags) -> float | None:
    """Accuracy by folds of the used pairs alone, each in the fold it has among all; None if it is not defined.

    ``scores`` and ``same`` are of the used pairs; ``used``, bool [P], says which of all these are.
    """
    try:
        return given_folds(np.clip(2 - 2 * scores, 0, 4), same, fold_numbers(folds, len(used))[used]).accuracy
    except ValueError:  # too few, or all of one kind
        return None


def score_folds(
    scores: Floats, same: Flags, folds: Integers, *, fpr_rule: FprRule = DEFAULT_RULE
) -> dict[str, Any]:
    """Accuracy and VAL by folds, from cosines [P]; thresholds are squared distances d; as a cosine, 1 - d / 2.

    Raises:
        ValueError: fewer than two folds, or pairs that are all of one kind.
    """
    result = given_folds(np.clip(2 - 2 * scores, 0, 4), same, folds)
    sizes, of_one = Counter(folds.tolist()), Counter(folds[same].tolist())
    rows = [
        {
            "fold": fold,
            "pairs": sizes[fold],
            "same": of_one[fold],
            "accuracy": accuracy,
            "threshold": threshold,
        }
        for fold, accuracy, threshold in zip(
            sorted(sizes), result.accuracies.tolist(), result.thresholds.tolist(), strict=True
        )
    ]
    val = val_at_far(scores, same, folds, VAL_TARGET, fpr_rule)
    warnings = []
    one_kind = [str(row["fold"]) for row in rows if row["same"] in (0, row["pairs"])]
    if one_kind:
        warnings.append(
            f"{len(one_kind)} of {len(rows)} folds hold pairs of one kind only (fold {', '.join(one_kind)}): a fold "
            "should mix same and different"
        )
    if val is None:
        reason = "rule interpolated has no threshold" if fpr_rule == "interpolated" else "too few pairs"
        warnings.append(f"VAL at FAR {VAL_TARGET} is not measured: {reason}")
    return {
        "accuracy": result.accuracy,
        "std": result.std,
        "standard_error": result.standard_error,
        "folds": rows,
        "threshold": result.best_threshold,
        "threshold_accuracy": result.best_accuracy,
        "val@far": None if val is None else {"target": VAL_TARGET, **val._asdict()},
        "ci95": {"accuracy": list(bootstrap_mean(result.accuracies))},
        "counts": {"folds": len(rows)},
        "warnings": warnings,
    }
