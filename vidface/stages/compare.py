"""Runs of the same set -> what differs between them, and whether that is more than chance.

The first run is the baseline. Every measure has the definition of ``vidface score``; intervals come from the paired
bootstrap over identities (`vidface.metrics.paired`), for TPR at FPR with the threshold drawn again
(`vidface.metrics.resampled_pairs`). Tested in ``tests/stages/test_compare.py``; `docs/compare.md` has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import vidface
from vidface.errors import ManifestError, UsageError
from vidface.manifest import Manifest, read_manifest
from vidface.metrics.paired import REPLICATES, Difference, difference, draw, interval, mean_replicates
from vidface.metrics.pairs import fpr_fraction
from vidface.progress import progress
from vidface.protocols import iqiyi, lfrc
from vidface.protocols.paired import (
    Wanted,
    identity_codes,
    identity_values,
    ranks_by_search,
    ranks_in,
    wanted_videos,
)
from vidface.stages.outputs import short
from vidface.stages.runs import OPTIONS, open_run
from vidface.stages.score import Scored, read_scored, zero_embeddings
from vidface.submission import sniff

__all__ = [
    "Compared",
    "Comparison",
    "Measure",
    "Value",
    "as_json",
    "compare",
    "open_compared",
    "signed",
    "tpr_label",
    "verdict",
]

FEW_PAIRS = 30  # accepted impostor pairs that a threshold should rest on (Doddington's rule of 30 errors)
FEW_PEOPLE = 30
SHOWN = 20  # people and videos that changed most, against each run
# Of a file alone, and no matter of how it was made.
_NOT_MADE_WITH = {"kind", "schema_version", "content_sha256", "features_sha256", "manifest_sha256"}


@dataclass(frozen=True)
class Compared:
    """One of the runs.

    Attributes:
        name: short, and no other has it.
        path: as it was named.
        scored: the file that is scored.
        made_with: what is known of how it was made, name -> value.
    """

    name: str
    path: Path
    scored: Path
    made_with: dict[str, Any]


class Value(NamedTuple):
    """A measure of one run with its 95 % interval; the ends are None where too few pairs or people allow none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measure:
    """One measure of all runs.

    Attributes:
        name: ``mAP@100``, ``rank1`` ... or ``TPR at FPR 1e-4`` ...
        values: of every run; None where it cannot be had.
        differences: of every run to the first, which has None.
    """

    name: str
    values: list[Value | None]
    differences: list[Difference | None]


@dataclass(frozen=True)
class Comparison:
    """A whole comparison of S runs.

    Attributes:
        runs: the baseline first.
        manifest: of the set.
        options: splits, targets and protocol that all were scored with.
        differs: what the runs were made with, where it is not the same for all: name -> a value a run (None: unknown).
        same: what is the same for all.
        measures: one row of the table each.
        replicates: how many sets were drawn.
        counts: what the numbers rest on.
        warnings: a sentence for everything that is to be kept in mind.
        wanted: the gallery videos that somebody should be found in; N of them, of I identities.
        ranks: int64 [S, N], where they stand in the ranking of their identity; 0: not ranked.
        precision: float64 [S, I], AP at 100.
        unusable: for every run, how many videos have no usable frame.
        edges: float64 [B+1], cosines, rising; None where no run has embeddings.
        fpr, tpr: float64 [S, B+1], rates of all pairs at the edges; NaN for a run without embeddings.
    """

    runs: list[Compared]
    manifest: Manifest
    options: dict[str, Any]
    differs: dict[str, list[Any]]
    same: dict[str, Any]
    measures: list[Measure]
    replicates: int
    counts: dict[str, int]
    warnings: list[str]
    wanted: Wanted
    ranks: NDArray[np.int64]
    precision: NDArray[np.float64]
    unusable: list[int]
    edges: NDArray[np.float64] | None
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]

    @property
    def comparisons(self) -> int:
        """How many runs are compared with the baseline."""
        return len(self.runs) - 1

    def changed_videos(self, run: int) -> list[int]:
        """Gallery videos, numbers in ``wanted``, whose rank differs from the baseline's, the most changed first.

        What counts is the ratio of the two ranks: from 1 to 10 is as much as from 100 to 1000. A video that is not
        ranked counts as behind the last one. Ties go by video id.
        """
        last = len(self.wanted.gallery) + 1
        first, second = (np.where(ranks > 0, ranks, last) for ranks in self.ranks[[0, run]])
        ratio = np.maximum(first, second) / np.minimum(first, second)
        changed = np.flatnonzero(self.ranks[0] != self.ranks[run]).tolist()
        ids = self.manifest.video_ids
        return sorted(changed, key=lambda n: (-ratio[n], ids[int(self.wanted.videos[n])]))

    def changed_identities(self, run: int) -> list[int]:
        """Identities, numbers in ``wanted.names``, whose AP differs from the baseline's, the most changed first."""
        change = np.abs(self.precision[run] - self.precision[0])
        return sorted(np.flatnonzero(change > 0).tolist(), key=lambda i: (-change[i], self.wanted.names[i]))


def verdict(gain: Difference | None) -> str:
    """A difference to the first run in words; to be read after the name of the other one."""
    if gain is None:
        return "not measured for both"
    value, low, high = map(signed, gain[:3])
    ends = f"interval {low} to {high}"
    if gain.verdict:
        return f"{'better' if gain.verdict > 0 else 'worse'} by {abs(gain.value):.4f}, {ends}"
    if gain.value == gain.low == gain.high == 0:
        return "no difference at all"
    return f"no difference can be told: {value}, {ends}"


def signed(number: float) -> str:
    """A difference with its sign and four digits; never ``-0.0000``."""
    return f"{round(number, 4) + 0.0:+.4f}"


def open_compared(
    paths: Sequence[Path], *, manifest: Path | None, options: Mapping[str, Any]
) -> tuple[list[Compared], Manifest, dict[str, Any]]:
    """Open what is to be compared, and make sure that it is of one set.

    Args:
        paths: folders of recipes, embeddings files, or submission files; the baseline first.
        manifest: who is where; None: as the folders' ``run.json`` say.
        options: some of `vidface.stages.runs.OPTIONS`; what is None is as the first run was scored.

    Returns:
        (runs, manifest, options).

    Raises:
        UsageError: fewer than two, runs of different sets, or nothing says which manifest.
        StoreError: something is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two runs or more")
    opened = [None if path.is_file() and sniff(path) != "hdf5" else path for path in paths]
    runs = [None if path is None else open_run(path, manifest=manifest, options=options) for path in opened]
    first = next((run for run in runs if run is not None), None)
    if first is None and manifest is None:
        raise UsageError("submission files do not say which manifest they belong to: say --manifest FILE")
    truth = first.manifest if first is not None else read_manifest(manifest or Path())
    given = {name: value for name, value in options.items() if value is not None}
    chosen = {**OPTIONS, **given} if first is None else first.options
    for path, run in zip(paths, runs, strict=True):
        if run is not None and first is not None:
            _refuse_another_set(first.path, first.manifest, path, run.manifest)
    made_from = {
        str(path): run.attributes.get("manifest_sha256")
        for path, run in zip(paths, runs, strict=True)
        if run is not None
    }
    if manifest is None and len(set(made_from.values())) > 1:
        (a, one), (b, other) = _two_that_differ(made_from)
        raise UsageError(
            f"{a} and {b} were made from different manifests ({short(one)}, {short(other)}): what they share can be "
            "compared with --manifest FILE"
        )
    compared = [
        Compared(
            "",
            path,
            path if run is None else run.embeddings,
            {"file": sniff(path)}
            if run is None
            else {k: _plain(v) for k, v in run.attributes.items() if k not in _NOT_MADE_WITH},
        )
        for path, run in zip(paths, runs, strict=True)
    ]
    names = _names(
        [path.name if run is None else run.name for path, run in zip(paths, runs, strict=True)], paths
    )
    return (
        [Compared(name, c.path, c.scored, c.made_with) for name, c in zip(names, compared, strict=True)],
        truth,
        chosen,
    )


def compare(
    runs: Sequence[Compared], manifest: Manifest, options: Mapping[str, Any], *, replicates: int = REPLICATES
) -> Comparison:
    """Measure all runs, and tell differences from chance.

    Memory holds the embeddings of one run at a time, and what `vidface.metrics.resampled_pairs` needs.

    Args:
        runs: two or more, the baseline first.
        manifest: of the set.
        options: from `open_compared`.
        replicates: how many sets are drawn.

    Raises:
        ManifestError: ``protocol`` is one that the manifest cannot serve.
        StoreError: a file lacks videos of the manifest, or is damaged.
    """
    protocol, targets = options["protocol"], list(options["targets"])
    warnings: list[str] = []
    wanted = wanted_videos(manifest, options["gallery_split"])
    if protocol in ("iqiyi", "both"):
        why = _cannot_rank(manifest, wanted, options["enrolment_split"], options["gallery_split"])
        if why and protocol == "iqiyi":
            raise ManifestError(f"{manifest.path}: {why}")
        if why:
            warnings.append(f"mAP is not compared: {why}")
    rankable = protocol in ("iqiyi", "both") and not warnings
    if not rankable:
        wanted = Wanted(np.empty(0, np.int64), np.empty(0, np.int64), [], wanted.gallery)
    people, names = identity_codes(manifest)
    nobody = int(np.count_nonzero(people < 0))
    drawn_people = draw(len(wanted.names), replicates=replicates)
    drawn_units = draw(len(names), nobody, replicates=replicates)
    measured: list[_Measured] = []
    with progress("compare", len(runs), "runs") as advance:
        for run in runs:
            scored = read_scored(run.scored, manifest)
            one = _measure(scored, manifest, wanted, options, people, targets, drawn_people, drawn_units)
            measured.append(one)
            advance(1)
    warnings += _gathered(runs, measured)
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
    differs, same = _made_with(runs)
    return Comparison(
        list(runs),
        manifest,
        dict(options),
        differs,
        same,
        _table(measured, rankable, targets if protocol in ("lfrc", "both") else []),
        replicates,
        counts,
        list(dict.fromkeys(warnings)),
        wanted,
        np.array([one.ranks for one in measured]),
        np.array([one.values["mAP@100"] if rankable else [] for one in measured], np.float64),
        [one.unusable for one in measured],
        *_curves(measured),
    )


class _Measured(NamedTuple):
    """One run: its ranks, values an identity, point values and replicates by measure, and counts of all pairs."""

    unusable: int
    ranks: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    points: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    pairs: tuple[int, int] | None
    curve: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None
    warnings: list[str]


def _measure(
    scored: Scored,
    manifest: Manifest,
    wanted: Wanted,
    options: Mapping[str, Any],
    people: NDArray[np.int64],
    targets: list[str],
    drawn_people: NDArray[np.uint8],
    drawn_units: NDArray[np.uint8],
) -> _Measured:
    from vidface.metrics.resampled_pairs import tpr_replicates
    from vidface.metrics.score_distribution import pair_distribution, rates_at_edges
    from vidface.metrics.verification import tpr_at_fpr

    embeddings = scored.embeddings
    warnings: list[str] = []
    ranks = np.zeros(len(wanted.videos), np.int64)
    values: dict[str, NDArray[np.float64]] = {}
    if wanted.names:
        if embeddings is None:
            ranks = ranks_in(scored.rankings or {}, manifest, wanted)
        else:
            ranks = ranks_by_search(embeddings, manifest, wanted, options["enrolment_split"])
        values = identity_values(ranks, wanted)
    points = {name: float(each.mean()) for name, each in values.items()}
    replicates = {name: mean_replicates(each, drawn_people) for name, each in values.items()}
    unusable = 0 if embeddings is None else zero_embeddings(embeddings)
    if unusable:
        warnings.append(f"{unusable} videos have no usable frame: never ranked, score 0 in pairs")
    if options["protocol"] == "iqiyi":
        return _Measured(unusable, ranks, values, points, replicates, None, None, warnings)
    if embeddings is None:
        warnings.append("a ranking holds no embeddings: TPR at FPR is not compared")
        return _Measured(unusable, ranks, values, points, replicates, None, None, warnings)
    result = tpr_at_fpr(embeddings, people, targets)
    warnings += result.warnings
    known = {target: value for target, value in zip(targets, result.tpr, strict=True) if value is not None}
    spread = pair_distribution(embeddings, people, manifest.video_ids, listed=1)
    again = tpr_replicates(embeddings, people, list(known), drawn_units, spread=spread)
    points |= {tpr_label(target): value for target, value in known.items()}
    replicates |= {tpr_label(target): each for target, each in zip(known, again, strict=True)}
    curve = spread.edges, rates_at_edges(spread.different), rates_at_edges(spread.same)
    pairs = result.genuine_pairs, result.impostor_pairs
    return _Measured(unusable, ranks, values, points, replicates, pairs, curve, warnings)


def _gathered(runs: Sequence[Compared], measured: Sequence[_Measured]) -> list[str]:
    """The warnings of all runs, each once: what holds for all of them without their names."""
    whose: dict[str, list[str]] = {}
    for run, one in zip(runs, measured, strict=True):
        for text in one.warnings:
            whose.setdefault(text, []).append(run.name)
    return [
        text if len(names) == len(runs) else f"{', '.join(names)}: {text}" for text, names in whose.items()
    ]


def tpr_label(target: str) -> str:
    """The name of the measure at an FPR target."""
    return f"TPR at FPR {target}"


def _table(measured: Sequence[_Measured], rankable: bool, targets: Sequence[str]) -> list[Measure]:
    """A row a measure; those that no run has are left out, a warning says why."""
    names = ["mAP@100", *(f"rank{k}" for k in iqiyi.RANKS)] if rankable else []
    table = []
    for name in [*names, *map(tpr_label, targets)]:
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
            table.append(Measure(name, values, differences))
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


def _refuse_another_set(a: Path, first: Manifest, b: Path, second: Manifest) -> None:
    if first.sha256 == second.sha256:
        return
    lost = len(set(first.video_ids) - set(second.video_ids))
    new = len(set(second.video_ids) - set(first.video_ids))
    how = f"{lost} videos are in the first alone and {new} in the second alone"
    if not lost and not new:
        how = "the same video ids, but other paths, identities, splits or another order"
    raise UsageError(
        f"{a} and {b} are of different sets, {first.path} and {second.path} ({how}): "
        "what they share can be compared with --manifest FILE"
    )


def _two_that_differ(values: Mapping[str, Any]) -> tuple[tuple[str, Any], tuple[str, Any]]:
    items = list(values.items())
    return items[0], next(item for item in items if item[1] != items[0][1])


def _made_with(runs: Sequence[Compared]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What the runs were made with: where they differ, and what is the same as far as it is known."""
    differs, same = {}, {}
    for name in dict.fromkeys(name for run in runs for name in run.made_with):
        values = [run.made_with.get(name) for run in runs]
        known = [value for value in values if value is not None]
        if all(str(value) == str(known[0]) for value in known):
            same[name] = known[0]
        else:
            differs[name] = values
    return differs, same


def _names(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names that tell the runs apart: where two are alike, paths; where those are, too, with a number."""
    told = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return [
        name if told.count(name) == 1 else f"{name} ({told[: i + 1].count(name)})"
        for i, name in enumerate(told)
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as one JSON object; its keys are documented in ``docs/compare.md``."""
    ids, names = found.manifest.video_ids, found.wanted.names
    others = range(1, len(found.runs))
    return {
        "runs": [
            {
                "name": run.name,
                "path": str(run.path),
                "scored": run.scored.name,
                "zero_embeddings": unusable,
                "made_with": run.made_with,
            }
            for run, unusable in zip(found.runs, found.unusable, strict=True)
        ],
        "baseline": found.runs[0].name,
        "differs": found.differs,
        "measures": [
            {
                "measure": measure.name,
                "values": [None if value is None else value._asdict() for value in measure.values],
                "differences": [
                    None if gain is None else {**gain._asdict(), "words": verdict(gain)}
                    for gain in measure.differences
                ],
            }
            for measure in found.measures
        ],
        "intervals": {
            "level": 0.95,
            "comparisons": found.comparisons,
            "replicates": found.replicates,
            "seed": 0,
        },
        "changed_identities": {
            found.runs[run].name: [
                {"identity": names[i], "ap": found.precision[[0, run], i].tolist()}
                for i in found.changed_identities(run)[:SHOWN]
            ]
            for run in others
        },
        "changed_videos": {
            found.runs[run].name: [
                {
                    "video": ids[int(found.wanted.videos[n])],
                    "identity": names[int(found.wanted.identity[n])],
                    "rank": [rank or None for rank in found.ranks[[0, run], n].tolist()],
                }
                for n in found.changed_videos(run)[:SHOWN]
            ]
            for run in others
        },
        "options": found.options,
        "definitions": {"iqiyi": iqiyi.DEFINITION, "lfrc": lfrc.DEFINITION.partition("; intervals")[0]},
        "counts": found.counts,
        "warnings": found.warnings,
        "inputs": {"manifest_sha256": found.manifest.sha256, "program_version": vidface.__version__},
    }
