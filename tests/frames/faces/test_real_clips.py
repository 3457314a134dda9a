"""From a film to people: faces found, followed, aligned, embedded and joined, on real clips."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from vidface.backbones import Backbone, load_backbone
from vidface.frames import ReadReport, read_frames
from vidface.frames.faces.align import align_faces
from vidface.frames.faces.detector import Detector, open_detector
from vidface.frames.faces.link import link_tracks
from vidface.frames.faces.quality import head_yaw, sharpness
from vidface.frames.faces.track import Tracker

Array = npt.NDArray[np.float64]

CUTS = (0.67, 2.67, 7.04)  # seconds, of the film; seen by eye


class Watched(NamedTuple):
    """The faces of one clip, at 8 frames a second."""

    times: Array
    tracklets: npt.NDArray[np.int32]
    tracks: npt.NDArray[np.int32]
    units: Array
    points: npt.NDArray[np.float32]
    sharp: npt.NDArray[np.float32]


class Eyes(NamedTuple):
    detector: Detector
    backbone: Backbone

    def watch(self, clip: Path) -> Watched:
        tracker = Tracker()
        times, tracklets, boxes, points, crops = [], [], [], [], []
        for frame in read_frames(clip, report=ReadReport()):
            faces = self.detector(frame.pixels)
            aligned = align_faces(frame.pixels, faces.points)
            tracklets.append(tracker.step(faces, aligned, frame.pts_seconds))
            times.append(np.full(len(aligned), frame.pts_seconds))
            boxes.append(faces.boxes)
            points.append(faces.points)
            crops.append(aligned)
        whole, box = np.concatenate(crops), np.concatenate(boxes)
        features = self.backbone.embed(whole)
        sizes = np.sqrt((box[:, 2:] - box[:, :2]).prod(axis=1))
        when, which = np.concatenate(times), np.concatenate(tracklets)
        tracks = link_tracks(which, when, sizes, features)
        units = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        return Watched(when, which, tracks, units, np.concatenate(points), sharpness(whole))


def unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def eyes(shared_data: Path) -> Eyes:
    models = shared_data / "models"
    return Eyes(
        open_detector(models / "yunet.onnx", min_score=0.6),
        load_backbone(models / "mobilefacenet_128.onnx", device="cpu"),
    )


@pytest.fixture(scope="module")
def film(eyes: Eyes, shared_data: Path) -> Watched:
    return eyes.watch(shared_data / "clips" / "short_hamilton_clip.mp4")


def test_the_person_of_a_picture_is_the_main_person_of_the_film(
    eyes: Eyes, film: Watched, shared_data: Path
) -> None:
    with Image.open(shared_data / "clips" / "ref_lin-manuel-miranda.png") as image:
        picture = np.array(image.convert("RGB"))
    (feature,) = eyes.backbone.embed(align_faces(picture, eyes.detector(picture).points))
    alike = [
        float(unit(film.units[film.tracks == track].sum(axis=0)) @ unit(feature.astype(np.float64)))
        for track in range(film.tracks.max() + 1)
    ]
    assert alike[0] > 0.65
    assert max(alike[1:]) < 0.25
    # He is in the first shot, where he is small, and in all of the third one.
    here = film.times[film.tracks == 0]
    assert np.count_nonzero(here < CUTS[0]) == 6
    assert np.count_nonzero((here > CUTS[1]) & (here < CUTS[2])) == 35
    assert len(here) == 41


def test_no_tracklet_goes_through_a_cut(film: Watched) -> None:
    for tracklet in np.unique(film.tracklets):
        shots = np.searchsorted(CUTS, film.times[film.tracklets == tracklet])
        assert len(np.unique(shots)) == 1


def test_no_tracklet_holds_two_people(film: Watched) -> None:
    """A tracklet's faces are more like the rest of it than like anyone who is in the same frames."""
    looked_at = 0
    for tracklet in np.unique(film.tracklets):
        rows = np.flatnonzero(film.tracklets == tracklet)
        if len(rows) < 3:
            continue
        whole = film.units[rows].sum(axis=0)
        own = np.array([film.units[row] @ unit(whole - film.units[row]) for row in rows])
        beside = np.unique(film.tracklets[np.isin(film.times, film.times[rows])])
        others = [
            film.units[rows] @ unit(film.units[film.tracklets == other].sum(axis=0))
            for other in beside[beside != tracklet]
        ]
        assert np.median(own) > 0.7
        assert not others or np.median(own) > np.max(others)
        looked_at += 1
    assert looked_at >= 14


def test_five_people_sit_in_the_last_shot_all_the_time(film: Watched) -> None:
    last = film.times > CUTS[2]
    _, counts = np.unique(film.tracks[last], return_counts=True)
    assert np.count_nonzero(counts == len(np.unique(film.times[last]))) == 5


def test_profiles_are_seen_as_turned_and_the_singer_is_not(film: Watched) -> None:
    yaw = head_yaw(film.points)
    # The man of the second shot looks to the left, as do three people of the last shot.
    turned = [track for track in range(9) if np.median(yaw[film.tracks == track]) < -55]
    assert len(turned) == 4 and 0 not in turned
    assert np.median(film.sharp[film.tracks == 0]) > 2 * np.median(film.sharp[film.times > CUTS[2]])


def test_two_clips_of_one_speaker_match_and_others_do_not(eyes: Eyes, shared_data: Path) -> None:
    speakers = {}
    for name in ("pwij3p", "id2_vcd_swwp2s", "bbaf2n", "sbwe5n"):
        seen = eyes.watch(shared_data / "clips" / f"grid_{name}.mpg")
        assert np.count_nonzero(seen.tracklets == 0) == len(seen.times) == 24  # 3 s, one face in each frame
        speakers[name] = unit(seen.units.sum(axis=0))
    for a, b in [(a, b) for a in speakers for b in speakers if a < b]:
        alike = float(speakers[a] @ speakers[b])
        if {a, b} == {"pwij3p", "id2_vcd_swwp2s"}:
            assert alike > 0.9
        else:
            assert alike < 0.3
