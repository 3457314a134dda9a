"""The official files of iQIYI-VID as they are, to mAP, against the organisers' definition by loops over their own text.

In the set: an identity with 130 gallery videos, gallery videos without a face, an identity whose enrolment is missing,
noise (label 0) that looks like somebody, unlisted videos, strangers in the same frames, a video listed twice.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command_line import vidface
from python2_pickle import python2_pickle

from vidface.errors import ManifestError
from vidface.manifest.manifest import read_manifest
from vidface.manifest.sources import from_iqiyi, from_lfrc

GALLERY = {"1": 130, "2": 7, "3": 4, "4": 3, "5": 2}
WITHOUT_FACE = 3  # of identity 2
UNLISTED = 45


class Official(NamedTuple):
    """The official files: two lists, two pickles, and what is in the latter."""

    train_list: Path
    val_list: Path
    pickles: list[Path]
    faces: dict[str, list[list[Any]]]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Official:
    root = tmp_path_factory.mktemp("official")
    random = np.random.default_rng(7)
    centres = {name: random.normal(size=32) for name in [*GALLERY, "stranger"]}
    train, val = {}, {}
    train_lines: list[str] = []
    val_lines: list[str] = []

    def faces_of(centre: np.ndarray) -> list[list[Any]]:
        found = []
        for frame in range(3):
            own = (centre + random.normal(size=32) * 1.6).astype(np.float16)
            found.append([str(frame), [*random.uniform(0, 50, 2).tolist(), 60.0, 70.0], 0.9, 40.0, own])
            if frame:  # somebody else stands beside
                other = (centres["stranger"] + random.normal(size=32)).astype(np.float16)
                found.append([str(frame), [0.0, 0.0, 9.0, 9.0], 0.3, 10.0, other])
        return found

    for name in [*GALLERY, "0"]:
        for _ in range(3):
            video = f"IQIYI_VID_TRAIN_{len(train_lines):07d}"
            train_lines.append(f"{video}.mp4 {name}\n")
            if name != "5":  # nothing is known of its enrolment videos
                train[video] = faces_of(centres["4" if name == "0" else name])
    number = 0
    for name, count in GALLERY.items():
        videos = []
        for take in range(count):
            video = f"IQIYI_VID_VAL_{(number := number + 1):07d}"
            videos.append(f"{video}.mp4")
            if name != "2" or take >= WITHOUT_FACE:
                val[video] = faces_of(centres[name])
        if name == "3":
            videos.append(videos[0])
        val_lines.append(f"{name} {' '.join(videos)} \n")
    for k in range(UNLISTED):
        near = centres["3"] + random.normal(size=32) if k % 3 == 0 else random.normal(size=32)
        val[f"IQIYI_VID_VAL_{900 + k:07d}"] = faces_of(near)
    val["IQIYI_VID_TEST_0000001"] = faces_of(centres["1"])  # of a part that nobody asked for
    for name, videos in (("train", train), ("val", val)):
        (root / f"face_{name}.pickle").write_bytes(python2_pickle(videos))
    (root / "train_gt.txt").write_text("".join(train_lines))
    (root / "val_gt.txt").write_text("".join(val_lines))
    pickles = [root / "face_train.pickle", root / "face_val.pickle"]
    return Official(root / "train_gt.txt", root / "val_gt.txt", pickles, train | val)


def evaluate(truth: Path, answers: dict[str, list[str]]) -> dict[str, float]:
    """AP of every identity by the organisers' rules, from the text of val_gt.txt; a repeated name counts once."""
    precisions = {}
    for line in truth.read_text().splitlines():
        identity, *named = line.strip().split(" ")
        relevant = list(dict.fromkeys(named))
        mine: list[str] = []
        for name in answers.get(identity, []):
            if name not in mine:
                mine.append(name)
        hits, total = 0, 0.0
        for rank, name in enumerate(mine[:100], 1):
            if name in relevant:
                hits += 1
                total += hits / rank
        precisions[identity] = total / len(relevant)
    return precisions


def plain_answers(official: Official, min_score: float) -> dict[str, list[str]]:
    """Rankings by loops in float64: all faces of a video averaged, its enrolled videos averaged, cosine."""

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    embedding = {}
    for video, faces in official.faces.items():
        kept = [face[4].astype(np.float64) for face in faces if face[2] >= min_score]
        embedding[video] = unit(np.mean([unit(vector) for vector in kept], axis=0))
    enrolled = defaultdict(list)
    for line in official.train_list.read_text().splitlines():
        video, label = line.split()
        if label != "0" and video.removesuffix(".mp4") in embedding:
            enrolled[label].append(embedding[video.removesuffix(".mp4")])
    gallery = sorted(video for video in embedding if video.startswith("IQIYI_VID_VAL_"))
    answers = {}
    for label, vectors in enrolled.items():
        template = unit(np.mean(vectors, axis=0))
        best = sorted(gallery, key=lambda video: -float(embedding[video] @ template))
        answers[label] = [f"{video}.mp4" for video in best[:100]]
    return answers


@pytest.fixture(scope="module")
def manifest(official: Official, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "set.csv"
    lists = ("--train-list", official.train_list, "--val-list", official.val_list)
    pickles = [word for path in official.pickles for word in ("--features", path)]
    made = vidface("manifest", "from-iqiyi", *lists, *pickles, "-o", path, "--json", code=0).json
    assert (made["rows"], made["unknown"], made["identities"]) == (18 + 146 + UNLISTED, 3 + UNLISTED, 5)
    assert made["ignored"] == {
        "listed again for the same identity": ["IQIYI_VID_VAL_0000138.mp4"],
        "of another part of the set": ["IQIYI_VID_TEST_0000001"],
    }
    assert [note.split(":")[0] for note in made["notes"]] == ["no --train-folder and no --val-folder"]
    return path


@pytest.mark.parametrize("min_score", [None, 0.5])
def test_the_official_files_as_they_are(
    official: Official, manifest: Path, tmp_path: Path, min_score: float | None
) -> None:
    told = ("--manifest", manifest)
    limit = () if min_score is None else ("--min-score", min_score)
    features, embeddings = tmp_path / "f.h5", tmp_path / "e.h5"
    words = ("features", "from-iqiyi", *official.pickles, *told, *limit, "-o", features)
    made = vidface(*words, "--json", code=1).json
    assert made["not_in_manifest"] == ["IQIYI_VID_TEST_0000001"]
    assert made["faults"]["missing"] == WITHOUT_FACE + 3
    vidface("cluster", features, "-o", embeddings, "--threshold", "none", code=1)
    found = vidface("score", embeddings, *told, "--protocol", "iqiyi", "--json", code=1).json
    answers = plain_answers(official, min_score or 0)
    wanted = evaluate(official.val_list, answers)
    assert found["per_identity"] == pytest.approx(wanted, abs=1e-12)
    assert found["mAP@100"] == pytest.approx(sum(wanted.values()) / 5, abs=1e-12)
    assert wanted["1"] < 100 / 130 + 1e-9 and wanted["1"] > 0.4  # R over 100, all of it in the denominator
    assert wanted["2"] <= 4 / 7 and wanted["5"] == 0
    assert 0.1 < wanted["3"] < 1  # strangers near it stand between its videos
    expected = {"distractors": UNLISTED, "gallery_videos": 191, "identities_not_ranked": 1}
    assert expected.items() <= found["counts"].items()
    # The same through the challenge's text file.
    text = tmp_path / "submission.txt"
    vidface("submit", embeddings, *told, "--format", "iqiyi", "-o", text, code=1)
    lines = [line.split(" ") for line in text.read_text().splitlines()]
    assert {identity: names for identity, *names in lines if names} == answers
    back = vidface("score", text, *told, "--protocol", "iqiyi", "--json").json
    assert back["per_identity"] == found["per_identity"]


def test_a_submission_with_repeats_and_gaps(official: Official, manifest: Path, tmp_path: Path) -> None:
    answers = plain_answers(official, 0.5)
    del answers["4"]
    answers["3"] = [answers["3"][0]] * 3 + answers["3"][:99] + answers["3"][:1]
    answers["1"] += [f"IQIYI_VID_VAL_{k:07d}.mp4" for k in range(1, 131)]  # beyond the hundredth
    text = tmp_path / "theirs.txt"
    text.write_text("".join(f"{identity} {' '.join(names)}\n" for identity, names in answers.items()))
    found = vidface("score", text, "--manifest", manifest, "--protocol", "iqiyi", "--json", code=0).json
    assert found["per_identity"] == pytest.approx(evaluate(official.val_list, answers), abs=1e-12)
    assert found["per_identity"]["4"] == 0
    assert "2 of 5 identities of the gallery are not ranked and score 0" in found["warnings"][0]


# The lists alone


def lists(folder: Path) -> tuple[Path, Path]:
    (folder / "train_gt.txt").write_text("T1.mp4 1\nT2.mp4 0\n")
    (folder / "val_gt.txt").write_text("1 V1.mp4 V2.mp4 \n")
    return folder / "train_gt.txt", folder / "val_gt.txt"


def test_without_folders_and_names_the_distractors_are_not_known(tmp_path: Path) -> None:
    made = from_iqiyi(*lists(tmp_path), None, None, tmp_path / "set.csv")
    found = read_manifest(tmp_path / "set.csv")
    assert found.paths == ["T1.mp4", "T2.mp4", "V1.mp4", "V2.mp4"]
    assert found.identities == ["1", "", "1", "1"]
    assert (made.missing, len(made.notes)) == (0, 2)
    assert "no distractors" in made.notes[1]


def test_a_folder_of_one_part(tmp_path: Path) -> None:
    (tmp_path / "V").mkdir()
    (tmp_path / "V" / "V1.mp4").touch()
    (tmp_path / "V" / "V10.mp4").touch()
    names = ["V2.mp4", "V9", "V10.mp4", "V9.mp4", "T1"]
    made = from_iqiyi(*lists(tmp_path), None, tmp_path / "V", tmp_path / "set.csv", names=names)
    found = read_manifest(tmp_path / "set.csv")
    assert list(zip(found.video_ids, found.paths, strict=True)) == [
        *(("T1", "T1.mp4"), ("T2", "T2.mp4"), ("V1", "V/V1.mp4"), ("V2", "V/V2.mp4")),
        *(("V10", "V/V10.mp4"), ("V9", "V/V9.mp4")),
    ]
    assert made.missing == 2  # V2, V9
    assert [note.split(":")[0] for note in made.notes] == ["no --train-folder"]


def test_identities_of_ones_own_for_the_lfrc_list(tmp_path: Path) -> None:
    (tmp_path / "filelist.txt").write_text("0144686 31\n7\nx\ny\n")
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbfAnna Lee\r\n0\r\n\r\n007\r\n")
    from_lfrc(tmp_path / "filelist.txt", tmp_path / "set.csv", identities=labels)
    found = read_manifest(tmp_path / "set.csv")
    assert found.video_ids == ["0144686", "7", "x", "y"]
    assert found.identities == ["Anna Lee", "", "", "007"]
    for text, says in (
        ("a\nb\nc\n", "3 lines for the 4 videos"),
        ("", "0 lines"),
        ("a\n\n\n\n\n", "5 lines"),
    ):
        labels.write_text(text)
        with pytest.raises(ManifestError, match=says):
            from_lfrc(tmp_path / "filelist.txt", tmp_path / "other.csv", identities=labels)
    labels.write_bytes(b"a\nb\n\xff\nd")
    with pytest.raises(ManifestError, match=r"labels\.txt:3: not UTF-8"):
        from_lfrc(tmp_path / "filelist.txt", tmp_path / "other.csv", identities=labels)


def test_a_pickle_for_names_is_read_as_strictly(tmp_path: Path) -> None:
    (tmp_path / "f.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    train_list, val_list = lists(tmp_path)
    told = ("--train-list", train_list, "--val-list", val_list, "-o", tmp_path / "set.csv")
    ran = vidface("manifest", "from-iqiyi", *told, "--features", tmp_path / "f.pickle", code=1)
    assert "wants to call os.system: refused" in ran.error
    assert not (tmp_path / "set.csv").exists()
