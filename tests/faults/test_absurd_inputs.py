"""Small lists and options that would take hours, and numbers and names that are almost right."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import template_sets
from command_line import Ran, vidface, write_manifest
from PIL import Image

from vidface.errors import UsageError
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.lfrc import check_targets
from vidface.scores.protocols.open_set_numbers import open_set_numbers
from vidface.scores.protocols.pairs import MOST_FOLDS
from vidface.scores.protocols.templates import media_of, pool_templates

PEOPLE = [person for person in range(8) for _ in range(6)]
SECONDS = 20  # the quadratic ways took minutes


@pytest.fixture
def set_of_four(tmp_path: Path) -> Callable[..., Ran]:
    """Four videos of two people, scored by a list that is given as text."""
    rows = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    ids = [(f"v{i}", f"v{i}", f"p{i // 2}", "test") for i in range(4)]
    manifest = write_manifest(tmp_path / "set.csv", ids)

    def run(text: str, protocol: str, *options: object, code: int) -> Ran:
        (tmp_path / "pairs.csv").write_text(text)
        words = ("--manifest", manifest, "--protocol", protocol, "--pairs", tmp_path / "pairs.csv", *options)
        return vidface("score", tmp_path / "rows.npy", *words, code=code)

    return run


@pytest.mark.parametrize("target", ["1e-99999999999", "1E-9999", "1e-1_000_000", "0." + "0" * 100 + "1"])
def test_targets_whose_exponent_is_absurd(target: str) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        fpr_fraction(target)
    with pytest.raises(UsageError, match="is not a rate above 0 and below 1"):
        check_targets(["1e-3", target])


def test_targets_that_are_small_stay() -> None:
    check_targets(["1e-30", "1/3", "1E-4", "0.999"])
    assert fpr_fraction("1/3") * 3 == 1
    assert fpr_fraction("1e-30") * 10**30 == 1


def test_one_pair_listed_very_often(set_of_four: Callable[..., Ran]) -> None:
    text = "first,second,same\nv0,v2,0\n" + "v0,v1,1\n" * 40_000
    begin = time.monotonic()
    counts = set_of_four(text, "pairs", "--json", code=0).json["counts"]
    assert time.monotonic() - begin < SECONDS
    assert (counts["pairs"], counts["repeated"], counts["left_out"]) == (40_001, 39_999, 0)


def test_both_labels_name_the_first_other_line(set_of_four: Callable[..., Ran]) -> None:
    text = "first,second,same\nv0,v2,0\nv2,v3,1\nv0,v1,1\nv1,v0,0\nv0,v1,1\n"
    found = set_of_four(text, "pairs", "--json", code=1).json
    assert found["counts"]["left_out"] == 3
    told = [line for line in found["problems"] if "the other way" in line]
    assert [line.rpartition(":")[2] for line in told] == ["5", "4", "5"]


def test_a_list_of_very_many_folds(set_of_four: Callable[..., Ran]) -> None:
    text = "first,second,same,fold\n" + "".join(f"v0,v1,1,{i}\nv0,v2,0,{i}\n" for i in range(MOST_FOLDS + 1))
    ran = set_of_four(text, "folds", code=1)
    assert "1001 folds; at most 1000 are scored" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("score", [1e-250, 1e250])
def test_detector_scores_that_are_no_matter_of_scale(score: float) -> None:
    random = np.random.default_rng(0)
    rows, templates = random.normal(size=(6, 4)), np.array([0, 0, 1, 1, 2, 2])
    media = media_of(templates, np.arange(6))

    def pooled(scores: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        lengths = np.linalg.norm(rows, axis=1)
        return pool_templates(
            lambda: [(np.arange(6), rows)], lengths, templates, media, scores, norm=True, dimension=4
        )

    np.testing.assert_allclose(pooled(np.full(6, score)), pooled(np.ones(6)), rtol=1e-6)


def test_detector_scores_too_large_to_be_added(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    made = template_sets.write_lists(template_sets.arrange(tmp_path / "meta", "ijbc", PEOPLE, random))
    np.save(tmp_path / "rows.npy", 100 * template_sets.drawn_features(made, random))
    path = tmp_path / "meta" / "ijbc_name_5pts_score.txt"
    lines = [line.rpartition(" ")[0] + " 1e308" for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "meta" / "ijbc_template_pair_label.txt").unlink()
    words = ("--protocol", "ijbc", "--meta", tmp_path / "meta")
    ran = vidface("score", tmp_path / "rows.npy", *words, code=1)
    assert "too large to be added" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("name", [".", "./", "a/./b.jpg", "a//b.jpg", "b/"])
def test_image_names_that_are_no_names_of_files(tmp_path: Path, name: str) -> None:
    lists, crops = tmp_path / "meta", tmp_path / "crops"
    lists.mkdir()
    crops.mkdir()
    (lists / "ijbb_face_tid_mid.txt").write_text(f"0.jpg 0 0\n{name} 1 1\n")
    (lists / "ijbb_name_5pts_score.txt").write_text(
        "".join(f"{image} 38 51 73 51 56 71 41 92 70 92 0.9\n" for image in ("0.jpg", name))
    )
    for options in ((), ("--aligned", tmp_path / "aligned")):
        ran = vidface("manifest", "from-ijbb", lists, crops, "-o", tmp_path / "set.csv", *options, code=1)
        assert ":2: " in ran.err and "is no name of a file" in ran.err
    assert not (tmp_path / "set.csv").exists()


def test_crops_are_not_taken_for_aligned_faces(tmp_path: Path) -> None:
    lists, crops = tmp_path / "meta", tmp_path / "crops"
    lists.mkdir()
    crops.mkdir()
    Image.new("RGB", (80, 80)).save(crops / "0.png")
    (lists / "ijbb_face_tid_mid.txt").write_text("0.png 0 0\n")
    (lists / "ijbb_name_5pts_score.txt").write_text("0.png 30 35 50 35 40 45 32 55 48 55 0.9\n")
    command = ("manifest", "from-ijbb", lists, crops, "-o", tmp_path / "set.csv", "--aligned")
    ran = vidface(*command, crops, code=2)
    assert "'0.png' in it is no face that was cut here" in ran.err
    assert [path.name for path in crops.iterdir()] == ["0.png"]
    for _ in range(2):  # the second time faces and note are there
        vidface(*command, tmp_path / "aligned", code=0)
    with Image.open(tmp_path / "aligned" / "0.png") as face:
        assert face.size == (112, 112)


def test_a_damaged_features_file_gives_no_scores_of_templates(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    made = template_sets.write_lists(template_sets.arrange(tmp_path / "meta", "ijbc", PEOPLE, random))
    rows = np.asarray(template_sets.drawn_features(made, random), np.float32)
    np.save(tmp_path / "rows.npy", rows)
    faces = (tmp_path / "meta" / "ijbc_face_tid_mid.txt").read_text().splitlines()
    images = [line.split()[0] for line in faces]
    manifest = write_manifest(tmp_path / "set.csv", [(image, image, "", "test") for image in images])
    (tmp_path / "index.csv").write_text("\n".join(["video_id", *images]) + "\n")
    words = ("--index", tmp_path / "index.csv", "--manifest", manifest, "-o", tmp_path / "rows.h5")
    vidface("features", "from-arrays", tmp_path / "rows.npy", *words, code=0)
    command = ("score", tmp_path / "rows.h5", "--protocol", "ijbc", "--meta", tmp_path / "meta")
    vidface(*command, code=0)
    whole = bytearray((tmp_path / "rows.h5").read_bytes())
    whole[whole.index(rows[:1].tobytes()) + 3] ^= 0x40
    (tmp_path / "rows.h5").write_bytes(whole)
    ran = vidface(*command, code=1)
    assert "rows.h5: damaged" in ran.err and ran.err.count("\n") == 1


def test_a_list_of_cfp_that_gives_one_number_to_two_images(
    set_of_four: Callable[..., Ran], tmp_path: Path
) -> None:
    set_of_four("first,second,same\nv0,v1,1\nv0,v2,0\n", "pairs", code=0)
    split = tmp_path / "Protocol" / "Split" / "FP" / "01"
    split.mkdir(parents=True)
    (tmp_path / "Protocol" / "Pair_list_F.txt").write_text("1 v0\n2 v2\n")
    (tmp_path / "Protocol" / "Pair_list_P.txt").write_text("1 v1\n1 v3\n")
    (split / "same.txt").write_text("1,1\n")
    (split / "diff.txt").write_text("2,1\n")
    words = ("--manifest", tmp_path / "set.csv", "--protocol", "pairs", "--pairs", split.parent)
    ran = vidface("score", tmp_path / "rows.npy", *words, code=1)
    assert "Pair_list_P.txt:2: image 1 is listed already" in ran.err


@pytest.mark.parametrize("option", ["--min-score", "--min-quality"])
def test_a_limit_that_is_no_number(tmp_path: Path, option: str) -> None:
    manifest = write_manifest(tmp_path / "set.csv", [("v0", "v0", "p", "test")])
    command = ("features", "from-iqiyi", tmp_path / "none.pickle", "--manifest", manifest)
    ran = vidface(*command, "-o", tmp_path / "features.h5", option, "nan", code=2)
    assert "must be numbers" in ran.err


def test_one_long_name_takes_no_room_for_all_videos() -> None:
    videos, letters = 20_000, 1_000
    people = [f"p{i // 2 % 50}" for i in range(videos)]
    splits = ["train" if i % 2 else "val" for i in range(videos)]
    people[2], splits[4] = "p" * letters, "s" * letters
    names = [f"v{i}" for i in range(videos)]
    manifest = Manifest(Path("set.csv"), Path(), names, names, people, splits, "")
    rows = np.zeros((videos, 4), np.float32)
    rows[np.arange(videos), np.arange(videos) % 4] = 1
    few = Manifest(Path("set.csv"), Path(), *(x[:200] for x in (names, names, people, splits)), "")
    options = ScoreOptions(protocol="openset", targets=["1e-1"])
    open_set_numbers(rows[:200], few, options)
    tracemalloc.start()
    try:
        open_set_numbers(rows, manifest, options)
        assert (
            tracemalloc.get_traced_memory()[1] < videos * letters
        )  # four times as much where each takes such room
    finally:
        tracemalloc.stop()
