"""TPR at FPR, the area under the curve and the equal error rate, over listed pairs.

`vidface.scores.metrics.all_pairs` is for all pairs of a set; here the pairs are given. A pair is accepted where its
score is at least the threshold; which point of the curve a target means is a rule of
`vidface.scores.metrics.fpr_rules`. Tested in ``tests/scores/metrics/test_fpr_rules.py`` against scikit-learn's
roc_curve and roc_auc_score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import booleans, numbers
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULES, FprRule, share_of_next, takes_next

__all__ = [
    "Operating",
    "auc",
    "equal_error_rate",
    "equal_error_rate_of_curve",
    "fpr_fraction",
    "tpr_of_listed_pairs",
]

_NO_RATE = re.compile(r"^.{65}|[eE][+-]?[\d_]{4}", re.DOTALL)


class Operating(NamedTuple):
    """One point of the curve.

    Attributes:
        target: the FPR aimed at, as given.
        tpr: accepted genuine pairs / genuine pairs; None where the target is below 1 / impostor pairs.
        threshold: the lowest score that is accepted by any pair there; None where ``tpr`` is, where no pair is
            accepted, and for ``interpolated``, which is between thresholds.
        fpr: accepted impostor pairs / impostor pairs there; the target itself for ``interpolated``.
    """

    target: str
    tpr: float | None
    threshold: float | None
    fpr: float | None


class Cut(NamedTuple):
    """Where impostors are cut off: only what scores above ``refused`` is accepted."""

    refused: Any  # the highest score that is not accepted; -inf where everything is
    share: float  # how far ``interpolated`` goes from there to where ``refused`` is accepted too; 0 under other rules
    accepted: int  # impostors above ``refused``


def cut_at(ascending: NDArray[Any], allowed: Fraction, rule: FprRule) -> Cut | None:
    """Where a target cuts scores of impostors; None where ``allowed``, target * N, is fewer than one of them."""
    if allowed < 1:
        return None
    total = len(ascending)
    # One more than allowed has at least this score: only what is above it may be accepted.
    refused = ascending[total - 1 - int(allowed)]
    below, above = (total - int(np.searchsorted(ascending, refused, side)) for side in ("right", "left"))
    if rule == "interpolated":
        return Cut(refused, share_of_next(allowed, below, above), below)
    if rule == "nearest" and takes_next(allowed, below, above):
        return Cut(
            ascending[total - 1 - above] if above < total else ascending.dtype.type(-np.inf), 0.0, above
        )
    return Cut(refused, 0.0, below)


def tpr_of_listed_pairs(
    scores: ArrayLike, same: ArrayLike, targets: Sequence[str], rule: FprRule = DEFAULT_RULE
) -> list[Operating]:
    """TPR at every target.

    Args:
        scores: [P], higher for more alike.
        same: bool [P], True for genuine pairs.
        targets: FPR targets as text ("1e-3"), so that target * pairs is exact; each above 0 and below 1.
        rule: which point of the curve a target means.

    Raises:
        ValueError: as `auc`, or a target outside (0, 1).
    """
    genuine, impostor = _split(scores, same)
    found = []
    for target in targets:
        hits, threshold, fpr = point_at(genuine, impostor, target, rule) or (None, None, None)
        found.append(Operating(target, None if hits is None else hits / len(genuine), threshold, fpr))
    return found


def point_at(
    genuine: NDArray[Any], impostor: NDArray[Any], target: str, rule: FprRule
) -> tuple[float, float | None, float] | None:
    """The point of the curve that a target means; None where it allows fewer than one impostor.

    ``genuine`` and ``impostor`` are scores, ascending. Returned are how many genuine ones are accepted there (between
    two points a share of one may be), and `Operating`'s ``threshold`` and ``fpr``.
    """
    fraction = fpr_fraction(target, rule)
    cut = cut_at(impostor, fraction * len(impostor), rule)
    if cut is None:
        return None
    # The next point is reached where the refused ones are accepted, and the genuine ones that tie with them.
    hits, through = (
        len(genuine) - int(np.searchsorted(genuine, cut.refused, side)) for side in ("right", "left")
    )
    if rule == "interpolated":
        return hits + cut.share * (through - hits), None, float(fraction)
    accepted = [part[part > cut.refused].min() for part in (genuine, impostor) if part[-1] > cut.refused]
    return hits, float(min(accepted)) if accepted else None, cut.accepted / len(impostor)


def auc(scores: ArrayLike, same: ArrayLike) -> float:
    """The area under the ROC curve: the chance that a genuine pair scores above an impostor one, ties half.

    Args:
        scores: [P], higher for more alike.
        same: bool [P], True for genuine pairs.

    Raises:
        ValueError: shapes that do not fit, scores that are not finite, or pairs that are all of one kind.
    """
    genuine, impostor = _split(scores, same)
    below = np.searchsorted(impostor, genuine, side="left").sum(dtype=np.int64)
    up_to = np.searchsorted(impostor, genuine, side="right").sum(dtype=np.int64)
    return float(int(below + up_to) / (2 * len(genuine) * len(impostor)))


def equal_error_rate(scores: ArrayLike, same: ArrayLike) -> float:
    """The equal error rate over listed pairs, by the definition of `equal_error_rate_of_curve`.

    The curve has a point for every different score as the threshold (accept where score >= threshold), so that pairs
    that tie are accepted together, and one that accepts nothing.

    Args:
        scores: [P], higher for more alike.
        same: bool [P], True for genuine pairs.

    Raises:
        ValueError: as `auc`.
    """
    genuine, impostor = _split(scores, same)
    levels = np.unique(np.concatenate([genuine, impostor]))[::-1]
    fpr = 1 - np.searchsorted(impostor, levels, side="left") / len(impostor)
    fnr = np.searchsorted(genuine, levels, side="left") / len(genuine)
    return equal_error_rate_of_curve(fpr, fnr)


def equal_error_rate_of_curve(fpr: NDArray[np.float64], fnr: NDArray[np.float64]) -> float:
    """The error rate where FPR and FNR are equal (EER, ISO/IEC 19795-1).

    A set of pairs has a point for each of its scores, and seldom one with both rates equal: taken is the straight line
    between the last point with FPR < FNR and the next one. That is where the ROC curve of scikit-learn, drawn with
    straight lines, meets the diagonal from (0, 1) to (1, 0), and does not depend on which of two points lies nearer.
    Other tools take the point where the rates differ least, or the mean of both there (FVC2000), which with few pairs
    is another number; or the convex hull of the curve, which is lower.

    Args:
        fpr: float64 [N], rising. The ends, where nothing and where everything is accepted, may be left out. The result
            is as exact as the points are close.
        fnr: float64 [N], falling.

    Raises:
        ValueError: lengths that differ, or rates that are not finite, outside 0..1, or not in this order.
    """
    fpr = numbers(fpr, "fpr")
    fnr = numbers(fnr, "fnr", len(fpr))
    if len(fpr) and (min(fpr[0], fnr[-1]) < 0 or max(fpr[-1], fnr[0]) > 1):
        raise ValueError("fpr and fnr must lie in 0..1")
    if (np.diff(fpr) < 0).any() or (np.diff(fnr) > 0).any():
        raise ValueError("fpr must rise and fnr fall")
    fpr, fnr = np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[1.0], fnr, [0.0]])
    after = int(np.argmax(fpr >= fnr))
    gap = fnr[after - 1] - fpr[after - 1]  # above 0: after is the first where it is not
    share = gap / (gap - (fnr[after] - fpr[after]))
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def _split(scores: ArrayLike, same: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scores of genuine and of impostor pairs, ascending."""
    values = numbers(scores, "scores")
    labels = booleans(same, "same", len(values))
    if not labels.any() or labels.all():
        raise ValueError("pairs of the same person and of different people are needed, both")
    return np.sort(values[labels]), np.sort(values[~labels])


def fpr_fraction(target: str, rule: FprRule = DEFAULT_RULE) -> Fraction:
    """An FPR target as it is written, exactly.

    Raises:
        ValueError: it is no number as text, or outside (0, 1), or a rule that is none of `FPR_RULES`.
    """
    if rule not in FPR_RULES:
        raise ValueError(f"the rule of FPR targets must be one of {', '.join(FPR_RULES)}, not {rule!r}")
    if not isinstance(target, str):
        raise ValueError(f"an FPR target must be text, such as '1e-3', so that it is exact; not {target!r}")
    try:
        # An exponent is written out: 1e-99999999999 would never end.
        fraction = Fraction(0) if _NO_RATE.search(target) else Fraction(target)
    except (ValueError, ZeroDivisionError):
        fraction = Fraction(0)
    if not 0 < fraction < 1:
        raise ValueError(f"an FPR target must be a number above 0 and below 1, such as 1e-3, not {target!r}")
    return fraction
