"""Lists of pairs that are wrong in some way: an error of one line, or pairs that are left out, counted and named.

No fault may turn into a number: an id that matches nothing is no impostor and no pair of score 0.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, vidface, write_manifest
from fault_material import unit

PEOPLE, VIDEOS = 12, 3
PAIRS = [(f"p{p}/0", f"p{p}/{v}", 1) for p in range(PEOPLE) for v in (1, 2)]
PAIRS += [(f"p{p}/{v}", f"p{(p + 1) % PEOPLE}/{v}", 0) for p in range(PEOPLE) for v in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Embeddings of 12 people with 3 videos each, all told apart, and their manifest."""
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(PEOPLE, 64)), VIDEOS, axis=0)
    np.save(tmp_path / "embeddings.npy", unit(rows + random.normal(size=rows.shape) * 0.3))
    ids = [(f"p{p}/{v}", f"p{p}/{v}", f"p{p}", "test") for p in range(PEOPLE) for v in range(VIDEOS)]
    write_manifest(tmp_path / "set.csv", ids)
    return tmp_path


def score(
    folder: Path,
    pairs: object,
    *options: object,
    scored: str = "embeddings.npy",
    by: str = "folds",
    code: int,
) -> Ran:
    """Score by a list: the rows of a table, or a path."""
    if isinstance(pairs, list):
        listed = folder / "p.csv"
        head = "first,second,same,fold" if len(pairs[0]) == 4 else "first,second,same"
        listed.write_text(
            "\n".join([head, *(row if isinstance(row, str) else ",".join(map(str, row)) for row in pairs)])
            + "\n"
        )
        pairs = listed
    words = ("--manifest", folder / "set.csv", "--protocol", by, "--pairs", pairs, "--targets", "0.1")
    return vidface("score", folder / scored, *words, *options, code=code)


def whole(folder: Path) -> Any:
    result = score(folder, PAIRS, "--json", code=0).json
    assert (result["tpr@fpr"]["0.1"], result["auc"], result["eer"]) == (1, 1, 0) and result["accuracy"] > 0.9
    return result


LEFT_OUT: dict[str, tuple[list[Any], dict[str, int], str]] = {  # more lines, why, a part of the first problem
    "malformed": (
        ["p0/0,p0/1", "p0/0,p0/1,1,3", "p0/0,p0/1,yes", "p0/0,p0/1,-1", '"p0/0,p0/1,1', ",p0/1,1"],
        {"malformed line": 6},
        "p.csv:50: ",
    ),
    "unknown ids": (
        [(f"p0/{n}", "p1/0", 0) for n in range(5, 25)] + [("p0/0", f"x{n}", 1) for n in range(20)],
        {"no such video": 40},
        "p.csv:50: ",
    ),
    "a third label": ([("p0/0", "p5/1", -1)] * 2, {"malformed line": 2}, "has 0 as well"),
    "a video with itself": ([("p0/1", "p0/1", 1)], {"a video with itself": 1}, "p.csv:50: "),
    "terminal codes": ([("\x1b]0;x\x07=cmd()", "p0/0", 0)], {"no such video": 1}, "\\x1b]0;x\\x07=cmd()"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_pairs_that_are_left_out(folder: Path, case: str) -> None:
    """Counted, listed with line, and all numbers are those of the others."""
    more, left_out, problem = LEFT_OUT[case]
    result = score(folder, [*PAIRS, *more], "--json", code=1).json
    assert result["left_out"] == left_out and problem in result["problems"][0]
    (count,) = left_out.values()
    assert len(result["problems"]) == result["counts"]["left_out"] == count
    places = [line.split(":")[1] for line in result["problems"]]
    assert places == [str(50 + n) for n in range(count)]
    out = score(folder, [*PAIRS, *more], code=1).out
    assert f"warning: {count} of {48 + len(more)} listed pairs are left out: {count} " in out
    assert "\x1b" not in out
    clean = whole(folder)
    for name in ("accuracy", "tpr@fpr", "threshold@fpr", "auc", "eer", "folds"):
        assert result[name] == clean[name], name


def test_contradictory_pairs_are_left_out_both(folder: Path) -> None:
    result = score(folder, [*PAIRS, ("p0/1", "p0/0", 0)], "--json", code=1).json
    assert result["left_out"] == {"listed as same and as different": 2} and result["counts"]["pairs"] == 47


TOLD: dict[str, tuple[list[Any], list[str]]] = {
    "listed twice": (
        [*PAIRS, PAIRS[0], (PAIRS[1][1], PAIRS[1][0], 1)],
        [
            "2 pairs stand in the list more than once and count each time",
            "p.csv:50: counted again: the same pair as ",
        ],
    ),
    "against the manifest": (
        [*PAIRS, ("p3/1", "p3/2", 0)],
        ["warning: 1 pairs have another label in p.csv than the identities of the manifest say"],
    ),
    "the wrong way round": (
        [(a, b, 1 - s) for a, b, s in PAIRS],
        ["warning: 48 pairs have another label", "these are all: are its 1 and 0 swapped?"],
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_pairs_that_count_and_are_told(folder: Path, case: str) -> None:
    rows, said = TOLD[case]
    out = score(folder, rows, code=0).out
    assert all(text in out for text in said)


PEOPLE_LIST = "a list of people and how many images each has, not of pairs"


def test_one_pair_listed_very_often(folder: Path) -> None:
    """In no more time than any; of both labels all are left out, with the first other line."""
    begin = time.monotonic()
    counts = score(folder, [*PAIRS, *[PAIRS[0]] * 40_000], "--json", code=0).json["counts"]
    assert time.monotonic() - begin < 20, "the quadratic way took minutes"
    assert (counts["pairs"], counts["repeated"], counts["left_out"]) == (40_048, 40_000, 0)
    both = [("p0/0", "p1/1", 1), ("p1/1", "p0/0", 0), ("p0/0", "p1/1", 1)]
    found = score(folder, [*PAIRS, *both], "--json", code=1).json
    told = [line for line in found["problems"] if "the other way" in line]
    assert [line.rpartition(":")[2] for line in told] == ["51", "50", "51"] and found["counts"][
        "left_out"
    ] == 3


NO_LISTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file, no list of pairs"),
    "blank": (b"\n \n", "an empty file, no list of pairs"),
    "a head": (b"first,second,same\n", "it lists no pair"),
    "HTML": (b"<!DOCTYPE html><html>\n", "is known, it begins with '<!DOCTYPE html><html>'"),
    "a pickle": (
        b"\x80\x04\x95\x00",
        "not UTF-8 text, so no list of pairs; a .bin file of images is for: vidface",
    ),
    "UTF-16": ("first,second,same\n".encode("utf-16"), "not UTF-8 text"),
    "NUL": (b"first,second,same\np0/0,p0/\x001,1\n", "NUL characters"),
    "other columns": (b"first,second,label\np0/0,p0/1,1\n", "no list of pairs that is known"),
    "more columns": (b"first,second,same,split\np0/0,p0/1,1,1\n", "the columns are first,second,same or"),
    "bars": (b"p0/0|p0/1|1\n", "no list of pairs that is known"),
    "people, csv": (b"name,images\nAnn,3\n", PEOPLE_LIST),
    "people": (b"4038\nAnn\t3\n", PEOPLE_LIST),
    "two labels": (b"0 p0/0 1\n", "can't be told whether the first or the third word is the label"),
    "terminal codes": (b"\x1b[31m x\n", r"begins with '\x1b[31m x'"),
    "LFW, cut short": (
        b"10 300\n" + b"".join(b"p%d\t1\t2\n" % p for p in range(6)) + b"p1\t1\tp2\t1\n",
        "none of its 6000 pairs (LFW pairs) can be used: 7 no such video, 5993 promised by the first line, not there",
    ),
}


@pytest.mark.parametrize("case", NO_LISTS)
def test_no_list_of_pairs(folder: Path, case: str) -> None:
    content, said = NO_LISTS[case]
    path = folder / "p.txt"
    path.write_bytes(content)
    error = score(folder, path, code=1).error
    assert said in error and str(path) in error


def test_what_is_no_file_of_pairs(folder: Path) -> None:
    """A pipe is not waited for; CFP's folder without its list of images."""
    os.mkfifo(folder / "pipe")
    (folder / "FP").mkdir()
    split = folder / "Protocol" / "Split" / "FP"
    (split / "01").mkdir(parents=True)
    (split / "01" / "same.txt").write_text("1,1\n")
    (split / "01" / "diff.txt").write_text("2,1\n")
    other = folder / "twice" / "Protocol"
    shutil.copytree(split, other / "Split" / "FP")
    (other / "Pair_list_F.txt").write_text("1 p0/0\n2 p1/0\n")
    (other / "Pair_list_P.txt").write_text("1 p0/1\n1 p1/1\n")
    for path, said in (
        (folder / "none.csv", "cannot be read: No such file"),
        (folder / "pipe", "not a regular file"),
        (folder / "FP", "must be Protocol/Split/FP"),
        (split, "Pair_list_F.txt: pairs cannot be read: No such file"),
        (other / "Split" / "FP", "Pair_list_P.txt:2: image 1 is listed already"),
    ):
        assert said in score(folder, path, code=1).error


@pytest.mark.parametrize("labels", ["-1 1", "False True", "false TRUE", "0.0 1.0"])
def test_labels_of_another_program(folder: Path, labels: str) -> None:
    rows = [(one, other, labels.split()[label]) for one, other, label in PAIRS]
    result, expected = score(folder, rows, "--json", code=0).json, whole(folder)
    for name in ("accuracy", "auc", "eer", "tpr@fpr", "counts"):
        assert result[name] == expected[name]


def folded(number: Callable[[int], object]) -> list[Any]:
    return [(*pair, number(n)) for n, pair in enumerate(PAIRS)]


REFUSED: dict[str, tuple[list[Any], str, int, list[str]]] = {  # rows, protocol, exit code, what is said
    "all ids unknown": (
        [(f"lfw/{a}", f"lfw/{b}", s) for a, b, s in PAIRS],
        *("folds", 1),
        ["p.csv: none of its 48 pairs (CSV) can be used: 48 no such video; the first: ", "look like 'p0/0'"],
    ),
    "one kind": ([pair for pair in PAIRS if pair[2]], "folds", 1, ["24 pairs 24 can be used", "both"]),
    "one kind, no folds": (
        [pair for pair in PAIRS if pair[2]],
        "pairs",
        1,
        ["24 pairs 24 can be used", "both"],
    ),
    "one kind is left": (
        [(one, other, same or "no") for one, other, same in PAIRS],
        *("folds", 1),
        [
            "left out: 24 malformed line; the first: ",
            "p.csv:26: left out: malformed line: same must be 1 or 0",
        ],
    ),
    "too few": (PAIRS[20:28], "folds", 1, ["8 pairs cannot be cut into 10 folds"]),
    "one fold": (folded(lambda n: 3), "folds", 1, ["two folds or more"]),
    "very many folds": (
        [(*PAIRS[kind], fold) for fold in range(1001) for kind in (0, -1)],
        *("folds", 1, ["1001 folds; at most 1000 are scored"]),
    ),
    "no splits": (PAIRS, "ytf", 2, ["a list without splits (CSV)"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_lists_that_cannot_be_scored(folder: Path, case: str) -> None:
    """Never TPR 0."""
    rows, by, code, said = REFUSED[case]
    error = score(folder, rows, by=by, code=code).error
    assert all(text in error for text in said), error
    if case == "too few":
        score(folder, rows, by="pairs", code=0)


def test_a_fold_that_is_no_number(folder: Path) -> None:
    result = score(folder, [*folded(lambda n: n % 4), ("p0/0", "p4/1", "0", "x")], "--json", code=1).json
    assert "fold must be a whole number, not 'x'" in result["problems"][0]


def test_a_missing_list_or_a_ranking(folder: Path) -> None:
    for by in ("pairs", "folds", "ytf"):
        words = ("score", folder / "embeddings.npy", "--manifest", folder / "set.csv", "--protocol", by)
        assert f"--protocol {by} needs --pairs" in vidface(*words, code=2).error
    (folder / "ranking.txt").write_text("p0 p0/0.mp4\n")
    assert "a ranking holds no embeddings" in score(folder, PAIRS, scored="ranking.txt", code=2).error


def test_videos_without_a_usable_frame_score_0(folder: Path) -> None:
    """Two zero rows are not the same person, although nothing lies between them."""
    rows = np.load(folder / "embeddings.npy")
    rows[:2] = 0  # p0/0 and p0/1: pair p0/0, p0/1 and three others
    np.save(folder / "embeddings.npy", rows)
    out = score(folder, PAIRS, code=1).out
    assert "warning: 2 videos have no usable frame, the first is 'p0/0': their 6 pairs score 0" in out
    result = score(folder, PAIRS, "--json", code=1).json
    assert (result["counts"]["zero_embeddings"], result["counts"]["zero_pairs"]) == (2, 6)
    assert result["tpr@fpr"]["0.1"] == 22 / 24 and result["threshold_accuracy"] == 46 / 48
