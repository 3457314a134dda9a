"""Lists of images, labels and matrices that are wrong: each ends in one line, or in a counted fault."""

from __future__ import annotations

import csv
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, frames_of, vidface
from fault_material import extracted, unit
from PIL import Image

GOOD = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "x/1.png"]
SIX = b"1.jpg\n2.jpg\n3.jpg\n4.jpg\n5.jpg\n6.jpg\n"


def convert(folder: Path, lines: bytes, labels: bytes | None = None, **options: Any) -> Ran:
    (folder / "filelist.txt").write_bytes(lines)
    asked = ["manifest", "from-trillionpairs", folder / "filelist.txt", "-o", folder / "set.csv"]
    if labels is not None:
        (folder / "labels.txt").write_bytes(labels)
        asked += ["--labels", folder / "labels.txt"]
    return vidface(*asked, **options)


NO_LISTS: dict[str, tuple[bytes, bytes | None, str]] = {
    "empty": (b"", None, "filelist.txt: names no image: give one relative path a line"),
    "blank lines": (b"\n\n", None, "filelist.txt: names no image: give one relative path a line"),
    "a byte order mark": (b"\xef\xbb\xbf", None, "filelist.txt: names no image"),
    "an empty line": (b"a.jpg\n \nb.jpg\n", None, "filelist.txt:2: an empty line; rows are counted by lines"),
    "an image twice": (b"a.jpg\nb.jpg\na.jpg\n", None, "filelist.txt:3: "),
    "above": (b"good.jpg\n../a.jpg\n", None, "filelist.txt:2: "),
    "absolute": (b"good.jpg\n/etc/passwd\n", None, "filelist.txt:2: "),
    "above, within": (b"good.jpg\na/../../b.jpg\n", None, "filelist.txt:2: "),
    "a drive": (b"good.jpg\nC:\\a.jpg\n", None, "filelist.txt:2: "),
    "NUL": (b"a\0.jpg\n", None, "filelist.txt:1: "),
    "not UTF-8": (b"a.jpg\n\xff\xfe.jpg\n", None, "filelist.txt:2: not UTF-8; save the file as UTF-8"),
    "too few labels": (b"a.jpg\nb.jpg\n", b"p\n", "labels.txt: 1 lines for the 2 images of "),
    "too many labels": (b"a.jpg\nb.jpg\n", b"p\nq\nr\n", "labels.txt: 3 lines for the 2 images of "),
    "no labels": (b"a.jpg\nb.jpg\n", b"", "labels.txt: 0 lines for the 2 images of "),
    "an empty label more": (b"a.jpg\nb.jpg\n", b"p\nq\n\n", "labels.txt: 3 lines for the 2 images of "),
    "labels, not UTF-8": (b"a.jpg\nb.jpg\n", b"p\n\xe9\n", "labels.txt:2: not UTF-8"),
}


@pytest.mark.parametrize("case", NO_LISTS)
def test_lists_that_are_refused(tmp_path: Path, case: str) -> None:
    """In one line, and without a manifest."""
    lines, labels, said = NO_LISTS[case]
    ran = convert(tmp_path, lines, labels)
    assert ran.code != 0 and ran.out == "" and said in ran.error
    assert " lines for " not in said or ran.error.endswith(
        "give one line an image, empty, 0 or -1 for a distractor"
    )
    assert not (tmp_path / "set.csv").exists()


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    ran = vidface("manifest", "from-trillionpairs", tmp_path / "none.txt", "-o", tmp_path / "set.csv")
    assert ran.code != 0 and "none.txt: cannot be read: No such file or directory" in ran.error


def test_line_ends_byte_order_marks_and_zeros_change_no_label(tmp_path: Path) -> None:
    """Only 0 itself is nobody."""
    lines = b"\xef\xbb\xbfa b.jpg\r\n7.jpg\r\n8.jpg\r\n9.jpg\r\n\r\n"
    convert(tmp_path, lines, b"\xef\xbb\xbf007\r\n0\r\n-1\r\n00\r\n", code=0)
    with (tmp_path / "set.csv").open(newline="") as file:
        found = [
            (row["video_id"], row["path"], row["identity"], row["split"]) for row in csv.DictReader(file)
        ]
    wanted = {"a b.jpg": "007", "7.jpg": "", "8.jpg": "", "9.jpg": "00"}
    assert found == [(name, name, who, "test") for name, who in wanted.items()]


def test_listed_images_that_cannot_be_used_are_counted(tmp_path: Path, model: Path) -> None:
    """One is missing, one is a web page, one is cut short: they keep their rows, in the list's order."""
    for name in GOOD:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = frames_of(ord(name[0]) - ord("a"), 1, seed=int(name[2]))[0]
        Image.fromarray(picture).save(tmp_path / name, compress_level=1)
    (tmp_path / "page.png").write_text("<html><body>404</body></html>")
    (tmp_path / "short.png").write_bytes((tmp_path / GOOD[0]).read_bytes()[:200])
    bad = ["page.png", "missing.png", "short.png"]
    listed = [GOOD[0], bad[0], *GOOD[1:4], bad[1], GOOD[4], bad[2]]
    labels = "".join(f"{'' if name[0] == 'x' else name[0]}\n" for name in listed)
    made = convert(tmp_path, "".join(f"{name}\n" for name in listed).encode(), labels.encode(), code=0)
    assert "1" in made.out and "missing" in made.out + made.err
    left = extracted(tmp_path / "set.csv", tmp_path / "f.h5", model, "--flip", code=1)
    assert [*left.status] == listed and {*left.faults} == {*bad}
    assert [name for name in listed if left.status[name] != "ok"] == bad
    assert [len(left.rows[name]) for name in listed] == [int(name not in bad) for name in listed]
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", "--json", code=1)
    told = ("--manifest", tmp_path / "set.csv")
    # Zero rows are a problem of a submission.
    vidface("submit", tmp_path / "e.h5", *told, "--format", "lfrc", "-o", tmp_path / "f.bin", code=1)
    for scored, where in (
        ("e.h5", "see faults.jsonl"),
        ("f.bin", f"the first is {bad[0]!r}, a row of zeros"),
    ):
        words = ("score", tmp_path / scored, *told, "--protocol", "trillionpairs", "--json")
        found = vidface(*words, code=1).json
        assert (found["counts"]["zero_embeddings"], found["counts"]["images"]) == (3, 8)
        said = "3 of 8 images have no embedding: they score 0 with everybody and stay counted; "
        assert said + where in found["warnings"]


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    """A manifest of six images (two people, two strangers), and the rows of its matrix."""
    convert(tmp_path, SIX, b"p\np\nq\nq\n0\n0\n", code=0)
    return unit(np.random.default_rng(1).normal(size=(6, 8)))


def score(folder: Path, rows: np.ndarray, *options: object, cut: int = 0) -> Ran:
    path = folder / "f.bin"
    path.write_bytes(struct.pack("<4i", len(rows), 8, 32, 5) + rows.astype("<f4").tobytes())
    os.truncate(path, path.stat().st_size - cut)
    words = ("--manifest", folder / "set.csv", "--protocol", "trillionpairs", "--targets", "0.2", *options)
    return vidface("score", path, *words)


def test_matrices_that_do_not_fit(tmp_path: Path, rows: np.ndarray) -> None:
    nan = rows.copy()
    nan[3, 1] = np.nan
    for spoilt, said in (
        (rows[:5], "5 rows for the 6 videos of"),
        (nan, "1 rows hold NaN or infinity, the first is row 3"),
        (2 * rows, "6 rows are not of unit length, the first is row 0"),
    ):
        assert said in score(tmp_path, spoilt).error
    assert "cut short" in score(tmp_path, rows, cut=4).error
    assert score(tmp_path, rows).code == 0
    scaled = score(tmp_path, 2 * rows, "--normalise", "--json").json
    assert "6 of 6 rows were not of unit length (2 to 2) and were normalised" in scaled["warnings"]


def test_what_has_no_answer(tmp_path: Path, rows: np.ndarray) -> None:
    """No labels, a ranking, options of other protocols; without distractors identification is not measured."""
    assert (
        "trillionpairs does not use --pairs" in score(tmp_path, rows, "--pairs", tmp_path / "set.csv").error
    )
    assert "FPR target '2' is not a rate above 0 and below 1" in score(tmp_path, rows, "--targets", "2").error
    trillion = ("score", tmp_path / "f.bin", "--protocol", "trillionpairs")
    assert vidface(*trillion).error == "error: --protocol trillionpairs needs --manifest"
    ranking = tmp_path / "ranking.txt"
    ranking.write_text("p 1.jpg.mp4\n")
    words = ("score", ranking, "--manifest", tmp_path / "set.csv", "--protocol", "trillionpairs")
    assert vidface(*words).error == (
        "error: a ranking holds no embeddings: trillionpairs needs an embeddings file, a .npy or a .bin"
    )
    convert(tmp_path, SIX, b"p\np\nq\nq\nr\nr\n", code=0)
    found = score(tmp_path, rows, "--json").json
    assert found["identification"]["rank1"] is None and found["identification"]["tpr@fpr"] == {"1e-3": None}
    assert found["tpr@fpr"]["0.2"] is not None
    assert found["warnings"] == ["identification is not measured: there are no distractors to search among"]
    convert(tmp_path, SIX, code=0)
    said = "no image has an identity, so there is nobody to compare: make the manifest with --labels"
    assert score(tmp_path, rows).error.endswith(said)
