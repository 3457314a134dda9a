"""iQIYI-VID: every identity's template is searched against the gallery; mAP@100 with the full denominator.

A template is the L2-normalised mean of the embeddings of the identity's enrolment videos. The ground truth is the
identities of the gallery split; a gallery video without identity is a distractor and stays in the gallery.

An identity without a usable video is a query that scores 0. What such queries and videos cost is said beside the value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, Warned, first_few
from vidface.manifest.identities import as_read
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.bootstrap import bootstrap_mean
from vidface.scores.metrics.ranking import average_precision_at_k, rank_k_hits
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import challenges
from vidface.scores.protocols.lfrc import TARGETS
from vidface.scores.protocols.protocol import HITS, RANKS, Protocol, Result, cost
from vidface.scores.scored import Scored, merge_numbers, refuse_count
from vidface.submission import check_ranking

CUT_OFF = 100
DEFINITION = (
    "AP = sum over hits at rank k <= 100 of (hits up to k) / k, divided by ALL gallery videos of the identity; "
    "mAP = mean over the identities of the gallery; hit@k = share of them with any of their videos among the first k "
    "(rank-k of openset counts every video as a search of its own)"
)


def rank_gallery(
    embeddings: NDArray[np.float32],
    manifest: Manifest,
    *,
    enrolment_split: str = "train",
    gallery_split: str = "val",
) -> dict[str, list[str]]:
    """Rank the gallery videos for every enrolled identity.

    A video with a zero embedding (no usable frame) is never ranked, and an identity whose enrolment videos are all
    zero gets an empty list.

    Args:
        embeddings: float32 [V, D], L2-normalised or zero, row i for video i of the manifest.
        manifest: who is in which video, and in which split.
        enrolment_split: videos that the templates are made of.
        gallery_split: videos that are searched.

    Returns:
        For every identity of the enrolment split, in text order, at most 100 video ids, best first; ties by id.

    Raises:
        ManifestError: a split is empty, or nobody is enrolled.
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    refuse_count(embeddings, manifest)
    from vidface.scores.search.retrieval import identity_templates, search

    usable = np.any(embeddings != 0, axis=1)
    splits = np.array(manifest.splits, object)  # else each takes the room of the longest
    enrolled = [i for i in np.flatnonzero(splits == enrolment_split).tolist() if manifest.identities[i]]
    gallery = np.flatnonzero(splits == gallery_split)
    if not enrolled:
        raise ManifestError(
            f"{manifest.path}: no video with an identity in the enrolment split '{enrolment_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    if not len(gallery):
        raise ManifestError(
            f"{manifest.path}: no video in the gallery split '{gallery_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    searched = gallery[usable[gallery]].tolist()
    names, templates = identity_templates(embeddings[enrolled], [manifest.identities[i] for i in enrolled])
    rankings: dict[str, list[str]] = {name: [] for name in names}
    known = np.flatnonzero(np.any(templates != 0, axis=1))
    if len(known) and searched:
        ids = [manifest.video_ids[i] for i in searched]
        _, found = search(templates[known], embeddings[searched], ids, CUT_OFF)
        for row, columns in zip(known.tolist(), found.tolist(), strict=True):
            rankings[names[row]] = [ids[column] for column in columns]
    return rankings


def score_rankings(
    rankings: Mapping[str, Sequence[str]],
    manifest: Manifest,
    *,
    enrolment_split: str = "train",
    gallery_split: str = "val",
    usable: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Score rankings, from memory or from a submission file, against the manifest's gallery.

    For each identity repeated videos are dropped (the first stays) and at most 100 count; an identity of the gallery
    that is not ranked scores 0.

    Args:
        rankings: identity -> video ids, best first.
        manifest: the ground truth.
        enrolment_split: only counted.
        gallery_split: the split whose identities are the ground truth.
        usable: bool [V], which videos of the manifest have a usable frame; None: that is not known.

    Returns:
        ``mAP@100``, ``hit@1``, ``hit@5``, ``hit@10``; ``ci95`` with the 95 % intervals of the same names; ``counts``;
        ``warnings``; ``per_identity``, identity -> AP; and ``failed``, what queries and videos that fail cost each,
        where any do.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    gallery, truth, hits = ranked_hits(rankings, manifest, gallery_split=gallery_split)
    relevant_videos = Counter(identity for identity in gallery.values() if identity)
    values = {
        "mAP@100": average_precision_at_k(hits, np.array([relevant_videos[name] for name in truth])),
        **hit_values(hits),
    }
    enrolled = {
        identity
        for identity, split in zip(manifest.identities, manifest.splits, strict=True)
        if identity and split == enrolment_split
    }
    missing = [name for name in truth if not rankings.get(name)]
    warnings = []
    if missing:
        warnings.append(
            Warned(
                f"{len(missing)} of {len(truth)} identities of the gallery are not ranked and score 0 "
                f"(no usable enrolment video, or missing from the submission): {first_few(missing)}",
                len(missing) / len(truth),
            )
        )
    found = Counter(
        identity
        for row, (identity, split) in enumerate(zip(manifest.identities, manifest.splits, strict=True))
        if split == gallery_split and (usable is None or usable[row])
    )
    ranked = [name for name, videos in rankings.items() if videos]
    failed = failed_queries(hits, truth, relevant_videos, found, ranked, searched=usable is not None)
    return {
        **({"failed": failed} if failed else {}),
        **{name: float(np.mean(value)) for name, value in values.items()},
        "ci95": {name: list(bootstrap_mean(value)) for name, value in values.items()},
        "counts": {
            "identities": len(truth),
            "identities_not_ranked": len(missing),
            "identities_without_gallery": len(enrolled - set(truth)),
            "enrolment_videos": sum(
                split == enrolment_split and identity != ""
                for identity, split in zip(manifest.identities, manifest.splits, strict=True)
            ),
            "gallery_videos": len(gallery),
            "distractors": sum(identity == "" for identity in gallery.values()),
        },
        "warnings": warnings,
        "per_identity": dict(zip(truth, values["mAP@100"].tolist(), strict=True)),
    }


def ranked_hits(
    rankings: Mapping[str, Sequence[str]], manifest: Manifest, *, gallery_split: str = "val"
) -> tuple[dict[str, str], list[str], NDArray[np.bool_]]:
    """Which answers are right.

    Args:
        rankings: identity -> video ids, best first.
        manifest: the ground truth.
        gallery_split: the split whose identities are the ground truth.

    Returns:
        (gallery, identities, hits): gallery video id -> identity; the I identities of the gallery in text order; bool
        [I, 100], whether the video at each rank of an identity's list, repeated ones dropped, is one of its own.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    gallery = {
        video: identity
        for video, identity, split in zip(
            manifest.video_ids, manifest.identities, manifest.splits, strict=True
        )
        if split == gallery_split
    }
    truth = sorted(set(gallery.values()) - {""})
    if not truth:
        raise ManifestError(
            f"{manifest.path}: no video with an identity in the gallery split '{gallery_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    hits = np.zeros((len(truth), CUT_OFF), bool)
    for row, identity in enumerate(truth):
        ranked = list(dict.fromkeys(rankings.get(identity, ())))[:CUT_OFF]
        hits[row, : len(ranked)] = [gallery.get(video) == identity for video in ranked]
    return gallery, truth, hits


def hit_values(hits: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """1 for every identity with a hit among the first k, else 0, float64 [I], for every name of `HITS`."""
    return {name: rank_k_hits(hits, k).astype(np.float64) for name, k in zip(HITS, RANKS, strict=True)}


def failed_queries(
    hits: NDArray[np.bool_],
    truth: Sequence[str],
    wanted: Mapping[str, int],
    found: Mapping[str, int],
    ranked: Collection[str],
    *,
    searched: bool,
) -> dict[str, Any]:
    """What each measure loses by queries and gallery videos that cannot be found; empty where all can.

    Args:
        hits: bool [I, 100], of all queries.
        truth: the I queries.
        wanted: identity -> its gallery videos.
        found: identity -> those of them that have a usable frame.
        ranked: the identities with a ranking, also those that are no query.
        searched: whether the rankings are those of embeddings, not of a submission.
    """
    there = set(ranked)
    rest = np.array([name in there and found.get(name, 0) > 0 for name in truth], np.bool_)
    lost = len(truth) - int(rest.sum())
    videos = sum(wanted[name] - found.get(name, 0) for name, kept in zip(truth, rest, strict=True) if kept)
    if not (lost or videos):
        return {}
    if lost:
        failed, of = lost, len(truth)
        why = (
            "queries have no usable enrolment or gallery video and score 0"
            if searched
            else "queries are not ranked"
        )
        spellings = set(as_read(there).values())
        again = sum(text in spellings for text in as_read(set(truth).difference(there)).values())
        why += f" ({again:,} of them have a ranking in another spelling)" if again else ""
        why += f", and {videos:,} gallery videos of others are never found" if videos else ""
    else:
        failed, of = videos, sum(wanted[name] for name in truth)
        why = "gallery videos of somebody have no usable frame and are never found"
    relevant = np.array([found.get(name, 0) for name in truth], np.int64)[rest]
    values = {"mAP@100": average_precision_at_k(hits[rest], relevant)}
    values |= hit_values(hits[rest])
    return {
        name: cost(why, failed, of, float(np.mean(each)) if len(each) else None)
        for name, each in values.items()
    }


def _listed(splits: Sequence[str]) -> str:
    return ", ".join(f"'{split}' ({n})" for split, n in Counter(splits).most_common(5)) or "none"


def add(result: dict[str, Any], scored: Scored, manifest: Manifest, options: ScoreOptions) -> None:
    """Add the numbers of a ranking, or of embeddings that are ranked here, to an object of `challenges.begin`.

    Raises:
        ManifestError: a split is empty, or nobody is enrolled or in the gallery.
    """
    splits = {"enrolment_split": options.enrolment_split, "gallery_split": options.gallery_split}
    rankings, usable = scored.rankings, None
    if rankings is not None and scored.embeddings is None:
        name = str(scored.inputs.get("scored", "ranking"))
        result["warnings"] += check_ranking(name, rankings, manifest, options.gallery_split)
    if scored.embeddings is not None:
        usable = np.asarray(scored.embeddings.any(axis=1), np.bool_)
        rankings = rank_gallery(scored.embeddings, manifest, **splits) if rankings is None else rankings
    merge_numbers(result, score_rankings(rankings or {}, manifest, **splits, usable=usable))
    result["definitions"] |= {
        "iqiyi": DEFINITION,
        "splits": f"{options.enrolment_split} -> {options.gallery_split}",
    }


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    result = challenges.begin(scored, options)
    add(result, scored, manifest, options)
    return challenges.finish(result, scored, manifest)


# It has no targets of its own; those of lfrc stand in the record of what a recipe's files were made from.
PROTOCOLS = (
    Protocol("iqiyi", _score, challenges.lines, challenges.measures, TARGETS, figures=("rankings",)),
)
