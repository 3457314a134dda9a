"""The numbers of a report and what they rest on: measures, counts, curves, sweep, protocol, faults, versions."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import vidface
from vidface.embeddings.thresholds import threshold_text
from vidface.files.faults import FAULTS_FILE, read_faults
from vidface.files.store import Embeddings, Fault, FeaturesInfo
from vidface.report.run.content import Cell, Curves, Histogram, Number, OperatingPoint, Sweep, Table
from vidface.runs.opened import Run
from vidface.scores.metrics.bootstrap import REPLICATES
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.pairs.distribution import Distribution, rates_at_edges
from vidface.scores.protocols.table import load

# What the protocols with figures count, in words; others have the names of their counts.
_COUNTED = {
    "identities": "people that are searched for (queries)",
    "enrolment_videos": "enrolment videos (split {enrolment_split})",
    "gallery_videos": "gallery videos (split {gallery_split})",
    "distractors": "distractors among the gallery videos",
    "identities_not_ranked": "queries without a ranking, which score 0",
    "identities_without_gallery": "enrolled people without a gallery video, not searched for",
    "genuine_pairs": "genuine pairs (same person)",
    "impostor_pairs": "impostor pairs (different people, or somebody unknown)",
}
LIBRARIES = ("numpy", "numba", "h5py", "openTSNE", "matplotlib")
# Of the files themselves, or shown elsewhere.
_OF_THE_FILE = [
    "kind",
    "schema_version",
    "content_sha256",
    "rest_sha256",
    "rows_sum",
    "program_version",
    "warnings",
]
FAULT = ("video", "stage", "kind", "detail", "output")


def headline(scores: Mapping[str, Any]) -> list[Number]:
    """Every measure of the protocol with its 95 % interval; beside it why there is none, or what failures cost it."""
    numbers = []
    for each in load(scores["protocol"]).measures(scores):
        label = re.sub(r"^rank(?=\d)", "rank-", each.label)
        low, high = each.interval or (None, None)
        numbers.append(Number(label, each.value, low, high, each.note or each.beside))
    return numbers


def counts_table(run: Run, found: Embeddings, scores: Mapping[str, Any], faults: int, *, what: str) -> Table:
    """What the numbers rest on; rows of a protocol that did not run are left out. ``what``: frames, or faces."""
    counts, identities = scores["counts"], run.manifest.identities
    words_of = _COUNTED
    if not load(scores["protocol"]).figures:
        words_of = {name: name.replace("_", " ") for name, count in counts.items() if isinstance(count, int)}
        words_of.pop("zero_embeddings", None)
    splits = run.options.model_dump(include={"enrolment_split", "gallery_split"})
    frames, kept = int(found.frames.sum()), int(found.kept.sum())
    share = f" ({kept / frames:.1%})" if frames else ""
    rows: list[list[Cell]] = [
        ["videos", len(run.manifest.video_ids)],
        ["people (identities)", len(set(identities) - {""})],
        ["videos of nobody known", identities.count("")],
        *([words.format(**splits), counts[name]] for name, words in words_of.items() if name in counts),
        [what, frames],
        [f"{what} kept{share}", kept],
        ["videos without a usable frame", int(np.count_nonzero(~found.embeddings.any(axis=1)))],
        ["faults", faults],
    ]
    return Table("counts", "What the numbers rest on", ["what", "count"], rows)


def protocol_words(run: Run, scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocols that gave the numbers, exactly, one paragraph each."""
    words, definitions, options = [], scores["definitions"], run.options
    if not load(scores["protocol"]).figures:
        return [(name.replace("_", " "), text) for name, text in definitions.items()]
    if scores["mAP@100"] is not None:
        definition = definitions["iqiyi"]
        text = (
            f"A person's template is the L2-normalised mean of the embeddings of their enrolment videos (split "
            f"'{options.enrolment_split}'). It is searched by exact inner product among all videos of the gallery "
            f"(split '{options.gallery_split}'), distractors included; equal scores are ordered by video id. "
            f"{definition[:1].upper()}{definition[1:]}."
        )
        words.append(("iQIYI-VID (mAP@100, hit@k)", text))
    if scores["tpr@fpr"] is not None:
        text = (
            "Every pair of distinct videos of the manifest is compared by the cosine of their embeddings, whatever "
            "their split. A pair is genuine where both have the same identity; a video of nobody known is an "
            f"impostor to everybody. Reported is {definitions['lfrc']}."
        )
        words.append(("LFRC, video track (TPR at FPR)", text))
    intervals = (
        f"95 %, percentile bootstrap: identities are drawn again with all their videos, {REPLICATES:,} times, seed 0. "
        "For TPR the threshold is held fixed, so its interval is a little too narrow where impostors are few."
    )
    videos = (
        "A video without a usable frame has a zero embedding: it is never ranked, scores 0 in every pair, and "
        "stays in all counts."
    )
    return [*words, ("Intervals", intervals), ("Videos", videos)]


def sweep_of(sweep: Mapping[str, Any], run: Run) -> Sweep:
    """A sweep's table by measure; what is said of the chosen threshold is only what is known."""
    rows = sweep["rows"]
    thresholds = [row["threshold"] for row in rows]
    found = zip(*map(load(rows[0]["protocol"]).measures, rows), strict=True)
    kept = [each for each in found if each[0].key != ""]
    columns = {each[0].label: [one.value for one in each] for each in kept}
    smaller = frozenset(each[0].label for each in kept if each[0].lower_is_better)
    chosen = str(run.attributes.get("threshold", threshold_text(None)))
    best = [
        name
        for name, values in columns.items()
        if chosen in thresholds and _is_alone_at_the_top(values, thresholds.index(chosen), name in smaller)
    ]
    warning = None
    if best:
        warning = (
            f"threshold {chosen} is the best of this sweep by {', '.join(best)}, and the sweep was made on the very "
            "videos that are scored. If it was chosen by looking at this sweep, the numbers of this report are too "
            "good: choose the threshold on other people."
        )
    return Sweep(
        thresholds,
        [row["kept"] for row in rows],
        {name: values for name, values in columns.items() if any(value is not None for value in values)},
        chosen if chosen in thresholds else None,
        warning,
        smaller,
    )


def _is_alone_at_the_top(values: Sequence[float | None], place: int, smaller_is_better: bool) -> bool:
    """Whether a value is better than every other: where thresholds tie, none of them was chosen by its number."""
    sign = -1 if smaller_is_better else 1
    others = [sign * other for at, other in enumerate(values) if other is not None and at != place]
    value = values[place]
    return value is not None and bool(others) and sign * value > max(others)


def curves_of(found: Distribution, scores: Mapping[str, Any]) -> Curves | None:
    """ROC and DET over all pairs, None if all are of one kind; of edges with no pair between, only the ends stay."""
    genuine, impostors = int(found.same.sum()), int(found.different.sum())
    if not genuine or not impostors:
        return None
    # The highest edge accepts nothing here, although a score may be 1 by rounding or because two videos are one.
    fpr, tpr = rates_at_edges(found.different)[::-1], rates_at_edges(found.same)[::-1]
    moved = (np.diff(fpr) != 0) | (np.diff(tpr) != 0)
    worth = np.append(True, moved) | np.append(moved, True)
    intervals = scores["ci95"].get("tpr@fpr") or {}
    rule: FprRule = scores.get("fpr_rule", DEFAULT_RULE)
    reached = (scores.get("fpr_reached") or {}) if rule == "nearest" else {}
    points = []
    for target, value in (scores["tpr@fpr"] or {}).items():
        low, high = intervals.get(target) or (None, None)
        at = reached.get(target) or float(fpr_fraction(target))
        points.append(OperatingPoint(target, at, value, low, high, scores["threshold@fpr"][target]))
    note = (
        f"all {genuine + impostors:,} pairs, none sampled; thresholds are 1/{round(1 / np.diff(found.edges)[0])} of "
        "cosine apart, and the rates at each of them are exact"
    )
    return Curves(found.edges[::-1][worth], fpr[worth], tpr[worth], genuine, impostors, points, note, rule)


def histogram_of(found: Distribution, scores: Mapping[str, Any]) -> Histogram | None:
    """How all pairs are spread, with the thresholds of the FPR targets; None if there are no pairs."""
    if not found.same.any() and not found.different.any():
        return None
    thresholds = scores["threshold@fpr"] or {}
    known = {target: value for target, value in thresholds.items() if value is not None}
    return Histogram(found.edges, found.same, found.different, known)


def made_with_table(run: Run, info: FeaturesInfo | None) -> Table:
    """Everything that the files say of how they were made, then the manifest, the options and this program."""
    embeddings = run.attributes
    features = {} if info is None else info.attributes
    said = {name: value for name, value in {**features, **embeddings}.items() if name not in _OF_THE_FILE}
    names = [name for name in dict.fromkeys([*embeddings, *features]) if name in said]
    rows: list[list[Cell]] = [[name.replace("_", " "), _plain(said[name])] for name in names]
    rows += [
        ["embeddings", run.embeddings.name],
        ["embeddings sha256 of content", _plain(embeddings["content_sha256"])],
        ["embeddings made by", f"vidface {embeddings.get('program_version', 'unknown')}"],
    ]
    if info is not None:
        rows.append(["features", info.path.name])
        rows.append(["features made by", f"vidface {features.get('program_version', 'unknown')}"])
    rows += [
        ["manifest", run.manifest.path.name],
        ["manifest sha256 of rows", run.manifest.sha256],
        ["protocol", run.options.protocol],
        ["enrolment split", run.options.enrolment_split],
        ["gallery split", run.options.gallery_split],
        ["FPR targets", ", ".join(run.options.targets)],
        ["FPR rule", FPR_RULE_TEXT[run.options.fpr_rule]],
        ["report made by", f"vidface {vidface.__version__}"],
        ["Python", platform.python_version()],
    ]
    for name in LIBRARIES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            continue
    return Table("made-with", "How it was made", ["what", "value"], rows)


def _plain(value: object) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str | int | float) else str(value)


def faults_of(run: Run) -> list[Fault]:
    """The faults that were recorded for the files of this run, in the order of `faults.jsonl`."""
    files = [path.resolve() for path in (run.embeddings, run.features) if path]
    names = {(path.parent, path.name) for path in files}
    return [
        fault
        for path in sorted({path.with_name(FAULTS_FILE) for path in files})
        for fault in read_faults(path)
        if (path.parent, fault.get("output")) in names
    ]


def fault_tables(faults: list[Fault], found: Embeddings) -> tuple[Table, Table]:
    of_status = sorted(Counter(found.status).items())
    counts: list[list[Cell]] = [["videos by status", status, count] for status, count in of_status]
    kinds = Counter((str(fault.get("stage", "")), str(fault.get("kind", ""))) for fault in faults)
    counts += [[f"faults of {stage}", kind, count] for (stage, kind), count in sorted(kinds.items())]
    note = "" if faults else "No fault was recorded for these files."
    rows: list[list[Cell]] = [[str(fault.get(name, "")) for name in FAULT] for fault in faults]
    return (
        Table("fault-counts", "What failed, by kind", ["what", "kind", "count"], counts, note),
        Table("faults", "Every fault", list(FAULT), rows),
    )
