"""Embeddings, or a submission file, -> scores: the protocols' numbers with what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import vidface
from vidface.errors import ManifestError, UsageError
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.protocols import iqiyi, lfrc
from vidface.scores.scored import Scored, check_device, merge_numbers, where_unusable, zero_embeddings

Protocol = Literal["iqiyi", "lfrc", "both"]


def score(
    scored: Scored,
    manifest: Manifest,
    *,
    protocol: Protocol = "both",
    enrolment_split: str = "train",
    gallery_split: str = "val",
    targets: Sequence[str] = lfrc.TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score by one protocol or both; a number that cannot be had is None, with a warning that says why.

    Args:
        scored: from `read_scored`.
        manifest: the ground truth.
        protocol: ``iqiyi``, ``lfrc`` or ``both``.
        enrolment_split: iqiyi: the videos that templates are made of.
        gallery_split: iqiyi: the videos that are searched.
        targets: lfrc: FPR targets, as text.
        fpr_rule: lfrc: which point of the curve a target means, see `vidface.scores.metrics.fpr_rules`.
        device: lfrc: ``cpu`` or ``cuda``, where the pairs are compared; the numbers do not depend on it.

    Returns:
        The content of ``scores.json``; its keys are documented in the README.

    Raises:
        ManifestError: ``protocol`` is one that the manifest cannot serve.
        UsageError: a ranking cannot be scored over pairs, or torch finds no GPU for ``cuda``.
    """
    check_device(device)
    result: dict[str, Any] = {
        "protocol": protocol,
        "fpr_rule": fpr_rule,
        "mAP@100": None,
        **{f"rank{k}": None for k in iqiyi.RANKS},
        "tpr@fpr": None,
        "threshold@fpr": None,
        "fpr_reached": None,
        "ci95": {},
        "counts": {},
        "warnings": list(scored.warnings),
        "definitions": {},
        "per_identity": None,
    }
    if protocol in ("iqiyi", "both"):
        try:
            rankings = scored.rankings
            if rankings is None and scored.embeddings is not None:
                rankings = iqiyi.rank_gallery(
                    scored.embeddings, manifest, enrolment_split=enrolment_split, gallery_split=gallery_split
                )
            merge_numbers(
                result,
                iqiyi.score_rankings(
                    rankings or {}, manifest, enrolment_split=enrolment_split, gallery_split=gallery_split
                ),
            )
            result["definitions"] |= {
                "iqiyi": iqiyi.DEFINITION,
                "splits": f"{enrolment_split} -> {gallery_split}",
            }
        except ManifestError as error:
            if protocol == "iqiyi":
                raise
            result["warnings"].append(f"iqiyi not scored: {error}")
    if protocol in ("lfrc", "both"):
        if scored.embeddings is not None:
            found = lfrc.score_all_pairs(
                scored.embeddings, manifest, targets, fpr_rule=fpr_rule, device=device
            )
            merge_numbers(result, found)
            result["definitions"]["lfrc"] = lfrc.definition(fpr_rule)
        elif protocol == "lfrc":
            raise UsageError("a ranking holds no embeddings: TPR at FPR needs an embeddings file or a .bin")
        else:
            result["warnings"].append("lfrc not scored: a ranking holds no embeddings")
    if scored.status is not None:
        result["counts"]["status"] = scored.status
    if scored.embeddings is not None:
        result["counts"]["zero_embeddings"] = unusable = zero_embeddings(scored.embeddings)
        if unusable:
            result["warnings"].append(
                f"{unusable} videos have no usable frame: never ranked, score 0 in pairs; "
                f"{where_unusable(scored, manifest)}"
            )
    result["inputs"] = {**scored.inputs, "program_version": vidface.__version__}
    return result
