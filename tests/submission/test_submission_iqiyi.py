from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import StoreError
from vidface.manifest.manifest import Manifest
from vidface.manifest.rows import Problem
from vidface.submission import check_iqiyi, read_iqiyi, sniff, write_iqiyi


def make_manifest(rows: list[tuple[str, str, str]]) -> Manifest:
    ids, identities, splits = (list(column) for column in zip(*rows, strict=True))
    return Manifest(Path("set.csv"), Path(), ids, list(ids), identities, splits, "")


def put(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "submission.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def kinds(problems: list[Problem]) -> list[tuple[int, str]]:
    return [(problem.line, problem.kind) for problem in problems]


# Writing and reading


def test_golden_bytes(tmp_path: Path) -> None:
    path = tmp_path / "submission.txt"
    rankings = {"10": ["IQIYI_VID_VAL_0000499", "b.mp4"], "9": ["c"], "010": ["anna/d"], "2": []}
    write_iqiyi(path, rankings)
    expected = b"2\n9 c.mp4\n010 anna/d.mp4\n10 IQIYI_VID_VAL_0000499.mp4 b.mp4\n"
    assert path.read_bytes() == expected
    assert sniff(path) == "iqiyi"
    back = read_iqiyi(path)
    assert back == {"2": [], "9": ["c"], "010": ["anna/d"], "10": ["IQIYI_VID_VAL_0000499", "b"]}
    assert list(back) == ["2", "9", "010", "10"]


def test_identities_that_are_not_all_numbers_go_by_their_text(tmp_path: Path) -> None:
    path = tmp_path / "submission.txt"
    write_iqiyi(path, {"b": ["x"], "10": ["x"], "9": ["x"], "\u00e9": ["x.MP4"], "\u0663": ["x"]})
    assert path.read_text("utf-8") == "10 x.mp4\n9 x.mp4\nb x.mp4\n\u00e9 x.MP4.mp4\n\u0663 x.mp4\n"
    write_iqiyi(path, {"\u0663": ["x"], "9": ["x"], "10": ["x"]})  # a digit, but not of the plain ones
    assert path.read_text("utf-8") == "10 x.mp4\n9 x.mp4\n\u0663 x.mp4\n"


WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)
IDS = WORDS.map(lambda text: text.removesuffix(".mp4") or "x")


@settings(max_examples=60)
@given(rankings=st.dictionaries(WORDS, st.lists(IDS, unique=True, max_size=6), min_size=1, max_size=6))
def test_rankings_come_back(tmp_path: Path, rankings: dict[str, list[str]]) -> None:
    write_iqiyi(tmp_path / "submission.txt", rankings)
    assert read_iqiyi(tmp_path / "submission.txt") == rankings


@settings(max_examples=60)
@given(
    ids=st.lists(
        st.builds(
            str.__add__,
            st.sampled_from(["x", "ax", ".mp4x"]),
            st.sampled_from(["", ".mp4", ".mp4.mp4", ".MP4"]),
        ),
        min_size=1,
        unique=True,
    )
)
def test_ids_with_their_suffix_come_back_where_the_manifest_is_known(tmp_path: Path, ids: list[str]) -> None:
    path = tmp_path / "submission.txt"
    names = {video_id if video_id.endswith(".mp4") else f"{video_id}.mp4" for video_id in ids}
    if len(names) < len(ids):
        with pytest.raises(StoreError, match="times"):
            write_iqiyi(path, {"1": ids})
        path.write_text("1 a.mp4\n")
        with pytest.raises(StoreError, match="share one name"):
            read_iqiyi(path, video_ids=ids)
    else:
        write_iqiyi(path, {"1": ids})
        assert read_iqiyi(path, video_ids=ids) == {"1": ids}
        assert read_iqiyi(path, video_ids=["other"]) == {
            "1": [video_id.removesuffix(".mp4") for video_id in ids]
        }


@pytest.mark.parametrize(
    ("rankings", "says"),
    [
        ({"1": ["a b"]}, "video id 'a b'"),
        ({"1": ["a\u3000b"]}, "white space"),
        ({"1": ["a", "b\n"]}, r"'b\\n'"),
        ({"1": [""]}, "video id ''"),
        ({"1": [".mp4"]}, "video id '.mp4'"),
        ({"1": ["\ud800"]}, r"ud800"),
        ({"1": ["\0"]}, r"x00"),
        ({"Anna Lee": ["a"]}, "identity 'Anna Lee'"),
        ({"": ["a"]}, "identity ''"),
        ({"1": ["a", "b", "a"]}, "'a.mp4' 2 times"),
        ({"1": ["a", "a.mp4"]}, "'a.mp4' 2 times"),
        ({"1": [str(row) for row in range(101)]}, "101 videos"),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(
    tmp_path: Path, rankings: dict[str, list[str]], says: str
) -> None:
    path = put(tmp_path, "old")
    with pytest.raises(StoreError, match=says):
        write_iqiyi(path, rankings)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_is_tolerant_of_white_space_and_keeps_what_it_finds(tmp_path: Path) -> None:
    assert read_iqiyi(put(tmp_path, "1 a.mp4 b.mp4 a.mp4 \r\n2\tc.mp4  d.mp4")) == {
        "1": ["a", "b", "a"],
        "2": ["c", "d"],
    }
    for count in (100, 150):
        many = " ".join(f"v{row}.mp4" for row in range(count))
        assert len(read_iqiyi(put(tmp_path, f"1 {many}\n"))["1"]) == count
    write_iqiyi(tmp_path / "submission.txt", {"1": [f"v{row}" for row in range(100)]})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for function in (read_iqiyi, sniff):
        with pytest.raises(StoreError, match="No such file"):
            function(tmp_path / "gone.txt")
    with pytest.raises(StoreError, match="No such file"):
        check_iqiyi(tmp_path / "gone.txt", make_manifest([("a", "1", "val")]))


# Checking

GALLERY = [
    ("t", "1", "train"),
    ("a", "1", "val"),
    ("b.mp4", "2", "val"),
    ("c", "", "val"),
    ("u", "3", "train"),
]
OF_FORM = {"empty", "undecodable", "not-mp4", "repeated-identity"}  # what makes reading fail


def test_a_good_submission_has_no_problems(tmp_path: Path) -> None:
    manifest = make_manifest(GALLERY)
    assert check_iqiyi(put(tmp_path, "1 a.mp4 c.mp4 \n2 b.mp4 a.mp4\n"), manifest) == []
    # An identity that is enrolled but not in the gallery may be ranked.
    assert check_iqiyi(put(tmp_path, "1 a.mp4\n2 b.mp4\n3 c.mp4\n"), manifest) == []
    assert check_iqiyi(put(tmp_path, "1 t.mp4\n3 u.mp4\n"), manifest, gallery_split="train") == []


@pytest.mark.parametrize(
    ("text", "expected", "says"),
    [
        ("", [(0, "empty"), (0, "missing-identity"), (0, "missing-identity")], "'1'"),
        ("1 a.mp4\n", [(0, "missing-identity")], "identity '2'"),
        ("1 a.mp4\n2\n", [(2, "no-videos")], "identity '2'"),
        ("1 a.mp4\n2 b.mp4\n1 c.mp4\n", [(3, "repeated-identity")], "line 1"),
        ("1 a.mp4\n2 b.mp4\n9 c.mp4\n", [(3, "unknown-identity")], "'9'"),
        ("1 a.mp4 x.mp4\n2 b.mp4\n", [(1, "unknown-video")], "'x.mp4'"),
        ("1 a.mp4 t.mp4\n2 b.mp4\n", [(1, "not-in-gallery")], "'train', not 'val'"),
        ("1 a.mp4 c.mp4 a.mp4\n2 b.mp4\n", [(1, "repeated-video")], "'a.mp4' is there 2 times"),
        ("1 a\n2 b.mp4\n", [(1, "not-mp4")], "'a'"),
        ("1 a.mp4\n\n2 b.mp4\n", [(2, "empty")], "line"),
        ("1  a.mp4\n2 b.mp4\n", [(1, "spacing")], "single spaces"),
        (" 1 a.mp4\n2\tb.mp4\n", [(1, "spacing"), (2, "spacing")], "single spaces"),
        ("1 a.mp4\r\n2 b.mp4\n", [(1, "spacing")], "line feed"),
        ("\ufeff1 a.mp4\n2 b.mp4\n", [(1, "undecodable")], "byte order mark"),
        (b"1 a.mp4\n2 \xff.mp4\n", [(0, "missing-identity"), (2, "undecodable")], "UTF-8"),
        (" \n\n", [(0, "empty"), (0, "missing-identity"), (0, "missing-identity")], "no rankings"),
        ("1 a.mp4\n2 b.MP4 c\n", [(2, "not-mp4")], "'b.MP4' is not the name of an .mp4 (and 1 more"),
        ("1 a.mp4\n2 .mp4\n", [(2, "not-mp4"), (2, "unknown-video")], "'.mp4'"),
    ],
)
def test_every_problem_is_found_at_its_line(
    tmp_path: Path, text: str | bytes, expected: list[tuple[int, str]], says: str
) -> None:
    path = put(tmp_path, text)
    problems = check_iqiyi(path, make_manifest(GALLERY))
    assert kinds(problems) == expected
    assert any(says in problem.message for problem in problems)
    assert not any("\n" in problem.message for problem in problems)
    of_form = [problem for problem in problems if problem.kind in OF_FORM]
    if of_form:
        with pytest.raises(StoreError) as caught:
            read_iqiyi(path)
        assert str(caught.value) == of_form[0].at(path)
    else:
        read_iqiyi(path)


def test_more_than_a_hundred_videos(tmp_path: Path) -> None:
    manifest = make_manifest([(f"v{row}", "1", "val") for row in range(101)])
    line = "1 " + " ".join(f"v{row}.mp4" for row in range(101))
    problems = check_iqiyi(put(tmp_path, line + "\n"), manifest)
    assert kinds(problems) == [(1, "too-many")]
    assert "101" in problems[0].message
    assert check_iqiyi(put(tmp_path, line.removesuffix(" v100.mp4") + "\n"), manifest) == []


def test_ids_that_share_a_name(tmp_path: Path) -> None:
    manifest = make_manifest([("a", "1", "val"), ("a.mp4", "1", "val")])
    assert kinds(check_iqiyi(put(tmp_path, "1 a.mp4\n"), manifest)) == [(0, "ambiguous-id")]
