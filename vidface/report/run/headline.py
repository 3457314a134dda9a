"""The numbers of a report and what they rest on: measures with intervals, counts, the protocol in words, the sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vidface.embeddings.thresholds import threshold_text
from vidface.files.store import Embeddings
from vidface.report.run.content import Cell, Number, Sweep, Table
from vidface.runs.opened import Run
from vidface.scores.metrics.bootstrap import REPLICATES
from vidface.scores.protocols.table import load

__all__ = ["counts_table", "headline", "protocol_words", "sweep_of"]

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


def headline(scores: Mapping[str, Any]) -> list[Number]:
    """Every measure of the protocol with its 95 % interval; beside it why there is none, or what failures cost it."""
    numbers = []
    for each in load(scores["protocol"]).measures(scores):
        low, high = each.interval or (None, None)
        label = re.sub(r"^rank(?=\d)", "rank-", each.label)
        numbers.append(Number(label, each.value, low, high, each.note or each.beside))
    return numbers


def counts_table(run: Run, found: Embeddings, scores: Mapping[str, Any], faults: int, *, what: str) -> Table:
    """What the numbers rest on; rows of a protocol that did not run are left out. ``what``: frames, or faces."""
    counts, identities = scores["counts"], run.manifest.identities
    words_of = _COUNTED if load(scores["protocol"]).figures else {}
    if not words_of:
        told = (
            name for name, count in counts.items() if isinstance(count, int) and name != "zero_embeddings"
        )
        words_of = {name: name.replace("_", " ") for name in told}
    rows: list[list[Cell]] = [
        ["videos", len(run.manifest.video_ids)],
        ["people (identities)", len(set(identities) - {""})],
        ["videos of nobody known", identities.count("")],
    ]
    splits = run.options.model_dump(include={"enrolment_split", "gallery_split"})
    rows += [[words.format(**splits), counts[name]] for name, words in words_of.items() if name in counts]
    frames, kept = int(found.frames.sum()), int(found.kept.sum())
    share = f" ({kept / frames:.1%})" if frames else ""
    rows += [
        [what, frames],
        [f"{what} kept{share}", kept],
        ["videos without a usable frame", int(np.count_nonzero(~found.embeddings.any(axis=1)))],
        ["faults", faults],
    ]
    return Table("counts", "What the numbers rest on", ["what", "count"], rows)


def protocol_words(run: Run, scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protocols that gave the numbers, exactly, a paragraph each."""
    words, definitions, options = [], scores["definitions"], run.options
    if not load(scores["protocol"]).figures:
        return [(name.replace("_", " "), text) for name, text in definitions.items()]
    if scores["mAP@100"] is not None:
        words.append(
            (
                "iQIYI-VID (mAP@100, hit@k)",
                f"A person's template is the L2-normalised mean of the embeddings of their enrolment videos (split "
                f"'{options.enrolment_split}'). It is searched by exact inner product among all videos of the gallery "
                f"(split '{options.gallery_split}'), distractors included; equal scores are ordered by video id. "
                f"{_sentence(definitions['iqiyi'])}.",
            )
        )
    if scores["tpr@fpr"] is not None:
        words.append(
            (
                "LFRC, video track (TPR at FPR)",
                "Every pair of distinct videos of the manifest is compared by the cosine of their embeddings, whatever "
                "their split. A pair is genuine where both have the same identity; a video of nobody known is an "
                f"impostor to everybody. Reported is {definitions['lfrc']}.",
            )
        )
    words.append(
        (
            "Intervals",
            "95 %, percentile bootstrap: identities are drawn again with all their videos, "
            f"{REPLICATES:,} times, seed 0. "
            "For TPR the threshold is held fixed, so its interval is a little too narrow where impostors are few.",
        )
    )
    words.append(
        (
            "Videos",
            "A video without a usable frame has a zero embedding: it is never ranked, scores 0 in every pair, and "
            "stays in all counts.",
        )
    )
    return words


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


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
