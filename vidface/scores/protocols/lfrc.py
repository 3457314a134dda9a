"""LFRC video track: 1:1 verification over ALL pairs of distinct videos, cosine; TPR at FPR, exact, by a named rule.

Videos without identity are impostors to everybody. A video without a usable frame has a zero embedding: it stays in
the pairs with a score of 0, as it does for the organisers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.manifest.manifest import Manifest
from vidface.manifest.rows import show
from vidface.scores.metrics.bootstrap import bootstrap_ratio
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import challenges
from vidface.scores.protocols.protocol import Protocol, Result, rate_costs, rates
from vidface.scores.scored import Scored, merge_numbers, needed_embeddings
from vidface.scores.text import tpr_label

if TYPE_CHECKING:
    from vidface.scores.metrics.all_pairs import VerificationResult

TARGETS = ("1e-2", "1e-3", "1e-4", "1e-5", "1e-6")
_POINT: dict[FprRule, str] = {
    "at-most": "the largest TPR over thresholds whose FPR is at most the target",
    "nearest": "the TPR at the threshold whose FPR is nearest to the target, which it may exceed",
    "interpolated": "the TPR on the straight line between the thresholds whose FPR is next below and above the target",
}


def definition(rule: FprRule = DEFAULT_RULE) -> str:
    fixed = (
        "at the threshold found"
        if rule != "interpolated"
        else "at both thresholds, with their weights held fixed"
    )
    return (
        f"{_POINT[rule]}, over all pairs of distinct videos; "
        f"null where fewer than one impostor pair may be accepted; intervals resample identities {fixed}"
    )


def check_targets(targets: Sequence[str]) -> None:
    """Refuse FPR targets that are no rates, before any work is done: a `UsageError`."""
    for target in targets:
        try:
            fpr_fraction(target)
        except ValueError:
            raise UsageError(
                f"FPR target {show(target)} is not a rate above 0 and below 1, such as 1e-4"
            ) from None


def identity_codes(manifest: Manifest) -> tuple[npt.NDArray[np.int64], list[str]]:
    """int64 [V], the number of every video's identity in the list of all, in text order; -1: nobody known."""
    names = sorted(set(manifest.identities) - {""})
    code = {name: i for i, name in enumerate(names)} | {"": -1}
    return np.array([code[name] for name in manifest.identities], np.int64), names


def score_all_pairs(
    embeddings: npt.NDArray[np.float32], manifest: Manifest, options: ScoreOptions
) -> dict[str, Any]:
    """Score all pairs of float32 [V, D], unit or zero rows, row i for video i of the manifest; splits do not matter.

    Raises:
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    from vidface.scores.metrics.all_pairs import tpr_of_all_pairs

    people, _ = identity_codes(manifest)
    targets, rule = options.targets, options.fpr_rule
    result = tpr_of_all_pairs(embeddings, people, targets, rule=rule, device=options.device)
    intervals = ratio_intervals(targets, result.tpr, result.hits_by_identity, result.pairs_by_identity)
    return {
        "failed": failed_pairs(embeddings, people, result, lambda target: tpr_label(target, rule)),
        **rates(result),
        "ci95": {"tpr@fpr": intervals},
        "counts": {
            "videos": len(manifest.video_ids),
            "videos_without_identity": manifest.identities.count(""),
            "genuine_pairs": result.genuine_pairs,
            "impostor_pairs": result.impostor_pairs,
        },
        "warnings": result.warnings,
    }


def ratio_intervals(
    names: Sequence[str],
    values: Sequence[float | None],
    hits: npt.NDArray[Any],
    totals: npt.NDArray[np.int64],
) -> dict[str, list[float] | None]:
    """95 % intervals of hits [T, I] / totals [I], identities drawn again; None where there is no value."""
    return {
        name: None if value is None else list(bootstrap_ratio(row, totals))
        for name, value, row in zip(names, values, hits, strict=True)
    }


def failed_pairs(
    embeddings: npt.NDArray[np.float32],
    people: npt.NDArray[np.int64],
    result: VerificationResult,
    label: Callable[[str], str],
) -> dict[str, Any]:
    """What genuine pairs with an unusable video cost TPR at every target; empty if there is none.

    ``people``: int64 [V], from `identity_codes`; ``label``: target -> name of the measure.
    """
    known = people >= 0
    usable = people[known & embeddings.any(axis=1)]
    lost = result.genuine_pairs - sum(n * (n - 1) // 2 for n in np.bincount(usable, minlength=1).tolist())
    why = "genuine pairs have a video without a usable frame and score 0"
    return rate_costs(why, lost, result.genuine_pairs, rates(result), label)


def add(
    result: dict[str, Any], embeddings: npt.NDArray[np.float32], manifest: Manifest, options: ScoreOptions
) -> None:
    """Add the numbers of all pairs to an object of `challenges.begin`."""
    merge_numbers(result, score_all_pairs(embeddings, manifest, options))
    result["definitions"]["lfrc"] = definition(options.fpr_rule)


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    embeddings = needed_embeddings(scored, "TPR at FPR needs an embeddings file or a .bin")
    result = challenges.begin()
    add(result, embeddings, manifest, options)
    return challenges.finish(result, scored, manifest)


PROTOCOLS = (Protocol("lfrc", _score, challenges.lines, challenges.measures, TARGETS, figures=("pairs",)),)
