"""Tracklets: made-up people who cross, hide, come and go, and cuts; one person never becomes two people's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import UsageError
from vidface.frames.faces.faces import Faces
from vidface.frames.faces.track import PATIENCE, Tracker
from vidface.frames.frame import Pixels

STEP = 1 / 8  # seconds between frames
SIZE = 40.0  # pixels


def look(person: int, *, noise: float = 4, frame: int = 0) -> Pixels:
    """A face's crop: smooth, of the person's own colours, with a little noise of the frame's own."""
    rng = np.random.default_rng(person)
    coarse = rng.uniform(30, 225, (5, 5, 3))
    whole = np.kron(coarse, np.ones((23, 23, 1)))[:112, :112]
    shake = np.random.default_rng([person, frame]).normal(0, noise, whole.shape)
    return np.clip(whole + shake, 0, 255).astype(np.uint8)


def frame(*people: tuple[float, float, Pixels], size: float = SIZE) -> tuple[Faces, Pixels]:
    """Faces with their middles at (x, y)."""
    middles = np.array([(x, y) for x, y, _ in people], np.float32).reshape(-1, 2)
    boxes = np.concatenate([middles - size / 2, middles + size / 2], axis=1)
    crops = np.array([crop for _, _, crop in people], np.uint8).reshape(-1, 112, 112, 3)
    return Faces(boxes, np.zeros((len(boxes), 5, 2), np.float32), np.ones(len(boxes), np.float32)), crops


def follow(
    paths: list[list[tuple[float, float] | None]], looks: list[int] | None = None, step: float = STEP
) -> list[list[int | None]]:
    """Tracklets of people who walk along paths; None where one is not seen. Faces come from left to right."""
    tracker = Tracker()
    out: list[list[int | None]] = [[None] * len(path) for path in paths]
    for time in range(len(paths[0])):
        here = sorted(
            (place[0], place[1], who) for who, path in enumerate(paths) if (place := path[time]) is not None
        )
        crops = [(x, y, look((looks or list(range(len(paths))))[who], frame=time)) for x, y, who in here]
        for (_, _, who), tracklet in zip(here, tracker.step(*frame(*crops), time * step), strict=True):
            out[who][time] = int(tracklet)
    return out


def line(
    start: tuple[float, float], move: tuple[float, float], frames: int
) -> list[tuple[float, float] | None]:
    return [(start[0] + move[0] * k, start[1] + move[1] * k) for k in range(frames)]


@pytest.mark.parametrize(
    ("paths", "looks"),
    [
        ([line((50, 80), (0, 0), 20), line((150, 80), (12, 3), 20), line((300, 300), (-9, -6), 20)], None),
        ([line((100, 100), (14, 0), 20), line((366, 110), (-14, 0), 20)], None),
        ([line((100, 100), (14, 1), 20), line((366, 120), (-14, -1), 20)], [7, 7]),
    ],
    ids=["people who stand or walk", "who cross", "twins who cross, told apart by their motion"],
)
def test_people_keep_their_tracklets(
    paths: list[list[tuple[float, float] | None]], looks: list[int] | None
) -> None:
    assert follow(paths, looks) == [[number] * 20 for number in range(len(paths))]


def test_a_face_that_is_missed_for_a_while_goes_on_and_after_longer_it_does_not() -> None:
    path = line((100, 100), (6, 0), 24)
    short = int(PATIENCE / STEP)
    path[5 : 5 + short - 1] = [None] * (short - 1)
    path[15 : 15 + short] = [None] * short
    (tracklets,) = follow([path])
    assert set(tracklets[:15]) == {0, None}
    assert set(tracklets[15 + short :]) == {1}


def test_waiting_is_measured_in_seconds_not_in_frames() -> None:
    path = line((100, 100), (1, 0), 40)
    path[10:20] = [None] * 10  # 0.44 s at 25 frames a second
    assert set(follow([path], step=1 / 25)[0]) == {0, None}


def test_a_person_behind_another_comes_back_as_himself() -> None:
    front = line((100, 100), (15, 0), 20)
    back = line((220, 100), (0, 0), 20)
    back[6:9] = [None] * 3  # 0.5 s are between those seen
    tracklets = follow([front, back])
    assert set(tracklets[0]) == {0}
    assert set(tracklets[1]) == {1, None}


def test_a_cut_ends_a_tracklet_where_another_face_is_at_the_very_same_place() -> None:
    tracker = Tracker()
    before = [tracker.step(*frame((200, 100, look(1, frame=k))), k * STEP).tolist() for k in range(5)]
    after = [tracker.step(*frame((200, 100, look(2, frame=k))), k * STEP).tolist() for k in range(5, 9)]
    assert before == [[0]] * 5
    assert after == [[1]] * 4


def test_a_cut_to_the_same_person_elsewhere_ends_it_too() -> None:
    path = [*line((100, 100), (2, 0), 5), *line((400, 220), (2, 0), 5)]
    assert follow([path]) == [[0] * 5 + [1] * 5]


def test_a_face_of_another_size_at_the_same_place_is_another() -> None:
    tracker = Tracker()
    near, crops = frame((200, 100, look(1)), size=120)
    far, _ = frame((200, 100, look(1)), size=40)
    found = [int(tracker.step(faces, crops, k * STEP)[0]) for k, faces in enumerate((near, near, far))]
    assert found == [0, 0, 1]


def test_a_sure_pair_is_not_broken_for_the_sake_of_a_doubtful_one() -> None:
    """The least total cost would move both faces one on; the first is where it was, to the pixel."""
    tracker = Tracker()
    tracker.step(*frame((100, 100, look(3)), (124, 100, look(3))), 0)
    assert tracker.step(*frame((124, 100, look(3)), (148, 100, look(3))), STEP).tolist() == [1, 2]


def test_two_faces_at_one_place_are_two_tracklets() -> None:
    tracker = Tracker()
    crop = look(4)
    assert tracker.step(*frame((100, 100, crop), (100, 100, crop)), 0).tolist() == [0, 1]
    assert tracker.step(*frame((100, 100, crop), (100, 100, crop)), STEP).tolist() == [0, 1]


def test_frames_without_faces_and_faces_of_one_grey() -> None:
    tracker = Tracker()
    grey = np.full((112, 112, 3), 80, np.uint8)
    assert tracker.step(*frame(), 0).tolist() == []
    assert tracker.step(*frame((50, 50, grey)), STEP).dtype == np.int32
    assert tracker.step(*frame(), 2 * STEP).tolist() == []
    assert tracker.step(*frame((50, 50, look(1))), 2 * STEP).tolist() == [1]


def test_frames_out_of_order_and_missing_crops_are_refused() -> None:
    tracker = Tracker()
    faces, crops = frame((50, 50, look(1)))
    tracker.step(faces, crops, 1.0)
    for time in (0.9, float("nan")):
        with pytest.raises(UsageError, match="frames must come in order of time"):
            tracker.step(faces, crops, time)
    with pytest.raises(UsageError, match="1 faces need as many crops, not 0"):
        tracker.step(faces, crops[:0], 2.0)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_any_faces_get_numbers_that_count_up_and_none_twice_in_a_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracker, again = Tracker(), Tracker()
    seen: list[npt.NDArray[np.int32]] = []
    time = 0.0
    crops = [look(person) for person in range(3)]
    for _ in range(12):
        people = [(*rng.uniform(0, 120, 2), crops[rng.integers(3)]) for _ in range(rng.integers(0, 5))]
        tracklets = tracker.step(*frame(*people), time)
        assert np.array_equal(again.step(*frame(*people), time), tracklets)
        assert len(set(tracklets.tolist())) == len(people)
        seen.append(tracklets)
        time += float(rng.choice([0, STEP, 4 * STEP, 9 * STEP]))
    flat = np.concatenate(seen)
    new = [number for k, number in enumerate(flat) if number not in flat[:k]]
    assert new == list(range(len(new)))
