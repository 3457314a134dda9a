"""Lists as LFW's mirrors, CALFW, CPLFW and VoxCeleb have them, and how spreadsheets and other systems spell lists."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from test_pair_formats import EXPECTED, SPELLINGS, lfw_lines, lfw_set, named, set_of, spelled

from vidface.errors import ManifestError
from vidface.manifest.pairs import read_pairs
from vidface.scores.metrics.folds import given_folds, ten_folds

Row = tuple[str, str, bool]


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes((end.join(lines) + end).encode())
    return path


def lfw_csv(columns: int = 4) -> list[str]:
    """The rows of pairs.csv: matched ones have an empty last field."""
    return [",".join([*line.split("\t"), ""][:columns]) for line in lfw_lines()]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_lfw_as_csv(tmp_path: Path, spelling: str) -> None:
    path = write(tmp_path / "pairs.csv", ["name,imagenum1,imagenum2,", *lfw_csv()], "\r\n")
    manifest = lfw_set(spelling)
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == [(a, b, same, None) for a, b, same, _ in spelled(spelling)]
    assert (pairs.listed, pairs.left_out, pairs.problems) == (8, {}, [])


def test_lfw_as_csv_of_both_kinds_one_after_the_other(tmp_path: Path) -> None:
    """matchpairsDevTest.csv and mismatchpairsDevTest.csv in one file: the columns are named twice."""
    rows = sorted(lfw_csv(), key=lambda row: len(row.strip(",").split(",")))
    lines = ["name,imagenum1,imagenum2", *[row.strip(",") for row in rows[:4]]]
    path = write(tmp_path / "dev.csv", [*lines, "name,imagenum1,name,imagenum2", *rows[4:]])
    manifest = lfw_set("{0}/{0}_{1:04d}")
    pairs = read_pairs(path, manifest)
    assert sorted(named(pairs, manifest)) == sorted((*row[:3], None) for row in spelled("{0}/{0}_{1:04d}"))
    assert pairs.left_out == {}


def test_ten_blocks_of_one_size_are_lfw_s_folds(tmp_path: Path) -> None:
    lines = [line for _ in range(5) for line in lfw_csv()]
    path = write(tmp_path / "pairs.csv", ["name,imagenum1,imagenum2,", *lines])
    pairs = read_pairs(path, lfw_set("{0}/{0}_{1:04d}"))
    assert pairs.folds is not None
    assert pairs.folds.tolist() == np.repeat(np.arange(1, 11), 4).tolist()


PEOPLE = [f"Person_{n}" for n in range(24)]
SET = set_of([(f"{name}_{i}", name) for name in PEOPLE for i in (1, 2)])
SAME = [(f"{name}_1", f"{name}_2") for name in PEOPLE[:20]]
OTHER = [(f"{one}_1", f"{other}_1") for one, other in zip(PEOPLE[:20], PEOPLE[4:], strict=True)]


def two_lines(folds: list[int]) -> list[str]:
    same = [f"{name}.jpg {fold}" for pair, fold in zip(SAME, folds, strict=True) for name in pair]
    return same + [f"{name}.jpg 0" for pair in OTHER for name in pair]


def test_calfw(tmp_path: Path) -> None:
    """Two lines a pair; the number of a pair of one person is its fold, and all of those come first."""
    folds = [1 + n % 10 for n in range(20)]
    path = write(tmp_path / "pairs_CALFW.txt", two_lines(folds), "\r\n")
    pairs = read_pairs(path, SET)
    expected = [(*pair, True, fold) for pair, fold in zip(SAME, folds, strict=True)]
    expected += [(*pair, False, 1 + n // 2) for n, pair in enumerate(OTHER)]
    assert named(pairs, SET) == expected
    assert (pairs.left_out, pairs.listed, pairs.against_manifest) == ({}, 40, 0)
    assert "pairs of two people: they are cut into 10 equal parts" in pairs.notes[0]
    # Cut in the order of the list, folds would be of one kind each, and their accuracy another number.
    distances = np.where(pairs.same, 0.9, 1.1) + np.linspace(0, 0.3, 40)
    mixed = given_folds(distances, pairs.same, pairs.folds)
    assert mixed.accuracy != ten_folds(distances, pairs.same).accuracy


@pytest.mark.parametrize("blocks", [1, 10])
def test_cplfw(tmp_path: Path, blocks: int) -> None:
    """1 for all pairs of one person: in blocks or not, the folds hold both kinds, in the order of the list."""
    whole = two_lines([1] * 20)
    half = len(whole) // 2
    step = half // blocks
    lines = [
        line
        for start in range(0, half, step)
        for kind in (whole[:half], whole[half:])
        for line in kind[start : start + step]
    ]
    pairs = read_pairs(write(tmp_path / "pairs_CPLFW.txt", lines), SET)
    folds = {(a, b): fold for a, b, _, fold in named(pairs, SET)}
    assert (
        [folds[pair] for pair in SAME] == [folds[pair] for pair in OTHER] == [1 + n // 2 for n in range(20)]
    )
    assert "and so are those of one person" in pairs.notes[0]
    in_folder = set_of([(f"aligned images/{name}.jpg", "") for name in SET.video_ids])
    assert len(read_pairs(tmp_path / "pairs_CPLFW.txt", in_folder).same) == 40


@pytest.mark.parametrize(("lose", "place"), [(0, 1), (7, 7), (79, 79)], ids=["first", "middle", "last"])
def test_a_list_of_two_lines_that_lost_one(tmp_path: Path, lose: int, place: int) -> None:
    """From there on other images would be pairs: the list is refused as soon as two numbers differ."""
    lines = two_lines([1 + n % 10 for n in range(20)])
    del lines[lose]
    path = write(tmp_path / "pairs_CALFW.txt", lines)
    with pytest.raises(ManifestError, match="is a line missing above") as caught:
        read_pairs(path, SET)
    assert str(caught.value).startswith(f"{path}:{place}: ")


def test_trials_of_voxceleb(tmp_path: Path) -> None:
    """The label, then IDENTITY/VIDEO/CLIP.wav; the clips at hand are videos."""
    ids = ["id1/aa/00001", "id1/bb/00001.mp4", "id2/aa/00001", "id2/aa/00002"]
    manifest = set_of([(name, name[:3]) for name in ids])
    lines = ["1 id1/aa/00001.wav id1/bb/00001.wav", "0 id1/aa/00001.wav id2/aa/00002.wav"]
    lines += ["1 id2/aa/00001.wav id2/aa/00002.wav", "0 id2/aa/00001.wav id3/aa/00002.wav"]
    pairs = read_pairs(write(tmp_path / "veri_test.txt", lines), manifest)
    assert [(one, other, same) for one, other, same, _ in named(pairs, manifest)] == [
        ("id1/aa/00001", "id1/bb/00001.mp4", True),
        ("id1/aa/00001", "id2/aa/00002", False),
        ("id2/aa/00001", "id2/aa/00002", True),
    ]
    assert pairs.left_out == {"no such video": 1}


ROWS: list[Row] = [(a, b, same) for a, b, same, _ in EXPECTED]


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("first,second,same", "{a},{b},{s}"),
        ("first;second;same", "{a};{b};{s}"),
        ("first\tsecond\tsame", "{a}\t{b}\t{s}"),
        ('"First";"Second";"Same"', '"{a}";"{b}";"{s}"'),
        ("first, second, same", '"{a}", "{b}", {s} '),
        ("", "{a},{b},{s}"),
        ("", "{a};{b};{s}"),
        ("", "{s}\t{a}\t{b}"),
        ("", '"{a}" "{b}" {s}'),
        ("", "  {a}   {b}\t{s}  "),
        ("# first second same", "{a} {b} {s}"),
        ("#first;second;same", "{a};{b};{s}"),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_way_to_write_a_table(tmp_path: Path, head: str, line: str, mark: str) -> None:
    if line.startswith("  "):  # tabs between some, spaces between others
        line = line.replace("\t", "  ")
    rows = [line.format(a=f"./{a}.JPG", b=b, s=int(same)) for a, b, same in ROWS]
    path = write(tmp_path / "list", [mark + head] * bool(head or mark) + [*rows, "  "], "\r\n")
    manifest = lfw_set("{0}/{1}")
    pairs = read_pairs(path, manifest)
    assert named(pairs, manifest) == [(*row, None) for row in ROWS]
    assert pairs.left_out == {}
    comments = [note for note in pairs.notes if "taken as comments" in note]
    assert len(comments) == head.startswith("#")


def test_names_with_spaces_commas_and_backslashes(tmp_path: Path) -> None:
    manifest = set_of([("Ann Lee/a b", "a"), ("Ann Lee/c,d", "a"), ("#1/x", "b")])
    for lines in (
        ["Ann Lee/a b.mp4\tAnn Lee/c,d.mov\t1", "#1\\x.mkv\tAnn Lee\\a b\t0"],
        ["Ann Lee/a b;Ann Lee/c,d;1", "#1/x;Ann Lee/a b;0"],
        ["first,second,same", 'Ann Lee/a b,"Ann Lee/c,d",1', "#1/x,Ann Lee/a b,0"],
    ):
        pairs = read_pairs(write(tmp_path / "list", lines), manifest)
        assert named(pairs, manifest) == [
            ("Ann Lee/a b", "Ann Lee/c,d", True, None),
            ("#1/x", "Ann Lee/a b", False, None),
        ]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_the_other_unicode_form(tmp_path: Path, form: str) -> None:
    ids = ["Zo\u00eb/1", "Zo\u00eb/2", "Ann/1"]
    other = unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[form], "Zo\u00eb")
    manifest = set_of([(unicodedata.normalize(form, name), "") for name in ids])
    lines = [f"{other}/1.mov {other}/2.mov 1", f"{other}/1.mov Ann/1.mov 0"]
    pairs = read_pairs(write(tmp_path / "list", lines), manifest)
    assert (pairs.first.tolist(), pairs.second.tolist(), pairs.left_out) == ([0, 0], [1, 2], {})
