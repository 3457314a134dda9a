"""Scores of a rule over sets of virtual videos, a person at a time, and paired intervals of differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pooling.pictures import Features
from pooling.rules import Rule, Video, mean_of
from pooling.videos import Videos
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.bootstrap import difference, mean_replicates
from vidface.scores.metrics.ranking import average_precision_at_k
from vidface.scores.search.retrieval import identity_templates, search

MEASURES = ("mAP@100", "TPR at FPR 1e-3", "TPR at FPR 1e-4")
TARGETS = ("1e-3", "1e-4")


class Scores(NamedTuple):
    """float64 [people, len(MEASURES)]: of each person the mean over the sets; the mean of a column is the
    score, NaN where there are too few pairs for the target."""

    people: list[str]
    values: NDArray[np.float64]


def cut(features: Features, videos: Videos) -> list[Video]:
    """The videos of a set, ready for rules."""
    rows = features.rows[videos.rows]
    return [Video(rows[a:b]) for a, b in pairwise(videos.offsets)]


def score(rule: Rule, sets: Sequence[tuple[Videos, list[Video]]]) -> Scores:
    """Pool every video by the rule and score every set by both protocols."""
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for videos, cuts in sets:
        embeddings = np.stack([mean_of(video, rule(video)) for video in cuts])
        for name, values in _one_set(videos, embeddings).items():
            found[name].append(values)
    people = sorted(found)
    return Scores(people, np.array([np.mean(found[name], axis=0) for name in people]))


def _one_set(videos: Videos, embeddings: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    splits, identities = np.array(videos.splits), np.array(videos.identities)
    enrolled, gallery = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "val")
    names, templates = identity_templates(embeddings[enrolled], identities[enrolled].tolist())
    ids = [f"{video:06d}" for video in gallery]
    _, ranked = search(templates, embeddings[gallery], ids, 100, workers=1)
    hits = identities[gallery][ranked] == np.array(names)[:, None]
    precision = average_precision_at_k(hits, np.ones(len(names), int))  # one gallery video a person
    codes = np.array([names.index(name) if name else -1 for name in identities])
    pairs = tpr_of_all_pairs(embeddings, codes, TARGETS, workers=1)
    shares = [precision]
    for value, found in zip(pairs.tpr, pairs.hits_by_identity, strict=True):  # None: too few impostor pairs
        shares.append(found / pairs.pairs_by_identity if value is not None else np.full(len(names), np.nan))
    return dict(zip(names, np.stack(shares, axis=1), strict=True))


def better_by(first: Scores, second: Scores, measure: int) -> tuple[float, float, float]:
    """How much higher the second scores, and the ends of the 95 % interval, paired over people.

    The thresholds of TPR are those of the sets as they are: only the people are drawn again.
    """
    one, other = first.values[:, measure], second.values[:, measure]
    found = difference(one.mean(), other.mean(), mean_replicates(one), mean_replicates(other))
    return found.value, found.low, found.high
