"""The one shape of a protocol: how it scores, its numbers by name, and its lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = [
    "HITS",
    "RANKS",
    "Measure",
    "Protocol",
    "Result",
    "cost",
    "costs_in_words",
    "rate_without",
    "reason",
    "with_costs",
]

RANKS = (1, 5, 10)  # in every protocol that ranks
# Of identities, any of whose videos may be the hit; `rank1` is of single mated searches (ISO/IEC 19795-1).
HITS = tuple(f"hit@{k}" for k in RANKS)


class Measure(NamedTuple):
    """One number of a score object, as sweeps, reports and comparisons show it.

    Attributes:
        label: its name.
        value: None where it cannot be had.
        interval: both ends of its 95 % interval; None where there is none.
        target: the FPR or FPIR target among those of the options that it is at; empty for none.
        note: why there is no value.
        beside: what failed trials cost the value, from `cost`, in words; empty where none failed.
        lower_is_better: of errors.
        column: its head in the table of a sweep; None: its label; empty: it is left out there.
        key: its name among the best of a sweep; None: its label; empty: no threshold is chosen by it.
    """

    label: str
    value: float | None
    interval: Sequence[float] | None = None
    target: str = ""
    note: str = ""
    lower_is_better: bool = False
    column: str | None = None
    key: str | None = None
    beside: str = ""


class Result(NamedTuple):
    """The content of ``scores.json``, and the whole DET curve where the protocol has one and it can be had."""

    scores: dict[str, Any]
    curve: Any = None


@dataclass(frozen=True)
class Protocol:
    """A protocol; what it needs and which options it uses stands in `vidface.scores.protocols.table`.

    Attributes:
        name: of ``--protocol``.
        score: (scored, manifest, options) -> `Result`; (path of features, options) where it needs no manifest.
        lines: a score object as text for a terminal.
        measures: its numbers, in the order in which they are shown; for all embeddings of one set the same ones.
        targets: the usual FPR targets.
        figures: which figures of a report and which paired resampling of a comparison are its own: those of rankings
            (CMC, people), of all pairs (ROC, DET), or none.
    """

    name: str
    score: Callable[..., Result]
    lines: Callable[[Mapping[str, Any]], str]
    measures: Callable[[Mapping[str, Any]], list[Measure]]
    targets: tuple[str, ...]
    figures: tuple[Literal["rankings", "pairs"], ...] = ()


def cost(why: str, failed: int, of: int, without: float | None) -> dict[str, Any]:
    """What a measure loses by trials that fail for want of a usable video: an entry of ``failed`` in a score object.

    Args:
        why: what they are and what becomes of them, to be read after ``12 of 225``.
        failed: how many fail.
        of: how many there are.
        without: the value over the others; None where it is not known.
    """
    return {"why": why, "failed": failed, "of": of, "without": without}


def with_costs(scores: Mapping[str, Any], measures: Sequence[Measure]) -> list[Measure]:
    """The measures of a score object, with what failed trials cost them said beside each."""
    words = costs_in_words([each.label for each in measures], scores.get("failed", {}))
    return [each._replace(beside=said) for each, said in zip(measures, words, strict=True)]


def costs_in_words(labels: Sequence[str], failed: Mapping[str, Any]) -> list[str]:
    """What is said beside each measure: ``12 of 225 queries ... score 0; 0.6400 without them``.

    Why is said once, beside the first of them; beside others with the same reason stands the value without.
    """
    words, before = [], ""
    for label in labels:
        found = failed.get(label)
        why = "" if found is None else f"{found['failed']:,} of {found['of']:,} {found['why']}"
        parts = [why] if why != before else []
        if found is not None and found["without"] is not None:
            parts.append(f"{found['without']:.4f} without them")
        words.append("; ".join(part for part in parts if part))
        before = why or before
    return words


def rate_without(value: float | None, threshold: float | None, of: int, lost: int) -> float | None:
    """A rate of ``of`` trials over those that are not lost, at the same threshold; lost ones score exactly 0.

    None where there is no rate, or no trial left, or no threshold that the rate is at.
    """
    if value is None or of <= lost or (threshold is None and value > 0):
        return None
    accepted = value * of - (lost if threshold is not None and threshold <= 0 else 0)
    return accepted / (of - lost)


def reason(scores: Mapping[str, Any], target: str, otherwise: str = "not measured") -> str:
    """Why there is no number at a target: the warning that says so, alone or with others."""
    for text in scores["warnings"]:
        said, found, _ = text.partition(" is not measured")
        if found and target in said.replace(",", "").split():
            return str(text)
    return otherwise
