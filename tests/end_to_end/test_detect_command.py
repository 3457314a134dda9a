"""Raw clips, the whole way with the real commands, the real detector and the real network, read without vidface."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import h5py
import numpy as np
import pytest
from command_line import Ran, vidface, write_manifest

FILM, FILM_SIZE = "short_hamilton_clip", (640, 360)
GRID = ("grid_bbaf2n", "grid_id2_vcd_swwp2s", "grid_pwij3p", "grid_sbwe5n")
SAME = {"grid_id2_vcd_swwp2s", "grid_pwij3p"}
ARRAYS = ("features", "timestamps", "boxes", "points", "scores", "sharpness", "tracks")


class Clips(NamedTuple):
    """The manifest of the real clips, and the options that find faces in them."""

    manifest: Path
    options: tuple[object, ...]


class Run(NamedTuple):
    ran: Ran
    features: Path
    rows: dict[str, dict[str, np.ndarray]]


def read_rows(path: Path) -> dict[str, dict[str, np.ndarray]]:
    with h5py.File(path) as file:
        ids = [text.decode() for text in file["video_ids"][:]]
        return {
            video: {name: file[name][start:stop] for name in ARRAYS}
            for video, (start, stop) in zip(ids, pairwise(file["offsets"][:]), strict=True)
        }


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Clips:
    root = tmp_path_factory.mktemp("clips")
    (root / "clips").mkdir()
    for path in (shared_data / "clips").glob("*.mp*"):
        shutil.copyfile(path, root / "clips" / path.name)
    names = [*GRID[:2], FILM, *GRID[2:]]
    rows = [(name, f"clips/{name}.{'mp4' if name == FILM else 'mpg'}", name[:8], "val") for name in names]
    models = shared_data / "models"
    return Clips(
        write_manifest(root / "set.csv", rows),
        (
            *("--model", models / "mobilefacenet_128.onnx", "--device", "cpu"),
            *("--faces", "detect", "--detector-weights", models / "yunet.onnx"),
        ),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> Run:
    features = tmp_path_factory.mktemp("all") / "features.h5"
    words = ("extract", clips.manifest, "-o", features, *clips.options)
    ran = vidface(*words, "--track", "all", "--workers", 2, "--json", code=0)
    return Run(ran, features, read_rows(features))


def test_every_row_is_a_face_in_its_frame(run: Run) -> None:
    for video, rows in run.rows.items():
        width, height = FILM_SIZE if video == FILM else (360, 288)
        boxes, points = rows["boxes"], rows["points"]
        assert len(boxes) and {rows[name].dtype for name in ("boxes", "points", "scores")} == {np.dtype("f4")}
        assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        assert sides.min() > 12 and (sides[:, 1] / sides[:, 0]).max() < 2.5
        inside = (points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])
        assert inside.all(axis=2).mean() > 0.97  # an ear's side may lie outside
        assert (points[:, 1, 0] > points[:, 0, 0]).mean() > 0.97  # the eyes, and the mouth below them
        assert (points[:, 3:, 1].mean(axis=1) > points[:, :2, 1].mean(axis=1)).all()
        assert rows["scores"].min() >= 0.7 and rows["scores"].max() <= 1
        assert (rows["sharpness"] > 0).all()


def test_rows_are_in_order_of_track_and_time(run: Run) -> None:
    for rows in run.rows.values():
        places = list(zip(rows["tracks"].tolist(), rows["timestamps"].tolist(), strict=True))
        assert places == sorted(set(places))  # one face of a track in a frame
        assert sorted(set(rows["tracks"].tolist())) == list(range(rows["tracks"].max() + 1))
        sides = np.sqrt((rows["boxes"][:, 2:] - rows["boxes"][:, :2]).prod(axis=1))
        importance = np.bincount(rows["tracks"], sides)
        assert (np.diff(importance) <= 1e-3).all()


def test_times_are_those_of_frames(run: Run, shared_data: Path) -> None:
    with av.open(str(shared_data / "clips" / f"{FILM}.mp4")) as file:
        times = np.array([frame.time for frame in file.decode(file.streams.video[0])])
    found = np.unique(run.rows[FILM]["timestamps"])
    assert set(found) <= set((times - times[0]).astype(np.float32))
    assert np.diff(found).min() > 0.08  # 8 a second, of frames that are 0.04 s apart


def test_one_speaker_is_one_track_and_a_film_has_several(run: Run) -> None:
    for video in GRID:
        rows = run.rows[video]
        assert set(rows["tracks"].tolist()) == {0} and len(rows["tracks"]) == 24  # 75 frames at 25 a second
    assert len(set(run.rows[FILM]["tracks"].tolist())) > 3


def test_the_main_person_alone_is_track_0(run: Run, clips: Clips, tmp_path: Path) -> None:
    features = tmp_path / "features.h5"
    words = ("extract", clips.manifest, "-o", features, *clips.options, "--workers", 1, "--batch-size", 5)
    ran = vidface(*words, code=0)
    main = read_rows(features)
    others = 0
    for video, rows in run.rows.items():
        kept = rows["tracks"] == 0
        others += np.count_nonzero(~kept)
        for name in ARRAYS:
            assert np.array_equal(main[video][name], rows[name][kept]), (video, name)
    found = run.ran.json["faces"]["found"]
    assert f"faces: {found} found, {found - others} kept, {others} of others than the main person" in ran.out


def test_an_embedding_for_every_track(run: Run, clips: Clips, tmp_path: Path) -> None:
    embeddings = tmp_path / "tracks.h5"
    words = ("cluster", run.features, "-o", embeddings, "--by", "track", "--threshold", "none", "--json")
    told = vidface(*words, code=0).json
    with h5py.File(embeddings) as file:
        ids = [text.decode() for text in file["video_ids"][:]]
        found, frames = file["embeddings"][:], file["frames"][:]
        assert file.attrs["by"] == "track" and file.attrs["faces"] == "detect"
    want, lengths = [], []
    for video, rows in run.rows.items():
        for track in range(rows["tracks"].max() + 1):
            own = rows["features"][rows["tracks"] == track].astype(np.float64)
            own /= np.linalg.norm(own, axis=1, keepdims=True)
            mean = own.mean(axis=0)
            want.append((f"{video}#{track}", mean / np.linalg.norm(mean)))
            lengths.append(len(own))
    assert ids == [name for name, _ in want] and frames.tolist() == lengths
    np.testing.assert_allclose(found, [row for _, row in want], atol=1e-5)
    assert (told["videos"], told["by"], told["frames"]) == (len(ids), "track", sum(lengths))

    # Who speaks in the clips is known: two are of one person.
    at = {name: ids.index(f"{name}#0") for name in GRID}
    for a in GRID:
        for b in GRID:
            cosine = float(found[at[a]] @ found[at[b]])
            assert (cosine > 0.4) == (a == b or {a, b} == SAME), (a, b, cosine)

    again = vidface("cluster", run.features, "-o", embeddings, "--threshold", "none", code=2).error
    assert "by was track, now video" in again
    scores = vidface("score", embeddings, "--manifest", clips.manifest, code=1).error
    assert "its rows are tracks: cluster the features again without --by track" in scores


def test_by_track_needs_tracks(tmp_path: Path, clips: Clips) -> None:
    features = tmp_path / "features.h5"
    words = ("extract", clips.manifest, "-o", features, *clips.options[:4], "--resize", "--fps", 1)
    vidface(*words, code=0)
    error = vidface("cluster", features, "-o", tmp_path / "e.h5", "--by", "track", code=2).error
    assert "has no tracks" in error and "--faces detect" in error


def test_in_a_recipe_to_the_same_bytes(run: Run, clips: Clips, shared_data: Path, tmp_path: Path) -> None:
    models = shared_data / "models"
    recipe = tmp_path / "recipe.toml"
    text = f"""
        manifest = "{clips.manifest}"
        output = "out"
        [extract]
        model = "{models / "mobilefacenet_128.onnx"}"
        device = "cpu"
        workers = 0
        batch_size = 100
        faces = "detect"
        detector_weights = "{models / "yunet.onnx"}"
        track = "all"
    """
    recipe.write_text(text)
    vidface("run", recipe, code=0)
    assert (tmp_path / "out" / "features.h5").read_bytes() == run.features.read_bytes()
    recipe.write_text(text + "min_face = 60\n")
    assert "min_face was 0.0, now 60.0" in vidface("run", recipe, code=2).error
