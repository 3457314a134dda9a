"""Detection that finds nothing, crashes, hangs or has no weights: one video each or one line, and all is counted.

The detector is `made_up_detector`: it finds drawn faces whose place and person are known.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from command_line import (
    SIDE,
    Ran,
    card_beside,
    cells_of,
    frames_of,
    pooling_model,
    read_lines,
    vidface,
    vidface_process,
    write_folder,
    write_graph,
    write_manifest,
    write_video,
)
from made_up_detector import (
    BAND,
    CRASH,
    EXIT,
    HANG,
    RAISE,
    SITECUSTOMIZE,
    TURNED_RED,
    Face,
    frame_of,
    weights_at,
)
from onnx import TensorProto, helper
from processes import python_path

WORDS = {"crash": CRASH, "raise": RAISE, "hang": HANG, "exit": EXIT}
COLUMNS = ("frames", "without_face", "found", "too_small", "turned", "blurred", "not_finite", "other_track")


class Set(NamedTuple):
    """Drawn clips, the small model, and the weights and environment of the made-up detector."""

    folder: Path
    manifest: Path
    model: Path
    weights: Path
    env: dict[str, str]


class Found(NamedTuple):
    """A features file of detected faces, read without vidface: by video its arrays, its status and its counts."""

    arrays: dict[str, dict[str, np.ndarray]]
    status: dict[str, str]
    counts: dict[str, dict[str, int]]
    attributes: dict[str, object]


FILTERS = ("--min-face", 100, "--max-yaw", 10, "--min-sharpness", 1)
DETECT = ("--faces", "detect")


def read_found(path: Path) -> Found:
    with h5py.File(path) as file:
        ids = [text.decode() for text in file["video_ids"][:]]
        columns = file["face_counts"].attrs["columns"].split(",")
        assert tuple(columns) == COLUMNS
        names = ("features", "timestamps", "boxes", "points", "scores", "sharpness", "tracks")
        arrays = [
            {name: file[name][start:stop] for name in names} for start, stop in pairwise(file["offsets"][:])
        ]
        status = [text.decode() for text in file["status"][:]]
        counts = [dict(zip(columns, row, strict=True)) for row in file["face_counts"][:].tolist()]
        by_video = [dict(zip(ids, values, strict=True)) for values in (arrays, status, counts)]
        return Found(*by_video, dict(file.attrs))


def people(*persons: int, count: int = 6, word: int = 0) -> np.ndarray:
    """A clip in which each person has a band; ``word`` stands in its fifth frame."""
    pictures = [frames_of(person, count) for person in persons]
    bands = [[Face(band, own[i]) for band, own in enumerate(pictures)] for i in range(count)]
    return np.array([frame_of(faces, word if i == 4 else 0) for i, faces in enumerate(bands)])


def filtered_clip() -> np.ndarray:
    """Six frames of one person: whole, small, turned, of one colour, all of it at once, whole."""
    whole = frames_of(1, 6)
    small = whole[1][: SIDE // 2, : SIDE // 2]
    turned = whole[2].copy()
    turned[0, 0, 0] = TURNED_RED
    flat = np.full_like(whole[3], 90)
    both = np.full_like(small, 90)
    both[0, 0, 0] = TURNED_RED
    shown = (whole[0], small, turned, flat, both, whole[5])
    return np.array([frame_of([Face(0, picture)]) for picture in shown])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Set:
    root = tmp_path_factory.mktemp("clips")
    (root / "site").mkdir()
    (root / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    weights = weights_at(root / "detector.bin")
    films = {
        "good-1": people(1, 2),
        "empty": np.zeros((5, *people(1).shape[1:]), np.uint8),
        "filtered": filtered_clip(),
        **{name: people(3, word=word) for name, word in WORDS.items()},
        "good-2": people(4),
    }
    for name, frames in films.items():
        write_video(root / f"{name}.mp4", frames)
    write_folder(root / "photos", people(5, 6, count=3))
    rows = [*((name, f"{name}.mp4") for name in films), ("photos", "photos"), ("missing", "missing.mp4")]
    manifest = write_manifest(root / "manifest.csv", rows)
    env = {**os.environ, "PYTHONPATH": python_path(root / "site")}
    return Set(root, manifest, pooling_model(root / "cells.onnx"), weights, env)


def extract(clips: Set, output: Path, *options: object, code: int, listed: tuple[str, ...] = ()) -> Ran:
    """Of all clips, or of those that are listed."""
    rows = [(name, name if name == "photos" else f"{name}.mp4") for name in listed]
    manifest = write_manifest(clips.folder / "some.csv", rows) if rows else clips.manifest
    words = ("extract", manifest, "-o", output, "--model", clips.model, *DETECT)
    return vidface_process(*words, "--detector-weights", clips.weights, *options, code=code, env=clips.env)


class Run(NamedTuple):
    ran: Ran
    found: Found
    faults: list[dict[str, str]]
    features: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Set) -> Run:
    """Everybody in all clips, with filters."""
    output = tmp_path_factory.mktemp("run") / "features.h5"
    options = ("--track", "all", *FILTERS, "--decoder-timeout", 5, "--workers", 2, "--json")
    ran = extract(clips, output, *options, code=1)
    return Run(ran, read_found(output), read_lines(output.with_name("faults.jsonl")), output)


def faults_of(run: Run, video: str) -> list[tuple[str, str]]:
    return [(fault["kind"], fault["detail"]) for fault in run.faults if fault["video"] == video]


WHO = "the decoder or the detector"
BAD = {
    "crash": ("decoder-crashed", f"{WHO} crashed 2 times (signal SIGSEGV)"),
    "exit": ("decoder-crashed", f"{WHO} crashed 2 times (exit code 3)"),
    "raise": ("detector-failed", "the detector failed: RuntimeError: a detector with two lines"),
    "hang": ("decoder-hung", f"no frame for 5 s: {WHO} was stopped"),
    "missing": ("missing", None),
    "empty": ("no-faces", "no face in 5 frames"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_video_costs_itself(run: Run, name: str) -> None:
    kind, detail = BAD[name]
    ((found_kind, found_detail),) = faults_of(run, name)
    assert found_kind == kind and detail in (None, found_detail)
    assert run.found.status[name] == "failed" and len(run.found.arrays[name]["features"]) == 0
    frames = 5 if name == "empty" else 0
    assert run.found.counts[name] == dict.fromkeys(COLUMNS, 0) | {"frames": frames, "without_face": frames}


@pytest.mark.parametrize(
    ("name", "persons", "count"), [("good-1", (1, 2), 6), ("good-2", (4,), 6), ("photos", (5, 6), 3)]
)
def test_the_other_videos_do_not_notice(run: Run, name: str, persons: tuple[int, ...], count: int) -> None:
    """Every face of every person, in order of track and time, where it was drawn and as it was drawn."""
    arrays = run.found.arrays[name]
    assert run.found.status[name] == "ok" and faults_of(run, name) == []
    assert arrays["tracks"].tolist() == [track for track in range(len(persons)) for _ in range(count)]
    assert arrays["timestamps"].tolist() == [i / 8 for i in range(count)] * len(persons)
    # Both persons are as large and there as long: the order of the detector decides, which says the last band first.
    for track, (band, person) in enumerate(reversed(list(enumerate(persons)))):
        rows = slice(track * count, (track + 1) * count)
        np.testing.assert_allclose(arrays["features"][rows], cells_of(frames_of(person, count)), atol=1e-5)
        corner = np.array([band * BAND + 8, 8])
        assert (arrays["boxes"][rows] == np.array([*corner, *corner + SIDE])).all()
        assert (arrays["scores"][rows] == np.float32(0.9 - 0.1 * band)).all()
        assert np.allclose(arrays["points"][rows, 2], corner + np.array([56.0252, 71.7366]), atol=1e-3)
    assert (arrays["sharpness"] > 1).all()


def test_filters_are_counted_each_face_once(run: Run) -> None:
    assert run.found.status["filtered"] == "ok"  # what was asked for is no fault
    assert run.found.arrays["filtered"]["timestamps"].tolist() == [0, 5 / 8]
    want = {"frames": 6, "without_face": 0, "found": 6, "too_small": 2, "turned": 1, "blurred": 1}
    assert run.found.counts["filtered"] == {**want, "not_finite": 0, "other_track": 0}
    detail = "of 6 faces left out: 2 too small, 1 turned away, 1 blurred"
    assert faults_of(run, "filtered") == [("filtered", detail)]


def test_the_command_tells_all(run: Run) -> None:
    told = run.ran.json
    assert told["status"] == {"ok": 4, "failed": 6} and told["frames"] == 12 + 6 + 2 + 6
    kinds = {"decoder-crashed": 2, "detector-failed": 1, "decoder-hung": 1, "missing": 1, "no-faces": 1}
    assert told["faults"] == {**kinds, "filtered": 1}
    totals = {name: sum(counts[name] for counts in run.found.counts.values()) for name in COLUMNS}
    assert told["faces"] == totals
    assert told["frames"] == totals["found"] - sum(totals[name] for name in COLUMNS[3:])


def test_every_face_of_a_video_is_filtered(clips: Set, tmp_path: Path) -> None:
    ran = extract(clips, tmp_path / "f.h5", "--min-face", 113, code=1, listed=("good-1",))
    assert "faces: 12 found, 0 kept, 12 too small; 0 of 6 frames show none" in ran.out
    (fault,) = read_lines(tmp_path / "faults.jsonl")
    detail = "none of the 12 faces in 6 frames was kept: 12 too small"
    assert (fault["kind"], fault["detail"]) == ("no-faces", detail)
    assert read_found(tmp_path / "f.h5").status == {"good-1": "failed"}


def test_the_main_person_alone(clips: Set, run: Run, tmp_path: Path) -> None:
    """Its rows are those of track 0 of everybody, and the others are counted."""
    names = ("good-1", "filtered", "photos")
    ran = extract(clips, tmp_path / "f.h5", *FILTERS, code=0, listed=names)
    assert "9 of others than the main person" in ran.out
    main = read_found(tmp_path / "f.h5")
    for name in names:
        all_of_it = run.found.arrays[name]
        for array, values in main.arrays[name].items():
            assert np.array_equal(values, all_of_it[array][all_of_it["tracks"] == 0]), (name, array)
    assert [main.counts[name]["other_track"] for name in names] == [6, 0, 3]


def test_the_wrong_face_of_a_still(clips: Set, tmp_path: Path) -> None:
    """A large face aside and a smaller one in the middle: of a still the one in the middle is the main person's."""
    aside, middle = frames_of(1, 4), frames_of(2, 4)
    drawn = [frame_of([Face(0, a), Face(1, b[:90, :90])]) for a, b in zip(aside, middle, strict=True)]
    write_video(clips.folder / "still.mp4", np.array(drawn[:1]))
    write_video(clips.folder / "film.mp4", np.array(drawn))
    bands = {}
    for track in ("main", "centre"):
        output = tmp_path / f"{track}.h5"
        extract(clips, output, "--track", track, code=0, listed=("still", "film"))
        found = read_found(output)
        assert {int(n) for name in ("still", "film") for n in found.arrays[name]["tracks"]} == {0}
        bands[track] = [found.arrays[name]["boxes"][:, 0] // BAND for name in ("still", "film")]
        assert [len(of_a_video) for of_a_video in bands[track]] == [1, 4]
    assert set(bands["main"][0]) == {1} and set(bands["main"][1]) == {0}
    assert set(bands["centre"][0]) == set(bands["centre"][1]) == {1}


def test_faces_for_a_network_that_is_not_square(clips: Set, tmp_path: Path) -> None:
    """The template of 112x96 is that of 112x112 less 8 columns on either side, unless the card has another."""
    x, y = [30.2946, 65.5318, 48.0252, 33.5493, 62.7299], [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]
    by_hand, one = [list(point) for point in zip(x, y, strict=True)], {"listed": ("good-1",)}
    own = [[20.0, 40.0], [60.0, 40.0], [40.0, 60.0], [24.0, 90.0], [56.0, 90.0]]
    for name, line, points in (("narrow", "", by_hand), ("own", f"template = {own}\n", own)):
        model, card = tmp_path / f"{name}.onnx", tmp_path / f"{name}.toml"
        pool = helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[56, 48], strides=[56, 48])
        nodes = [pool, helper.make_node("Flatten", ["p"], ["y"])]
        write_graph(model, nodes, given=("x", TensorProto.FLOAT, ["N", 3, 112, 96]))
        card_beside(model, name="narrow", input_size=[112, 96], dimension=12)
        card.write_text(line + card.read_text())
        output = tmp_path / f"{name}.h5"
        narrow = clips._replace(model=model)
        ran = extract(narrow, output, "--json", code=0, **one)
        assert ran.json["template"] == points
        assert json.loads(read_found(output).attributes["template"]) == points
    said = "aligned: 112x96 pixels (height x width), eyes at (20.00, 40.00) and (60.00, 40.00)"
    assert said in extract(narrow, output, code=0, **one).out
    card.write_text(card.read_text().replace(line, ""))
    assert "template was " in extract(narrow, output, code=2, **one).error
    card.write_text(f"template = {own[::-1]}\n" + card.read_text())
    error = extract(narrow, tmp_path / "x.h5", code=1, **one).error
    assert "template: " in error and "the image-left eye comes first" in error


# --- one line, before any work ---


NO_SENSE = {
    "--track all": "track: of no use",
    "--min-face 20 --max-yaw 30": "min-face, max-yaw",
    "--detector yunet": "pass --faces detect",
    "--faces detect --resize": "resize: of no use with --faces detect",
    "--faces detect --min-face nan": "min-face: say a number",
    "--faces detect --detector nosuch": "detector 'nosuch' is unknown",
    **{
        f"--faces detect {one}": one.split()[0]
        for one in ("--min-score 1.5", "--min-face -1", "--max-yaw 91")
    },
    "--faces detect --track some": "--track",
}


@pytest.mark.parametrize("options", NO_SENSE)
def test_options_that_make_no_sense(clips: Set, tmp_path: Path, options: str) -> None:
    """Or are out of range."""
    words = ("extract", clips.manifest, "-o", tmp_path / "f.h5", "--model", clips.model, *options.split())
    assert NO_SENSE[options] in vidface(*words, code=2).err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"<!DOCTYPE html><title>404</title>\n", b""])
def test_weights_that_are_none(clips: Set, tmp_path: Path, content: bytes | None) -> None:
    """Not there, a page of a web server in their place, empty: the real detector says so."""
    weights, output = tmp_path / "yunet.onnx", tmp_path / "features.h5"
    if content is not None:
        weights.write_bytes(content)
    words = ("extract", clips.manifest, "-o", output, "--model", clips.model, "--faces", "detect")
    assert str(weights) in vidface(*words, "--detector-weights", weights, code=1).error
    assert not output.exists() and not (tmp_path / "features.h5.parts").exists()


def test_no_weights_at_all(clips: Set, tmp_path: Path) -> None:
    env = {**os.environ, "VIDFACE_WEIGHTS": str(tmp_path)}
    words = ("extract", clips.manifest, "-o", tmp_path / "x.h5", "--model", clips.model, "--faces", "detect")
    error = vidface_process(*words, code=1, env=env).error
    assert "nothing is downloaded" in error and "SHA-256" in error


def test_a_run_made_otherwise_is_refused(clips: Set, run: Run, tmp_path: Path) -> None:
    before = run.features.read_bytes()
    same = ("--track", "all", *FILTERS)
    assert extract(clips, run.features, *same, "--json", code=1).json["already_done"]
    assert "track was all, now main" in extract(clips, run.features, *FILTERS, code=2).error
    assert (
        "min_score was 0.7, now 0.8" in extract(clips, run.features, *same, "--min-score", 0.8, code=2).error
    )
    words = ("extract", clips.manifest, "-o", run.features, "--model", clips.model)
    assert "faces was detect, now aligned" in vidface(*words, code=2).error
    changed = clips._replace(weights=weights_at(tmp_path / "other.bin", b", others"))
    assert "detector_sha256 was " in extract(changed, run.features, *same, code=2).error
    assert run.features.read_bytes() == before
