"""LFRC's image track and Trillion-Pairs: images of known people among images of strangers, the distractors.

Verification compares the images of known people with one another and with every distractor, but no two distractors.
Identification searches for each such image's mates, one at a time, among the distractors. An image that failed has a
zero embedding: it stays in all counts with a score of 0. `docs/protocols/trillionpairs.md` says what of this is the
data set's own, and what is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT, FprRule
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.lfrc import failed_pairs, identity_codes, ratio_intervals
from vidface.scores.protocols.protocol import (
    Measure,
    Protocol,
    Result,
    at_targets,
    costs,
    measure_table,
    rates,
    warning_lines,
    with_costs,
)
from vidface.scores.scored import Scored, count_unusable, needed_embeddings, refuse_count
from vidface.scores.text import counts_line, number, rate, rule_line, tpr_label

__all__ = ["DEFINITIONS", "IDENTIFICATION_TARGETS", "PROTOCOLS", "TARGETS", "score_images"]

TARGETS = ("1e-8", "1e-9")
IDENTIFICATION_TARGETS = ("1e-3",)
_FIRST = "identification, rank 1 at any score"
DEFINITIONS = {
    "verification": "pairs of images of known people, and of one of them with a distractor; cosine; FPR is the share "
    "of the pairs of two people that is accepted; distractors are not compared with one another",
    "identification": "every image of a known person is searched for with each other image of that person, placed "
    "alone among all distractors; TPR is the share of searches whose mate scores higher than every distractor and is "
    "accepted; FPR is the share of searches among the distractors alone, one an image, whose best is accepted",
    "intervals": "identities drawn again with all their images, thresholds held fixed",
}


class _Rows:
    """Some rows of a matrix, of which only blocks are ever copied."""

    def __init__(self, matrix: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> None:
        self._matrix, self._rows = matrix, rows
        self.shape = (len(rows), matrix.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> npt.NDArray[np.float32]:
        return self._matrix[self._rows[part]]


def score_images(
    embeddings: npt.NDArray[np.float32], manifest: Manifest, options: ScoreOptions
) -> dict[str, Any]:
    """Score the images of known people, with everybody unknown as distractors; splits do not matter.

    The targets of the options are for verification; identification has `IDENTIFICATION_TARGETS`. Memory beside the
    embeddings: two copies of the rows of known people.

    Raises:
        ValueError: another number of rows than images, or rows that are neither of unit length nor zero.
    """
    targets, rule, device = options.targets, options.fpr_rule, options.device
    refuse_count(embeddings, manifest)
    from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
    from vidface.scores.metrics.mate_search import search_among_distractors

    codes, names = identity_codes(manifest)
    known = np.flatnonzero(codes >= 0)
    rows, people = embeddings[known], codes[known]
    far = _Rows(embeddings, np.flatnonzero(codes < 0))
    pairs = tpr_of_all_pairs(
        rows, people, targets, rule=rule, distractors=far if len(far) else None, device=device
    )
    search = search_among_distractors(rows, people, far, IDENTIFICATION_TARGETS, rule=rule, device=device)
    intervals = ratio_intervals(pairs.targets, pairs.tpr, pairs.hits_by_identity, pairs.pairs_by_identity)
    searched = ratio_intervals(search.targets, search.tpr, search.hits_by_identity, search.mated_by_identity)
    first = ratio_intervals(
        ["rank1"], [search.rank1], search.first_by_identity[None], search.mated_by_identity
    )
    failed = failed_pairs(rows, people, pairs, partial(_label, "verification", rule))
    there = np.bincount(people[rows.any(axis=1)], minlength=1)
    lost = search.mated - int((there * (there - 1)).sum())
    names_of = [_label("identification", rule, target) for target in IDENTIFICATION_TARGETS]
    why = "searches with a mate have an image without an embedding and score 0"
    failed |= costs(why, lost, search.mated, dict.fromkeys((*names_of, _FIRST)))
    return {
        "failed": failed,
        **rates(pairs),
        "identification": {**rates(search), "rank1": search.rank1},
        "ci95": {"tpr@fpr": intervals, "identification": {"tpr@fpr": searched, **first}},
        "counts": {
            "images": len(codes),
            "identities": len(names),
            "identified_images": len(known),
            "distractors": len(far),
            "genuine_pairs": pairs.genuine_pairs,
            "impostor_pairs": pairs.impostor_pairs,
            "searches_with_mate": search.mated,
            "searches_without_mate": search.unmated,
        },
        "warnings": [*pairs.warnings, *search.warnings],
    }


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    """An object for JSON; its keys are documented in ``docs/protocols/trillionpairs.md``."""
    embeddings = needed_embeddings(scored, "trillionpairs needs an embeddings file, a .npy or a .bin")
    if not any(manifest.identities):
        raise ManifestError(
            f"{manifest.path}: no image has an identity, so there is nobody to compare: make the manifest with --labels"
        )
    numbers = score_images(embeddings, manifest, options)
    what = "images have no embedding: they score 0 with everybody and stay counted"
    count_unusable(numbers, what, scored, manifest)
    return Result({**numbers, "definitions": {**DEFINITIONS, "fpr_rule": FPR_RULE_TEXT[options.fpr_rule]}})


def _parts(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Name, numbers and intervals of verification and of identification."""
    return [
        ("verification", scores, scores["ci95"]),
        ("identification", scores["identification"], scores["ci95"]["identification"]),
    ]


def _measures(scores: Mapping[str, Any]) -> list[Measure]:
    found = []
    for name, part, ends in _parts(scores):
        label = partial(_label, name, scores["fpr_rule"])
        shown = at_targets(scores, part["tpr@fpr"], ends["tpr@fpr"], label)
        found += shown if part is scores else [each._replace(target="") for each in shown]
    ends = scores["ci95"]["identification"]
    found.append(Measure(_FIRST, scores["identification"]["rank1"], ends["rank1"]))
    return with_costs(scores, found)


def _label(part: str, rule: FprRule, target: str) -> str:
    return f"{part}, {tpr_label(target, rule)}"


def _lines(scores: Mapping[str, Any]) -> str:
    """TPR at every FPR of verification and identification with what each reaches, then counts, rule and warnings."""
    reached = [
        (rate(part["fpr_reached"][target]), number(part["threshold@fpr"][target]))
        for _, part, _ in _parts(scores)
        for target in part["tpr@fpr"]
    ]
    table = measure_table(_measures(scores), ("FPR reached", "threshold"), [*reached, ("", "")])
    lines = [table, "", counts_line(scores["counts"]), rule_line({"fpr_rule": scores["fpr_rule"]})]
    return "\n".join(lines + warning_lines(scores))


PROTOCOLS = (Protocol("trillionpairs", _score, _lines, _measures, TARGETS),)
