"""Runs compared by a protocol without paired resampling: numbers side by side, differences without interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vidface.errors import UsageError, by_cost
from vidface.manifest.manifest import Manifest
from vidface.runs.compare_inputs import Compared, made_with
from vidface.runs.compare_result import Comparison, Measure, Value, gathered_warnings
from vidface.runtime import progress
from vidface.scores.metrics.bootstrap import Difference
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.iqiyi_ranks import Wanted
from vidface.scores.protocols.table import load
from vidface.scores.score import score
from vidface.scores.scored import read_scored

__all__ = ["compare_numbers"]


def compare_numbers(runs: Sequence[Compared], manifest: Manifest, options: ScoreOptions) -> Comparison:
    """Score all runs as `vidface score` does, and put their numbers side by side.

    Raises:
        ManifestError: the manifest cannot serve the protocol.
        StoreError: a file lacks videos of the manifest, or is damaged.
        UsageError: a run holds no embeddings, or no measure can be had of any.
    """
    scores: list[dict[str, Any]] = []
    with progress("compare", len(runs), "runs") as advance:
        for run in runs:
            scores.append(score(read_scored(run.scored, manifest), manifest, options))
            advance(1)
    measures = load(options.protocol).measures
    table = []
    for column in zip(*map(measures, scores), strict=True):
        values = [
            None if each.value is None else Value(each.value, *(each.interval or (None, None)))
            for each in column
        ]
        first = values[0]
        differences = [
            None
            if first is None or value is None or not at
            else Difference(value[0] - first[0], None, None, 0)
            for at, value in enumerate(values)
        ]
        if any(value is not None for value in values):
            table.append(Measure(column[0].label, values, differences, [each.beside for each in column]))
    warnings = gathered_warnings(runs, [one["warnings"] for one in scores])
    if not table:
        raise UsageError(f"nothing can be compared: {'; '.join(dict.fromkeys(warnings))}")
    warnings.append(
        f"the protocol {options.protocol} gives no interval of a difference: none can be told from chance"
    )
    counts = {name: each for name, each in scores[0]["counts"].items() if isinstance(each, int)}
    counts.pop("zero_embeddings", None)
    empty, nothing = np.empty(0, np.int64), np.empty((len(runs), 0))
    return Comparison(
        list(runs),
        manifest,
        options.record(),
        *made_with(runs),
        table,
        0,
        {"videos": len(manifest.video_ids), **counts},
        by_cost(warnings),
        Wanted(empty, empty, [], empty),
        nothing.astype(np.int64),
        nothing,
        [one["counts"]["zero_embeddings"] for one in scores],
        None,
        nothing,
        nothing,
        {name: text for name, text in scores[0]["definitions"].items() if name != "fpr_rule"},
    )
