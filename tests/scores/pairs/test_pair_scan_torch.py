"""The CPU stands in for the device: float16 rows are multiplied in float32 there, and rounded as a GPU would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.pairs import blocks_torch as pair_scan_torch
from vidface.scores.pairs.blocks import Pairs, dot, scan_blocks
from vidface.scores.pairs.blocks_torch import half_error, scan_on_device


def unit_rows(seed: int, count: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, width))
    rows += random.choice([0, 3], (count, 1)) * rows[:1]
    rows[random.random(count) < 0.05] = 0
    return normalise_rows(rows)


@pytest.mark.parametrize("width", [1, 33, 256, 512])
def test_half_precision_is_off_by_less_than_the_bound(width: int) -> None:
    rows = np.abs(unit_rows(0, 200, width))  # nothing cancels
    halves, gap = pair_scan_torch._halve(torch.from_numpy(rows))
    products = (halves.float() @ halves.float().T).numpy()
    scores = np.array([[dot(a, b) for b in rows] for a in rows])
    off = np.abs(products - scores).max()
    assert off <= half_error(width, 1.001, gap, gap) < 0.0014
    # Of two rows that are rounded far the worst way the bound is not much too wide.
    steep = np.full((2, 64), 1 / 8 * (1 + 2**-11.02), np.float32)
    halves, gap = pair_scan_torch._halve(torch.from_numpy(steep))
    off = abs(float(halves[0].float() @ halves[1].float()) - dot(steep[0], steep[1]))
    assert 0.9 * half_error(64, 1.001, gap, gap) < off <= half_error(64, 1.001, gap, gap)


@pytest.mark.parametrize("width", [1, 16, 31, 32, 48, 96, 515])
def test_scores_are_the_same_bits(width: int) -> None:
    left, right = unit_rows(1, 300, width), unit_rows(2, 300, width)
    found = pair_scan_torch._fixed_dots(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    assert found.tolist() == [dot(a, b) for a, b in zip(left, right, strict=True)]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.integers(0, 40),
    st.sampled_from([16, 24, 64]),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_it_finds_what_the_cpu_finds(
    seed: int,
    videos: int,
    others: int,
    block: int,
    edges: list[float],
    points: bool,
    endless: bool,
    rounded: bool,
) -> None:
    rows, far = unit_rows(seed, videos, 33), unit_rows(seed + 1, others, 33)
    if rounded:  # only the distractors lose something in half precision
        rows = rows.astype(np.float16).astype(np.float32)
    sizes = np.random.default_rng(seed).multinomial(videos, np.ones(4) / 4)
    pairs = Pairs(rows, np.repeat(np.cumsum(sizes), sizes), far, 1.01)
    ends = np.unique(np.float32([*edges, *(dot(rows[0], row) for row in [*rows[::20], *far[::20]])]))
    low, high = (ends, ends) if points else (ends[:-1:2], ends[1::2])
    if endless or not len(low):
        low, high = np.float32([-np.inf, *low[1:]]), np.float32([*high[:-1], np.inf])
    expected = scan_blocks(pairs, low, high, block=20, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_scan_torch, "PIECE", 50)
        found = scan_on_device(pairs, low, high, device="cpu", block=block)
    assert found.counts.tolist() == expected.counts.tolist()
    assert np.sort(found.inside).tobytes() == np.sort(expected.inside).tobytes()


def test_the_device_changes_nothing() -> None:
    random = np.random.default_rng(3)
    who = random.integers(0, 200, 1200)
    rows = normalise_rows(random.standard_normal((200, 40))[who] + random.standard_normal((1200, 40)))
    far = normalise_rows(random.standard_normal((3000, 40))).astype(np.float16)
    targets = ["1e-2", "1e-3", "1e-4", "1e-6"]
    here = tpr_of_all_pairs(rows, who, targets, distractors=far)
    there = tpr_of_all_pairs(
        rows, who, targets, distractors=far, device="cpu:0"
    )  # torch's name for the same thing
    assert (there.tpr, there.threshold) == (here.tpr, here.threshold)
    assert None not in there.tpr
