from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.embeddings.embed import embed_sweep, embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import pool_frames
from vidface.embeddings.union_find import cluster_frames


def run_of_videos(seed: int, lengths: list[int], dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of videos of such lengths, some frames scattered and some zero, and their offsets."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    person = np.repeat(random.standard_normal((len(lengths), dimension)), lengths, axis=0)
    person[random.random(len(person)) < 0.3] = 0
    rows = person + random.uniform(0.3, 1.2) * random.standard_normal(person.shape)
    rows[random.random(len(rows)) < 0.1] = 0
    return rows, offsets


runs = st.builds(
    run_of_videos,
    st.integers(0, 10**6),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.sampled_from([3, 64, 130]),
)
thresholds = st.none() | st.floats(-0.2, 1)


@given(runs, st.sampled_from([np.float16, np.float32]), thresholds)
def test_a_run_equals_its_videos_one_by_one(run, dtype, threshold: float | None) -> None:
    features, offsets = run[0].astype(dtype), run[1]
    embeddings, kept, labels, weights = embed_videos(features, offsets, threshold)
    assert weights is None
    assert (embeddings.dtype, kept.dtype, labels.dtype) == (np.float32, np.int64, np.int32)
    for v, (a, b) in enumerate(pairwise(offsets)):
        unit = normalise_rows(features[a:b])
        expected = cluster_frames(unit, threshold)
        assert labels[a:b].tolist() == expected.tolist()
        assert kept[v] == np.count_nonzero(expected == 0)
        assert embeddings[v].tobytes() == pool_frames(unit, expected == 0).tobytes()


@given(runs, st.lists(thresholds, max_size=8))
def test_a_sweep_equals_its_thresholds_one_by_one(run, many: list[float | None]) -> None:
    features, offsets = run
    many = [*many, *many[:2]]  # some come twice
    embeddings, kept = embed_sweep(features, offsets, many)
    assert embeddings.shape[:2] == kept.shape == (len(many), len(offsets) - 1)
    for t, threshold in enumerate(many):
        one, count, _, _ = embed_videos(features, offsets, threshold)
        assert embeddings[t].tobytes() == one.tobytes()
        assert kept[t].tolist() == count.tolist()


def test_against_plain_numpy() -> None:
    features, offsets = run_of_videos(1, [30, 1, 50], 64)
    embeddings, kept, labels, _ = embed_videos(features, offsets, 0.4)
    for v, (a, b) in enumerate(pairwise(offsets)):
        rows = features[a:b][labels[a:b] == 0]
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        assert kept[v] == len(rows) > 0
        np.testing.assert_allclose(embeddings[v], mean / np.linalg.norm(mean), atol=1e-6)


def test_features_are_left_alone() -> None:
    features, offsets = run_of_videos(2, [5, 9], 16)
    for dtype in (np.float16, np.float32):
        given_rows = features.astype(dtype)
        before = given_rows.tobytes()
        embed_videos(given_rows, offsets, 0.4)
        assert given_rows.tobytes() == before


@pytest.mark.parametrize("offsets", [[], [0, 3], [1, 4], [0, 5], [0, 3, 2, 4], [[0, 4]]])
def test_offsets_must_fit_the_rows(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must"):
        embed_videos(np.zeros((4, 8), np.float16), offsets, 0.4)
    with pytest.raises(ValueError, match="offsets must"):
        embed_sweep(np.zeros((4, 8), np.float16), offsets, [0.4])
