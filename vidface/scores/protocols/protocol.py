"""The one shape of a protocol: how it scores, its numbers by name, and its lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["HITS", "RANKS", "Measure", "Protocol", "Result", "reason"]

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


def reason(scores: Mapping[str, Any], target: str, otherwise: str = "not measured") -> str:
    """Why there is no number at a target: the warning that says so."""
    return next((text for text in scores["warnings"] if f" {target} is" in text), otherwise)
