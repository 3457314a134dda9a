from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.union_find import cluster_frames, cluster_sweep


def cosines_of(unit: np.ndarray) -> np.ndarray:
    """Exact: float64 products of rows on the grid."""
    wide = unit.astype(np.float64)
    return wide @ wide.T


def oracle(unit: np.ndarray, threshold: float) -> list[int]:
    """Union-Find over all pairs in plain loops, then the documented order."""
    n = len(unit)
    cosine = cosines_of(unit)
    usable = [bool(row.any()) for row in unit]
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(n):
        for j in range(i + 1, n):
            if usable[i] and usable[j] and cosine[i, j] >= threshold:
                parent[root(j)] = root(i)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)

    def place(group: list[int]) -> tuple[bool, int, float, int]:
        total = sum(float(cosine[i, j]) for i in group for j in group if j < i)
        return not usable[group[0]], -len(group), -total, group[0]

    labels = [0] * n
    for label, group in enumerate(sorted(groups.values(), key=place)):
        for i in group:
            labels[i] = label
    return labels


def people(seed: int, frames: int, dimension: int = 48, spread: float = 0.8) -> np.ndarray:
    """Frames of up to four people, some scattered and some zero."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((5, dimension))
    centres[4] = 0
    who = random.integers(0, random.integers(1, 6), frames)
    rows = centres[who] + spread * random.standard_normal((frames, dimension))
    rows[random.random(frames) < 0.1] = 0
    return normalise_rows(rows)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


videos = st.builds(people, st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([8, 48]))


@given(videos, st.floats(-0.2, 1))
def test_agrees_with_union_find(unit: np.ndarray, threshold: float) -> None:
    assert cluster_frames(unit, threshold).tolist() == oracle(unit, threshold)


@given(videos, st.floats(0.05, 0.95))
def test_partition_agrees_with_scipy(unit: np.ndarray, threshold: float) -> None:
    _, components = connected_components(cosines_of(unit) >= threshold, directed=False)
    assert same_partition(cluster_frames(unit, threshold), components)


@given(videos, st.data())
def test_thresholds_that_equal_a_cosine(unit: np.ndarray, data: st.DataObject) -> None:
    occurring = sorted(set(cosines_of(unit)[np.triu_indices(len(unit), 1)].tolist())) or [0.5]
    equal = data.draw(st.lists(st.sampled_from(occurring), min_size=1, max_size=6))
    thresholds = [None, *equal, *(np.nextafter(t, 2) for t in equal)]
    swept = cluster_sweep(unit, thresholds)
    for threshold, labels in zip(thresholds, swept, strict=True):
        assert labels.tolist() == cluster_frames(unit, threshold).tolist()
        if threshold is not None:
            assert labels.tolist() == oracle(unit, threshold)


@given(videos, st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_the_order_of_the_frames_does_not_matter(unit: np.ndarray, threshold: float, random) -> None:
    order = list(range(len(unit)))
    random.shuffle(order)
    labels = cluster_frames(unit, threshold)
    assert same_partition(cluster_frames(unit[order], threshold), labels[order])


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_many_thresholds_of_one_sweep(seed: int, frames: int) -> None:
    unit = people(seed, frames, spread=1.2)
    thresholds = [None, *np.linspace(-0.5, 1, 31)]
    for threshold, labels in zip(thresholds, cluster_sweep(unit, thresholds), strict=True):
        assert labels.tolist() == cluster_frames(unit, threshold).tolist()


@pytest.mark.parametrize("spread", [0.05, 0.8, 3.0])
def test_long_videos(spread: float) -> None:
    unit = people(3, 700, 64, spread)
    for threshold in (0.1, 0.3, 0.6):
        _, components = connected_components(cosines_of(unit) >= threshold, directed=False)
        labels = cluster_frames(unit, threshold)
        assert same_partition(labels, components)
        assert cluster_sweep(unit, [threshold])[0].tolist() == labels.tolist()
        assert np.all(np.diff(np.bincount(labels)) <= 0)


def test_a_chain_is_one_component() -> None:
    angle = np.arange(20) * 0.3  # neighbours at cos 0.3 = 0.955, the ends far apart
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    unit = unit[np.random.default_rng(1).permutation(20)]
    assert not cluster_frames(unit, 0.95).any()
    assert cluster_frames(unit, 0.96).max() == 19


# Ties: frames on the axes e0, e1, ... and halfway between two of them, where every cosine is exact.
E = np.eye(8, dtype=np.float32)


def test_tie_in_size_goes_to_the_larger_sum() -> None:
    loose = np.float32([0.75, np.sqrt(0.4375), 0, 0, 0, 0, 0, 0])  # cosine exactly 0.75 with e0
    unit = np.stack([E[0], loose, E[2], E[2]])
    assert cluster_frames(unit, 0.7).tolist() == [1, 1, 0, 0]
    assert cluster_sweep(unit, [0.7]).tolist() == [[1, 1, 0, 0]]


def test_tie_in_size_and_sum_goes_to_the_earlier_frame() -> None:
    unit = np.stack([E[3], E[0], E[1], E[1], E[0], E[1], E[0]])
    assert cluster_frames(unit, 0.5).tolist() == [2, 0, 1, 1, 0, 1, 0]
    assert cluster_frames(unit[::-1], 0.5).tolist() == [0, 1, 0, 1, 1, 0, 2]


@pytest.mark.parametrize("seed", range(5))
def test_equal_sums_tie_in_any_order(seed: int) -> None:
    """The second half of the frames is the first, in other places and another order."""
    random = np.random.default_rng(seed)
    rows = normalise_rows(random.standard_normal((12, 8)) + 1.5)
    unit = np.zeros((24, 16), np.float32)
    unit[:12, :8], unit[12:, 8:] = rows, rows[random.permutation(12)]
    assert cluster_frames(unit, 0.1).tolist() == [0] * 12 + [1] * 12


def test_many_ties_at_every_rank() -> None:
    tight, loose = np.float32([0, 0, 1, 0, 0, 0, 0, 0]), np.float32([0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0])
    unit = np.stack([E[7], tight, loose, E[0], E[0], E[1], E[6], E[1]])
    # Pairs {e0, e0} and {e1, e1} sum to 1, {tight, loose} to 0.5; then the singles by their first frame.
    assert cluster_frames(unit, 0.5).tolist() == [3, 2, 2, 0, 0, 1, 4, 1]
    assert cluster_frames(unit, 0.5).tolist() == oracle(unit, 0.5)


def test_an_edge_needs_at_least_the_threshold() -> None:
    unit = np.stack([E[0], np.float32([0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0])])
    assert cluster_frames(unit, 0.5).tolist() == [0, 0]
    assert cluster_frames(unit, np.nextafter(0.5, 1)).tolist() == [0, 1]


def test_zero_rows_join_nothing_and_come_last() -> None:
    unit = np.stack([0 * E[0], E[0], 0 * E[0], E[1], E[0]])
    for threshold in (-1.0, 0.0, 0.5):
        labels = cluster_frames(unit, threshold)
        assert labels.tolist() == oracle(unit, threshold)
        assert cluster_sweep(unit, [threshold])[0].tolist() == labels.tolist()
    assert cluster_frames(unit, 0.5).tolist() == [2, 0, 3, 1, 0]
    assert cluster_frames(unit, -np.inf).tolist() == cluster_frames(unit, -1.0).tolist()
    assert cluster_frames(unit[:2], 0.5).tolist() == [1, 0]
    assert cluster_frames(unit[[0, 2]], 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_no_frames_and_one_frame(threshold: float | None) -> None:
    assert cluster_frames(np.zeros((0, 512), np.float32), threshold).shape == (0,)
    assert cluster_sweep(np.zeros((0, 512), np.float32), [threshold] * 3).shape == (3, 0)
    labels = cluster_frames(normalise_rows(np.ones((1, 512))), threshold)
    assert labels.tolist() == [0]
    assert labels.dtype == np.int32


def test_no_threshold_keeps_all() -> None:
    unit = people(0, 20)
    assert not cluster_frames(unit, None).any()
    assert cluster_sweep(unit, []).shape == (0, 20)


def test_frames_are_rows() -> None:
    with pytest.raises(ValueError, match=r"\[n, D\]"):
        cluster_frames(np.zeros(4, np.float32), 0.4)


def test_memory_grows_with_the_frames_only() -> None:
    unit = people(5, 5000, 16)
    cluster_frames(unit[:5], 0.4)
    cluster_sweep(unit[:5], [0.4])
    tracemalloc.start()
    labels = cluster_frames(unit, 0.4)
    assert cluster_sweep(unit, [0.4])[0].tolist() == labels.tolist()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # the matrix would be 100 MB
    tracemalloc.stop()


def test_float16_frames_cluster_like_float32() -> None:
    unit = people(9, 60, spread=0.6)
    half = normalise_rows(unit.astype(np.float16))
    np.testing.assert_allclose(half, unit, atol=1e-3)
    assert cluster_frames(half, 0.45).tolist() == oracle(half, 0.45)
