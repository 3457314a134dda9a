"""Where many pairs score nearly alike, few of them are listed at a time: memory does not follow their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidface.scores.metrics.bootstrap import difference, draw
from vidface.scores.pairs import replicates as resampled_pairs
from vidface.scores.pairs import zones as impostor_zones
from vidface.scores.pairs.replicates import tpr_replicates


@pytest.mark.parametrize("noise", [1e-3, 1e-6, 1e-8, 0.0])
def test_rows_that_are_nearly_one(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    people, each = 60, 10
    rows = random.normal(size=8) + noise * random.normal(size=(people * each, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    identities = np.repeat(np.arange(people), each)
    most, total = 2_000, (len(rows) ** 2 - people * each**2) // 2
    listed: list[int] = []

    def spy(*arguments: Any) -> Any:
        band = real(*arguments)
        listed.append(len(band.scores))
        return band

    real = resampled_pairs.list_zones
    monkeypatch.setattr(resampled_pairs, "list_zones", spy)
    monkeypatch.setattr(resampled_pairs, "FEW", 0)
    monkeypatch.setattr(impostor_zones, "FINEST", 64)
    drawn = draw(people, replicates=50)
    found = tpr_replicates(rows, identities, ["1e-1", "1e-2"], drawn, most=most, block=64)
    monkeypatch.undo()
    np.testing.assert_array_equal(found, tpr_replicates(rows, identities, ["1e-1", "1e-2"], drawn))
    assert max(listed, default=0) <= 4 * most < total / 10, (total, listed)


def test_differences_that_are_rounding_are_none() -> None:
    random = np.random.default_rng(1)
    first = random.uniform(0.4, 0.6, 1000)
    for size, verdict in ((1e-13, 0), (-1e-13, 0), (1e-9, 1), (-1e-9, -1)):
        gain = difference(0.5, 0.5 + size, first, first + size)
        assert gain.verdict == verdict
        assert (gain.low, gain.high) == (0, 0) if verdict == 0 else gain.low != 0
