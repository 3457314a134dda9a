"""What a comparison found: measures of several runs, their differences, and what changed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.errors import Warned
from vidface.manifest.manifest import Manifest
from vidface.runs.compare_inputs import Compared
from vidface.scores.metrics.bootstrap import Difference
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT
from vidface.scores.protocols.iqiyi_ranks import Wanted
from vidface.scores.protocols.table import TABLE
from vidface.scores.text import signed, tpr_label

__all__ = ["SHOWN", "Comparison", "Measure", "Value", "gathered_warnings", "tpr_label", "verdict"]

SHOWN = 20  # people and videos that changed most, against each run


class Value(NamedTuple):
    """A measure of one run with its 95 % interval; the ends are None where too few pairs or people allow none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measure:
    """One measure of all runs.

    Attributes:
        name: ``mAP@100``, ``hit@1`` ... or ``TPR at FPR 1e-4`` ...
        values: of every run; None where it cannot be had.
        differences: of every run to the first, which has None.
        beside: what failed trials cost each value, in words; empty where none failed.
    """

    name: str
    values: list[Value | None]
    differences: list[Difference | None]
    beside: list[str] = field(default_factory=list)

    def words(self, run: int) -> str:
        """The difference of a run to the first, and what failed trials cost its value; to be read after its name."""
        gain = verdict(self.differences[run]) if run else ""
        return "; ".join(part for part in (gain, *self.beside[run : run + 1]) if part)


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
        definitions: what the numbers mean, where no sets were drawn (``replicates`` is 0); else empty.
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
    definitions: dict[str, str] = field(default_factory=dict)

    @property
    def fpr_rule(self) -> str | None:
        """The rule that rates at a target follow, in words; None where none is among the measures."""
        aimed = any(measure.name.startswith(tpr_label("")) for measure in self.measures)
        if not self.replicates:
            aimed = "fpr_rule" in TABLE[self.options["protocol"]].uses
        return f"FPR rule {FPR_RULE_TEXT[DEFAULT_RULE]}" if aimed else None

    @property
    def ranks_among_strangers(self) -> NDArray[np.int64]:
        """int64 [S, N]: 1 where no video of anybody else stands before a video, 0 where it is not ranked.

        A person's own videos that change places with one another are no change.
        """
        among = np.zeros_like(self.ranks)
        for row, ranks in zip(among, self.ranks, strict=True):
            ranked = np.flatnonzero(ranks)
            ranked = ranked[np.lexsort((ranks[ranked], self.wanted.identity[ranked]))]
            _, starts, sizes = np.unique(self.wanted.identity[ranked], return_index=True, return_counts=True)
            own_before = np.arange(len(ranked)) - np.repeat(starts, sizes)
            row[ranked] = ranks[ranked] - own_before
        return among

    @property
    def comparisons(self) -> int:
        """How many runs are compared with the baseline."""
        return len(self.runs) - 1

    def changed_videos(self, run: int) -> list[int]:
        """Gallery videos, numbers in ``wanted``, whose rank among strangers differs, the most changed first.

        What counts is the ratio of the two ranks: from 1 to 10 is as much as from 100 to 1000. A video that is not
        ranked counts as behind the last one. Ties go by video id.
        """
        last = len(self.wanted.gallery) + 1
        both = self.ranks_among_strangers[[0, run]]
        first, second = np.where(both > 0, both, last)
        ratio = np.maximum(first, second) / np.minimum(first, second)
        changed = np.flatnonzero(both[0] != both[1]).tolist()
        ids = self.manifest.video_ids
        return sorted(changed, key=lambda n: (-ratio[n], ids[int(self.wanted.videos[n])]))

    def changed_identities(self, run: int) -> list[int]:
        """Identities, numbers in ``wanted.names``, whose AP differs from the baseline's, the most changed first."""
        change = np.abs(self.precision[run] - self.precision[0])
        return sorted(np.flatnonzero(change > 0).tolist(), key=lambda i: (-change[i], self.wanted.names[i]))


def gathered_warnings(runs: Sequence[Compared], warnings: Sequence[Sequence[str]]) -> list[str]:
    """The warnings of all runs, each once: what holds for all of them without their names."""
    whose: dict[str, list[str]] = {}
    for run, texts in zip(runs, warnings, strict=True):
        for text in texts:
            whose.setdefault(text, []).append(run.name)
    return [
        Warned(
            text if len(names) == len(runs) else f"{', '.join(names)}: {text}", getattr(text, "share", 0.0)
        )
        for text, names in whose.items()
    ]


def verdict(gain: Difference | None) -> str:
    """A difference to the first run in words; to be read after the name of the other one."""
    if gain is None:
        return "not measured for both"
    if gain.low is None or gain.high is None:
        return f"{signed(gain.value)}, no interval"
    value, low, high = map(signed, (gain.value, gain.low, gain.high))
    ends = f"interval {low} to {high}"
    if gain.verdict:
        return f"{'better' if gain.verdict > 0 else 'worse'} by {abs(gain.value):.4f}, {ends}"
    if gain.value == gain.low == gain.high == 0:
        return "no difference at all"
    return f"no difference can be told: {value}, {ends}"
