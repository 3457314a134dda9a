from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.files.store import UNIT_TOLERANCE
from vidface.scores.pairs import blocks as pair_scan
from vidface.scores.pairs.blocks import (
    Pairs,
    by_text,
    checked_float32,
    dot,
    genuine_hits,
    product_error,
    scan_blocks,
)


def unit_rows(seed: int, count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, width)).astype(np.float32)
    rows += random.choice([0, 3], (count, 1)).astype(np.float32) * rows[:1]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[random.random(count) < 0.05] = 0
    return rows


@pytest.mark.parametrize("width", [1, 31, 32, 256, 512, 2048])
def test_products_differ_by_less_than_the_bound(width: int) -> None:
    rows = np.abs(unit_rows(0, 300, width))  # nothing cancels
    products = (rows @ rows.T).astype(np.float64)
    exact = rows.astype(np.float64) @ rows.T.astype(np.float64)
    scores = np.array([[dot(a, b) for b in rows] for a in rows], np.float64)
    bound = product_error(width, float(np.linalg.norm(rows.astype(np.float64), axis=1).max()))
    assert np.abs(products - exact).max() + np.abs(scores - exact).max() <= bound < 2e-7 * (width + 40)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.integers(0, 40),
    st.integers(1, 70),
    st.integers(1, 3),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_every_pair_is_counted_once(
    seed: int,
    videos: int,
    others: int,
    block: int,
    workers: int,
    edges: list[float],
    points: bool,
    endless: bool,
) -> None:
    rows, far = unit_rows(seed, videos, 33), unit_rows(seed + 1, others, 33)
    sizes = np.random.default_rng(seed).multinomial(videos, np.ones(4) / 4)
    until = np.repeat(np.cumsum(sizes), sizes)
    scores = [dot(rows[i], rows[j]) for i in range(videos) for j in range(until[i], videos)]
    scores = np.array(scores + [dot(a, b) for a in rows for b in far], np.float32)
    # Ends that are scores themselves are the hard ones.
    ends = np.unique(np.float32([*edges, *scores[:: max(1, len(scores) // 5)]]))
    low, high = (ends, ends) if points else (ends[:-1:2], ends[1::2])
    if endless or not len(low):
        low, high = np.float32([-np.inf, *low[1:]]), np.float32([*high[:-1], np.inf])
    found = scan_blocks(Pairs(rows, until, far, 1.01), low, high, block=block, workers=workers)
    inside = (low < scores[:, None]) & (scores[:, None] < high)
    assert found.counts[:, 0].tolist() == [(scores > top).sum() for top in high]
    assert found.counts[:, 1].tolist() == [(scores == top).sum() for top in high]
    assert found.counts[:, 2].tolist() == inside.sum(axis=0).tolist()
    assert found.counts[:, 3].tolist() == [
        0 if bottom == top else (scores == bottom).sum() for bottom, top in zip(low, high, strict=True)
    ]
    assert np.sort(found.inside).tobytes() == np.sort(scores[inside.any(axis=1)]).tobytes()


def test_what_is_kept_may_fill_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scan, "CHUNK", 100)
    rows = unit_rows(3, 150, 16)
    until = np.arange(1, 151)
    everything = np.float32([-np.inf]), np.float32([np.inf])
    found = scan_blocks(Pairs(rows, until, None, 1.01), *everything, block=64, workers=2)
    scores = [dot(rows[i], rows[j]) for i in range(150) for j in range(i + 1, 150)]
    assert np.sort(found.inside).tolist() == sorted(scores)


def test_genuine_hits() -> None:
    rows = unit_rows(5, 200, 20)
    until = np.repeat([90, 91, 150, 200], [90, 1, 59, 50])
    thresholds = np.float32([0.1, 0.5, dot(rows[0], rows[1])])
    hits = genuine_hits(rows, until, thresholds, 3)
    for i in range(200):
        scores = [dot(rows[i], rows[j]) for j in range(i + 1, until[i])]
        assert hits[i].tolist() == [sum(score >= least for score in scores) for least in thresholds]


@pytest.mark.parametrize("length", [1 - UNIT_TOLERANCE, 1 + UNIT_TOLERANCE])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distractors_that_a_file_may_hold_are_taken(length: float, dtype: type) -> None:
    rows = (length * unit_rows(8, 50, 20)).astype(dtype)
    rows[3] = 0
    assert (checked_float32(rows, 0, 50) == rows.astype(np.float32)).all()
    with pytest.raises(ValueError, match=r"row 7 has length 1\.02, not 1 or 0"):
        checked_float32(rows / np.float32(length) * np.where(np.arange(50) == 7, 1.02, 1)[:, None], 0, 50)


def test_ids_order_ties_as_text() -> None:
    ids = ["b", "a10", "a9", "", "B"]
    rows, places = by_text(ids)
    assert [ids[row] for row in rows] == sorted(ids)
    assert [sorted(ids).index(name) for name in ids] == places.tolist()
    assert [len(part) for part in by_text([])] == [0, 0]
