"""Which frames to take: by presentation time, never by index.

A pure function over a stream of times; ``tests/frames/test_sampling.py`` holds it against a naive search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Matroska and FLV round times to whole milliseconds: a frame that belongs at t may be marked up to 1 ms later.
EPSILON = 1e-3


def sample_by_time(frames: Iterable[tuple[float, float, T]], fps: float | None) -> Iterator[tuple[float, T]]:
    """Take the frame that is on screen at every k / fps, k = 0, 1, 2 ...

    The frame on screen at t is the last one whose time is at most t + `EPSILON`. A frame stays on screen until
    the next one's time, the last one for its own duration (so that 1 s of 25 fps gives exactly 8 frames at
    8 fps). A frame that is on screen at several of the instants is taken once: 8 fps of a 5 fps video are its
    5 frames. Only one frame is held at a time, so memory does not grow with the video.

    Args:
        frames: (time, duration, anything) in seconds, time 0 first and times never falling. Of frames with the
            same time the last counts.
        fps: instants per second, above 0; None takes every frame.

    Yields:
        (time, anything) of the frames taken, in order.
    """
    if fps is None:
        yield from ((time, thing) for time, _, thing in frames)
        return
    instant = 0  # the first k that is not served yet
    held: tuple[float, float, T] | None = None
    for frame in frames:
        if held is not None and instant / fps + EPSILON < frame[0]:
            yield held[0], held[2]
            # The smallest k with k / fps >= time, by the very comparison that is made with it.
            time = frame[0] - EPSILON
            instant = max(math.ceil(time * fps) - 1, 0)
            while instant / fps < time:
                instant += 1
        held = frame
    if held is not None:
        time, duration, thing = held
        # A duration may be unknown (0) or rounded: an instant at the frame's own time is always its own.
        if instant / fps < max(time + duration - EPSILON, time + EPSILON):
            yield time, thing
