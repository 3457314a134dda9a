"""What iqiyi, lfrc and both share: one object with the keys of both challenges, its numbers and its lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vidface.errors import Warned
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.protocols.protocol import (
    HITS,
    RANKS,
    Measure,
    Result,
    at_targets,
    measure_table,
    warning_lines,
    with_costs,
)
from vidface.scores.scored import Scored, count_unusable
from vidface.scores.text import counts_line, rule_line, tpr_label

FEWEST, LEAST = 100, 1e-3  # genuine pairs, and the FPR, from which a rate is told from chance


def begin() -> dict[str, Any]:
    return {
        "mAP@100": None,
        **dict.fromkeys(HITS),
        "tpr@fpr": None,
        "threshold@fpr": None,
        "fpr_reached": None,
        "ci95": {},
        "counts": {},
        "warnings": [],
        "definitions": {},
        "per_identity": None,
    }


def finish(result: dict[str, Any], scored: Scored, manifest: Manifest) -> Result:
    """Add what the embeddings say themselves."""
    count_unusable(result, "videos have no usable frame: never ranked, score 0 in pairs", scored, manifest)
    result["warnings"] += _by_chance(result, scored)
    return Result(result)


def _by_chance(result: Mapping[str, Any], scored: Scored) -> list[str]:
    """Of rows without names: whether pairs of one person are accepted no more often than others, within 3 sigma."""
    genuine, found = result["counts"].get("genuine_pairs", 0), result["tpr@fpr"] or {}
    if scored.inputs.get("kind") not in ("npy", "lfrc") or genuine < FEWEST:
        return []
    for target, value in found.items():
        fpr = float(fpr_fraction(target))
        if value is not None and fpr >= LEAST and value <= fpr + 3 * math.sqrt(fpr * (1 - fpr) / genuine):
            text = (
                f"TPR at FPR {target} is {value:.4f}, no better than chance: rows have no names; are they in the "
                "order of the manifest's videos?"
            )
            return [Warned(text, 1.0)]
    return []


def ranked(scores: Mapping[str, Any]) -> dict[str, str]:
    """The measures of rankings, and the keys they have: in files of before ``hit@1`` was called ``rank1``."""
    before = (f"rank{k}" for k in RANKS)
    return {"mAP@100": "mAP@100"} | {
        name: name if name in scores else old for name, old in zip(HITS, before, strict=True)
    }


def measures(scores: Mapping[str, Any]) -> list[Measure]:
    """mAP@100 and hit@k, then TPR at every FPR target; a protocol that did not run adds none."""
    intervals, found = scores["ci95"], list[Measure]()
    rule = scores.get("fpr_rule", DEFAULT_RULE)  # not said before there were other rules
    for name, stored in ranked(scores).items():
        if scores[stored] is not None:
            column = name if name in ("mAP@100", HITS[0]) else ""
            key = name if name == "mAP@100" else ""
            found.append(Measure(name, scores[stored], intervals[stored], column=column, key=key))
    pairs = at_targets(
        scores,
        scores["tpr@fpr"],
        intervals["tpr@fpr"] if scores["tpr@fpr"] else None,
        lambda target: tpr_label(target, rule),
        "there are no genuine pairs",
    )
    found += [m._replace(column=f"TPR@FPR={m.target}", key=f"tpr@fpr={m.target}") for m in pairs]
    return with_costs(scores, found)


def lines(scores: Mapping[str, Any]) -> str:
    """A table of measures with 95 % intervals, then counts and warnings."""
    told = [measure_table(measures(scores)), "", counts_line(scores["counts"])]
    told += [rule_line(scores)] if scores["tpr@fpr"] else []
    return "\n".join(told + warning_lines(scores))
