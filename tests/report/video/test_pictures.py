"""Pictures of rows: the right frame for every row, whatever was left out of the features, and never an exception."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import frames_of, write_folder, write_manifest, write_video
from feature_files import POINTS, features_file
from PIL import Image

from vidface.features.engines.isolated import Decoders
from vidface.features.engines.reading import Block, VideoEnd
from vidface.files.store import FeaturesInfo, read_features
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.report.video import pictures as pictures_module
from vidface.report.video.pictures import fit_square, open_pictures


def of_times(path: Path, times: dict[str, list[float]], **told: Any) -> FeaturesInfo:
    """A features file with these ids and times."""
    rows = {video: np.ones((len(seconds), 4)) for video, seconds in times.items()}
    return read_features(features_file(path, rows, times=times, **told))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Manifest, FeaturesInfo, dict[str, np.ndarray]]:
    """A clip of 6 frames and a folder of 4; the features lost some frames, and have the videos in another order."""
    frames = {"clip": frames_of(1, 6), "folder": frames_of(2, 4)}
    write_video(tmp_path / "videos/clip.mkv", frames["clip"])
    write_folder(tmp_path / "videos/folder", frames["folder"])
    rows = [("clip", "videos/clip.mkv"), ("gone", "videos/gone.mkv"), ("folder", "videos/folder")]
    manifest = read_manifest(write_manifest(tmp_path / "set.csv", rows))
    times = {"folder": [0, 0.125, 0.25, 0.375], "gone": [0.0], "clip": [0, 0.25, 0.375, 0.625]}
    return manifest, of_times(tmp_path / "features.h5", times), frames


def frame_pictures(
    manifest: Manifest, info: FeaturesInfo, video: int, rows: list[int], size: int
) -> list[np.ndarray | None]:
    """Thumbnails of some rows of one video."""
    with open_pictures(manifest, info) as pictures:
        return pictures.thumbnails(video, rows, size)


def test_rows_are_found_by_their_time_in_the_order_asked_for(two: Any) -> None:
    manifest, info, frames = two
    found = frame_pictures(manifest, info, 2, [3, 0, 2], size=112)
    for picture, number in zip(found, [5, 0, 3], strict=True):  # frames 1 and 4 are not in the features
        np.testing.assert_array_equal(picture, frames["clip"][number])
    found = frame_pictures(manifest, info, 0, [1, 1], size=28)
    small = np.array(Image.fromarray(frames["folder"][1]).resize((28, 28), Image.Resampling.LANCZOS))
    for picture in found:
        np.testing.assert_array_equal(picture, small)


def test_a_time_is_compared_as_it_is_stored(tmp_path: Path) -> None:
    """Eighths of a second have a float32, tenths do not: the stored time is another number than the frame's."""
    frames = frames_of(3, 4)
    write_video(tmp_path / "v.mkv", frames, rate=10)
    manifest = read_manifest(write_manifest(tmp_path / "set.csv", [("v", "v.mkv")]))
    info = of_times(tmp_path / "features.h5", {"v": [0.1, 0.2, 0.3]}, fps="10")
    np.testing.assert_array_equal(frame_pictures(manifest, info, 0, [0, 1, 2], size=112), frames[1:])


def test_frames_of_one_time_go_to_their_rows_in_order(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, info, frames = two
    blocks = [Block(frames["clip"][i : i + 1], [seconds]) for i, seconds in enumerate([0, 0.25, 0.25, 0.375])]
    monkeypatch.setattr(Decoders, "read", lambda self, video: (m for m in [*blocks, VideoEnd([])]))
    info = of_times(info.path.with_name("equal.h5"), {"clip": [0, 0.25, 0.25, 0.375]})
    found = frame_pictures(manifest, info, 0, [2, 3, 1], size=112)
    np.testing.assert_array_equal(found, frames["clip"][[2, 3, 1]])


def test_where_faces_were_detected_the_aligned_face_is_the_picture(tmp_path: Path) -> None:
    """Two faces a frame, at 20, 10 and 150, 30; rows go by track, so their times do not rise."""
    pytest.importorskip("cv2", reason="pip install -e '.[detect]'")
    left, right = frames_of(1, 3), frames_of(2, 3)
    frames = np.full((3, 160, 280, 3), 90, np.uint8)
    frames[:, 10:122, 20:132], frames[:, 30:142, 150:262] = left, right
    write_video(tmp_path / "v.mkv", frames)
    manifest = read_manifest(write_manifest(tmp_path / "set.csv", [("v", "v.mkv")]))
    path, corners = tmp_path / "features.h5", np.float32([[20, 10]] * 3 + [[150, 30]] * 2)
    faces = {"boxes": np.hstack([corners, corners + 112]), "points": POINTS + corners[:, np.newaxis]}
    faces["tracks"] = np.array([0, 0, 0, 1, 1])
    info = of_times(
        path, {"v": [0, 0.125, 0.25, 0, 0.25]}, faces=faces
    )  # the middle one of track 1 was dropped
    found = frame_pictures(manifest, info, 0, [4, 0, 3, 2], size=112)
    for picture, face in zip(found, [right[2], left[0], right[0], left[2]], strict=True):
        assert picture is not None and np.abs(picture.astype(int) - face).max() <= 1
    with h5py.File(path, "a") as file:
        file["points"][1] = np.nan
    with open_pictures(manifest, info) as pictures:
        assert pictures.thumbnails(0, [1]) == [None]
        assert "points" in pictures.missing["v"]


def test_what_cannot_be_read_is_no_picture_and_a_reason(two: Any, tmp_path: Path) -> None:
    manifest, info, frames = two
    Image.fromarray(frames["folder"][0]).save(tmp_path / "videos/folder/0.png")
    (tmp_path / "videos/folder/1.png").write_bytes(b"damaged")
    (tmp_path / "videos/folder/3.png").unlink()
    with open_pictures(manifest, info) as pictures:
        assert pictures.thumbnails(1, [0, 0]) == [None, None]
        assert "no such file" in pictures.missing["gone"]
        kept = pictures.thumbnails(0, [0, 1, 2, 3], size=112)
        assert [picture is None for picture in kept] == [False, True, False, True]
        np.testing.assert_array_equal(kept[2], frames["folder"][2])
        assert "1.png" in pictures.missing["folder"]
        assert pictures.thumbnails(2, []) == [] and "clip" not in pictures.missing
        (tmp_path / "videos/clip.mkv").write_bytes(b"no video")
        assert pictures.thumbnails(2, [0]) == [None]
        assert "clip.mkv" in pictures.missing["clip"]


def test_several_threads_may_ask_at_once(two: Any) -> None:
    manifest, info, frames = two
    numbers = {0: [0, 1, 2, 3], 1: [], 2: [0, 2, 3, 5]}
    with open_pictures(manifest, info) as pictures, ThreadPoolExecutor(4) as pool:
        asked = [0, 2, 1, 2, 0, 2, 0, 1]
        found = pool.map(lambda video: pictures.thumbnails(video, range(4), size=112), asked)
        for video, got in zip(asked, found, strict=True):
            if video == 1:
                assert got == [None] * 4
            else:
                np.testing.assert_array_equal(got, frames["folder" if video == 0 else "clip"][numbers[video]])


def test_what_is_not_known_costs_the_pictures_only(two: Any, tmp_path: Path) -> None:
    manifest = read_manifest(write_manifest(tmp_path / "other.csv", [("clip", "videos/clip.mkv")]))
    with open_pictures(manifest, two[1]) as pictures:
        assert pictures.thumbnails(0, [0]) == [None]
        assert pictures.missing == {"folder": "not in the manifest"}
        assert pictures.thumbnails(2, [0])[0] is not None
    two[1].attributes["decoder"] = "nosuch"
    with open_pictures(manifest, two[1]) as pictures:
        assert pictures.thumbnails(2, [0]) == [None]
        assert "unknown decoder" in pictures.missing["clip"]


def test_a_decoder_that_hangs_is_given_up(two: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, info, _ = two
    monkeypatch.setattr(pictures_module, "SILENT_SECONDS", 1.0)
    path = tmp_path / "videos/clip.mkv"
    with open_pictures(manifest, info) as pictures:
        assert pictures.thumbnails(0, [0])[0] is not None
        (decoder,) = pictures._decoders._idle
        decoder.process.send_signal(signal.SIGSTOP)
        assert pictures.thumbnails(2, [0])[0] is not None  # stopped between two videos: another process reads
        path.unlink()
        os.mkfifo(path)  # whoever opens it waits for ever, unless it is seen not to be a file
        assert pictures.thumbnails(2, [0]) == [None]
    never_over = (Block(np.zeros((1, 8, 8, 3), np.uint8), [99.0]) for _ in iter(int, 1))
    monkeypatch.setattr(Decoders, "read", lambda self, video: never_over)
    monkeypatch.setattr(pictures_module, "VIDEO_SECONDS", 0.0)
    with open_pictures(manifest, info) as pictures:
        assert pictures.thumbnails(2, [0]) == [None]
        assert "within 0 s" in pictures.missing["clip"]


def test_reading_stops_soon_after_the_last_row(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, info, _ = two
    seen = []

    def endless(self: Any, video: Any) -> Iterator[Block]:
        for number in range(10**9):
            seen.append(number)
            yield Block(np.zeros((1, 8, 8, 3), np.uint8), [number / 8])

    monkeypatch.setattr(Decoders, "read", endless)
    assert frame_pictures(manifest, info, 2, [1], size=8)[0] is not None
    assert len(seen) < 100


@pytest.mark.parametrize(("height", "width"), [(30, 60), (60, 30), (1, 1000), (64, 64)])
def test_a_frame_is_shown_whole_in_its_own_shape(height: int, width: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    square = fit_square(white, 64)
    assert square.shape == (64, 64, 3)
    inside = (square == 255).all(axis=2)
    sides = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
    for side, length in zip(sides, (height, width), strict=True):
        assert len(side) == max(1, round(length * 64 / max(height, width)))
        assert abs(side[0] - (63 - side[-1])) <= 1  # in the middle
    assert inside.sum() == len(sides[0]) * len(sides[1])
