"""Open set: gallery videos are searched among the enrolled identities; numbers: `open_set_numbers` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.open_set_numbers import TARGETS, fnir_label, open_set_numbers, rank_label
from vidface.scores.protocols.protocol import (
    RANKS,
    Measure,
    Protocol,
    Result,
    at_targets,
    measure_table,
    warning_lines,
    with_costs,
)
from vidface.scores.scored import Scored, count_unusable, needed_embeddings
from vidface.scores.text import columns, counts_line, interval, number, rate

__all__ = ["DEFINITIONS", "PROTOCOLS"]

DEFINITIONS = {
    "openset": (
        "FPIR = non-mated searches whose best score is at least the threshold / all non-mated searches; FNIR = mated "
        "searches whose mate is not first or scores below the threshold / all mated searches; TPIR = 1 - FNIR; a tie "
        "with another identity is not first; null where non-mated searches are fewer than 1 / target; intervals "
        "resample identities at the threshold found, videos of nobody known each by itself"
    ),
    "rank": "share of the mated searches whose mate is among the first k, no threshold, non-mated searches left out",
    "identity_thresholds": (
        "for each identity by itself: the lowest threshold that accepts at most the target share of other people's "
        "searches in one half of them (people halved by the SHA-256 of their names), its misses over all its own "
        "searches, its false acceptances over the other half; beside them one threshold for all, chosen on the same "
        "half over all pairs of an identity and a search of somebody else; means over identities"
    ),
}
# What is counted only if there is any.
_RARE = (
    "searches_without_usable_frame",
    "enrolled_without_usable_video",
    "enrolment_videos_without_identity",
    "videos_of_other_splits",
)


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    """An object for JSON, with keys as in ``docs/protocols/openset.md``, and the whole curve."""
    embeddings = needed_embeddings(scored, "FNIR at FPIR needs an embeddings file, a .npy or a .bin")
    splits, rule = (options.enrolment_split, options.gallery_split), options.fpr_rule
    numbers, curve = open_set_numbers(embeddings, manifest, options)
    used = [i for i, split in enumerate(manifest.splits) if split in splits]
    what = (
        "videos have no usable frame: as searches they score 0 with everybody and stay counted, in templates they are "
        "left out"
    )
    count_unusable(numbers, what, scored, manifest, used)
    numbers["definitions"] = {
        **DEFINITIONS,
        "fpr_rule": f"{FPR_RULE_TEXT[rule]}; here of TPIR and FPIR",
        "splits": f"{splits[0]} -> {splits[1]}",
    }
    return Result(numbers, curve)


def _measures(scores: Mapping[str, Any]) -> list[Measure]:
    rule, intervals = scores["fpr_rule"], scores["ci95"]
    fnir = at_targets(scores, scores["fnir@fpir"], intervals["fnir@fpir"], lambda t: fnir_label(t, rule))
    found = [each._replace(lower_is_better=True) for each in fnir]
    found += [Measure(rank_label(k), scores[f"rank{k}"], intervals[f"rank{k}"]) for k in RANKS]
    return with_costs(scores, found)


def _lines(scores: Mapping[str, Any]) -> str:
    """FNIR at every FPIR, rank-k of the mated searches, and thresholds of single identities beside one for all."""
    reached, thresholds = scores["fpir_reached"], scores["threshold@fpir"]
    shown = _measures(scores)
    more = [
        (rate(reached[each.target]), number(thresholds[each.target])) if each.target else ("", "")
        for each in shown
    ]
    lines = [measure_table(shown, ("FPIR reached", "threshold"), more), ""]
    told = {target: found for target, found in scores["identity_thresholds"].items() if found is not None}
    if told:
        lines += [columns(_threshold_rows(told)), ""]
    counts = {name: n for name, n in scores["counts"].items() if n or name not in _RARE}
    lines += [counts_line(counts), f"FPIR rule {scores['definitions']['fpr_rule']}"]
    return "\n".join(lines + warning_lines(scores))


def _threshold_rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("each identity by itself", "threshold", "missed", "accepts others", "worst")
    ]
    for target, found in told.items():
        own, one = found["own"], found["one"]
        spread = interval((own["lowest"], own["highest"]))
        for name, rates, threshold in (
            ("its own threshold", own, spread),
            ("one for all", one, number(one["threshold"])),
        ):
            shares = (number(rates[key]) for key in ("missed", "accepted_others", "accepted_others_worst"))
            rows.append((f"{name}, aim {target}", threshold, *shares))
    return rows


PROTOCOLS = (Protocol("openset", _score, _lines, _measures, TARGETS),)
