"""Lists of pairs that are wrong in some way: an error of one line, or pairs that are left out, counted and named.

No fault may turn into a number: an id that matches nothing is no impostor and no pair of score 0.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, vidface, write_manifest

PEOPLE, VIDEOS = 12, 3
PAIRS = [(f"p{p}/0", f"p{p}/{v}", 1) for p in range(PEOPLE) for v in (1, 2)]
PAIRS += [(f"p{p}/{v}", f"p{(p + 1) % PEOPLE}/{v}", 0) for p in range(PEOPLE) for v in (0, 1)]


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, Path]:
    """Embeddings of 12 people with 3 videos each, all told apart, and their manifest."""
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(PEOPLE, 64)), VIDEOS, axis=0)
    rows += random.normal(size=rows.shape) * 0.3
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(tmp_path / "embeddings.npy", rows.astype(np.float32))
    ids = [(f"p{p}/{v}", f"p{p}/{v}", f"p{p}", "test") for p in range(PEOPLE) for v in range(VIDEOS)]
    return tmp_path / "embeddings.npy", write_manifest(tmp_path / "set.csv", ids)


def score(
    scored: tuple[Path, Path], pairs: Path, *options: object, protocol: str = "folds", code: int
) -> Ran:
    embeddings, manifest = scored
    command = ("score", embeddings, "--manifest", manifest, "--protocol", protocol, "--pairs", pairs)
    ran = vidface(*command, "--targets", "0.1", *options, code=code)
    assert "Traceback" not in ran.err
    return ran


def csv_list(path: Path, rows: list[tuple[str, str, object]], *, head: str = "first,second,same") -> Path:
    path.write_text("\n".join([head, *(f"{one},{other},{same}" for one, other, same in rows)]) + "\n")
    return path


def whole(scored: tuple[Path, Path], tmp_path: Path) -> Any:
    """The scores of the list without a fault."""
    result = score(scored, csv_list(tmp_path / "whole.csv", PAIRS), "--json", code=0).json
    assert (result["tpr@fpr"]["0.1"], result["auc"], result["eer"]) == (1, 1, 0) and result["accuracy"] > 0.9
    return result


def test_ids_that_match_no_video_are_an_error_not_tpr_0(scored: tuple[Path, Path], tmp_path: Path) -> None:
    """The well-known one: all names are spelled in another way."""
    path = csv_list(tmp_path / "p.csv", [(f"lfw/{a}", f"lfw/{b}", s) for a, b, s in PAIRS])
    error = score(scored, path, code=1).error
    assert f"{path}: none of its 48 pairs (CSV) can be used: 48 no such video" in error
    assert (
        f"the first: {path}:2: 'lfw/p0/0' and 'lfw/p0/1'; the ids of" in error and "look like 'p0/0'" in error
    )


def test_some_ids_that_match_no_video_cost_their_pairs_only(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    """Taken for impostors or for a score of 0 they would change every rate."""
    rows = PAIRS + [(f"p0/{n}", "p1/0", 0) for n in range(5, 25)] + [("p0/0", f"x{n}", 1) for n in range(20)]
    path = csv_list(tmp_path / "p.csv", rows)
    ran = score(scored, path, "-o", tmp_path / "scores.json", code=1)
    assert f"warning: 40 of 88 listed pairs are left out: 40 no such video; the first: {path}:50: " in ran.out
    result, clean = score(scored, path, "--json", code=1).json, whole(scored, tmp_path)
    for name in ("accuracy", "tpr@fpr", "threshold@fpr", "auc", "eer", "folds"):
        assert result[name] == clean[name], name
    assert (result["counts"]["left_out"], len(result["problems"])) == (40, 40)


def test_malformed_lines_are_named(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", PAIRS)
    bad = ["p0/0,p0/1", "p0/0,p0/1,1,3", "p0/0,p0/1,yes", "p0/0,p0/1,-1", '"p0/0,p0/1,1', ",p0/1,1"]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    result = score(scored, path, "--json", code=1).json
    assert result["left_out"] == {"malformed line": 6}
    assert [problem.split(":")[1] for problem in result["problems"]] == [str(n) for n in range(50, 56)]
    assert result["accuracy"] == whole(scored, tmp_path)["accuracy"]


def test_contradictory_pairs_are_left_out_both(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", [*PAIRS, ("p0/1", "p0/0", 0)])
    result = score(scored, path, "--json", code=1).json
    assert result["left_out"] == {"listed as same and as different": 2} and result["counts"]["pairs"] == 47


def test_a_video_with_itself_is_left_out(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", [*PAIRS, ("p0/1", "p0/1", 1)])
    result = score(scored, path, "--json", code=1).json
    assert result["left_out"] == {"a video with itself": 1} and result["counts"]["pairs"] == 48


def test_pairs_listed_twice_are_told(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", [*PAIRS, PAIRS[0], (PAIRS[1][1], PAIRS[1][0], 1)])
    ran = score(scored, path, code=0)
    assert "warning: 2 pairs stand in the list more than once and count each time" in ran.out
    assert f"{path}:50: counted again: the same pair as {path}:2" in ran.out


def test_labels_against_the_manifest_are_told(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", [*PAIRS, ("p3/1", "p3/2", 0)])
    ran = score(scored, path, code=0)
    assert "warning: 1 pairs have another label in p.csv than the identities of the manifest say" in ran.out


def test_labels_the_wrong_way_round_are_told_for_every_pair(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    """1 meant for different: the numbers would be those of the worst model there is."""
    path = csv_list(tmp_path / "p.csv", [(a, b, 1 - s) for a, b, s in PAIRS])
    out = score(scored, path, code=0).out
    assert "warning: 48 pairs have another label" in out and "these are all: are its 1 and 0 swapped?" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file, no list of pairs"),
        (b"\n \n", "an empty file, no list of pairs"),
        (b"first,second,same\n", "it lists no pair"),
        (
            b"<!DOCTYPE html><html>\n",
            "no list of pairs that is known, it begins with '<!DOCTYPE html><html>'",
        ),
        (
            b"\x80\x04\x95\x00",
            "not UTF-8 text, so no list of pairs; a .bin file of images is for: vidface verify",
        ),
        ("first,second,same\n".encode("utf-16"), "not UTF-8 text"),
        (b"first,second,same\np0/0,p0/\x001,1\n", "NUL characters"),
        (b"first,second,label\np0/0,p0/1,1\n", "no list of pairs that is known"),
        (b"first,second,same,split\np0/0,p0/1,1,1\n", "the columns are first,second,same or"),
        (b"p0/0|p0/1|1\n", "no list of pairs that is known"),
        (b"name,images\nAnn,3\n", "a list of people and how many images each has, not of pairs"),
        (b"4038\nAnn\t3\n", "a list of people and how many images each has, not of pairs"),
        (b"0 p0/0 1\n", "can't be told whether the first or the third word is the label"),
        (b"\x1b[31m x\n", r"begins with '\\x1b[31m x'"),
    ],
)
def test_no_list_of_pairs(scored: tuple[Path, Path], tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(content)
    error = score(scored, path, code=1).error
    assert said.replace("\\\\", "\\") in error and str(path) in error


def test_a_list_that_is_not_there_a_pipe_and_a_strange_folder(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    assert "cannot be read: No such file" in score(scored, tmp_path / "none.csv", code=1).error
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in score(scored, tmp_path / "pipe", code=1).error  # and it does not wait
    (tmp_path / "FP").mkdir()
    assert "must be Protocol/Split/FP" in score(scored, tmp_path / "FP", code=1).error


def test_cfp_without_its_list_of_images(scored: tuple[Path, Path], tmp_path: Path) -> None:
    split = tmp_path / "Protocol" / "Split" / "FP"
    (split / "01").mkdir(parents=True)
    (split / "01" / "same.txt").write_text("1,1\n")
    error = score(scored, split, code=1).error
    assert "Pair_list_F.txt: pairs cannot be read: No such file" in error


def test_an_lfw_list_that_was_cut_short(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("10 300\n" + "".join(f"p{p}\t1\t2\n" for p in range(6)) + "p1\t1\tp2\t1\n")
    error = score(scored, path, code=1).error
    assert "none of its 6000 pairs (LFW pairs) can be used: 7 no such video" in error
    assert "5993 promised by the first line, not there" in error


def test_pairs_of_one_kind_have_no_rate(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", [pair for pair in PAIRS if pair[2]])
    for protocol in ("pairs", "folds"):
        error = score(scored, path, protocol=protocol, code=1).error
        assert "24 pairs 24 can be used" in error and "both" in error
    rows = [(one, other, same or "no") for one, other, same in PAIRS]
    error = score(scored, csv_list(tmp_path / "p.csv", rows), code=1).error
    assert (
        f"left out: 24 malformed line; the first: {path}:26: left out: malformed line: same must be 1 or 0"
        in error
    )


@pytest.mark.parametrize(
    ("different", "same"), [("-1", "1"), ("False", "True"), ("false", "TRUE"), ("0.0", "1.0")]
)
def test_labels_of_another_program(
    scored: tuple[Path, Path], tmp_path: Path, different: str, same: str
) -> None:
    rows = [(one, other, same if label else different) for one, other, label in PAIRS]
    result = score(scored, csv_list(tmp_path / "p.csv", rows), "--json", code=0).json
    expected = whole(scored, tmp_path)
    for name in ("accuracy", "auc", "eer", "tpr@fpr", "counts"):
        assert result[name] == expected[name]


def test_a_third_label_is_left_out_and_counted(scored: tuple[Path, Path], tmp_path: Path) -> None:
    """-1 alone is two people; beside 0 it may be a pair that nobody looked at."""
    path = csv_list(tmp_path / "p.csv", [*PAIRS, ("p0/0", "p5/1", -1), ("p1/0", "p5/1", -1)])
    result = score(scored, path, "--json", code=1).json
    assert result["left_out"] == {"malformed line": 2}
    assert result["accuracy"] == whole(scored, tmp_path)["accuracy"]
    assert f"{path}:50" in result["problems"][0] and "has 0 as well" in result["problems"][0]


def test_too_few_pairs_for_folds(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", PAIRS[20:28])
    assert "8 pairs cannot be cut into 10 folds" in score(scored, path, code=1).error
    score(scored, path, protocol="pairs", code=0)


def test_one_fold_has_no_others(scored: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [(a, b, f"{s},3") for a, b, s in PAIRS]
    path = csv_list(tmp_path / "p.csv", rows, head="first,second,same,fold")
    assert "two folds or more" in score(scored, path, code=1).error


def test_a_fold_that_is_no_number(scored: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [(a, b, f"{s},{n % 4}") for n, (a, b, s) in enumerate(PAIRS)] + [("p0/0", "p4/1", "0,x")]
    path = csv_list(tmp_path / "p.csv", rows, head="first,second,same,fold")
    result = score(scored, path, "--json", code=1).json
    assert "fold must be a whole number, not 'x'" in result["problems"][0]


def test_ytf_without_splits(scored: tuple[Path, Path], tmp_path: Path) -> None:
    path = csv_list(tmp_path / "p.csv", PAIRS)
    assert "a list without splits (CSV)" in score(scored, path, protocol="ytf", code=2).error


def test_a_missing_list_is_asked_for(scored: tuple[Path, Path]) -> None:
    embeddings, manifest = scored
    for protocol in ("pairs", "folds", "ytf"):
        ran = vidface("score", embeddings, "--manifest", manifest, "--protocol", protocol, code=2)
        assert f"--protocol {protocol} needs --pairs" in ran.error


def test_a_ranking_has_no_pairs(scored: tuple[Path, Path], tmp_path: Path) -> None:
    ranking = tmp_path / "ranking.txt"
    ranking.write_text("p0 p0/0.mp4\n")
    path = csv_list(tmp_path / "p.csv", PAIRS)
    assert "a ranking holds no embeddings" in score((ranking, scored[1]), path, code=2).error


def test_videos_without_a_usable_frame_score_0(scored: tuple[Path, Path], tmp_path: Path) -> None:
    """Two zero rows are not the same person, although nothing lies between them."""
    embeddings, _ = scored
    rows = np.load(embeddings)
    rows[:2] = 0  # p0/0 and p0/1: pair p0/0, p0/1 and three others
    np.save(embeddings, rows)
    ran = score(scored, csv_list(tmp_path / "p.csv", PAIRS), code=1)
    assert "warning: 2 videos have no usable frame, the first is 'p0/0': their 6 pairs score 0" in ran.out
    result = score(scored, tmp_path / "p.csv", "--json", code=1).json
    assert (result["counts"]["zero_embeddings"], result["counts"]["zero_pairs"]) == (2, 6)
    assert result["tpr@fpr"]["0.1"] == 22 / 24 and result["threshold_accuracy"] == 46 / 48


def test_names_in_a_list_are_only_shown(scored: tuple[Path, Path], tmp_path: Path) -> None:
    """Terminal codes and formulas in names that match nothing come out escaped."""
    path = csv_list(tmp_path / "p.csv", [*PAIRS, ("\x1b]0;x\x07=cmd()", "p0/0", 0)])
    ran = score(scored, path, code=1)
    assert "\x1b" not in ran.out and "\\x1b]0;x\\x07=cmd()" in ran.out
