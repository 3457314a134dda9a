"""Tracklets of one person joined to tracks by their features, and tracks numbered by importance: 0 is the main person.

Joined are tracklets whose mean features are alike. Two faces in one frame are two people, however alike, and that says
more than it seems: blurred, dark and tiny faces are all alike to a network, far above the cosine that tells sharp ones
apart, and the video itself shows how alike its strangers are. `docs/faces.md` has the measurements.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError

# For MobileFaceNet, chosen on virtual videos of LFW; another network may want another one.
LINK_THRESHOLD = 0.45

# Memory goes with its square: 35 bytes a pair, 320 MB.
MOST_JOINED = 3000


def face_weights(
    boxes: npt.NDArray[np.floating[Any]],
    times: npt.NDArray[np.floating[Any]],
    size: tuple[int, int] | None,
    rule: str,
) -> npt.NDArray[np.float64]:
    """What each face counts when the main person is chosen, float64 [f]: the person with the largest sum is.

    ``rule`` is ``large``: the size, the root of the area of the box, (x0, y0, x1, y1). ``still``: the size, less the
    further the face is from the middle, nothing in the corners. ``centre``: 1 for the face nearest to the middle of its
    frame, else next to nothing; the size decides a tie. If the ``size`` of the frames is not known, all rules are
    ``large``.
    """
    boxes = np.asarray(boxes, np.float64)
    sizes = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    if size is None or rule == "large":
        return np.asarray(sizes)
    middle = np.array(size[::-1]) / 2
    away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, axis=1) / np.linalg.norm(middle)
    if rule == "still":
        return np.asarray(sizes * (1 - away))
    order = np.lexsort((-sizes, away, times))
    first = np.append(True, np.diff(np.asarray(times)[order]) != 0)[: len(order)]
    weights = 1e-9 * sizes
    weights[order[first]] += 1
    return np.asarray(weights)


def link_tracks(
    tracklets: npt.NDArray[np.int32],
    times: npt.NDArray[np.floating[Any]],
    weights: npt.NDArray[np.floating[Any]],
    features: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = LINK_THRESHOLD,
) -> npt.NDArray[np.int32]:
    """Join the tracklets of one video to tracks, and number these by importance.

    Two tracks at a time are joined, the most alike first (ties: the lower tracklets), and a joined track is compared
    anew. Alike is the cosine of means: of all L2-normalised features of a track, normalised again. Two may be joined if

    - no frame shows a face of both,
    - their cosine is at least ``threshold``, and
    - it is above that of each of the two with every track that shares a frame with it.

    Of a video with more than `MOST_JOINED` tracklets only so many, those of the largest sums of weights, are joined;
    each of the others is a track.

    Args:
        tracklets: int32 [f], the tracklet of every face; any order, numbers may have gaps.
        times: [f], seconds, of the frame of every face; faces of one frame have the same time.
        weights: [f], what a face counts for importance, as `face_weights` gives it.
        features: [f, d], not normalised. A face whose feature is zero or not finite counts for time and importance,
            not for the mean.
        threshold: cosine; above 1 nothing is joined.

    Returns:
        int32 [f]: the track of every face, 0 to t - 1. Track 0 has the largest sum of weights over its faces; ties go
        to the earlier first face, then to the lower tracklet. The order of the rows does not matter.

    Raises:
        UsageError: not as many of one as of the others, or a threshold that is not finite.
    """
    tracklets, times, weights = np.asarray(tracklets), np.asarray(times), np.asarray(weights)
    features = np.asarray(features)
    if not (len(tracklets) == len(times) == len(weights) == len(features)) or features.ndim != 2:
        raise UsageError("every face needs a tracklet, a time, a weight and a feature")
    if not np.isfinite(threshold):
        raise UsageError(f"the threshold must be a number, not {threshold}")
    if not len(tracklets):
        return np.empty(0, np.int32)
    names, of = np.unique(tracklets, return_inverse=True)
    # In one order whatever that of the rows, so that sums come out the same.
    order = np.lexsort((times, of))
    of, when, large = of[order], times[order], weights[order].astype(np.float64)
    group = np.arange(len(names))  # a track is named by its lowest tracklet
    joined = np.sort(np.argsort(-np.bincount(of, weights=large), kind="stable")[:MOST_JOINED])
    rows = np.isin(of, joined)
    some = np.searchsorted(joined, of[rows])
    sums = _sums(some, features, order[rows], len(joined))
    group[joined] = joined[_join(_together(some, when[rows], len(joined)), sums, threshold)]

    weight = np.bincount(group[of], weights=large, minlength=len(names))
    first = np.full(len(names), np.inf)
    np.minimum.at(first, group[of], when)
    tracks = np.unique(group)
    number = np.empty(len(names), np.int32)
    number[tracks[np.lexsort((tracks, first[tracks], -weight[tracks]))]] = np.arange(len(tracks))
    out = np.empty(len(of), np.int32)
    out[order] = number[group[of]]
    return out


def _sums(
    of: npt.NDArray[np.intp], features: npt.NDArray[Any], order: npt.NDArray[np.intp], count: int
) -> npt.NDArray[np.float64]:
    """The sum of the unit features of each tracklet, float64 [count, d]; ``features[order]`` are sorted by tracklet.

    One tracklet at a time: all at once would take several times the features' memory.
    """
    sums = np.empty((count, features.shape[1]))
    bounds = np.searchsorted(of, np.arange(count + 1))
    for tracklet, (start, stop) in enumerate(pairwise(bounds.tolist())):
        rows = features[order[start:stop]].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        rows[~np.isfinite(rows).all(axis=1)] = 0
        sums[tracklet] = np.add.reduceat(rows, [0], axis=0)[0]
    return sums


def _together(of: npt.NDArray[np.intp], times: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """Which tracklets share a frame: bool [count, count], False on the diagonal."""
    shared = np.zeros((count, count), np.bool_)
    by_time = np.argsort(times, kind="stable")
    for frame in np.split(of[by_time], np.flatnonzero(np.diff(times[by_time])) + 1):
        shared[np.ix_(frame, frame)] = True
    np.fill_diagonal(shared, False)
    return shared


def _join(
    together: npt.NDArray[np.bool_], sums: npt.NDArray[np.float64], threshold: float
) -> npt.NDArray[np.intp]:
    """Join t tracklets, the best pair first: intp [t], the lowest tracklet of the track of each."""
    count = len(sums)
    group = np.arange(count)
    units = _units(sums)
    cosines = np.empty((count, count))
    level = np.empty(count)  # how alike a track is to those who are other people for sure
    allowed = np.empty((count, count))  # the cosines of pairs that may be joined, else -inf

    def renew(rows: npt.NDArray[np.intp]) -> None:
        """Compare the given tracks with all."""
        level[rows] = np.where(together[rows], cosines[rows], -np.inf).max(axis=1)
        some = cosines[rows]
        # A track that shares a frame is at the level or below it, so it is never among these.
        fine = (some >= threshold) & (some > level[rows, None]) & (some > level)
        allowed[rows] = np.where(fine, some, -np.inf)
        allowed[:, rows] = allowed[rows].T

    for row in range(count):
        cosines[row] = _cosines(units, row)
    renew(group)
    while True:
        kept, gone = divmod(int(allowed.argmax()), count)
        if allowed[kept, gone] == -np.inf:
            return group
        group[group == gone] = kept
        sums[kept] += sums[gone]
        units[kept] = _units(sums[kept])
        units[gone] = np.nan
        together[kept] |= together[gone]
        together[:, kept] = together[kept]
        together[gone] = together[:, gone] = False
        cosines[kept] = cosines[:, kept] = _cosines(units, kept)
        cosines[gone] = cosines[:, gone] = -np.inf
        # What shared a frame with either has another level now, so its pairs are looked at again.
        renew(np.append(np.flatnonzero(together[kept]), [kept, gone]))


def _units(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vectors at unit length; one of zeros becomes NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.sqrt(np.einsum("...k,...k->...", sums, sums))[..., None])


def _cosines(units: npt.NDArray[np.float64], row: int) -> npt.NDArray[np.float64]:
    """One with all; -inf with itself and where there is no mean.

    einsum adds in one order, whatever the number of threads; a matrix product may not.
    """
    found = np.einsum("ik,k->i", units, units[row])
    found[row] = np.nan
    return np.where(np.isnan(found), -np.inf, found)
