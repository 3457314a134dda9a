"""Features do not depend on how frames are cut into blocks and batches; what was lost or not finite is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.features.engines.batches import embed_chunk, face_embedder
from vidface.features.engines.reading import Block, Message, VideoEnd
from vidface.features.options import ExtractOptions
from vidface.files.faces import FaceCounts, FaceRows
from vidface.files.store import FACE_COUNTS, VideoRows


def embed(pixels: np.ndarray) -> np.ndarray:
    """A frame's features: its first pixel, and its mean, which is the first pixel's red where the frame is flat."""
    assert pixels.dtype == np.uint8 and pixels.ndim == 4
    return np.concatenate([pixels[:, 0, 0].astype(np.float32), pixels.mean(axis=(1, 2, 3))[:, None]], axis=1)


def run(
    videos: dict[str, list[Message]],
    batch_size: int = 4,
    dtype: str = "float32",
    embed: Any = embed,
    track: str | None = None,
) -> list[VideoRows]:
    done: list[int] = []
    messages = iter([message for video in videos.values() for message in video])
    how: Any = {"dimension": 4, "dtype": dtype, "batch_size": batch_size, "track": track}
    rows = embed_chunk(list(videos), messages, embed, advance=done.append, **how)
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
    st.lists(st.lists(st.integers(1, 255), max_size=9), max_size=6),
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


def test_a_damaged_video_keeps_its_frames_and_no_videos_are_none() -> None:
    assert run({}) == []
    (row,) = run({"a": [Block(flat([1, 2]), [0.0, 1.0]), VideoEnd([("truncated", "it ends early")])]})
    assert (row.status, len(row.features), row.faults[0]["kind"]) == ("partial", 2, "truncated")


@pytest.mark.parametrize(("bad", "status"), [([9], "partial"), ([1, 2, 9], "failed")])
@pytest.mark.parametrize(
    ("what", "dtype", "kind", "said"),
    [
        ([np.nan, 1, 1, 1], "float32", "not-finite", "gave NaN or infinite features: left out"),
        ([1, -np.inf, np.inf, 1], "float32", "not-finite", "gave NaN or infinite features: left out"),
        ([1, 1, 1e5, 1], "float16", "not-finite", "gave NaN or infinite features: left out"),
        ([0, 0, 0, 0], "float32", "zero-features", "gave features that are all zero: left out"),
        ([1e-20, 0, 0, 0], "float16", "zero-features", "gave features that are all zero: left out"),
    ],
    ids=["NaN", "infinite", "beyond half precision", "zero", "below half precision"],
)
def test_features_that_cannot_be_used_are_left_out_and_counted(
    what: list[float], dtype: str, kind: str, said: str, bad: list[int], status: str
) -> None:
    def some(pixels: np.ndarray) -> np.ndarray:
        features = embed(pixels)
        features[np.isin(pixels[:, 0, 0, 0], bad)] = what
        return features

    (row,) = run({"a": cut([1, 9, 2], iter([3]))}, embed=some, dtype=dtype)
    kept = [(place, value) for place, value in enumerate((1, 9, 2)) if value not in bad]
    assert list(zip(row.timestamps, row.features[:, 0], strict=True)) == kept
    (fault,) = row.faults
    assert (row.status, fault["kind"]) == (status, kind)
    assert fault["detail"] == f"{len(bad)} of 3 frames {said}"


def test_foreign_text_in_a_fault_can_be_written() -> None:
    """Names of files are bytes; what is no text in them, and what a terminal would obey, is shown as escapes."""
    (row,) = run({"a": [VideoEnd([("unreadable-image", "caf\udce9\n\x1b[2J.png: it is damaged")])]})
    detail = row.faults[0]["detail"]
    assert detail == "caf\\udce9 \\x1b[2J.png: it is damaged"
    detail.encode()


def test_flip_adds_the_mirrored_face() -> None:
    class Model:
        @staticmethod
        def embed(pixels: np.ndarray) -> np.ndarray:
            return pixels[:, 1, 0].astype(np.float32)

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    model: Any = Model()
    left, right = pixels[:, 1, 0].astype(np.float32), pixels[:, 1, 5].astype(np.float32)
    assert np.array_equal(face_embedder(model, ExtractOptions(model=Path()))(pixels), left)
    assert np.array_equal(face_embedder(model, ExtractOptions(model=Path(), flip=True))(pixels), left + right)


# --- faces that were detected ---


class Seen(NamedTuple):
    """One face: its frame, its tracklet, its person (a direction of features), its size; ``bad`` gives NaN."""

    frame: int
    tracklet: int
    person: int
    size: int
    bad: bool


def person_of(pixels: np.ndarray) -> np.ndarray:
    """Features that point where the person of a flat face is; not finite for a face with a red 255."""
    features = np.zeros((len(pixels), 4), np.float32)
    features[np.arange(len(pixels)), pixels[:, 0, 0, 1]] = 1 + pixels[:, 0, 0, 2]
    features[pixels[:, 0, 0, 0] == 255, 0] = np.nan
    return features


def faces_of(seen: list[Seen], sizes: Iterator[int], counts: FaceCounts) -> list[Message]:
    """A video of these faces, in blocks; a face's points, score and sharpness tell which face it is."""
    messages: list[Message] = []
    start = 0
    while start < len(seen):
        part = seen[start : start + next(sizes)]
        number = np.arange(start, start + len(part), dtype=np.float32)
        corners = np.array([[0, 0, face.size, face.size] for face in part], np.float32)
        colours = np.array([(255 * face.bad, face.person, i % 7) for i, face in enumerate(part)], np.uint8)
        arrays = FaceRows(
            corners,
            number[:, None, None] + np.zeros((1, 5, 2), np.float32),
            number,
            -number,
            np.array([face.tracklet for face in part], np.int32),
        )
        pixels = colours[:, None, None] + np.zeros((1, 4, 6, 1), np.uint8)
        messages.append(Block(pixels, [face.frame / 8 for face in part], arrays))
        messages.append(Block(pixels[:0], [], arrays.rows(slice(0))))  # one that says: still at work
        start += len(part)
    return [*messages, VideoEnd([], counts=counts)]


places = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=30, unique=True)


@st.composite
def faces(draw: st.DrawFn) -> list[Seen]:
    """A tracklet has one face in a frame; one in ten is bad."""
    return [
        Seen(frame, tracklet, tracklet % 4, draw(st.integers(1, 50)), draw(st.integers(0, 9)) == 0)
        for frame, tracklet in sorted(draw(places))
    ]


def linked(seen: list[Seen]) -> list[int]:
    """The track of each face, by a plain loop: tracklets n and n + 4 are one person, unless seen together."""
    frames: dict[int, set[int]] = {}
    for face in seen:
        frames.setdefault(face.tracklet, set()).add(face.frame)
    group = {name: name for name in frames}
    for name in frames:
        other = name - 4
        if other in frames and not frames[name] & frames[other]:
            group[name] = other
    weight: dict[int, float] = dict.fromkeys(group.values(), 0.0)
    first: dict[int, tuple[int, int]] = {}
    for face in seen:
        g = group[face.tracklet]
        weight[g] += face.size
        first[g] = min(first.get(g, (99, 99)), (face.frame, face.tracklet))
    ranked = sorted(weight, key=lambda g: (-weight[g], first[g][0], g))
    return [ranked.index(group[face.tracklet]) for face in seen]


@given(
    st.lists(faces(), min_size=1, max_size=4),
    st.lists(st.integers(1, 5), min_size=120, max_size=120),
    st.integers(1, 12),
    st.sampled_from(["main", "all"]),
)
def test_faces_of_a_run(videos: list[list[Seen]], sizes: list[int], batch_size: int, track: str) -> None:
    each = iter(sizes)
    counted = [FaceCounts(frames=10, found=len(seen)) for seen in videos]
    named = {f"v{i}": faces_of(seen, each, counted[i]) for i, seen in enumerate(videos)}
    for row, seen in zip(run(named, batch_size, embed=person_of, track=track), videos, strict=True):
        usable = [i for i, face in enumerate(seen) if not face.bad]
        tracks = linked([seen[i] for i in usable])
        want = sorted((t, seen[i].frame, i) for t, i in zip(tracks, usable, strict=True))
        others = [face for face in want if face[0] > 0]
        if track == "main":
            want = [face for face in want if face[0] == 0]
        assert row.faces is not None
        assert row.faces.tracks.tolist() == [t for t, _, _ in want]
        assert row.timestamps.tolist() == [frame / 8 for _, frame, _ in want]
        which = [i for _, _, i in want]
        assert row.faces.scores.tolist() == which and row.faces.sharpness.tolist() == [-i for i in which]
        assert row.faces.points[:, 4, 1].tolist() == which
        assert row.faces.boxes[:, 3].tolist() == [seen[i].size for i in which]
        assert row.features.argmax(axis=1).tolist() == [seen[i].person for i in which]
        counts = dict(zip(FACE_COUNTS, row.face_counts, strict=True))
        assert counts["found"] == len(seen) and counts["not_finite"] == len(seen) - len(usable)
        assert counts["other_track"] == (len(others) if track == "main" else 0)
        assert len(want) == counts["found"] - counts["not_finite"] - counts["other_track"]
        kinds = [fault["kind"] for fault in row.faults]
        bad = ["not-finite"] if len(usable) < len(seen) else []
        assert kinds == (bad if want else [*bad, "no-faces"])
        assert row.status == ("failed" if not want else "partial" if bad else "ok")


def test_a_lost_video_keeps_none_of_its_faces() -> None:
    seen = [Seen(0, 0, 1, 9, False), Seen(1, 0, 1, 9, False)]
    end = VideoEnd([("detector-failed", "x")], lost=True)
    lost = [*faces_of(seen, iter([2]), FaceCounts())[:-1], end]
    after = faces_of(seen, iter([1, 1]), FaceCounts(frames=2, found=2))
    row, other = run({"a": lost, "b": after}, embed=person_of, track="all")
    assert (row.status, len(row.features), row.face_counts) == ("failed", 0, (0,) * len(FACE_COUNTS))
    assert row.faces is not None and [len(array) for array in row.faces] == [0] * 5
    assert [fault["kind"] for fault in row.faults] == ["detector-failed"]
    assert (other.status, other.faces and other.faces.scores.tolist()) == ("ok", [0, 1])


@pytest.mark.parametrize(
    ("frames", "faults", "kinds"),
    [
        (0, [], ["no-frames"]),
        (0, [("missing", "x")], ["missing"]),
        (7, [], ["no-faces"]),
        (7, [("truncated", "x")], ["truncated", "no-faces"]),
    ],
)
def test_videos_without_faces(frames: int, faults: list[tuple[str, str]], kinds: list[str]) -> None:
    end = VideoEnd(faults, counts=FaceCounts(frames=frames, without_face=frames))
    (row,) = run({"a": [end]}, embed=person_of, track="main")
    assert (row.status, [fault["kind"] for fault in row.faults]) == ("failed", kinds)


def test_what_is_filtered_is_told_and_is_no_damage() -> None:
    seen = [Seen(0, 0, 1, 9, False)]
    counts = FaceCounts(frames=4, found=6, too_small=3, blurred=2)
    plain = faces_of(seen, iter([1]), counts)
    damaged = [*faces_of(seen, iter([1]), counts)[:-1], VideoEnd([("truncated", "x")], counts=counts)]
    row, other = run({"a": plain, "b": damaged}, embed=person_of, track="main")
    (fault,) = row.faults
    assert (row.status, fault["kind"]) == ("ok", "filtered")
    assert fault["detail"] == "of 6 faces left out: 3 too small, 2 blurred"
    assert (other.status, [f["kind"] for f in other.faults]) == ("partial", ["truncated", "filtered"])


def test_too_many_tracklets_to_join_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [Seen(frame, frame, 0, 9, False) for frame in range(4)]  # one person, a tracklet a frame
    for most, status, kinds in ((4, "ok", []), (3, "partial", ["not-joined"])):
        for module in ("vidface.features.engines.batches", "vidface.frames.faces.link"):
            monkeypatch.setattr(f"{module}.MOST_JOINED", most)
        messages = faces_of(seen, iter([4]), FaceCounts(4, 0, 4))
        (row,) = run({"a": messages}, embed=person_of, track="main")
        assert (row.status, [fault["kind"] for fault in row.faults]) == (status, kinds)
        assert len(row.features) == most
    assert row.faults[0]["detail"].startswith("4 tracklets: the 3 largest were joined")
