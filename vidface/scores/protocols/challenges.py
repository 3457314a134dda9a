"""What iqiyi, lfrc and both share: one object with the keys of both challenges, its numbers and its lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import vidface
from vidface.errors import Warned
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.protocol import HITS, RANKS, Measure, Result, reason, with_costs
from vidface.scores.scored import Scored, check_device, unusable_warning, zero_embeddings
from vidface.scores.text import columns, counts_line, interval, number, rule_line, tpr_label

__all__ = ["begin", "finish", "lines", "measures", "ranked"]

FEWEST, LEAST = 100, 1e-3  # genuine pairs, and the FPR, from which a rate is told from chance


def begin(scored: Scored, options: ScoreOptions) -> dict[str, Any]:
    """The object without any number yet.

    Raises:
        UsageError: torch finds no GPU for ``cuda``.
    """
    check_device(options.device)
    return {
        "protocol": options.protocol,
        "fpr_rule": options.fpr_rule,
        "mAP@100": None,
        **dict.fromkeys(HITS),
        "tpr@fpr": None,
        "threshold@fpr": None,
        "fpr_reached": None,
        "ci95": {},
        "counts": {},
        "warnings": list(scored.warnings),
        "definitions": {},
        "per_identity": None,
    }


def finish(result: dict[str, Any], scored: Scored, manifest: Manifest) -> Result:
    """Add what is told of the embeddings themselves, and what was scored."""
    if scored.status is not None:
        result["counts"]["status"] = scored.status
    if scored.embeddings is not None:
        result["counts"]["zero_embeddings"] = unusable = zero_embeddings(scored.embeddings)
        if unusable:
            result["warnings"].append(
                unusable_warning(
                    "videos have no usable frame: never ranked, score 0 in pairs", scored, manifest
                )
            )
    result["warnings"] += _by_chance(result, scored)
    result["inputs"] = {**scored.inputs, "program_version": vidface.__version__}
    return Result(result)


def _by_chance(result: Mapping[str, Any], scored: Scored) -> list[str]:
    """Of rows without names: whether pairs of one person are accepted no more often than others, within 3 sigma."""
    genuine, rates = result["counts"].get("genuine_pairs", 0), result["tpr@fpr"] or {}
    if scored.inputs.get("kind") not in ("npy", "lfrc") or genuine < FEWEST:
        return []
    for target, value in rates.items():
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
    for target, value in (scores["tpr@fpr"] or {}).items():
        note = "" if value is not None else reason(scores, target, "there are no genuine pairs")
        label, ends = tpr_label(target, rule), intervals["tpr@fpr"][target]
        column, key = f"TPR@FPR={target}", f"tpr@fpr={target}"
        found.append(Measure(label, value, ends, target, note, column=column, key=key))
    return with_costs(scores, found)


def lines(scores: Mapping[str, Any]) -> str:
    """A table of measures with 95 % intervals, then counts and warnings."""
    shown = measures(scores)
    rows = [("measure", "value", "95 % interval")]
    rows += [(each.label, number(each.value), interval(each.interval)) for each in shown]
    told = [columns(rows, ["", *(each.beside for each in shown)]), "", counts_line(scores["counts"])]
    told += [rule_line(scores)] if scores["tpr@fpr"] else []
    return "\n".join(told + [f"warning: {warning}" for warning in scores["warnings"]])
