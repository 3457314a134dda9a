"""iQIYI-VID: every identity's template is searched against the gallery; mAP@100 with the full denominator.

A template is the L2-normalised mean of the embeddings of an identity's enrolment videos. Queries are the identities of
the gallery split; a gallery video without identity is a distractor and stays. An identity without a usable video is a
query that scores 0; what such queries and videos cost is said beside the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, Warned, first_few
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.bootstrap import bootstrap_mean
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import challenges, lfrc
from vidface.scores.protocols.iqiyi_ranks import (
    CUT_OFF,
    Wanted,
    failed_of,
    hits_of,
    identity_values,
    ranks_in,
    wanted_videos,
)
from vidface.scores.protocols.protocol import Protocol, Result
from vidface.scores.scored import Scored, merge_numbers, no_video, refuse_count, rows_of_splits
from vidface.submission import check_ranking

__all__ = ["CUT_OFF", "DEFINITION", "PROTOCOLS", "add", "rank_gallery", "ranked_hits", "score_rankings"]

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
    """Rank the gallery videos for every enrolled identity, by ``embeddings``: float32 [V, D], unit or zero rows.

    A video with a zero embedding (no usable frame) is never ranked; an identity with only such enrolment videos gets an
    empty list. Row i is video i of the manifest.

    Returns:
        For every identity of the enrolment split, in text order, at most 100 video ids, best first; ties by id.

    Raises:
        ManifestError: a split is empty, or nobody is enrolled.
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    refuse_count(embeddings, manifest)
    from vidface.scores.search.retrieval import identity_templates, search

    usable = np.any(embeddings != 0, axis=1)
    enrolled, gallery = rows_of_splits(manifest, enrolment_split, gallery_split)
    searched = gallery[usable[gallery]].tolist()
    names, templates = identity_templates(
        embeddings[enrolled], [manifest.identities[i] for i in enrolled.tolist()]
    )
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
    """Score rankings (identity -> video ids, best first) against the manifest's gallery.

    Repeated videos are dropped (the first stays) and at most 100 count; an identity of the gallery that is not ranked
    scores 0. ``usable``, bool [V], says which videos have a usable frame; None: unknown.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    wanted = _wanted(manifest, gallery_split)
    ranks, truth = ranks_in(rankings, manifest, wanted), wanted.names
    values = identity_values(ranks, wanted)
    identities = zip(manifest.identities, manifest.splits, strict=True)
    enrolled = [identity for identity, split in identities if identity and split == enrolment_split]
    ranked = {name for name, videos in rankings.items() if videos}
    missing = [name for name in truth if name not in ranked]
    warnings: list[str] = []
    if missing:
        text = (
            f"{len(missing)} of {len(truth)} identities of the gallery are not ranked and score 0 "
            f"(no usable enrolment video, or missing from the submission): {first_few(missing)}"
        )
        warnings.append(Warned(text, len(missing) / len(truth)))
    return {
        "failed": failed_of(ranks, wanted, usable, ranked),
        **{name: float(np.mean(value)) for name, value in values.items()},
        "ci95": {name: list(bootstrap_mean(value)) for name, value in values.items()},
        "counts": {
            "identities": len(truth),
            "identities_not_ranked": len(missing),
            "identities_without_gallery": len(set(enrolled) - set(truth)),
            "enrolment_videos": len(enrolled),
            "gallery_videos": len(wanted.gallery),
            "distractors": len(wanted.gallery) - len(wanted.videos),
        },
        "warnings": warnings,
        "per_identity": dict(zip(truth, values["mAP@100"].tolist(), strict=True)),
    }


def _wanted(manifest: Manifest, gallery_split: str) -> Wanted:
    wanted = wanted_videos(manifest, gallery_split)
    if not wanted.names:
        raise no_video(manifest, f"with an identity in the gallery split '{gallery_split}'")
    return wanted


def ranked_hits(
    rankings: Mapping[str, Sequence[str]], manifest: Manifest, *, gallery_split: str = "val"
) -> tuple[NDArray[np.int64], list[str], NDArray[np.bool_]]:
    """Which answers of rankings (identity -> video ids, best first) are right.

    Returns:
        (gallery, identities, hits): rows of the gallery videos; the I identities of the gallery in text order; bool
        [I, 100], whether the video at each rank, repeated ones dropped, is one of the identity's own.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    wanted = _wanted(manifest, gallery_split)
    return wanted.gallery, wanted.names, hits_of(ranks_in(rankings, manifest, wanted), wanted)


def add(result: dict[str, Any], scored: Scored, manifest: Manifest, options: ScoreOptions) -> None:
    """Add the numbers of a ranking, or of embeddings that are ranked here, to an object of `challenges.begin`."""
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
    result = challenges.begin()
    add(result, scored, manifest, options)
    return challenges.finish(result, scored, manifest)


def _score_both(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    """Both challenges in one object; what one of them cannot score is a warning."""
    result = challenges.begin()
    try:
        add(result, scored, manifest, options)
    except ManifestError as error:
        result["warnings"].append(f"iqiyi not scored: {error}")
    if scored.embeddings is None:
        result["warnings"].append("lfrc not scored: a ranking holds no embeddings")
    else:
        lfrc.add(result, scored.embeddings, manifest, options)
    return challenges.finish(result, scored, manifest)


# iqiyi has no targets of its own; those of lfrc stand in the record of what a recipe's files were made from.
PROTOCOLS = (
    Protocol("iqiyi", _score, challenges.lines, challenges.measures, lfrc.TARGETS, ("rankings",)),
    Protocol("both", _score_both, challenges.lines, challenges.measures, lfrc.TARGETS, ("rankings", "pairs")),
)
