"""Embeddings of images, or a submission's matrix -> scores of LFRC's image track and Trillion-Pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import vidface
from vidface.errors import ManifestError, UsageError
from vidface.manifest import Manifest
from vidface.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.protocols import image_track
from vidface.stages.score import Scored, check_device, where_unusable, zero_embeddings

__all__ = ["score_image_track"]


def score_image_track(
    scored: Scored,
    manifest: Manifest,
    *,
    targets: Sequence[str] = image_track.TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score images of known people among distractors.

    Args:
        scored: from `vidface.stages.score.read_scored`.
        manifest: who is in which image; an empty identity is a distractor.
        targets: FPR targets of verification, as text.
        fpr_rule: which point of the curve a target means.
        device: ``cpu`` or ``cuda``, where images are compared; the numbers do not depend on it.

    Returns:
        An object for JSON, whose keys are documented in ``docs/protocols/trillionpairs.md``.

    Raises:
        ManifestError: the manifest knows nobody.
        UsageError: a ranking cannot be scored, or torch finds no GPU for ``cuda``.
    """
    check_device(device)
    if scored.embeddings is None:
        raise UsageError(
            "a ranking holds no embeddings: trillionpairs needs an embeddings file, a .npy or a .bin"
        )
    if not any(manifest.identities):
        raise ManifestError(
            f"{manifest.path}: no image has an identity, so there is nobody to compare: make the manifest with --labels"
        )
    numbers = image_track.score_images(scored.embeddings, manifest, targets, fpr_rule=fpr_rule, device=device)
    counts, unusable = numbers.pop("counts"), zero_embeddings(scored.embeddings)
    warnings = [*scored.warnings, *numbers.pop("warnings")]
    if unusable:
        warnings.append(
            f"{unusable} images have no embedding: they score 0 with everybody and stay counted; "
            f"{where_unusable(scored, manifest)}"
        )
    if scored.status is not None:
        counts["status"] = scored.status
    return {
        "protocol": "trillionpairs",
        "fpr_rule": fpr_rule,
        **numbers,
        "counts": {**counts, "zero_embeddings": unusable},
        "warnings": warnings,
        "definitions": {**image_track.DEFINITIONS, "fpr_rule": FPR_RULE_TEXT[fpr_rule]},
        "inputs": {**scored.inputs, "program_version": vidface.__version__},
    }
