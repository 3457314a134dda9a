"""The numbers of a report and what they rest on: measures with intervals, counts, the protocol in words, the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidface.embeddings.thresholds import threshold_text
from vidface.files.store import Embeddings
from vidface.report.run.content import Cell, Number, Sweep, Table
from vidface.runs.opened import Run
from vidface.scores.metrics.bootstrap import REPLICATES
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.protocols.iqiyi import RANKS
from vidface.scores.text import tpr_label

__all__ = ["counts_table", "headline", "protocol_words", "sweep_of"]


def headline(scores: Mapping[str, Any]) -> list[Number]:
    """mAP@100 and rank-k, then TPR at every FPR target, with 95 % intervals; a protocol that did not run adds none."""
    intervals, numbers, rule = scores["ci95"], [], scores.get("fpr_rule", DEFAULT_RULE)
    if scores["mAP@100"] is not None:
        numbers.append(Number("mAP@100", scores["mAP@100"], *intervals["mAP@100"]))
        numbers += [
            Number(f"rank-{k}", scores[f"rank{k}"], *intervals[f"rank{k}"])
            for k in RANKS
            if f"rank{k}" in scores
        ]
    for target, value in (scores["tpr@fpr"] or {}).items():
        low, high = intervals["tpr@fpr"][target] or (None, None)
        notes = [warning for warning in scores["warnings"] if f"FPR {target} is" in warning]
        note = notes[0] if notes else "there are no genuine pairs"
        numbers.append(Number(tpr_label(target, rule), value, low, high, "" if value is not None else note))
    return numbers


def counts_table(run: Run, found: Embeddings, scores: Mapping[str, Any], faults: int, *, what: str) -> Table:
    """What the numbers rest on; rows of a protocol that did not run are left out. ``what``: frames, or faces."""
    counts, identities = scores["counts"], run.manifest.identities
    rows: list[list[Cell]] = [
        ["videos", len(run.manifest.video_ids)],
        ["people (identities)", len(set(identities) - {""})],
        ["videos of nobody known", identities.count("")],
    ]
    rows += [
        [words, counts[name]]
        for name, words in (
            ("identities", "people that are searched for (queries)"),
            ("enrolment_videos", f"enrolment videos (split {run.enrolment_split})"),
            ("gallery_videos", f"gallery videos (split {run.gallery_split})"),
            ("distractors", "distractors among the gallery videos"),
            ("identities_not_ranked", "queries without a ranking, which score 0"),
            ("identities_without_gallery", "enrolled people without a gallery video, not searched for"),
            ("genuine_pairs", "genuine pairs (same person)"),
            ("impostor_pairs", "impostor pairs (different people, or somebody unknown)"),
        )
        if name in counts
    ]
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
    words, definitions = [], scores["definitions"]
    if scores["mAP@100"] is not None:
        words.append(
            (
                "iQIYI-VID (mAP@100, rank-k)",
                f"A person's template is the L2-normalised mean of the embeddings of their enrolment videos (split "
                f"'{run.enrolment_split}'). It is searched by exact inner product among all videos of the gallery "
                f"(split '{run.gallery_split}'), distractors included; equal scores are ordered by video id. "
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
    rows, rule = sweep["rows"], sweep["rows"][0].get("fpr_rule", DEFAULT_RULE)
    thresholds = [row["threshold"] for row in rows]
    columns: dict[str, list[float | None]] = {
        "mAP@100": [row["mAP@100"] for row in rows],
        **{
            tpr_label(target, rule): [(row["tpr@fpr"] or {}).get(target) for row in rows]
            for target in run.targets
        },
    }
    chosen = str(run.attributes.get("threshold", threshold_text(None)))
    best = [
        name
        for name, values in columns.items()
        if chosen in thresholds
        and (value := values[thresholds.index(chosen)]) is not None
        and value == max(other for other in values if other is not None)
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
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
