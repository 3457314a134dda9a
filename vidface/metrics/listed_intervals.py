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
    order = np.argsort(-values, kind="stable")  # the highest score first
    _, people = np.unique([first[order], second[order]], return_inverse=True)
    one, other = people.reshape(2, -1)
    of_one, genuine_pair = one == other, labels[order]
    last_of_ties = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    found = []
    for times in draw(int(people.max()) + 1, replicates=replicates, seed=seed).T.astype(np.float64):
        weights = times[one] * np.where(of_one, 1.0, times[other])
        accepted = np.cumsum(weights)[last_of_ties]  # sums of whole numbers: exact
        genuine = np.cumsum(np.where(genuine_pair, weights, 0.0))[last_of_ties]
        impostor = accepted - genuine
        if genuine[-1] > 0 and impostor[-1] > 0:
            tpr, fpr = (np.append(0.0, counts / counts[-1]) for counts in (genuine, impostor))
            area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)
            found.append((area, crossing(fpr, 1 - tpr)))
    if len(found) < replicates * 39 / 40:
        return None
    (auc_low, eer_low), (auc_high, eer_high) = np.quantile(found, [0.025, 0.975], axis=0).tolist()
    return (auc_low, auc_high), (eer_low, eer_high)
