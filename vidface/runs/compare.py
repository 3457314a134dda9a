"""Runs of the same set -> what differs between them, and whether that is more than chance.

The first run is the baseline. Every measure has the definition of ``vidface score``; intervals come from the paired
bootstrap over identities (`vidface.scores.metrics.bootstrap`), for TPR at FPR with the threshold drawn again
(`vidface.scores.pairs.replicates`). Tested in ``tests/runs/test_compare.py``; `docs/compare.md` has the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, UsageError, Warned, by_cost
from vidface.manifest.manifest import Manifest
from vidface.runs.compare_inputs import Compared, made_with
from vidface.runs.compare_numbers import compare_numbers
from vidface.runs.compare_result import Comparison, Measure, Value, gathered_warnings, tpr_label
from vidface.runtime import progress
from vidface.scores.metrics.bootstrap import (
    REPLICATES,
    Difference,
    difference,
    draw,
    interval,
    mean_replicates,
)
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import iqiyi, lfrc
from vidface.scores.protocols.iqiyi_ranks import (
    Wanted,
    failed_of,
    identity_values,
    ranks_by_search,
    ranks_in,
    wanted_videos,
)
from vidface.scores.protocols.protocol import HITS, costs_in_words
from vidface.scores.protocols.table import load
from vidface.scores.scored import Scored, read_scored, zero_embeddings
from vidface.submission import check_ranking

__all__ = ["compare"]

FEW_PAIRS = 30  # accepted impostor pairs that a threshold should rest on (Doddington's rule of 30 errors)
FEW_PEOPLE = 30
MANY_RUNS = 10


def compare(
    runs: Sequence[Compared], manifest: Manifest, options: ScoreOptions, *, replicates: int = REPLICATES
) -> Comparison:
    """Measure all runs, and tell differences from chance.

    By a protocol that gives no paired resampling, nothing is drawn: see `vidface.runs.compare_numbers`.

    Memory holds the embeddings of one run at a time, and what `vidface.scores.pairs.replicates` needs.

    Args:
        runs: two or more, the baseline first.
        manifest: of the set.
        options: from `open_compared`.
        replicates: how many sets are drawn.

    Raises:
        ManifestError: ``protocol`` is one that the manifest cannot serve.
        StoreError: a file lacks videos of the manifest, or is damaged.
        UsageError: no measure can be had of any run.
    """
    figures, targets = load(options.protocol).figures, options.targets
    if not figures:
        return compare_numbers(runs, manifest, options)
    warnings: list[str] = []
    wanted = wanted_videos(manifest, options.gallery_split)
    why = None
    if "rankings" in figures:
        why = _cannot_rank(manifest, wanted, options.enrolment_split, options.gallery_split)
        if why and "pairs" not in figures:
            raise ManifestError(f"{manifest.path}: {why}")
        if why:
            warnings.append(f"mAP is not compared: {why}")
    rankable = "rankings" in figures and not why
    if not rankable:
        wanted = Wanted(np.empty(0, np.int64), np.empty(0, np.int64), [], wanted.gallery)
    people, names = lfrc.identity_codes(manifest)
    nobody = int(np.count_nonzero(people < 0))
    drawn = draw(*((0, 0) if "pairs" not in figures else (len(names), nobody)), replicates=replicates)
    measured: list[_Measured] = []
    with progress("compare", len(runs), "runs") as advance:
        for run in runs:
            measured.append(  # in one expression, so that no embeddings outlive it
                _measure(
                    read_scored(run.scored, manifest),
                    manifest,
                    wanted,
                    options,
                    people,
                    targets,
                    drawn,
                )
            )
            advance(1)
    ranks = np.array([one.ranks for one in measured])
    if any(one.ranking for one in measured):
        ranks[ranks > iqiyi.CUT_OFF] = 0  # rankings end there, so no run is followed further
    warnings += gathered_warnings(runs, [one.warnings for one in measured])
    if "pairs" in figures:
        warnings += [
            f"{run.name} was scored by the FPR rule {run.fpr_rule}: here it is compared by {DEFAULT_RULE}"
            for run in runs
            if run.fpr_rule != DEFAULT_RULE
        ]
    counts = {"videos": len(people), "identities": len(names), "videos_without_identity": nobody}
    if rankable:
        counts |= {"gallery_identities": len(wanted.names), "gallery_videos": len(wanted.gallery)}
    if rankable and len(wanted.names) < FEW_PEOPLE:
        warnings.append(
            f"intervals of mAP rest on {len(wanted.names)} identities only, and may be too narrow"
        )
    pairs = next((one.pairs for one in measured if one.pairs is not None), None)
    if pairs is not None:
        counts |= {"genuine_pairs": pairs[0], "impostor_pairs": pairs[1]}
        for target in targets:
            accepted = int(fpr_fraction(target) * pairs[1])
            if 1 <= accepted < FEW_PAIRS and pairs[0]:
                warnings.append(
                    f"TPR at FPR {target} rests on the {accepted} strongest of {pairs[1]:,} impostor pairs: "
                    f"fewer than {FEW_PAIRS} tell little"
                )
    if len(runs) - 1 > MANY_RUNS:
        warnings.append(
            f"{len(runs) - 1} comparisons: their intervals rest on the outermost few of {replicates} draws"
        )
    table = _table(measured, rankable, targets if "pairs" in figures else [])
    if not table:
        raise UsageError(f"nothing can be compared: {'; '.join(dict.fromkeys(warnings))}")
    differs, same = made_with(runs)
    return Comparison(
        list(runs),
        manifest,
        options.record(),
        differs,
        same,
        table,
        replicates,
        counts,
        by_cost([*manifest.warnings, *warnings]),
        wanted,
        ranks,
        np.array([one.values["mAP@100"] if rankable else [] for one in measured], np.float64),
        [one.unusable for one in measured],
        *_curves(measured),
    )


class _Measured(NamedTuple):
    """One run: its ranks, values an identity, point values and replicates by measure, and counts of all pairs."""

    ranking: bool  # a submission's, that holds no embeddings
    unusable: int
    ranks: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    pairs: tuple[int, int] | None
    curve: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None
    warnings: list[str]
    failed: dict[str, Any]  # what failed trials cost a measure, see `vidface.scores.protocols.protocol.cost`


def _measure(
    scored: Scored,
    manifest: Manifest,
    wanted: Wanted,
    options: ScoreOptions,
    people: NDArray[np.int64],
    targets: list[str],
    drawn: NDArray[np.uint8],
) -> _Measured:
    from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
    from vidface.scores.pairs.distribution import pair_distribution, rates_at_edges
    from vidface.scores.pairs.replicates import tpr_replicates

    embeddings = scored.embeddings
    warnings = list(scored.warnings)
    ranks = np.zeros(len(wanted.videos), np.int64)
    values: dict[str, NDArray[np.float64]] = {}
    failed: dict[str, Any] = {}
    if wanted.names:
        if embeddings is None:
            name, rankings = str(scored.inputs["scored"]), scored.rankings or {}
            warnings += check_ranking(name, rankings, manifest, options.gallery_split)
            ranks = ranks_in(rankings, manifest, wanted)
            failed = failed_of(ranks, wanted, None, {name for name, videos in rankings.items() if videos})
        else:
            ranks = ranks_by_search(embeddings, manifest, wanted, options.enrolment_split)
            usable = np.asarray(embeddings.any(axis=1), np.bool_)
            enrolled = {
                manifest.identities[video]
                for video in np.flatnonzero(usable).tolist()
                if manifest.splits[video] == options.enrolment_split
            }
            failed = failed_of(ranks, wanted, usable, enrolled)
        values = identity_values(ranks, wanted)
    points = {name: float(each.mean()) for name, each in values.items()}
    replicates = {name: mean_replicates(each, replicates=drawn.shape[1]) for name, each in values.items()}
    unusable = 0 if embeddings is None else zero_embeddings(embeddings)
    if unusable:
        text = f"{unusable} of {len(people):,} videos have no usable frame: never ranked, score 0 in pairs"
        warnings.append(Warned(text, unusable / len(people)))
    found = _Measured(
        embeddings is None, unusable, ranks, values, points, replicates, None, None, warnings, failed
    )
    if "pairs" not in load(options.protocol).figures:
        return found
    if embeddings is None:
        warnings.append("a ranking holds no embeddings: TPR at FPR is not compared")
        return found
    result = tpr_of_all_pairs(embeddings, people, targets)
    warnings += result.warnings
    known = {target: value for target, value in zip(targets, result.tpr, strict=True) if value is not None}
    spread = pair_distribution(embeddings, people, manifest.video_ids, listed=1)
    again = tpr_replicates(embeddings, people, list(known), drawn)
    points |= {tpr_label(target): value for target, value in known.items()}
    replicates |= {tpr_label(target): each for target, each in zip(known, again, strict=True)}
    curve = spread.edges, rates_at_edges(spread.different), rates_at_edges(spread.same)
    failed |= lfrc.failed_pairs(embeddings, people, result, tpr_label)
    return found._replace(pairs=(result.genuine_pairs, result.impostor_pairs), curve=curve)


def _table(measured: Sequence[_Measured], rankable: bool, targets: Sequence[str]) -> list[Measure]:
    """A row a measure; those that no run has are left out, a warning says why."""
    names = ["mAP@100", *HITS] if rankable else []
    table = []
    labels = [*names, *map(tpr_label, targets)]
    beside = [costs_in_words(labels, one.failed) for one in measured]
    for at, name in enumerate(labels):
        values: list[Value | None] = []
        differences: list[Difference | None] = []
        for number, one in enumerate(measured):
            if name not in one.points:
                values.append(None)
                differences.append(None)
                continue
            again = one.replicates[name]
            whole = not np.isnan(again).any()  # in tiny sets a draw may hold no pair at all
            values.append(Value(one.points[name], *(interval(again) if whole else (None, None))))
            base = measured[0]
            if number and name in base.points and whole and not np.isnan(base.replicates[name]).any():
                point = base.points[name], one.points[name]
                both = base.replicates[name], again
                differences.append(difference(*point, *both, comparisons=len(measured) - 1))
            else:
                differences.append(None)
        if any(value is not None for value in values):
            table.append(Measure(name, values, differences, [said[at] for said in beside]))
    return table


def _curves(
    measured: Sequence[_Measured],
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64], NDArray[np.float64]]:
    known = [one.curve for one in measured if one.curve is not None]
    if not known:
        return None, np.empty((len(measured), 0)), np.empty((len(measured), 0))
    nothing = np.full(len(known[0][0]), np.nan)
    fpr = np.array([nothing if one.curve is None else one.curve[1] for one in measured])
    tpr = np.array([nothing if one.curve is None else one.curve[2] for one in measured])
    return known[0][0], fpr, tpr


def _cannot_rank(manifest: Manifest, wanted: Wanted, enrolment_split: str, gallery_split: str) -> str | None:
    if not wanted.names:
        return f"no video with an identity in the gallery split '{gallery_split}'"
    enrolled = any(
        split == enrolment_split and name
        for split, name in zip(manifest.splits, manifest.identities, strict=True)
    )
    return None if enrolled else f"no video with an identity in the enrolment split '{enrolment_split}'"
