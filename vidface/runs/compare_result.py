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


class Measure(NamedTuple):
    """One measure of all runs: ``mAP@100``, ``hit@1`` ... or ``TPR at FPR 1e-4`` ..."""

    name: str
    values: list[Value | None]  # of every run; None if it cannot be had
    differences: list[Difference | None]  # of every run to the first, which has None
    beside: list[str]  # what failed trials cost each value, in words; empty if none failed

    def words(self, run: int) -> str:
        """The difference of a run to the first, and what failed trials cost its value; to be read after its name."""
        gain = verdict(self.differences[run]) if run else ""
        return "; ".join(filter(None, [gain, self.beside[run]]))


@dataclass(frozen=True)
class Comparison:
    """A whole comparison of S runs on a manifest; N gallery videos of I identities should be found."""

    runs: list[Compared]  # the baseline first
    manifest: Manifest
    options: dict[str, Any]  # splits, targets and protocol that all were scored with
    differs: dict[str, list[Any]]  # what the runs were made with: name -> one value per run (None: unknown)
    same: dict[str, Any]  # what is the same for all
    measures: list[Measure]
    replicates: int  # how many sets were drawn
    counts: dict[str, int]  # what the numbers rest on
    warnings: list[str]
    wanted: Wanted  # the gallery videos that somebody should be found in
    ranks: NDArray[np.int64]  # [S, N], where they stand in the ranking of their identity; 0: not ranked
    precision: NDArray[np.float64]  # [S, I], AP at 100
    unusable: list[int]  # for every run, how many videos have no usable frame
    edges: NDArray[np.float64] | None  # [B+1], cosines, rising; None if no run has embeddings
    fpr: NDArray[np.float64]  # [S, B+1], rates of all pairs at the edges; NaN for a run without embeddings
    tpr: NDArray[np.float64]
    definitions: dict[str, str] = field(default_factory=dict)  # what the numbers mean, if no sets were drawn

    @property
    def fpr_rule(self) -> str | None:
        """The rule that rates at a target follow, in words; None without such measures."""
        aimed = any(measure.name.startswith(tpr_label("")) for measure in self.measures)
        if not self.replicates:
            aimed = "fpr_rule" in TABLE[self.options["protocol"]].uses
        return f"FPR rule {FPR_RULE_TEXT[DEFAULT_RULE]}" if aimed else None

    @property
    def ranks_among_strangers(self) -> NDArray[np.int64]:
        """int64 [S, N]: 1 if no video of anybody else stands before a video, 0 if it is not ranked.

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
        return len(self.runs) - 1

    def changed_videos(self, run: int) -> list[int]:
        """Gallery videos (numbers in ``wanted``) whose rank among strangers differs, most changed first, ties by id.

        The ratio of the ranks counts: from 1 to 10 is as much as from 100 to 1000. Not ranked is behind the last one.
        """
        both = self.ranks_among_strangers[[0, run]]
        first, second = np.where(both > 0, both, len(self.wanted.gallery) + 1)
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
