"""Features do not depend on how frames are cut into blocks and batches; what was lost or not finite is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.engines.batches import embed_run, face_embedder
from vidface.engines.reading import Block, Message, VideoEnd
from vidface.store import VideoRows


def embed(pixels: np.ndarray) -> np.ndarray:
    """A frame's features: its first pixel, and its mean, which is the first pixel's red where the frame is flat."""
    assert pixels.dtype == np.uint8 and pixels.ndim == 4
    return np.concatenate([pixels[:, 0, 0].astype(np.float32), pixels.mean(axis=(1, 2, 3))[:, None]], axis=1)


def run(
    videos: dict[str, list[Message]], batch_size: int = 4, dtype: str = "float32", embed: Any = embed
) -> list[VideoRows]:
    done: list[int] = []
    messages = iter([message for video in videos.values() for message in video])
    rows = embed_run(
        list(videos),
        messages,
        embed,
        dimension=4,
        dtype=dtype,
        batch_size=batch_size,
        advance=done.append,
    )
    assert sum(done) == len(videos) and next(messages, None) is None
    assert [row.video_id for row in rows] == list(videos)
    assert all(row.features.dtype == dtype and row.timestamps.dtype == np.float32 for row in rows)
    return rows


def flat(values: list[int], size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, *size, 3), np.uint8)


def cut(values: list[int], sizes: Iterator[int]) -> list[Message]:
    """A video of flat frames in blocks of the given sizes; the frame's time is its place."""
    messages: list[Message] = []
    start = 0
    while start < len(values):
        stop = start + next(sizes)
        part = values[start:stop]
        messages.append(Block(flat(part), [float(t) for t in range(start, start + len(part))]))
        start = stop
    return [*messages, VideoEnd([])]


@given(
    st.lists(st.lists(st.integers(0, 255), max_size=9), max_size=6),
    st.lists(st.integers(1, 5), min_size=54, max_size=54),
    st.integers(1, 12),
)
def test_features_of_a_run(videos: list[list[int]], sizes: list[int], batch_size: int) -> None:
    each = iter(sizes)
    calls: list[int] = []

    def counted(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        return embed(pixels)

    named = {f"v{i}": cut(values, each) for i, values in enumerate(videos)}
    for row, values in zip(run(named, batch_size, embed=counted), videos, strict=True):
        assert np.array_equal(row.features, np.repeat(np.array(values, np.float32), 4).reshape(-1, 4))
        assert row.timestamps.tolist() == list(range(len(values)))
        assert row.status == ("ok" if values else "failed")
        assert [fault["kind"] for fault in row.faults] == ([] if values else ["no-frames"])
    frames = sum(map(len, videos))
    full, rest = divmod(frames, batch_size)
    assert calls == [batch_size] * full + [rest] * (rest > 0)  # filled across videos


def test_a_lost_video_keeps_none_of_its_frames() -> None:
    lost = [Block(flat([1, 2, 3]), [0.0, 1.0, 2.0]), VideoEnd([("decoder-hung", "no frame")], lost=True)]
    before, row, after = run({"a": cut([5, 6], iter([2])), "b": lost, "c": cut([7], iter([1]))})
    assert (row.status, row.features.shape, row.timestamps.shape) == ("failed", (0, 4), (0,))
    assert row.faults == [{"video": "b", "stage": "extract", "kind": "decoder-hung", "detail": "no frame"}]
    assert before.features[:, 0].tolist() == [5, 6] and after.features[:, 0].tolist() == [7]


def test_a_damaged_video_keeps_its_frames() -> None:
    (row,) = run({"a": [Block(flat([1, 2]), [0.0, 1.0]), VideoEnd([("truncated", "it ends early")])]})
    assert (row.status, len(row.features), row.faults[0]["kind"]) == ("partial", 2, "truncated")


@pytest.mark.parametrize(("bad", "status"), [([9], "partial"), ([1, 2, 9], "failed")])
def test_features_that_are_not_finite(bad: list[int], status: str) -> None:
    def some(pixels: np.ndarray) -> np.ndarray:
        features = embed(pixels)
        for value, what in zip(bad, [np.nan, np.inf, -np.inf], strict=False):
            features[pixels[:, 0, 0, 0] == value, 1] = what
        return features

    (row,) = run({"a": cut([1, 9, 2], iter([3]))}, embed=some)
    kept = [value for value in (1, 9, 2) if value not in bad]
    assert row.features[:, 0].tolist() == kept
    assert row.timestamps.tolist() == [place for place, value in enumerate((1, 9, 2)) if value not in bad]
    (fault,) = row.faults
    assert (row.status, fault["kind"]) == (status, "not-finite")
    assert fault["detail"].startswith(f"{len(bad)} of 3 frames")


def test_features_beyond_half_precision() -> None:
    (row,) = run(
        {"a": cut([1, 2], iter([2]))}, dtype="float16", embed=lambda pixels: 1e4 * embed(pixels) ** 3
    )
    assert row.features[:, 0].tolist() == [1e4] and row.timestamps.tolist() == [0]
    assert (row.status, row.faults[0]["kind"]) == ("partial", "not-finite")


def test_foreign_text_in_a_fault_can_be_written() -> None:
    """Names of files are bytes; what is no text in them, and what a terminal would obey, is shown as escapes."""
    (row,) = run({"a": [VideoEnd([("unreadable-image", "caf\udce9\n\x1b[2J.png: it is damaged")])]})
    detail = row.faults[0]["detail"]
    assert detail == "caf\\udce9 \\x1b[2J.png: it is damaged"
    detail.encode()


def test_no_videos() -> None:
    assert run({}) == []


def test_flip_adds_the_mirrored_face() -> None:
    class Model:
        @staticmethod
        def embed(pixels: np.ndarray) -> np.ndarray:
            return pixels[:, 1, 0].astype(np.float32)

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    model: Any = Model()
    left, right = pixels[:, 1, 0].astype(np.float32), pixels[:, 1, 5].astype(np.float32)
    assert np.array_equal(face_embedder(model, flip=False)(pixels), left)
    assert np.array_equal(face_embedder(model, flip=True)(pixels), left + right)
