"""Labels that make strangers one person or one person two, and what else lowers a number: said, never mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import template_sets
from command_line import vidface, write_manifest
from fault_material import listed_rows, unit

PEOPLE, CLIPS, STRANGERS = 12, 4, 24
KNOWN = [f"p{i}" for i in range(PEOPLE) for _ in range(CLIPS)]


class Made:
    """Embeddings of people who are easy to tell apart, and of strangers who are like nobody."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(1)
        own = np.repeat(random.normal(size=(PEOPLE, 48)), CLIPS, axis=0)
        rows = np.vstack([own + 0.1 * random.normal(size=own.shape), random.normal(size=(STRANGERS, 48))])
        self.folder, self.rows = folder, unit(rows)
        self.ids = [f"v{i}" for i in range(len(rows))]

    def write(self, people: list[str] = KNOWN, strangers: str = "", zero: tuple[int, ...] = ()) -> Any:
        """The matrix and the words of its manifest, with these identities; some videos have no usable frame."""
        splits = ["train", "val", "val", "val"] * PEOPLE + ["val"] * STRANGERS
        identities = [*people, *[strangers] * STRANGERS]
        table = zip(self.ids, (f"{name}.mp4" for name in self.ids), identities, splits, strict=True)
        write_manifest(self.folder / "set.csv", list(table))
        rows = self.rows.copy()
        rows[list(zero)] = 0
        np.save(self.folder / "rows.npy", rows)
        return self.folder / "rows.npy", ("--manifest", self.folder / "set.csv")

    def score(self, people: list[str] = KNOWN, strangers: str = "") -> Any:
        matrix, told = self.write(people, strangers)
        return vidface("score", matrix, *told, "--targets", "1e-2", "--json", code=0).json


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.mark.parametrize("value", ["nan", "None", "unknown", "0", "-1", "N/A", "-", "strangers"])
def test_strangers_with_the_text_of_a_missing_value(made: Made, value: str) -> None:
    right, wrong = made.score(), made.score(strangers=value)
    assert (right["tpr@fpr"]["1e-2"], right["warnings"]) == (1.0, [])
    genuine = PEOPLE * CLIPS * (CLIPS - 1) // 2
    # Nothing is mended.
    assert wrong["tpr@fpr"]["1e-2"] < 2 * genuine / (genuine + STRANGERS * (STRANGERS - 1) // 2)
    assert wrong["warnings"][0].startswith(f"{STRANGERS} of 72 videos have the identity {value!r}")
    assert "leave the identity empty" in wrong["warnings"][0]
    checked = vidface("manifest", "check", made.folder / "set.csv", "--json", code=1).json  # no media
    assert checked["warnings"] == wrong["warnings"][:1]
    assert {problem["kind"] for problem in checked["problems"]} == {"missing-file"}


@pytest.mark.parametrize("other", ["P{}", "p0{}", "_p{}.", "ｐ{}-"])
def test_one_person_in_two_spellings(made: Made, other: str) -> None:
    enrolled = [f"p{i}" if k == 0 else other.format(i) for i in range(PEOPLE) for k in range(CLIPS)]
    right, wrong = made.score(), made.score(enrolled)
    assert (right["mAP@100"], wrong["mAP@100"]) == (1.0, 0.0), "nothing is merged"
    most, said, *_ = wrong["warnings"]  # the first touches more
    assert most.startswith(f"{PEOPLE} of {PEOPLE} identities of the gallery are not ranked")
    assert said.startswith(f"{2 * PEOPLE} of {2 * PEOPLE} identities differ from another only by spelling")
    assert f"in {PEOPLE * CLIPS} of 72 videos" in said
    entry = wrong["failed"]["mAP@100"]
    assert (entry["failed"], entry["of"], entry["without"]) == (PEOPLE, PEOPLE, None)
    assert f"({PEOPLE} of them have a ranking in another spelling)" in entry["why"]


def test_good_sets_are_quiet(made: Made) -> None:
    """Nothing is warned of, and nothing fails."""
    for people in (KNOWN, [name[1:] for name in KNOWN]):
        found = made.score(people)
        assert found["warnings"] == [] and "failed" not in json.dumps(found)


def test_wherever_a_manifest_is_scored_the_same_warning_comes_first(made: Made) -> None:
    matrix, told = made.write(strangers="nan")
    features, embeddings = made.folder / "f.h5", made.folder / "e.h5"
    vidface(*listed_rows(made.folder, made.rows, made.ids, told[1]), code=0)
    vidface("cluster", features, "-o", embeddings, code=0)
    pairs = made.folder / "pairs.csv"
    lines = [f"v{i},v{i + 1},1\nv{i},v{i + 9},0" for i in range(0, 36, 4)]
    pairs.write_text("\n".join(["first,second,same", *lines]) + "\n")
    runs = [
        ("score", embeddings, *told),
        ("score", embeddings, *told, "--protocol", "openset"),
        ("score", embeddings, *told, "--protocol", "trillionpairs"),
        ("score", embeddings, *told, "--protocol", "pairs", "--pairs", pairs),
        ("sweep", features, *told, "--thresholds", "none,0.4"),
        ("compare", embeddings, matrix, *told),
        ("report", embeddings, "-o", made.folder / "report", "--no-pictures"),
        ("submit", embeddings, *told, "--format", "lfrc", "-o", made.folder / "s.bin"),
    ]
    for words in runs:
        said = vidface(*words, "--json", code=0).json["warnings"]
        assert said[0].startswith(f"{STRANGERS} of 72 videos have the identity 'nan'"), words
        assert len(said) == len(set(said)) and sum("'nan'" in text for text in said) == 1
        lines = vidface(*words, code=0).out.splitlines()
        assert next(line for line in lines if line.startswith("warning: ")) == f"warning: {said[0]}"
    page = (made.folder / "report" / "index.html").read_text("utf-8")
    assert f"{STRANGERS} of 72 videos have the identity" in page
    recipe = made.folder / "r.toml"
    recipe.write_text('manifest = "set.csv"\noutput = "out"\nfeatures = "f.h5"\n')
    assert vidface("run", recipe, "--json", code=0).json["warnings"][0] == said[0]


@pytest.mark.parametrize("suffix", ["mp4", "jpg"])
def test_a_folder_of_nobody_is_noted_and_named_by_an_option(tmp_path: Path, suffix: str) -> None:
    """Of clips, and of pictures."""
    for name in ("ann", "bo", "Strangers", "no_body"):
        (tmp_path / "media" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "media" / name / f"{number}.{suffix}").touch()
    command = ["manifest", "from-folder", tmp_path / "media", "-o", tmp_path / "set.csv", "--json"]
    command += ["--pictures"] * (suffix == "jpg")
    made = vidface(*command, code=0).json
    assert (made["identities"], made["unknown"]) == (4, 0)
    assert made["notes"][0].startswith("6 of 12 videos have the identity 'Strangers' (3), 'no_body' (3)")
    assert "pass --unknown Strangers --unknown no_body" in made["notes"][1]
    made = vidface(*command, "--unknown", "Strangers", "--unknown", "no_body", code=0).json
    assert (made["identities"], made["unknown"], made["notes"]) == (2, 6, [])
    assert made["splits"] == {"train": 2, "val": 10}, "unknown people are not enrolled"
    error = vidface(*command, "--unknown", "strangers", code=2).error
    assert "no person's folder" in error and "did you mean 'Strangers'?" in error


def test_a_label_for_nobody_in_a_list_is_noted(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{i}\n" for i in range(6)))
    (tmp_path / "labels.txt").write_text("ann\nann\n-1\n-1\n-1\nbo\n")
    command = ("manifest", "from-lfrc", tmp_path / "list.txt", "--identities", tmp_path / "labels.txt")
    (note, *_) = vidface(*command, "-o", tmp_path / "set.csv", "--json", code=0).json["notes"]
    assert note.startswith("3 of 6 videos have the identity '-1'")


def ranking(made: Made, name: str) -> list[str]:
    """Submission lines that rank every person's videos rightly."""
    return [f"p{i} " + " ".join(name.format(CLIPS * i + k) for k in (1, 2, 3)) for i in range(PEOPLE)]


def test_a_ranking_of_another_set_is_refused(made: Made) -> None:
    _, told = made.write()
    file = made.folder / "s.txt"
    for lines, what in (
        (ranking(made, "w{}.mp4"), "none of its 36 ranked videos is in"),
        ([f"x{line}" for line in ranking(made, "v{}.mp4")], "none of its 12 identities is in"),
    ):
        file.write_text("\n".join(lines) + "\n")
        for command in (("score", file), ("compare", file, file)):
            error = vidface(*command, *told, code=1).error
            assert what in error and str(told[1]) in error


def test_a_ranking_with_some_unknown_names_is_warned_of(made: Made) -> None:
    _, told = made.write()
    file = made.folder / "s.txt"
    lines = ranking(made, "v{}.mp4")
    lines[0] = lines[0].replace("v1.mp4", "w1.mp4")  # not there
    lines[1] = lines[1].replace("v5.mp4", "v4.mp4")  # of the training videos
    lines[2] = "q2" + lines[2][2:]
    lines[3] += " v13.mp4"  # again
    file.write_text("\n".join(lines) + "\n")
    found = vidface("score", file, *told, "--protocol", "iqiyi", "--json", code=0).json
    begins = [
        "1 of 12 identities of s.txt are not in the manifest",
        "1 of 12 identities of the gallery are not ranked",
        "1 of 37 ranked videos are not in the manifest and count as wrong",
        "1 of 37 ranked videos are not in the split 'val' and are wrong",
        "1 of 37 ranked videos repeat another",
    ]
    for said, begin in zip(found["warnings"], begins, strict=False):
        assert said.startswith(begin)
    # p0: hits at 2 and 3; p1 likewise; p2 not ranked; all others right.
    partly = (1 / 2 + 2 / 3) / 3
    assert found["mAP@100"] == pytest.approx((2 * partly + 9) / 12)
    without = {"of": 12, "without": pytest.approx((2 * partly + 9) / 11)}
    assert found["failed"]["mAP@100"] == {"why": "queries are not ranked", "failed": 1, **without}


def test_halves_without_flip_halves(tmp_path: Path) -> None:
    """IJB: features of 64 numbers, and rows that hold those and the mirror images'."""
    random = np.random.default_rng(3)
    people = [person for person in range(8) for _ in range(6)]
    lists = template_sets.write_lists(template_sets.arrange(tmp_path / "meta", "ijbc", people, random))
    one = np.repeat(random.normal(size=(8, 64)), 6, axis=0) + 0.3 * random.normal(size=(48, 64))
    both = np.hstack([one, one + 0.3 * random.normal(size=one.shape)])
    for rows, option, first in (
        (both, [], "each row of 128 numbers looks like two embeddings"),
        (both, ["--flip-halves"], ""),
        (one, [], ""),
        (one, ["--flip-halves"], "they do not look like two embeddings of one image"),
    ):
        np.save(tmp_path / "rows.npy", rows.astype(np.float32))
        words = ("score", tmp_path / "rows.npy", "--protocol", "ijbc", "--meta", lists.meta, "--json")
        said = vidface(*words, *option, code=0).json["warnings"]
        assert first in said[0] if first else not any("embeddings" in text for text in said)
        assert option or not first or said[0].endswith("pass --flip-halves to add the two")


def test_halves_in_a_matrix_of_videos_and_in_frame_features(made: Made) -> None:
    random = np.random.default_rng(2)
    made.rows = unit(np.hstack([made.rows, made.rows + 0.03 * random.normal(size=made.rows.shape)]))
    (said,) = made.score()["warnings"]
    assert said.startswith("each row of 96 numbers looks like two embeddings")
    # The same of frames; the file of features says it to whoever scores what is made of it.
    told, features, embeddings = made.write()[1], made.folder / "f.h5", made.folder / "e.h5"
    imported = (*listed_rows(made.folder, made.rows, made.ids, told[1]), "--json")
    (warning,) = vidface(*imported, code=0).json["warnings"]
    assert vidface(*imported, code=0).json["warnings"] == [warning], "also where it was there already"
    vidface("cluster", features, "-o", embeddings, code=0)
    for words in (("score", embeddings), ("sweep", features), ("compare", embeddings, embeddings)):
        assert vidface(*words, *told, "--json", code=0).json["warnings"][0] == warning


def test_what_unusable_videos_cost_stands_beside_the_number(made: Made) -> None:
    """One person has no usable enrolment video, another one gallery video less."""
    matrix, told = made.write(zero=(0, 5))
    command = ("score", matrix, *told, "--targets", "1e-2")
    found = vidface(*command, "--json", code=1).json
    assert found["mAP@100"] == pytest.approx((10 + 2 / 3) / 12)
    why = "queries have no usable enrolment or gallery video and score 0"
    why += ", and 1 gallery videos of others are never found"
    assert found["failed"]["mAP@100"] == {"why": why, "failed": 1, "of": 12, "without": 1.0}
    lost = 3 + 3  # genuine pairs of either video
    assert found["tpr@fpr"]["1e-2"] == pytest.approx((72 - lost) / 72)
    entry = found["failed"]["TPR at FPR 1e-2"]
    assert (entry["failed"], entry["of"], entry["without"]) == (lost, 72, 1.0)
    lines = vidface(*command, code=1).out.splitlines()
    words = "1 of 12 queries have no usable enrolment or gallery video and score 0"
    assert words in next(line for line in lines if line.startswith("mAP@100"))
    assert "; 1.0000 without them" in lines[1]
    assert "6 of 72 genuine pairs" in next(line for line in lines if line.startswith("TPR"))
    whole = vidface("compare", matrix, matrix, *told, "--targets", "1e-2", code=1).out.splitlines()
    assert sum(words in line for line in whole) == 2, "beside mAP@100 of either"
    assert sum(line.endswith("1.0000 without them") for line in whole) == 2 * 5


@pytest.mark.parametrize(("wrong", "said"), [(160, True), (120, False), (0, False)])
def test_rows_in_another_order_than_the_manifest(tmp_path: Path, wrong: int, said: bool) -> None:
    """What is weak, but no chance, stays quiet: a quarter of the rows in their places."""
    random = np.random.default_rng(8)
    people = [f"p{i}" for i in range(40) for _ in range(4)]
    rows = np.repeat(random.normal(size=(40, 24)), 4, axis=0) + 0.1 * random.normal(size=(160, 24))
    rows[:wrong] = random.permutation(rows[:wrong])
    names = [f"v{i}" for i in range(160)]
    write_manifest(tmp_path / "set.csv", list(zip(names, names, people, ["val"] * 160, strict=True)))
    np.save(tmp_path / "rows.npy", unit(rows))
    told = ("--manifest", tmp_path / "set.csv", "--protocol", "lfrc", "--targets", "1e-2", "--json")
    warnings = vidface("score", tmp_path / "rows.npy", *told, code=0).json["warnings"]
    assert [text.partition(" is ")[0] for text in warnings] == ["TPR at FPR 1e-2"] * said
    assert all("in the order of the manifest's videos?" in text for text in warnings)
