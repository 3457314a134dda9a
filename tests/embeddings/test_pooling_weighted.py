from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.embed import embed_sweep, embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import weigh_frames
from vidface.embeddings.union_find import cluster_frames


def rule(by_norm: bool) -> str:
    return "size-norm" if by_norm else "size"


def naive_weights(norms: list[float], labels: list[int], by_norm: bool) -> list[float]:
    usable = sorted(norm for norm in norms if norm > 0)
    if not usable:
        return [0.0] * len(norms)
    decile = usable[math.ceil(9 * (len(usable) - 1) / 10)]
    clear = [min(1.0, norm / (0.7 * decile)) ** 8 if by_norm else float(norm > 0) for norm in norms]
    mass = {
        label: sum(g for g, other in zip(clear, labels, strict=True) if other == label) for label in labels
    }
    raw = [g * mass[label] ** 2 for g, label in zip(clear, labels, strict=True)]
    return [weight / sum(raw) for weight in raw]


def naive_video(rows: np.ndarray, threshold: float | None, by_norm: bool) -> np.ndarray:
    norms = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in rows]
    labels = cluster_frames(normalise_rows(rows), threshold).tolist()
    mean = np.zeros(rows.shape[1])
    for weight, norm, row in zip(naive_weights(norms, labels, by_norm), norms, rows, strict=True):
        if norm:
            mean += weight * row.astype(np.float64) / norm
    return mean / np.linalg.norm(mean) if np.linalg.norm(mean) else mean


def run_of_videos(seed: int, lengths: list[int], dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Videos of such lengths: a person's frames, scattered ones, weak ones and zero ones."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    person = np.repeat(random.standard_normal((len(lengths), dimension)), lengths, axis=0)
    person[random.random(len(person)) < 0.4] = 0
    rows = person + 0.6 * random.standard_normal(person.shape)
    rows *= random.choice([0.4, 1.0, 1.1], (len(rows), 1))
    rows[random.random(len(rows)) < 0.1] = 0
    return rows, offsets


runs = st.builds(
    run_of_videos,
    st.integers(0, 10**6),
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
    st.sampled_from([3, 64, 130]),
)
thresholds = st.none() | st.floats(-0.2, 1)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4)), max_size=20), st.booleans())
def test_weights_agree_with_a_naive_loop(frames: list[tuple[float, int]], by_norm: bool) -> None:
    norms, labels = [norm for norm, _ in frames], [label for _, label in frames]
    if any(0 < norm < 1e-3 for norm in norms):
        norms = [1000 * norm for norm in norms]
    weights = weigh_frames(norms, labels, by_norm=by_norm)
    np.testing.assert_allclose(weights, naive_weights(norms, labels, by_norm), rtol=1e-9, atol=1e-300)


@settings(max_examples=60)
@given(runs, st.sampled_from([np.float16, np.float32]), thresholds, st.booleans())
def test_embeddings_agree_with_plain_numpy(run, dtype, threshold: float | None, by_norm: bool) -> None:
    features, offsets = run[0].astype(dtype), run[1]
    embeddings, kept, labels, weights = embed_videos(features, offsets, threshold, pool=rule(by_norm))
    assert [x.dtype for x in (embeddings, kept, labels, weights)] == [
        np.float32,
        np.int64,
        np.int32,
        np.float32,
    ]
    expected_labels = embed_videos(features, offsets, threshold)[2]
    assert labels.tolist() == expected_labels.tolist()
    for v, (a, b) in enumerate(pairwise(offsets)):
        np.testing.assert_allclose(embeddings[v], naive_video(features[a:b], threshold, by_norm), atol=2e-6)
        assert kept[v] == np.count_nonzero(weights[a:b]) == np.count_nonzero(features[a:b].any(axis=1))
        assert weights[a:b].sum() == pytest.approx(1 if kept[v] else 0, abs=1e-5)
        norms = np.linalg.norm(features[a:b].astype(np.float64), axis=1)
        np.testing.assert_allclose(
            weights[a:b], weigh_frames(norms, labels[a:b], by_norm=by_norm), rtol=1e-5, atol=1e-12
        )


@settings(max_examples=40)
@given(runs, st.lists(thresholds, max_size=6), st.booleans())
def test_a_sweep_equals_its_thresholds_one_by_one(run, many: list[float | None], by_norm: bool) -> None:
    features, offsets = run
    many = [*many, None, *many[:2]]  # some come twice
    embeddings, kept = embed_sweep(features, offsets, many, pool=rule(by_norm))
    for t, threshold in enumerate(many):
        one, count, _, _ = embed_videos(features, offsets, threshold, pool=rule(by_norm))
        assert embeddings[t].tobytes() == one.tobytes()
        assert kept[t].tolist() == count.tolist()


@settings(max_examples=40)
@given(runs, st.integers(0, 10**6), st.sampled_from([0.25, 2.0, 1024.0]), st.booleans())
def test_neither_the_order_of_frames_nor_the_scale_matters(
    run, seed: int, scale: float, by_norm: bool
) -> None:
    features, offsets = run
    before = embed_videos(features, offsets, 0.4, pool=rule(by_norm))[0]
    assert embed_videos(features * scale, offsets, 0.4, pool=rule(by_norm))[0].tobytes() == before.tobytes()
    random = np.random.default_rng(seed)
    mixed = np.concatenate([random.permutation(features[a:b]) for a, b in pairwise(offsets)])
    np.testing.assert_allclose(embed_videos(mixed, offsets, 0.4, pool=rule(by_norm))[0], before, atol=2e-6)


@settings(max_examples=20)
@given(runs, st.booleans())
def test_a_video_does_not_depend_on_its_neighbours(run, by_norm: bool) -> None:
    features, offsets = run
    together = embed_videos(features, offsets, 0.4, pool=rule(by_norm))
    for v, (a, b) in enumerate(pairwise(offsets)):
        alone = embed_videos(features[a:b], [0, b - a], 0.4, pool=rule(by_norm))
        assert alone[0][0].tobytes() == together[0][v].tobytes()
        assert alone[3].tobytes() == together[3][a:b].tobytes()


def test_a_clean_video_is_the_mean_of_its_frames() -> None:
    random = np.random.default_rng(0)
    rows = normalise_rows(random.standard_normal(64) + 0.2 * random.standard_normal((9, 64)))
    rows *= random.uniform(16, 20, (9, 1)).astype(np.float32)  # norms as those of good faces
    weighted, _, _, weights = embed_videos(rows, [0, 9], 0.4, pool="size-norm")
    plain, kept, _, _ = embed_videos(rows, [0, 9], 0.4)
    assert kept[0] == 9
    np.testing.assert_allclose(weights, 1 / 9, atol=1e-7)
    np.testing.assert_allclose(weighted, plain, atol=1e-6)


def test_a_cluster_counts_by_the_third_power_of_its_size() -> None:
    by_size = pytest.approx(np.array([9, 9, 9, 4, 4, 1]) / 36)
    labels = [0, 0, 0, 1, 1, 2]
    assert weigh_frames([1, 1, 1, 1, 1, 1], labels, by_norm=True).tolist() == by_size
    assert weigh_frames([1, 2, 30, 4, 1, 1], labels, by_norm=False).tolist() == by_size
    assert weigh_frames([1, 2, 0, 4, 1, 1], [0, 0, 3, 1, 1, 2], by_norm=False).tolist() == pytest.approx(
        np.array([4, 4, 0, 4, 4, 1]) / 17
    )


def test_things_that_outnumber_the_person_count_little() -> None:
    """Three faces of norm 18, seven things of norm 9 that resemble each other: the largest cluster is the noise."""
    person, thing = np.eye(2, 32)
    random = np.random.default_rng(1)
    rows = np.concatenate([18 * np.tile(person, (3, 1)), 9 * np.tile(thing, (7, 1))])
    rows += 0.5 * random.standard_normal(rows.shape)
    assert embed_videos(rows, [0, 10], 0.4)[0][0] @ thing > 0.9
    assert embed_videos(rows, [0, 10], 0.4, pool="size-norm")[0][0] @ person > 0.9


@pytest.mark.parametrize("by_norm", [False, True])
def test_one_frame_zero_frames_equal_frames_and_frames_that_cancel_out(by_norm: bool) -> None:
    row = np.float32([[3, 0, 4]])
    one = embed_videos(row, [0, 1], 0.4, pool=rule(by_norm))
    np.testing.assert_allclose(one[0], [[0.6, 0, 0.8]], atol=1e-7)
    assert one[1].tolist() == [1] and one[3].tolist() == [1]
    nothing = embed_videos(np.zeros((3, 3)), [0, 0, 3], 0.4, pool=rule(by_norm))
    assert not nothing[0].any() and nothing[1].tolist() == [0, 0] and nothing[3].tolist() == [0, 0, 0]
    equal = embed_videos(np.tile(row, (4, 1)), [0, 4], 0.4, pool=rule(by_norm))
    np.testing.assert_allclose(equal[0], one[0], atol=1e-7)
    assert equal[3].tolist() == [0.25] * 4
    opposite = embed_videos(np.concatenate([row, -row]), [0, 2], 0.4, pool=rule(by_norm))
    assert not opposite[0].any() and opposite[1].tolist() == [2]


@pytest.mark.parametrize(
    ("norms", "labels", "message"),
    [
        ([1, 2], [0], r"labels must be \[2\]"),
        ([[1]], [[0]], r"norms must be \[n\]"),
        ([1], [0.5], "whole numbers"),
        ([1, -1], [0, 0], "negative"),
        ([1, 1], [0, -1], "below 0"),
        ([np.nan], [0], "finite"),
    ],
)
def test_what_cannot_be_weighed_is_refused(norms, labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weigh_frames(norms, labels, by_norm=True)
