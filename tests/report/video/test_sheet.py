"""Contact sheets: every frame that is asked for is on them, boxes where the faces are, and what is missing says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command_line import frames_of, write_manifest, write_video
from feature_files import features_file
from PIL import Image

from vidface.manifest.manifest import read_manifest
from vidface.report.video import sheet as module
from vidface.report.video.inspect import inspect
from vidface.report.video.pictures import open_pictures
from vidface.report.video.sheet import FACE, FRAME_WIDTH, GAP, LINE, MARGIN, WIDTH, contact_sheet, write_sheet

pytest.importorskip("cv2", reason="faces are aligned by OpenCV: pip install -e '.[detect]'")

GREEN, RED = (0x5F, 0xD7, 0x5F), (0xFF, 0x5F, 0x5F)
COLOURS = [tuple(bytes.fromhex(code[1:])) for code in module.COLOURS]  # of tracks


class Set(NamedTuple):
    """A manifest, a features file, and the frames of the one clip."""

    manifest: Any
    features: Path
    frames: np.ndarray


def write_set(
    tmp_path: Path, frames: np.ndarray, rows: np.ndarray, times: Any = None, faces: Any = None
) -> Set:
    write_video(tmp_path / "v.mkv", frames)
    times = None if times is None else {"v": times}
    features = features_file(tmp_path / "f.h5", {"v": rows}, times=times, faces=faces)
    manifest = read_manifest(write_manifest(tmp_path / "set.csv", [("v", "v.mkv")]))
    return Set(manifest, features, frames)


@pytest.fixture
def aligned(tmp_path: Path) -> Set:
    """Six frames of 112x112; the third and fifth are of somebody else."""
    return write_set(tmp_path, frames_of(1, 6), np.eye(2)[[0, 0, 1, 0, 1, 0]])


@pytest.fixture
def detected(tmp_path: Path) -> Set:
    """Four frames of 320x240 with two faces each: a square at the left, track 0, and one at the right, track 1."""
    frames = np.full((4, 240, 320, 3), 90, np.uint8)
    frames[:, 60:140, 40:120] = (200, 150, 120)
    frames[:, 60:140, 200:280] = (60, 80, 160)
    box = np.float32([[40, 60, 120, 140], [200, 60, 280, 140]])
    points = np.float32([[25, 30], [55, 30], [40, 45], [28, 60], [52, 60]])
    of = np.repeat([0, 1], 4)
    faces = {"boxes": box[of], "points": points + box[of][:, None, :2], "tracks": of}
    faces["scores"] = np.full(8, 0.87)
    return write_set(tmp_path, frames, np.eye(2)[of], np.tile(np.arange(4) / 8, 2), faces)


def drawn(made: Set, video: str = "v") -> np.ndarray:
    seen = inspect(made.features, video)
    with open_pictures(made.manifest, seen.info) as pictures:
        return contact_sheet(seen, pictures)


def tile(sheet: np.ndarray, place: int, top: int) -> np.ndarray:
    x = MARGIN + place * (FACE + GAP)
    return sheet[top : top + FACE, x : x + FACE]


def test_aligned_faces_stand_in_order_with_what_is_kept(aligned: Set) -> None:
    sheet = drawn(aligned)
    assert sheet.shape[1] == WIDTH and sheet.dtype == np.uint8
    top = MARGIN + 3 * LINE + GAP + LINE + 4
    for place, frame in enumerate(aligned.frames):
        small = np.array(Image.fromarray(frame).resize((FACE, FACE), Image.Resampling.LANCZOS))
        found = tile(sheet, place, top)
        np.testing.assert_array_equal(found[24:-4, 4:-4], small[24:-4, 4:-4])  # below the cross
        dropped = place in (2, 4)
        assert tuple(found[40, 0]) == (RED if dropped else GREEN)
        corner = found[3:20, -20:-3].reshape(-1, 3)
        assert ((corner == RED).all(axis=1).mean() > 0.4) == dropped


def test_boxes_and_points_are_drawn_where_the_faces_are(detected: Set) -> None:
    sheet = drawn(detected)
    top, scale = MARGIN + 3 * LINE + GAP + LINE + 4, FRAME_WIDTH / 320
    for place in range(4):
        x = MARGIN + place * (FRAME_WIDTH + GAP)
        frame = sheet[top : top + round(240 * scale), x : x + FRAME_WIDTH]
        for left, colour in ((40, COLOURS[0]), (200, COLOURS[1])):
            middle = round(100 * scale)
            near = frame[middle, round(left * scale) - 2 : round(left * scale) + 5]
            assert (near == colour).all(axis=1).any(), place
            nose = frame[round(105 * scale), round((left + 40) * scale)]
            assert tuple(nose) == colour
            label = frame[round(60 * scale) - 14 : round(60 * scale) - 1, round(left * scale) + 1 :][:, :30]
            assert (label == colour).all(axis=2).mean() > 0.3 and (label.sum(axis=2) < 60).any()
        assert not any((frame[200:] == colour).all(axis=2).any() for colour in COLOURS)


def test_every_track_has_its_aligned_faces(detected: Set) -> None:
    sheet = drawn(detected)
    first = MARGIN + 3 * LINE + GAP + LINE + 4 + round(240 * FRAME_WIDTH / 320) + LINE + 2
    for track, (colour, frame) in enumerate([((200, 150, 120), GREEN), ((60, 80, 160), RED)]):
        top = first + track * (GAP + LINE + 4 + FACE + LINE + 2) + GAP + LINE + 4
        for place in range(4):
            found = tile(sheet, place, top)
            assert tuple(found[40, 0]) == frame
            assert np.abs(found[36, 36].astype(int) - colour).max() <= 2
        assert (tile(sheet, 4, top) == module.PAPER).all()  # four faces, not five


def test_what_cannot_be_read_is_a_grey_tile(detected: Set) -> None:
    whole = drawn(detected)
    (detected.features.parent / "v.mkv").unlink()
    seen = inspect(detected.features, "v")
    with open_pictures(detected.manifest, seen.info) as pictures:
        sheet = contact_sheet(seen, pictures)
        assert "no such file" in pictures.missing["v"]
    assert sheet.shape[1] == whole.shape[1] and (sheet == (70, 70, 74)).all(axis=2).mean() > 0.2


def test_a_long_video_is_shown_in_part_and_that_is_said(
    aligned: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FACES_SHOWN", 3)
    said = []
    nothing = np.zeros((1, 1, 3))
    monkeypatch.setattr(module, "_compose", lambda head, sections: said.extend(sections) or nothing)
    drawn(aligned)
    ((heading, tiles),) = said
    assert heading == "3 of 6 frames, evenly spread, in order"
    assert [caption.split()[-2] for _, caption in tiles] == ["0.0", "0.2", "0.6"]


def test_one_track_alone(detected: Set) -> None:
    sheet = drawn(detected, "v#1")
    frame = sheet[: MARGIN + 3 * LINE + 300]
    assert (frame == COLOURS[1]).all(axis=2).sum() > 500
    assert not (frame[MARGIN + 4 * LINE :] == COLOURS[0]).all(axis=2).any()


def test_the_file_is_whole_and_the_same_every_time(detected: Set, tmp_path: Path) -> None:
    seen = inspect(detected.features, "v")
    for name in ("a.png", "b.png"):
        with open_pictures(detected.manifest, seen.info) as pictures:
            write_sheet(tmp_path / name, seen, pictures)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.array(image), drawn(detected))
