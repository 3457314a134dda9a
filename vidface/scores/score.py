"""Embeddings, a submission file or features -> scores, by the protocol that the options name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vidface
from vidface.errors import by_cost
from vidface.manifest.manifest import Manifest
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.protocol import Result
from vidface.scores.protocols.table import check_embeddings, load
from vidface.scores.scored import Scored, check_device, read_scored, zero_embeddings

__all__ = ["score", "score_file"]


def score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> dict[str, Any]:
    """Score what is in memory, from `read_scored`, against a manifest.

    Returns:
        The content of ``scores.json``; its keys are documented in the README and the protocol's page. A number that
        cannot be had is None, with a warning that says why.

    Raises:
        ManifestError: the manifest, or the list of pairs, cannot serve the protocol.
        UsageError: a ranking cannot be scored over pairs; torch finds no GPU for ``cuda``; or the protocol scores
            features of images.
    """
    check_embeddings(options.protocol)
    return _score(scored, manifest, options).scores


def score_file(
    path: Path, manifest: Manifest | None, options: ScoreOptions, *, normalise: bool = False
) -> Result:
    """Score a file that `read_scored` reads, or features of images without a manifest; raises as these and `score`."""
    if manifest is None:
        return _finished(load(options.protocol).score(path, options), options, {}, [])
    return _score(read_scored(path, manifest, normalise=normalise), manifest, options)


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    """What the protocol gives, with the videos without a usable frame, unless it counts its own."""
    check_device(options.device)
    found = load(options.protocol).score(scored, manifest, options)
    if scored.embeddings is not None:
        found.scores["counts"].setdefault("zero_embeddings", zero_embeddings(scored.embeddings))
    return _finished(found, options, scored.inputs, [*scored.warnings, *manifest.warnings])


def _finished(
    found: Result, options: ScoreOptions, inputs: Mapping[str, Any], warnings: Sequence[str]
) -> Result:
    """Warnings are those of the embeddings, of the manifest and of the protocol, the most costly first."""
    numbers = found.scores
    if not numbers.get("failed", True):
        del numbers["failed"]
    scores = {"protocol": options.protocol, "fpr_rule": options.fpr_rule, **numbers}
    scores["warnings"] = by_cost([*warnings, *numbers["warnings"]])
    own = scores.pop("inputs", {})
    scores["inputs"] = {**inputs, **own, "program_version": vidface.__version__}
    return Result(scores, found.curve)
