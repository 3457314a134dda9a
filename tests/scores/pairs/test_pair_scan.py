"""All impostor pairs against the whole matrix of scores, on the CPU and on a torch device.

The CPU stands in for the device: float16 rows are multiplied in float32 there, and rounded as a GPU would.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exact_rows import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows, product_error
from vidface.files.store import UNIT_TOLERANCE
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.pairs import blocks as pair_scan
from vidface.scores.pairs import blocks_torch as pair_scan_torch
from vidface.scores.pairs.blocks import Pairs, by_text, checked_float32, genuine_hits, scan_blocks
from vidface.scores.pairs.blocks_torch import half_error, scan_on_device


def unit_rows(seed: int, count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, width))
    rows += random.choice([0, 3], (count, 1)) * rows[:1]
    rows[random.random(count) < 0.05] = 0
    return normalise_rows(rows)


@pytest.mark.parametrize("width", [1, 31, 32, 256, 512, 2048])
def test_products_differ_by_less_than_the_bounds(width: int) -> None:
    rows = np.abs(unit_rows(0, 300, width))  # nothing cancels
    scores = scores_of(rows, rows).astype(np.float64)
    assert np.abs(rows @ rows.T - scores).max() <= product_error(width, 1.001) < 2e-7 * (width + 40)
    halves, gap = pair_scan_torch._halve(torch.from_numpy(rows))
    off = np.abs((halves.float() @ halves.float().T).numpy() - scores).max()
    assert off <= half_error(width, 1.001, gap, gap) < 0.0024


def test_the_bound_of_half_precision_is_not_much_too_wide() -> None:
    """Two rows that are rounded far the worst way."""
    steep = np.full((2, 64), 1 / 8 * (1 + 2**-11.02), np.float32)
    halves, gap = pair_scan_torch._halve(torch.from_numpy(steep))
    off = abs(float(halves[0].float() @ halves[1].float()) - scores_of(steep, steep)[0, 1])
    assert 0.9 * half_error(64, 1.001, gap, gap) < off <= half_error(64, 1.001, gap, gap)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.integers(0, 40),
    st.sampled_from([1, 16, 24, 64, 70]),
    st.integers(1, 3),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6),
    st.sampled_from(["points", "brackets", "endless"]),
    st.booleans(),
)
def test_every_pair_is_counted_once(
    seed: int, videos: int, others: int, block: int, workers: int, edges: list[float], kind: str, halved: bool
) -> None:
    rows, far = unit_rows(seed, videos, 33), unit_rows(seed + 1, others, 33)
    if halved:  # only the distractors lose something in half precision
        rows = rows.astype(np.float16).astype(np.float32)
    sizes = np.random.default_rng(seed).multinomial(videos, np.ones(4) / 4)
    until = np.repeat(np.cumsum(sizes), sizes)
    scores = np.concatenate(
        [scores_of(rows, rows)[np.arange(videos) >= until[:, None]], scores_of(rows, far).ravel()]
    )
    # Ends that are scores themselves are the hard ones.
    ends = np.unique(np.float32([*edges, *scores[:: max(1, len(scores) // 5)]]))
    low, high = (ends, ends) if kind == "points" else (ends[:-1:2], ends[1::2])
    if kind == "endless" or not len(low):
        low, high = np.float32([-np.inf, *low[1:]]), np.float32([*high[:-1], np.inf])
    pairs = Pairs(rows, until, far)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_scan_torch, "PIECE", 50)
        on_device = scan_on_device(pairs, low, high, device="cpu", block=block)
    inside = (low < scores[:, None]) & (scores[:, None] < high)
    for found in (scan_blocks(pairs, low, high, block=block, workers=workers), on_device):
        assert found.counts[:, 0].tolist() == [(scores > top).sum() for top in high]
        assert found.counts[:, 1].tolist() == [(scores == top).sum() for top in high]
        assert found.counts[:, 2].tolist() == inside.sum(axis=0).tolist()
        assert found.counts[:, 3].tolist() == [
            0 if bottom == top else (scores == bottom).sum() for bottom, top in zip(low, high, strict=True)
        ]
        assert np.sort(found.inside).tolist() == np.sort(scores[inside.any(axis=1)]).tolist()


@pytest.mark.parametrize("most", [1, 100, 2**18])
def test_genuine_hits(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scan, "GENUINE", most)
    rows = unit_rows(5, 200, 20)
    until = np.repeat([90, 91, 150, 200], [90, 1, 59, 50])
    scores = scores_of(rows, rows)
    thresholds = np.float32([0.1, 0.5, scores[0, 1]])
    hits = genuine_hits(rows, until, thresholds, 3)
    for i in range(200):
        assert hits[i].tolist() == [(scores[i, i + 1 : until[i]] >= least).sum() for least in thresholds]


def test_the_device_changes_nothing() -> None:
    random = np.random.default_rng(3)
    who = random.integers(0, 200, 1200)
    rows = normalise_rows(random.standard_normal((200, 40))[who] + random.standard_normal((1200, 40)))
    far = normalise_rows(random.standard_normal((3000, 40))).astype(np.float16)
    targets = ["1e-2", "1e-3", "1e-4", "1e-6"]
    here = tpr_of_all_pairs(rows, who, targets, distractors=far)
    # torch's name for the same thing
    there = tpr_of_all_pairs(rows, who, targets, distractors=far, device="cpu:0")
    assert (there.tpr, there.threshold) == (here.tpr, here.threshold)
    assert None not in there.tpr


@pytest.mark.parametrize("length", [1 - UNIT_TOLERANCE, 1 + UNIT_TOLERANCE])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distractors_that_a_file_may_hold_are_taken(length: float, dtype: type) -> None:
    rows = (length * unit_rows(8, 50, 20)).astype(dtype)
    rows[3] = 0
    assert np.abs(checked_float32(rows, 0, 50) - rows.astype(np.float32)).max() <= 2**-27
    with pytest.raises(ValueError, match=r"row 7 has length 1\.02, not 1 or 0"):
        checked_float32(rows / np.float32(length) * np.where(np.arange(50) == 7, 1.02, 1)[:, None], 0, 50)


def test_ids_order_ties_as_text() -> None:
    ids = ["b", "a10", "a9", "", "B"]
    rows, places = by_text(ids)
    assert [ids[row] for row in rows] == sorted(ids)
    assert [sorted(ids).index(name) for name in ids] == places.tolist()
    assert [len(part) for part in by_text([])] == [0, 0]
