"""Runs of the same set -> what differs between them, and whether that is more than chance; the first is the baseline.

Every measure has the definition of ``vidface score``; intervals come from the paired bootstrap over identities
(`vidface.scores.metrics.bootstrap`), for TPR at FPR with the threshold drawn again (`vidface.scores.pairs.replicates`).
A protocol without paired resampling gives differences without interval. Reasons: `docs/compare.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, UsageError, Warned, by_cost
from vidface.manifest.manifest import Manifest
from vidface.runs.compare_inputs import Compared, made_with
from vidface.runs.compare_result import Comparison, Measure, Value, gathered_warnings, tpr_label
from vidface.runtime import progress
from vidface.scores.metrics import bootstrap
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.bootstrap import REPLICATES, Difference, interval
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.pairs.distribution import pair_distribution, rates_at_edges
from vidface.scores.pairs.replicates import tpr_replicates
from vidface.scores.protocols import iqiyi, iqiyi_ranks, lfrc
from vidface.scores.protocols.iqiyi_ranks import Wanted
from vidface.scores.protocols.protocol import HITS, costs_in_words
from vidface.scores.protocols.table import load
from vidface.scores.score import score
from vidface.scores.scored import Scored, read_scored, zero_embeddings
from vidface.submission import check_ranking

FEW_PAIRS = 30  # accepted impostor pairs that a threshold should rest on (Doddington's rule of 30 errors)
FEW_PEOPLE = 30
MANY_RUNS = 10

Array = NDArray[np.float64]


def compare(
    runs: Sequence[Compared], manifest: Manifest, options: ScoreOptions, *, replicates: int = REPLICATES
) -> Comparison:
    """Measure all runs (two or more, the baseline first), and tell differences from chance by ``replicates`` draws.

    Memory holds the embeddings of one run at a time, and what `vidface.scores.pairs.replicates` needs. ``options`` are
    from `open_compared`.

    Raises:
        ManifestError: the manifest cannot serve ``protocol``.
        StoreError: a file lacks videos of the manifest, or is damaged.
        UsageError: no measure can be had of any run, or a run holds no embeddings and the protocol needs them.
    """
    figures = load(options.protocol).figures
    if not figures:
        return _compare_numbers(runs, manifest, options)
    targets = options.targets if "pairs" in figures else []
    warnings: list[str] = []
    wanted = iqiyi_ranks.wanted_videos(manifest, options.gallery_split)
    rankable = "rankings" in figures
    if rankable and (why := _cannot_rank(manifest, wanted, options)):
        if "pairs" not in figures:
            raise ManifestError(f"{manifest.path}: {why}")
        warnings.append(f"mAP is not compared: {why}")
        rankable = False
    if not rankable:
        wanted = Wanted(np.empty(0, np.int64), np.empty(0, np.int64), [], wanted.gallery)
    people, names = lfrc.identity_codes(manifest)
    nobody = int(np.count_nonzero(people < 0))
    units = (len(names), nobody) if "pairs" in figures else (0, 0)
    drawn = bootstrap.draw(*units, replicates=replicates)
    measured: list[_Measured] = []
    with progress("compare", len(runs), "runs") as advance:
        for run in runs:
            scored = read_scored(run.scored, manifest)
            measured.append(_measure(scored, manifest, wanted, options, people, drawn))
            del scored  # before those of the next are read
            advance(1)
    ranks = np.array([one.ranks for one in measured])
    if any(one.ranking for one in measured):
        ranks[ranks > iqiyi.CUT_OFF] = 0  # rankings end there, so no run is followed further
    warnings += gathered_warnings(runs, [one.warnings for one in measured])
    for run in runs if "pairs" in figures else ():
        if run.fpr_rule != DEFAULT_RULE:
            scored_by = f"was scored by the FPR rule {run.fpr_rule}"
            warnings.append(f"{run.name} {scored_by}: here it is compared by {DEFAULT_RULE}")
    counts = {"videos": len(people), "identities": len(names), "videos_without_identity": nobody}
    if rankable:
        counts |= {"gallery_identities": len(wanted.names), "gallery_videos": len(wanted.gallery)}
        if (few := len(wanted.names)) < FEW_PEOPLE:
            warnings.append(f"intervals of mAP rest on {few} identities only, and may be too narrow")
    if pairs := next((one.pairs for one in measured if one.pairs), None):
        counts |= {"genuine_pairs": pairs[0], "impostor_pairs": pairs[1]}
        for target in targets:
            accepted = int(fpr_fraction(target) * pairs[1])
            if 1 <= accepted < FEW_PAIRS and pairs[0]:
                warnings.append(
                    f"TPR at FPR {target} rests on the {accepted} strongest of {pairs[1]:,} impostor pairs: "
                    f"fewer than {FEW_PAIRS} tell little"
                )
    if (many := len(runs) - 1) > MANY_RUNS:
        warnings.append(
            f"{many} comparisons: their intervals rest on the outermost few of {replicates} draws"
        )
    labels = [*(["mAP@100", *HITS] if rankable else []), *map(tpr_label, targets)]
    precision = [one.values.get("mAP@100", np.empty(0)) for one in measured]
    edges = next((one.curve[0] for one in measured if one.curve), None)
    nothing = np.full(0 if edges is None else len(edges), np.nan)
    fpr, tpr = (np.array([one.curve[at] if one.curve else nothing for one in measured]) for at in (1, 2))
    differs, same = made_with(runs)
    return Comparison(
        runs=list(runs),
        manifest=manifest,
        options=options.record(),
        differs=differs,
        same=same,
        measures=_compared(_measures(measured, labels), warnings),
        replicates=replicates,
        counts=counts,
        warnings=by_cost([*manifest.warnings, *warnings]),
        wanted=wanted,
        ranks=ranks,
        precision=np.array(precision),
        unusable=[one.unusable for one in measured],
        edges=edges,
        fpr=fpr,
        tpr=tpr,
    )


class _Measured(NamedTuple):
    """One run: its ranks, values per identity, point values and replicates by measure, and counts of all pairs."""

    ranking: bool  # a submission's, that holds no embeddings
    unusable: int
    ranks: NDArray[np.int64]
    values: dict[str, Array]
    points: dict[str, float]
    replicates: dict[str, Array]
    pairs: tuple[int, int] | None
    curve: tuple[Array, Array, Array] | None  # edges, FPR, TPR
    warnings: list[str]
    failed: dict[str, Any]  # what failed trials cost a measure, see `vidface.scores.protocols.protocol.cost`


def _measure(
    scored: Scored,
    manifest: Manifest,
    wanted: Wanted,
    options: ScoreOptions,
    people: NDArray[np.int64],
    drawn: NDArray[np.uint8],
) -> _Measured:
    embeddings = scored.embeddings
    warnings = list(scored.warnings)
    ranks = np.zeros(len(wanted.videos), np.int64)
    values: dict[str, Array] = {}
    failed: dict[str, Any] = {}
    if wanted.names and embeddings is None:
        name, rankings = str(scored.inputs["scored"]), scored.rankings or {}
        warnings += check_ranking(name, rankings, manifest, options.gallery_split)
        ranks = iqiyi_ranks.ranks_in(rankings, manifest, wanted)
        ranked = {name for name, videos in rankings.items() if videos}
        failed = iqiyi_ranks.failed_of(ranks, wanted, None, ranked)
    elif wanted.names and embeddings is not None:
        ranks = iqiyi_ranks.ranks_by_search(embeddings, manifest, wanted, options.enrolment_split)
        usable = np.asarray(embeddings.any(axis=1), np.bool_)
        enrolled = {
            manifest.identities[video]
            for video in np.flatnonzero(usable).tolist()
            if manifest.splits[video] == options.enrolment_split
        }
        failed = iqiyi_ranks.failed_of(ranks, wanted, usable, enrolled)
    if wanted.names:
        values = iqiyi_ranks.identity_values(ranks, wanted)
    points = {name: float(each.mean()) for name, each in values.items()}
    draws = drawn.shape[1]
    replicates = {name: bootstrap.mean_replicates(each, replicates=draws) for name, each in values.items()}
    unusable = 0 if embeddings is None else zero_embeddings(embeddings)
    if unusable:
        text = f"{unusable} of {len(people):,} videos have no usable frame: never ranked, score 0 in pairs"
        warnings.append(Warned(text, unusable / len(people)))
    pairs = curve = None
    if "pairs" not in load(options.protocol).figures:
        pass
    elif embeddings is None:
        warnings.append("a ranking holds no embeddings: TPR at FPR is not compared")
    else:
        result = tpr_of_all_pairs(embeddings, people, options.targets)
        warnings += result.warnings
        found = zip(options.targets, result.tpr, strict=True)
        known = {target: value for target, value in found if value is not None}
        spread = pair_distribution(embeddings, people, manifest.video_ids, listed=1)
        again = tpr_replicates(embeddings, people, list(known), drawn)
        points |= {tpr_label(target): value for target, value in known.items()}
        replicates |= {tpr_label(target): each for target, each in zip(known, again, strict=True)}
        pairs = (result.genuine_pairs, result.impostor_pairs)
        curve = (spread.edges, rates_at_edges(spread.different), rates_at_edges(spread.same))
        failed |= lfrc.failed_pairs(embeddings, people, result, tpr_label)
    ranking = embeddings is None
    return _Measured(ranking, unusable, ranks, values, points, replicates, pairs, curve, warnings, failed)


def _measures(measured: Sequence[_Measured], labels: Sequence[str]) -> list[Measure]:
    base = measured[0]
    beside = [costs_in_words(labels, one.failed) for one in measured]
    table = []
    for at, name in enumerate(labels):
        values: list[Value | None] = []
        differences: list[Difference | None] = []
        for number, one in enumerate(measured):
            values.append(None)
            differences.append(None)
            if name not in one.points:
                continue
            point, again = one.points[name], one.replicates[name]
            whole = not np.isnan(again).any()  # in tiny sets a draw may hold no pair at all
            values[-1] = Value(point, *(interval(again) if whole else (None, None)))
            if number and name in base.points and whole and not np.isnan(base.replicates[name]).any():
                both = base.replicates[name], again
                against = len(measured) - 1
                differences[-1] = bootstrap.difference(base.points[name], point, *both, comparisons=against)
        table.append(Measure(name, values, differences, [said[at] for said in beside]))
    return table


def _compare_numbers(runs: Sequence[Compared], manifest: Manifest, options: ScoreOptions) -> Comparison:
    scores: list[dict[str, Any]] = []
    with progress("compare", len(runs), "runs") as advance:
        for run in runs:
            scores.append(score(read_scored(run.scored, manifest), manifest, options))
            advance(1)
    table = []
    for column in zip(*map(load(options.protocol).measures, scores), strict=True):
        values = [
            None if each.value is None else Value(each.value, *(each.interval or (None, None)))
            for each in column
        ]
        base = values[0]
        differences = [
            Difference(value.value - base.value, None, None, 0) if at and value and base else None
            for at, value in enumerate(values)
        ]
        table.append(Measure(column[0].label, values, differences, [each.beside for each in column]))
    warnings = gathered_warnings(runs, [one["warnings"] for one in scores])
    table = _compared(table, warnings)
    none = "gives no interval of a difference: none can be told from chance"
    warnings.append(f"the protocol {options.protocol} {none}")
    counts = {name: each for name, each in scores[0]["counts"].items() if isinstance(each, int)}
    counts.pop("zero_embeddings", None)
    differs, same = made_with(runs)
    empty, nothing = np.empty(0, np.int64), np.empty((len(runs), 0))
    return Comparison(
        runs=list(runs),
        manifest=manifest,
        options=options.record(),
        differs=differs,
        same=same,
        measures=table,
        replicates=0,
        counts={"videos": len(manifest.video_ids), **counts},
        warnings=by_cost(warnings),
        wanted=Wanted(empty, empty, [], empty),
        ranks=nothing.astype(np.int64),
        precision=nothing,
        unusable=[one["counts"]["zero_embeddings"] for one in scores],
        edges=None,
        fpr=nothing,
        tpr=nothing,
        definitions={name: text for name, text in scores[0]["definitions"].items() if name != "fpr_rule"},
    )


def _compared(table: Sequence[Measure], warnings: Sequence[str]) -> list[Measure]:
    """The measures that some run has, UsageError if none; of the others a warning says why they are missing."""
    known = [measure for measure in table if any(value is not None for value in measure.values)]
    if not known:
        raise UsageError(f"nothing can be compared: {'; '.join(dict.fromkeys(warnings))}")
    return known


def _cannot_rank(manifest: Manifest, wanted: Wanted, options: ScoreOptions) -> str | None:
    if not wanted.names:
        return f"no video with an identity in the gallery split '{options.gallery_split}'"
    both = zip(manifest.splits, manifest.identities, strict=True)
    if any(split == options.enrolment_split and name for split, name in both):
        return None
    return f"no video with an identity in the enrolment split '{options.enrolment_split}'"
