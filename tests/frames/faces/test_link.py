"""Tracklets joined to tracks: against a plain way, and what must hold for every video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import UsageError
from vidface.frames.faces.link import face_weights, link_tracks

Float = npt.NDArray[np.float64]


def naive(
    tracklets: npt.NDArray[np.int32], times: Float, sizes: Float, features: Float, threshold: float
) -> list[int]:
    """The rules of link_tracks, one after the other, in plain loops."""
    groups = [[name] for name in sorted(set(tracklets.tolist()))]

    def rows(group: list[int]) -> list[int]:
        return [row for row in range(len(tracklets)) if tracklets[row] in group]

    def cosine(a: list[int], b: list[int]) -> float:
        means = []
        for group in (a, b):
            whole = np.zeros(features.shape[1])
            for row in rows(group):
                length = float(np.sqrt((features[row] ** 2).sum()))
                if length > 0:
                    whole = whole + features[row] / length
            length = float(np.sqrt((whole**2).sum()))
            if length == 0:
                return -2.0
            means.append(whole / length)
        return float((means[0] * means[1]).sum())

    def together(a: list[int], b: list[int]) -> bool:
        return bool({times[row] for row in rows(a)} & {times[row] for row in rows(b)})

    while True:
        best, pair = -2.0, None
        level = [
            max([cosine(a, b) for b in groups if b is not a and together(a, b)], default=-2.0) for a in groups
        ]
        for i, a in enumerate(groups):
            for j in range(i + 1, len(groups)):
                alike = cosine(a, groups[j])
                fine = alike >= threshold and alike > max(level[i], level[j]) and not together(a, groups[j])
                if fine and alike > best:
                    best, pair = alike, (i, j)
        if pair is None:
            break
        groups[pair[0]] = sorted(groups[pair[0]] + groups.pop(pair[1]))
    groups.sort(key=lambda g: (-sum(sizes[r] for r in rows(g)), min(times[r] for r in rows(g)), min(g)))
    return [next(k for k, group in enumerate(groups) if name in group) for name in tracklets.tolist()]


@st.composite
def videos(draw: st.DrawFn) -> tuple[npt.NDArray[np.int32], Float, Float, Float]:
    """Tracklets of a few people over a few frames; no tracklet twice in a frame."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(draw(st.integers(1, 4)), 6))
    spread = draw(st.sampled_from([0.1, 0.6, 1.5]))
    rows = []
    for tracklet in range(draw(st.integers(1, 9))):
        person = rng.integers(len(people))
        start = int(rng.integers(0, 12))
        for frame in range(start, start + int(rng.integers(1, 4))):
            feature = people[person] + rng.normal(size=6) * spread
            rows.append((3 * tracklet + 1, frame / 8, float(rng.integers(10, 14)), feature))
    tracklets, times, sizes, features = zip(*rows, strict=True)
    return np.array(tracklets, np.int32), np.array(times), np.array(sizes), np.array(features)


@settings(max_examples=150)
@given(videos(), st.sampled_from([-0.5, 0.2, 0.45, 0.9]))
def test_it_is_the_plain_way(
    video: tuple[npt.NDArray[np.int32], Float, Float, Float], threshold: float
) -> None:
    assert link_tracks(*video, threshold=threshold).tolist() == naive(*video, threshold)


@settings(max_examples=100)
@given(videos(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_no_frame_shows_a_track_twice(
    video: tuple[npt.NDArray[np.int32], Float, Float, Float], random: object
) -> None:
    tracklets, times, _, _ = video
    tracks = link_tracks(*video)
    order = list(range(len(tracklets)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert link_tracks(*(array[order] for array in video)).tolist() == tracks[order].tolist()
    assert sorted(set(tracks.tolist())) == list(range(tracks.max() + 1))
    for track in set(tracks.tolist()):
        seen = times[tracks == track].tolist()
        assert len(seen) == len(set(seen))
    for name in set(tracklets.tolist()):
        assert len(set(tracks[tracklets == name].tolist())) == 1


def test_faces_without_a_usable_feature_are_joined_to_nothing() -> None:
    features = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 0.0], [1.0, 0.0]])
    tracks = link_tracks(np.arange(4, dtype=np.int32), np.arange(4) / 8, np.array([1, 5, 4, 1.0]), features)
    assert tracks.tolist() == [2, 0, 1, 2]


def test_a_cosine_at_the_threshold_is_enough_and_half_precision_too() -> None:
    same = np.array([[2.0, 0.0], [5.0, 0.0]])  # a cosine of exactly 1
    numbers, times = np.array([0, 1], np.int32), np.array([0.0, 1.0])
    assert link_tracks(numbers, times, np.ones(2), same, threshold=1.0).tolist() == [0, 0]
    assert link_tracks(numbers, times, np.ones(2), same, threshold=np.nextafter(1, 2)).tolist() == [0, 1]
    large = np.array([[60000, 60000], [60000, 59000]], np.float16)
    assert link_tracks(numbers, times, np.ones(2), large).tolist() == [0, 0]


def test_of_very_many_tracklets_only_the_largest_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, times = np.arange(5, dtype=np.int32), np.arange(5) / 8
    sizes, same = np.array([1.0, 9, 2, 9, 8]), np.ones((5, 3))
    monkeypatch.setattr("vidface.frames.faces.link.MOST_JOINED", 3)
    assert link_tracks(numbers, times, sizes, same).tolist() == [2, 0, 1, 0, 0]
    monkeypatch.setattr("vidface.frames.faces.link.MOST_JOINED", 2)
    assert link_tracks(numbers, times, sizes, same).tolist() == [3, 0, 2, 0, 1]


def test_what_a_face_counts_by_hand() -> None:
    """A frame of 800x600: a large face to the left, a smaller one in the middle; then the large one alone."""
    boxes = np.array([(0, 250, 100, 350), (370, 270, 430, 330), (0, 250, 100, 350)], np.float32)
    times, size = np.array([0.0, 0.0, 0.5]), (600, 800)
    assert face_weights(boxes, times, size, "large").tolist() == [100, 60, 100]
    # The middles lie 350, 0 and 350 pixels from (400, 300), which is 500 from a corner.
    assert np.allclose(face_weights(boxes, times, size, "still"), [100 * 0.3, 60, 100 * 0.3])
    assert face_weights(boxes, times, size, "centre").round(3).tolist() == [0, 1, 1]
    for rule in ("large", "still", "centre"):
        assert face_weights(boxes[:0], times[:0], size, rule).shape == (0,)
    assert face_weights(boxes, times, None, "centre").tolist() == [100, 60, 100]
    # Two faces at the same distance: the larger one.
    pair = np.array([(300, 290, 320, 310), (475, 285, 505, 315)], np.float32)
    assert face_weights(pair, times[:2], size, "centre").argmax() == 1


def test_nothing_and_wrong_calls() -> None:
    none = np.empty(0)
    assert link_tracks(np.empty(0, np.int32), none, none, np.empty((0, 4))).shape == (0,)
    with pytest.raises(UsageError, match="every face needs a tracklet, a time, a weight and a feature"):
        link_tracks(np.zeros(2, np.int32), np.zeros(1), np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(UsageError, match="the threshold must be a number"):
        link_tracks(np.zeros(1, np.int32), np.zeros(1), np.ones(1), np.ones((1, 3)), threshold=float("nan"))
