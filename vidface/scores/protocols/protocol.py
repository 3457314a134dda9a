"""The one shape of a protocol: how it scores, its numbers by name, and its lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from vidface.scores.text import columns, interval, number

RANKS = (1, 5, 10)  # in every protocol that ranks
# Of identities, any of whose videos may be the hit; `rank1` is of single mated searches (ISO/IEC 19795-1).
HITS = tuple(f"hit@{k}" for k in RANKS)
TPR = {"tpr@fpr": "tpr", "threshold@fpr": "threshold", "fpr_reached": "fpr"}


class Measure(NamedTuple):
    """One number of a score object, as sweeps, reports and comparisons show it.

    Attributes:
        label: its name.
        value: None if it cannot be had; ``note`` says why.
        interval: its 95 % interval; None if there is none.
        target: the FPR or FPIR target of the options that it is at; empty for none.
        beside: what failed trials cost the value, from `cost`, in words; empty if none failed.
        lower_is_better: of errors.
        column: its head in the table of a sweep; None: its label; empty: not shown there.
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
    """Numbers of ``scores.json``, and the whole DET curve if the protocol has one and it can be had.

    `vidface.scores.score` adds the protocol, the FPR rule and, after what the protocol says of them, the inputs.
    """

    scores: dict[str, Any]
    curve: Any = None


@dataclass(frozen=True)
class Protocol:
    """A protocol; `vidface.scores.protocols.table` says what it needs and which options it uses.

    Attributes:
        name: of ``--protocol``.
        score: (scored, manifest, options) -> `Result`; (path of features, options) if it needs no manifest.
        lines: a score object as text for a terminal.
        measures: its numbers as shown; the same ones for all embeddings of one set.
        targets: the usual FPR targets.
        figures: its figures in a report and paired resampling in a comparison: those of rankings (CMC, people), of all
            pairs (ROC, DET), or none.
    """

    name: str
    score: Callable[..., Result]
    lines: Callable[[Mapping[str, Any]], str]
    measures: Callable[[Mapping[str, Any]], list[Measure]]
    targets: tuple[str, ...]
    figures: tuple[Literal["rankings", "pairs"], ...] = ()


def rates(found: Any, names: Mapping[str, str] = TPR) -> dict[str, dict[str, float | None]]:
    """Rates at targets: key -> target -> value or None; ``names``: key -> field of points, or of an object of lists."""
    if isinstance(found, list):
        return {key: {point.target: getattr(point, name) for point in found} for key, name in names.items()}
    return {key: dict(zip(found.targets, getattr(found, name), strict=True)) for key, name in names.items()}


def cost(why: str, failed: int, of: int, without: float | None) -> dict[str, Any]:
    """What a measure loses by trials that fail for want of a usable video: an entry of ``failed`` in a score object.

    ``why`` is read after ``12 of 225``; ``without`` is the value over the others, None if unknown.
    """
    return {"why": why, "failed": failed, "of": of, "without": without}


def costs(why: str, failed: int, of: int, without: Mapping[str, float | None]) -> dict[str, Any]:
    """The same of several measures; nothing if none fails."""
    return {name: cost(why, failed, of, value) for name, value in without.items()} if failed else {}


def rate_costs(
    why: str, lost: int, of: int, found: Mapping[str, Any], label: Callable[[str], str]
) -> dict[str, Any]:
    """What TPR at every target loses by ``lost`` genuine pairs, which score exactly 0, of ``of``; see `rates`."""
    thresholds = found["threshold@fpr"]
    measured = {target: value for target, value in found["tpr@fpr"].items() if value is not None}
    without = {label(t): rate_without(value, thresholds[t], of, lost) for t, value in measured.items()}
    return costs(why, lost, of, without)


def rate_without(value: float | None, threshold: float | None, of: int, lost: int) -> float | None:
    """A rate of ``of`` trials without the lost ones, which score exactly 0; None without rate, trials or threshold."""
    if value is None or of <= lost or (threshold is None and value > 0):
        return None
    accepted = value * of - (lost if threshold is not None and threshold <= 0 else 0)
    return accepted / (of - lost)


def costs_in_words(labels: Sequence[str], failed: Mapping[str, Any]) -> list[str]:
    """What is said beside each measure: ``12 of 225 queries ... score 0; 0.6400 without them``, a reason only once."""
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


def with_costs(scores: Mapping[str, Any], measures: Sequence[Measure]) -> list[Measure]:
    """The measures of a score object, with what failed trials cost them said beside each."""
    words = costs_in_words([each.label for each in measures], scores.get("failed", {}))
    return [each._replace(beside=said) for each, said in zip(measures, words, strict=True)]


def at_targets(
    scores: Mapping[str, Any],
    values: Mapping[str, float | None] | None,
    intervals: Mapping[str, Any] | None,
    label: Callable[[str], str],
    otherwise: str = "not measured",
) -> list[Measure]:
    """A measure for every target, with the reason if it has no value."""
    return [
        Measure(
            label(target),
            value,
            None if intervals is None else intervals[target],
            target,
            reason(scores, target, otherwise) if value is None else "",
        )
        for target, value in (values or {}).items()
    ]


def reason(scores: Mapping[str, Any], target: str, otherwise: str = "not measured") -> str:
    """Why there is no number at a target: the warning that says so, alone or with others."""
    for text in scores["warnings"]:
        said, found, _ = text.partition(" is not measured")
        if found and target in said.replace(",", "").split():
            return str(text)
    return otherwise


def measure_table(
    shown: Sequence[Measure], head: Sequence[str] = (), more: Sequence[Sequence[str]] | None = None
) -> str:
    """One row per measure: value, interval, ``more`` cells under their ``head``, and beside it what failures cost."""
    rows = [("measure", "value", "95 % interval", *head)]
    for each, cells in zip(shown, more or [()] * len(shown), strict=True):
        rows.append((each.label, number(each.value), interval(each.interval), *cells))
    return columns(rows, ["", *(each.beside for each in shown)])


def warning_lines(scores: Mapping[str, Any]) -> list[str]:
    return [f"warning: {warning}" for warning in scores["warnings"]]
