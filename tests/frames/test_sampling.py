"""Sampling by time against a naive search through all frames for every instant."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.frames.sampling import EPSILON, sample_by_time


def streamed(times: list[float], fps: float, last: float = 0.0) -> list[int]:
    """Indices of the frames taken."""
    frames = ((time, last, index) for index, time in enumerate(times))
    taken = list(sample_by_time(frames, fps))
    assert [time for time, _ in taken] == [times[index] for _, index in taken]
    return [index for _, index in taken]


def searched(times: list[float], fps: float, last: float = 0.0) -> list[int]:
    """For every k, look through all frames for the last one whose time has come."""
    end = max(times[-1] + last - EPSILON, times[-1] + EPSILON)
    found: list[int] = []
    for k in itertools.count():
        if k / fps >= end:
            break
        index = max(index for index, time in enumerate(times) if time <= k / fps + EPSILON)
        if index not in found:
            found.append(index)
    return found


gaps = st.lists(st.sampled_from([0.0, 1e-4, 0.001, 1 / 60, 1 / 30, 0.04, 0.125, 0.5, 3.0]), max_size=60)
free_gaps = st.lists(st.floats(0, 2), max_size=40)


@given(
    gaps=gaps | free_gaps,
    fps=st.sampled_from([1.0, 5.0, 8.0, 23.976, 25.0, 60.0]),
    last=st.sampled_from([0.0, 0.04, 1.0]),
)
def test_equals_a_naive_search(gaps: list[float], fps: float, last: float) -> None:
    times = [0.0, *np.cumsum(gaps).tolist()]
    assert streamed(times, fps, last) == searched(times, fps, last)


@pytest.mark.parametrize("rate", [8, 16, 24, 25, 30, 50, 60])
def test_two_seconds_of_a_constant_rate_give_sixteen_frames(rate: int) -> None:
    times = [index / rate for index in range(2 * rate)]
    assert len(streamed(times, 8.0, last=1 / rate)) == 16


@pytest.mark.parametrize("rate", [7, 8, 24, 25, 30, 60])
def test_times_rounded_to_milliseconds_give_the_same_frames(rate: int) -> None:
    exact = [index / rate for index in range(5 * rate)]
    for offset in (0.0, 0.0004):  # where the first frame's own rounding falls
        rounded = [round(time + offset, 3) - round(offset, 3) for time in exact]
        assert streamed(rounded, 8.0, 1 / rate) == streamed(exact, 8.0, 1 / rate)


def test_a_pause_is_one_frame_and_a_burst_is_thinned() -> None:
    times = [0.0, 10.0, *(10 + index / 100 for index in range(1, 100))]
    # 10.125 is between frames 13 (10.12) and 14 (10.13): the earlier one is on screen.
    assert streamed(times, 8.0)[:4] == [0, 1, 13, 26]


def test_only_one_frame_is_held() -> None:
    """Streaming: a frame is handed out as soon as the next one comes, before any later one is asked for."""
    asked = 0

    def frames():
        nonlocal asked
        for index in range(1000):
            asked += 1
            yield index / 8, 0.125, index

    assert list(sample_by_time(iter(()), 8.0)) == []
    sampled = sample_by_time(frames(), 8.0)
    for index in range(5):
        assert next(sampled)[1] == index
        assert asked == index + 2
