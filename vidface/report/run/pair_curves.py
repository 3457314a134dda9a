"""From the counts of all pairs to the curves and lists of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vidface.manifest.manifest import Manifest
from vidface.report.run.content import Curves, Histogram, OperatingPoint, Pair
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.pairs.distribution import Distribution, Extremes, rates_at_edges

__all__ = ["curves_of", "histogram_of", "pairs_of"]


def curves_of(found: Distribution, scores: Mapping[str, Any]) -> Curves | None:
    """ROC and DET over all pairs; None where all pairs are of one kind.

    Edges between which no pair lies add nothing but length, so of these only the ends stay.
    """
    genuine, impostors = int(found.same.sum()), int(found.different.sum())
    if not genuine or not impostors:
        return None
    # The highest edge accepts nothing here, although a score may be 1 by rounding or because two videos are one.
    fpr, tpr = rates_at_edges(found.different)[::-1], rates_at_edges(found.same)[::-1]
    moved = (np.diff(fpr) != 0) | (np.diff(tpr) != 0)
    worth = np.concatenate([[True], moved]) | np.concatenate([moved, [True]])
    intervals = scores["ci95"].get("tpr@fpr") or {}
    rule: FprRule = scores.get("fpr_rule", DEFAULT_RULE)
    reached = (scores.get("fpr_reached") or {}) if rule == "nearest" else {}
    points = []
    for target, value in (scores["tpr@fpr"] or {}).items():
        low, high = intervals.get(target) or (None, None)
        threshold = scores["threshold@fpr"][target]
        at = reached.get(target) or float(fpr_fraction(target))
        points.append(OperatingPoint(target, at, value, low, high, threshold))
    return Curves(
        found.edges[::-1][worth],
        fpr[worth],
        tpr[worth],
        genuine,
        impostors,
        points,
        f"all {genuine + impostors:,} pairs, none sampled; thresholds are 1/{round(1 / np.diff(found.edges)[0])} of "
        "cosine apart, and the rates at each of them are exact",
        rule,
    )


def histogram_of(found: Distribution, scores: Mapping[str, Any]) -> Histogram | None:
    """How all pairs are spread, with the thresholds of the FPR targets; None where there are no pairs."""
    if not found.same.any() and not found.different.any():
        return None
    thresholds = scores["threshold@fpr"] or {}
    known = {target: value for target, value in thresholds.items() if value is not None}
    return Histogram(found.edges, found.same, found.different, known)


def pairs_of(extremes: Extremes, video_ids: Sequence[str], manifest: Manifest) -> list[Pair]:
    """The pairs at one end by name; ``video_ids`` and the manifest are in the same order."""
    return [
        Pair(float(score), video_ids[a], manifest.identities[a], video_ids[b], manifest.identities[b])
        for score, (a, b) in zip(extremes.scores, extremes.pairs.tolist(), strict=True)
    ]
