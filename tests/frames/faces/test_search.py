"""The search for faces of any size, with a made-up network that is right about faces of some 60 to 250 pixels alone."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_detector import POINTS

from vidface.frames.faces import search
from vidface.frames.faces.search import (
    LONGEST_SIDE,
    Rows,
    merge_candidates,
    overlaps,
    search_faces,
)
from vidface.frames.frame import Pixels

GOOD = range(60, 251)  # heights that the made-up network has the right points of
SEEN = range(11, 341)  # and those that it sees at all
LOW = 0.4  # its score for a face of less than `SURE` pixels
SURE = 24
SURER = 0.9


class Network:
    """Finds the bright block of a dark picture, a face of 4:5, by nine candidates whose errors cancel out.

    ``shapes``: of the pictures that it was given.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, picture: Pixels) -> Rows:
        self.shapes.append(picture.shape)
        # Edges by the light of the whole row and column: exact, wherever within a pixel they lie.
        light = picture[:, :, 0].astype(np.float64) / 200
        height, width = light.sum(axis=0).max(), light.sum(axis=1).max()
        if round(height) not in SEEN:
            return np.empty((0, 15))
        middle = np.array([light.sum(axis=0), light.sum(axis=1)], dtype=object)
        x, y = ((side * (np.arange(len(side)) + 0.5)).sum() / side.sum() for side in middle)
        corner = np.array([x - width / 2, y - height / 2])
        points = (POINTS + 0.5) / 112 * (width, height) - 0.5 + corner
        if round(height) not in GOOD:
            points += 0.15 * height
        score = LOW if height < SURE else SURER
        rows = []
        for k in range(9):
            away = 0.02 * height * (k - 4)
            moved = points + np.array([away, -away])
            rows.append([*corner, width, height, *moved.ravel(), score])
        return np.array(rows)


def frame_with(
    height: float, size: tuple[int, int], middle: tuple[float, float]
) -> tuple[Pixels, np.ndarray]:
    """A dark frame with a face of this height, and its points by hand."""
    width = 0.8 * height
    x0, y0 = round(middle[0] - width / 2), round(middle[1] - height / 2)
    x1, y1 = x0 + round(width), y0 + round(height)
    frame = np.zeros((*size, 3), np.uint8)
    frame[y0:y1, x0:x1] = 200
    return frame, (POINTS + 0.5) / 112 * (x1 - x0, y1 - y0) - 0.5 + (x0, y0)


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920), (1920, 1080), (2160, 3840)])
@pytest.mark.parametrize("share", ["30 pixels", 0.1, 0.3, 0.5, 0.8, 0.95])
def test_points_of_close_ups_and_of_small_faces_are_right(size: tuple[int, int], share: str | float) -> None:
    shrink = max(1, max(size) / LONGEST_SIDE)
    height = max(30, 12 * shrink) if isinstance(share, str) else share * min(size)
    frame, points = frame_with(height, size, (size[1] * 0.5, size[0] * 0.5))
    (face,) = search_faces(frame, Network(), 0.7)
    assert np.abs(face[4:14].reshape(5, 2) - points).max() < 0.001 * height + 0.15
    assert abs(face[3] - height) < 0.02 * height + 1 and face[14] == SURER


def test_a_face_at_the_edge_is_looked_at_where_it_is() -> None:
    frame, points = frame_with(40, (300, 400), (380, 24))
    (face,) = search_faces(frame, Network(), 0.7)
    assert np.abs(face[4:14].reshape(5, 2) - points).max() < 0.1


def test_what_the_second_look_does_not_confirm_is_no_face(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, _ = frame_with(20, (300, 400), (200, 150))
    assert len(search_faces(frame, Network(), 0.7)) == 1
    assert len(search_faces(frame, Network(), 0.95)) == 0
    monkeypatch.setattr("test_search.SURE", 1000)
    assert len(search_faces(frame, Network(), 0.7)) == 0  # doubtful in both looks
    large, _ = frame_with(200, (300, 400), (200, 150))
    assert len(search_faces(large, Network(), 0.7)) == 0  # only small ones are looked at again in doubt


def test_looks_are_bounded() -> None:
    looks = Network()

    def crowd(picture: Pixels) -> Rows:
        looks.shapes.append(picture.shape)
        if picture.shape[0] < 900:
            return np.empty((0, 15))
        places = np.mgrid[0:30, 0:30].reshape(2, -1).T * 30.0
        boxes = np.column_stack([places, np.full((900, 2), 20.0)])
        points = np.tile(places, 5) + np.tile(np.arange(10.0), (900, 1))
        return np.column_stack([boxes, points, np.full(900, 0.8)])

    found = search_faces(np.zeros((900, 900, 3), np.uint8), crowd, 0.7)
    assert len(found) == 900  # those that were not looked at again stay
    assert len(looks.shapes) == 2 + search._MOST_LOOKED_AT


def test_frames_that_need_it_alone_are_searched_in_a_copy() -> None:
    for size, copy in (((384, 700), None), ((720, 1280), (180, 320)), ((1280, 800), (320, 200))):
        network = Network()
        assert len(search_faces(np.zeros((*size, 3), np.uint8), network, 0.7)) == 0
        assert [shape[:2] for shape in network.shapes] == [size] + ([copy] if copy else [])


# Candidates


def naive_overlap(a: Rows, b: Rows) -> float:
    """By counting cells of a fine grid."""

    def cells(row: Rows) -> set[tuple[int, int]]:
        x, y, width, height = row[:4].astype(int)
        return {(i, j) for i in range(x, x + width) for j in range(y, y + height)}

    ours, theirs = cells(a), cells(b)
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 0.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [0, 12])
def test_candidates_are_merged_as_in_plain_loops(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 12, (count, 15)).astype(np.float64)
    rows[:, 14] = rng.integers(1, 5, count) / 5
    wanted = rows[:, 14] > 0.3
    left = [i for i in sorted(range(count), key=lambda i: -rows[i, 14]) if wanted[i]]
    expected = []
    while left:
        first = left.pop(0)
        same = [k for k in range(count) if naive_overlap(rows[first], rows[k]) >= 0.5] or [first]
        weights = [rows[k, 14] for k in same]
        mean = [
            sum(w * rows[k, c] for w, k in zip(weights, same, strict=True)) / sum(weights) for c in range(14)
        ]
        expected.append([*mean, rows[first, 14]])
        left = [k for k in left if naive_overlap(rows[first], rows[k]) < 0.3]
    assert np.allclose(merge_candidates(rows, wanted), np.array(expected).reshape(-1, 15))
    for one in rows[:1]:
        assert np.allclose(overlaps(one, rows), [naive_overlap(one, row) for row in rows], atol=1e-12)


def test_the_network_is_given_blocks_averaged() -> None:
    """Grain would pass for detail in a copy whose pixels are single ones of the frame."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    seen: list[Pixels] = []

    def network(picture: Pixels) -> Rows:
        seen.append(picture)
        return np.empty((0, 15))

    search_faces(frame, network, 0.7)
    means = frame.reshape(180, 4, 320, 4, 3).mean(axis=(1, 3))
    assert np.abs(seen[1] - means).max() <= 0.51
