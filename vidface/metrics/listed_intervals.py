"""95 % intervals of AUC and EER over listed pairs, by the percentile bootstrap over people.

In a replicate, person i is drawn m_i times: a pair of two videos of one person counts m_i times, one of two people
m_i * m_j times, as in `vidface.metrics.resampled_pairs` (sources there). Pairs that share a person go in and out
together, as they are not independent: pairs drawn by themselves would give intervals that are too narrow. The curve of
a replicate is made of weights, never of repeated pairs. Tested in ``tests/metrics/test_listed_intervals.py`` against
scikit-learn's weighted curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.metrics.paired import draw
from vidface.metrics.pairs import crossing

__all__ = ["REPLICATES", "auc_eer_intervals"]

REPLICATES = 1000

Interval = tuple[float, float]


def auc_eer_intervals(
    scores: ArrayLike,
    same: ArrayLike,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> tuple[Interval, Interval] | None:
    """The intervals of the area under the curve, and of the equal error rate.

    Args:
        scores: [P], higher for more alike.
        same: bool [P], True for genuine pairs.
        first: int64 [P], who is in the first video of a pair: any numbers from 0 up; a video of nobody known has one
            that no other has.
        second: int64 [P], who is in the second.
        seed: of the random draws.
        replicates: how many times people are drawn.

    Returns:
        ((low, high) of the AUC, (low, high) of the EER); None where more than 1 in 40 replicates lack pairs of a kind,
        so that there are no percentiles to speak of.
    """
    values, labels = np.asarray(scores, np.float64), np.asarray(same, np.bool_)
    _, people = np.unique([first, second], return_inverse=True)
    one, other = people.reshape(2, -1)
    drawn = draw(int(people.max()) + 1, replicates=replicates, seed=seed)
    levels, level = np.unique(-values, return_inverse=True)  # the highest score first
    found = []
    for times in drawn.T.astype(np.float64):
        weights = np.where(one == other, times[one], times[one] * times[other])
        genuine, impostor = (
            np.bincount(level[kind], weights[kind], minlength=len(levels)) for kind in (labels, ~labels)
        )
        if genuine.sum() > 0 and impostor.sum() > 0:
            found.append(_auc_and_eer(genuine / genuine.sum(), impostor / impostor.sum()))
    if len(found) < replicates * 39 / 40:
        return None
    (auc_low, eer_low), (auc_high, eer_high) = np.quantile(found, [0.025, 0.975], axis=0).tolist()
    return (auc_low, auc_high), (eer_low, eer_high)


def _auc_and_eer(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> tuple[float, float]:
    """Of the shares of both kinds at every score, the highest first."""
    fpr, tpr = np.append(0.0, np.cumsum(impostor)), np.append(0.0, np.cumsum(genuine))
    fpr[-1] = tpr[-1] = 1.0  # rounding must not keep the curve from its end
    return float(np.sum(impostor * (tpr[1:] + tpr[:-1])) / 2), crossing(fpr, 1 - tpr)
