from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact_rows import completed_sides
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.scores.metrics import identity_thresholds as module
from vidface.scores.metrics.identity_thresholds import identity_thresholds

TARGETS = ("0.5", "1/3", "0.1")


def by_loops(scores: Any, people: Any, codes: Any, half: Any, target: str) -> dict[str, Any] | None:
    """Every threshold there could be is tried, from the lowest on."""
    share, names = Fraction(target), sorted(set(codes.tolist()))
    of = {name: scores[:, codes == name].max(axis=1) for name in names}
    levels = [*np.unique(scores).tolist(), np.inf]

    def lowest(pool: list[float]) -> float:
        return next(t for t in levels if sum(s >= t for s in pool) <= share * len(pool))

    pools = {name: of[name][half & (people != name)].tolist() for name in names}
    if any(share * len(pool) < 1 for pool in pools.values()):
        return None
    own = {name: lowest(pools[name]) for name in names}
    one = lowest([score for pool in pools.values() for score in pool])
    rows: dict[str, Any] = {}
    for prefix, level in (("", own), ("one_", dict.fromkeys(names, one))):
        rows[f"{prefix}missed"] = [int((of[n][people == n] < level[n]).sum()) for n in names]
        rows[f"{prefix}accepted"] = [int((of[n][~half & (people != n)] >= level[n]).sum()) for n in names]
    return rows


@settings(max_examples=80)
@given(
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(1, 20),
    st.sampled_from([1, 3, 64]),
    st.integers(1, 3),
    st.booleans(),
)
def test_thresholds_are_those_of_a_loop(
    seed: int, probes: int, rows: int, job: int, workers: int, ties: bool
) -> None:
    random = np.random.default_rng(seed)
    asked = random.integers(-2, 3, (probes, 7)).astype(np.float32)
    stored = random.integers(-2, 3, (rows, 7)).astype(np.float32)
    if not ties:
        asked += random.normal(size=asked.shape).astype(np.float32)
        stored += random.normal(size=stored.shape).astype(np.float32)
    asked[random.random(probes) < 0.2] = 0
    asked, stored = completed_sides(asked / 32, stored / 32)
    people, codes = random.integers(-1, rows, probes), random.integers(0, rows, rows)
    half = random.random(probes) < 0.6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", job)
        judged = identity_thresholds(asked, stored, people, codes, half, TARGETS, workers=workers)
    names = np.unique(codes)
    assert judged.identities.tolist() == names.tolist()
    assert judged.searches.tolist() == [int((people == name).sum()) for name in names]
    assert judged.others.tolist() == [int((~half & (people != name)).sum()) for name in names]
    scores = asked.astype(np.float64) @ stored.astype(np.float64).T
    for target, found in zip(TARGETS, judged.at, strict=True):
        expected = by_loops(scores, people, codes, half, target)
        if expected is None:
            assert found is None
            continue
        assert found is not None and found.target == target
        for name, values in expected.items():
            assert getattr(found, name).tolist() == values, name


def test_a_face_like_many_gets_a_higher_threshold_than_others() -> None:
    """Identity 0 resembles everybody: one threshold gives it nearly all false acceptances, its own one a fair share."""
    random = np.random.default_rng(0)
    common = random.normal(size=32)

    def unit(rows: Any) -> Any:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    gallery = random.normal(size=(10, 32))
    gallery[0] = 3 * common
    probes = unit(random.normal(size=(2000, 32)) + 0.4 * common)
    half = np.arange(2000) % 2 == 0
    judged = identity_thresholds(probes, unit(gallery), np.full(2000, -1), np.arange(10), half, ["0.05"])
    found = judged.at[0]
    assert found is not None and judged.others.tolist() == [1000] * 10
    assert found.threshold[0] > found.threshold[1:].max() + 0.1
    assert 0.03 < found.accepted[0] / 1000 < 0.08
    assert found.one_accepted[0] / 1000 > 0.25 and found.one_accepted[1:].mean() / 1000 < 0.04
    assert found.one_accepted.sum() == pytest.approx(found.accepted.sum(), rel=0.25)


def test_too_few_searches_of_others_have_no_thresholds() -> None:
    rows = np.eye(4, dtype=np.float32)
    judged = identity_thresholds(
        rows, rows, [0, 1, 2, 3], [0, 1, 2, 3], [True, True, False, False], ["0.5", "0.9"]
    )
    # Those of identity 0 are one search only to choose on, of 1: half of it is none.
    assert judged.at == [None, None]
