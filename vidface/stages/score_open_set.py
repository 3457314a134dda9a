"""Embeddings -> open-set identification: FNIR at FPIR with what it rests on, and the whole curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import vidface
from vidface.errors import UsageError
from vidface.manifest import Manifest
from vidface.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.protocols import open_set
from vidface.stages.score import Scored, where_unusable, zero_embeddings

if TYPE_CHECKING:
    from vidface.metrics.open_set import Det

__all__ = ["score_open_set"]


def score_open_set(
    scored: Scored,
    manifest: Manifest,
    *,
    enrolment_split: str = "train",
    gallery_split: str = "val",
    targets: Sequence[str] = open_set.TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
) -> tuple[dict[str, Any], Det | None]:
    """Score embeddings by the open-set protocol.

    Args:
        scored: from `vidface.stages.score.read_scored`.
        manifest: who is where.
        enrolment_split: the videos that templates are made of.
        gallery_split: the videos that are searched for.
        targets: FPIR targets, as text.
        fpr_rule: which point of the curve a target means.

    Returns:
        An object for JSON, whose keys are documented in ``docs/protocols/openset.md``; and the whole curve, None where
        there is none.

    Raises:
        ManifestError: nobody is enrolled, or there is nothing to search for.
        UsageError: a ranking cannot be scored, or both splits are the same.
    """
    if scored.embeddings is None:
        raise UsageError(
            "a ranking holds no embeddings: FNIR at FPIR needs an embeddings file, a .npy or a .bin"
        )
    numbers, curve = open_set.score_open_set(
        scored.embeddings,
        manifest,
        targets,
        enrolment_split=enrolment_split,
        gallery_split=gallery_split,
        fpr_rule=fpr_rule,
    )
    used = [i for i, split in enumerate(manifest.splits) if split in (enrolment_split, gallery_split)]
    counts, unusable = numbers.pop("counts"), zero_embeddings(scored.embeddings[used])
    warnings = [*scored.warnings, *numbers.pop("warnings")]
    if unusable:
        warnings.append(
            f"{unusable} videos have no usable frame: as searches they score 0 with everybody and stay counted, in "
            f"templates they are left out; {where_unusable(scored, manifest, used)}"
        )
    if scored.status is not None:
        counts["status"] = scored.status
    result = {
        "protocol": "openset",
        "fpr_rule": fpr_rule,
        **numbers,
        "counts": {**counts, "zero_embeddings": unusable},
        "warnings": warnings,
        "definitions": {
            **open_set.DEFINITIONS,
            "fpr_rule": f"{FPR_RULE_TEXT[fpr_rule]}; here of TPIR and FPIR",
            "splits": f"{enrolment_split} -> {gallery_split}",
        },
        "inputs": {**scored.inputs, "program_version": vidface.__version__},
    }
    return result, curve
