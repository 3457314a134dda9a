"""Faces that are found where frames are decoded: the same rows from every engine, also where decoders are killed.

The detector is `made_up_detector`: which faces are there, and whose, is known.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import made_up_detector
import numpy as np
import pytest
from command_line import SIDE, cells_of, frames_of, pooling_model, write_video
from made_up_detector import BAND, DIE_ONCE, RAISE, Face, frame_of, weights_at
from PIL import Image, ImageFilter

from vidface.backbones import load_backbone
from vidface.errors import UsageError
from vidface.features.engines import Engine, ExtractJob
from vidface.features.engines import detection as finding
from vidface.features.engines.detection import FaceOptions, Finder
from vidface.features.engines.reading import Block, ReadOptions, Video, VideoEnd, read_video
from vidface.features.options import ExtractOptions
from vidface.files.store import VideoRows
from vidface.frames.frame import Frame

FRAMES = 40  # more than a block of faces
RUNS = (range(2), range(2, 6))


class Drawn(NamedTuple):
    """Drawn clips; by video its persons, with the band and the frames that each has."""

    videos: list[Video]
    persons: list[dict[int, tuple[int, range]]]
    model: Path
    faces: FaceOptions


def pictures_of(person: int) -> np.ndarray:
    """The person in every frame, so much alike that it is followed through them."""
    return frames_of(person, FRAMES, spread=2.0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    root = tmp_path_factory.mktemp("drawn")
    weights = weights_at(root / "detector.bin")
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    persons = [
        {3 * video: (video % 3, range(FRAMES)), 3 * video + 1: ((video + 1) % 3, range(5, 5 + 6 * video))}
        for video in range(6)
    ]
    videos = []
    for index, clip in enumerate(persons):
        pictures = {person: pictures_of(person) for person in clip}
        frames = [
            frame_of([Face(band, pictures[person][i]) for person, (band, when) in clip.items() if i in when])
            for i in range(FRAMES)
        ]
        videos.append(Video(f"v{index}", write_video(root / f"{index}.mp4", np.array(frames))))
    faces = FaceOptions("yunet", str(weights), sha256, 0.5, 0.0, 0.0, 90.0, "all")
    return Drawn(videos, persons, pooling_model(root / "cells.onnx"), faces)


@pytest.fixture(autouse=True)
def _made_up_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "open_detector", made_up_detector.open_detector)  # for this process


def job_of(drawn: Drawn, batch_size: int = 7, **changes: Any) -> ExtractJob:
    return ExtractJob(
        videos=drawn.videos,
        reading=ReadOptions("pyav", None, False, (SIDE, SIDE), faces=drawn.faces._replace(**changes)),
        backbone=load_backbone(drawn.model, device="cpu"),
        options=ExtractOptions(model=drawn.model, device="cpu", batch_size=batch_size),
    )


def extract(engine: Engine, job: ExtractJob) -> list[VideoRows]:
    return [row for rows in engine.extract_chunks(job, RUNS, lambda _: None) for row in rows]


def check(rows: list[VideoRows], drawn: Drawn) -> None:
    """Every face of every person once, as it was drawn, the person that is there longest first."""
    assert [row.video_id for row in rows] == [video.video_id for video in drawn.videos]
    for row, persons in zip(rows, drawn.persons, strict=True):
        seen = [(person, *where) for person, where in persons.items() if len(where[1])]
        assert (row.status, row.faults) == ("ok", []) and row.faces is not None
        lengths = [len(when) for _, _, when in seen]
        assert row.faces.tracks.tolist() == [t for t, length in enumerate(lengths) for _ in range(length)]
        for (start, stop), (person, band, when) in zip(pairwise(np.cumsum([0, *lengths])), seen, strict=True):
            own = pictures_of(person)[list(when)]
            np.testing.assert_allclose(row.features[start:stop], cells_of(own), atol=1e-5)
            assert row.timestamps[start:stop].tolist() == [i / 8 for i in when]
            box = [band * BAND + 8, 8, band * BAND + 8 + SIDE, 8 + SIDE]
            assert (row.faces.boxes[start:stop] == np.array(box)).all()
        assert row.face_counts == (FRAMES, 0, sum(lengths), 0, 0, 0, 0, 0)


def test_rows_of_every_run(engine: Engine, drawn: Drawn) -> None:
    check(extract(engine, job_of(drawn)), drawn)


@pytest.mark.parametrize("engine", ["local-1"], indirect=True)
def test_a_decoder_that_dies_in_the_middle_costs_nothing(
    engine: Engine, drawn: Drawn, tmp_path: Path
) -> None:
    """A block of faces had come when it died: the second one begins anew, follows them all and sends the rest."""
    pictures = [pictures_of(person) for person in (1, 2)]
    rows = []
    for name, word in (("whole", 0), ("dies", DIE_ONCE)):
        frames = [
            frame_of([Face(band, own[i]) for band, own in enumerate(pictures)], word if i == 35 else 0)
            for i in range(FRAMES)
        ]
        video = Video(name, write_video(tmp_path / f"{name}.mp4", np.array(frames)))
        job = job_of(drawn, weights=str(weights_at(tmp_path / "detector.bin")))._replace(videos=[video])
        rows += [row for found in engine.extract_chunks(job, [range(1)], lambda _: None) for row in found]
    whole, dies = rows
    assert (tmp_path / "detector.alive").read_bytes() == b"", "nothing died"
    assert (dies.status, dies.faults, dies.face_counts) == ("ok", [], whole.face_counts)
    assert len(dies.features) == 2 * FRAMES and whole.faces is not None and dies.faces is not None
    ours, theirs = ((row.features, row.timestamps, *row.faces) for row in (dies, whole))
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_other_weights_than_the_run_began_with(engine: Engine, drawn: Drawn) -> None:
    with pytest.raises(UsageError, match=r"detector\.bin: other weights of a detector"):
        extract(engine, job_of(drawn, sha256="0" * 64))


def test_how_faces_are_read_travels_as_json(drawn: Drawn) -> None:
    for reading in (
        job_of(drawn, min_score=0.1, min_face=1 / 3).reading,
        ReadOptions("decord", 8.0, True, (112, 96), 3.5),
        ReadOptions("pyav", None, False, None),
    ):
        assert ReadOptions.from_json(json.loads(json.dumps(reading.to_json()))) == reading


# --- one video, in this process ---


def read(monkeypatch: pytest.MonkeyPatch, frames: list[np.ndarray], reading: ReadOptions) -> list[Any]:
    def read_frames(*_: object, report: Any, **__: object) -> Any:
        return (Frame(pixels, i / 8) for i, pixels in enumerate(frames))

    monkeypatch.setattr("vidface.features.engines.reading.read_frames", read_frames)
    return list(read_video(Video("v", Path("v")), reading))


def test_it_tells_that_it_works_where_nobody_is_seen(monkeypatch: pytest.MonkeyPatch, drawn: Drawn) -> None:
    """Else a decoder would be taken for hung on a long film of landscapes."""
    monkeypatch.setattr("vidface.features.engines.reading.BLOCK_SECONDS", 0.0)
    *blocks, end = read(monkeypatch, [frame_of([])] * 9, job_of(drawn).reading)
    assert len(blocks) == 9 and all(isinstance(block, Block) and not block.times for block in blocks)
    assert isinstance(end, VideoEnd) and end.counts is not None and end.counts[:3] == (9, 9, 0)


def test_a_detector_that_failed_is_made_anew(monkeypatch: pytest.MonkeyPatch, drawn: Drawn) -> None:
    opened: list[object] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return made_up_detector.open_detector(*arguments, **options)

    monkeypatch.setattr(finding, "open_detector", counted)
    reading = job_of(drawn, min_score=0.123).reading  # no other test has opened this one
    good = [frame_of([Face(0, frames_of(0, 1)[0])])]
    bad = [*good, frame_of([], RAISE)]
    for frames, lost, count in [(good, False, 1), (good, False, 1), (bad, True, 1), (good, False, 2)]:
        *_, end = read(monkeypatch, frames, reading)
        assert (end.lost, len(opened)) == (lost, count)
    assert end.faults == [] and end.counts is not None and end.counts.found == 1


def test_a_face_that_is_left_out_still_carries_its_tracklet(drawn: Drawn) -> None:
    """The person turns into a blur, moves on as one, and comes out of it elsewhere: it is one tracklet."""
    finder = Finder(drawn.faces._replace(min_sharpness=20.0), (SIDE, SIDE))
    sharp = frames_of(0, 1)[0]
    blur = np.array(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(3)))
    found = []
    for i in range(13):
        blurred = 2 < i < 7
        pixels, faces = finder.find(frame_of([Face(1, blur if blurred else sharp, x=1 + 4 * i)]), i / 8)
        assert len(pixels) == len(faces.tracks) == (not blurred)
        found += faces.tracks.tolist()
    assert found == [0] * 9
    assert finder.counts == (13, 0, 13, 0, 0, 4, 0, 0)
