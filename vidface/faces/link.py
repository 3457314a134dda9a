"""Tracklets of one person joined to tracks by their features, and tracks numbered by importance: 0 is the main person.

Joined are tracklets whose mean features are alike and that no frame shows together: two faces in one frame are two
people, however alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError

__all__ = ["LINK_THRESHOLD", "link_tracks"]

LINK_THRESHOLD = 0.4


def link_tracks(
    tracklets: npt.NDArray[np.int32],
    times: npt.NDArray[np.floating[Any]],
    sizes: npt.NDArray[np.floating[Any]],
    features: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = LINK_THRESHOLD,
) -> npt.NDArray[np.int32]:
    """Join the tracklets of one video to tracks, and number these by importance.

    Two tracks at a time are joined, the most alike first, while the cosine of their means is at least the threshold.
    A mean is that of all their L2-normalised features, normalised again; it is renewed after every join. Two tracks
    that have a face at the same time are never joined.

    Args:
        tracklets: int32 [f], the tracklet of every face; any order, numbers may have gaps.
        times: [f], seconds, of the frame of every face; faces of one frame have the same time.
        sizes: [f], how large a face is, for example the square root of its box's area in pixels.
        features: [f, d], as the backbone gives them, float16 or wider, not normalised. A face whose feature is not
            finite or zero counts for times and importance, not for the mean.
        threshold: cosine, -1 to 1; above 1 nothing is joined.

    Returns:
        int32 [f]: the track of every face, 0 to t - 1. Track 0 has the largest sum of sizes over its faces; ties go to
        the earlier first face, then to the lower tracklet. The order of the rows does not matter.
    """
    tracklets = np.asarray(tracklets)
    if not (len(tracklets) == len(times) == len(sizes) == len(features)):
        raise UsageError("tracklets, times, sizes and features must have as many rows as each other")
    names, of = np.unique(tracklets, return_inverse=True)
    order = np.lexsort((np.asarray(times), of))
    units = np.asarray(features, np.float64)
    units = np.where(np.isfinite(units).all(axis=1, keepdims=True), units, 0)
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    units = units / np.where(norms > 0, norms, 1)
    sums = np.zeros((len(names), units.shape[1]))
    when: list[set[float]] = [set() for _ in names]
    weight = np.zeros(len(names))
    first = np.full(len(names), np.inf)
    for row in order:
        sums[of[row]] += units[row]
        when[of[row]].add(float(times[row]))
        weight[of[row]] += float(sizes[row])
        first[of[row]] = min(first[of[row]], float(times[row]))
    groups = [[number] for number in range(len(names))]
    while True:
        best, pair = threshold, None
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                x = sums[groups[a]].sum(axis=0)
                y = sums[groups[b]].sum(axis=0)
                length = float(np.linalg.norm(x) * np.linalg.norm(y))
                cosine = float(x @ y) / length if length > 0 else -np.inf
                together = set().union(*(when[i] for i in groups[a])) & set().union(
                    *(when[i] for i in groups[b])
                )
                if not together and (cosine > best or (pair is None and cosine >= best)):
                    best, pair = cosine, (a, b)
        if pair is None:
            break
        groups[pair[0]] += groups.pop(pair[1])
    ranked = sorted(groups, key=lambda g: (-weight[g].sum(), first[g].min(), min(g)))
    track = np.empty(len(names), np.int32)
    for number, group in enumerate(ranked):
        track[group] = number
    return np.asarray(track[of], np.int32)
