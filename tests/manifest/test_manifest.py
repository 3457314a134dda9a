from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import ManifestError
from vidface.manifest.manifest import COLUMNS, check_manifest, read_manifest, write_manifest

SUFFIXES = (".csv", ".jsonl", ".parquet")
HEAD = "video_id,path,identity,split\n"


def put(folder: Path, text: str | bytes, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(path: Path, root: Path | None = None) -> list[tuple[int, str]]:
    return [(problem.line, problem.kind) for problem in check_manifest(path, root=root)]


def fatal(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Reading


def test_a_manifest_is_read_as_it_is_written(tmp_path: Path) -> None:
    touch(tmp_path, "clips/a.mp4", "b.mp4")
    path = put(tmp_path, HEAD + "0144686,clips/a.mp4,NA,train\nnull,b.mp4,,\n")
    manifest = read_manifest(path)
    assert (manifest.video_ids, manifest.paths) == (["0144686", "null"], ["clips/a.mp4", "b.mp4"])
    assert (manifest.identities, manifest.splits) == (["NA", ""], ["train", ""])
    assert (manifest.path, manifest.root) == (path, tmp_path)
    assert manifest.video_path(0) == tmp_path / "clips" / "a.mp4"
    assert check_manifest(path) == []


def test_another_root(tmp_path: Path) -> None:
    touch(tmp_path, "media/a.mp4")
    path = put(tmp_path, HEAD + "a,a.mp4,,\n")
    assert found(path) == [(2, "missing-file")]
    assert found(path, root=tmp_path / "media") == []
    assert read_manifest(path, root=tmp_path / "media").video_path(0) == tmp_path / "media" / "a.mp4"
    with pytest.raises(ManifestError, match="nowhere"):
        read_manifest(path, root=tmp_path / "nowhere")


# Characters that quoting, escaping or type guessing may trip over; none that make two ids confusable.
NAMES = st.sampled_from(["NA", "null", "None", "nan", "1e5", "007", "TRUE", "-0", "1.0", "2020-01-01"])
WORDS = NAMES | st.text("ab019-+._,;:'\"#%&<>{}[]()|\\\u00e9\u6f22\u0915\U0001f600", min_size=1, max_size=8)
ROWS = st.lists(
    st.tuples(
        WORDS, WORDS.map(lambda text: "v/" + text.replace("\\", "_") + "_"), st.just("") | WORDS, WORDS
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[0],
)


@settings(max_examples=60)
@given(rows=ROWS)
def test_rows_come_back_from_every_format_and_the_checksums_agree(
    tmp_path: Path, rows: list[tuple[str, str, str, str]]
) -> None:
    checksums = set()
    for suffix in SUFFIXES:
        assert write_manifest(tmp_path / f"set{suffix}", rows) == len(rows)
        manifest = read_manifest(tmp_path / f"set{suffix}")
        lists = (manifest.video_ids, manifest.paths, manifest.identities, manifest.splits)
        assert list(zip(*lists, strict=True)) == rows
        checksums.add(manifest.sha256)
    assert len(checksums) == 1


def test_the_checksum_is_of_the_rows_and_of_all_of_them(tmp_path: Path) -> None:
    rows = [("a", "a.mp4", "x", "train"), ("b", "b.mp4", "", "val")]

    def checksum(rows: list[tuple[str, str, str, str]]) -> str:
        write_manifest(tmp_path / "set.csv", rows)
        return read_manifest(tmp_path / "set.csv").sha256

    variants = [rows, rows[::-1], rows[:1]]
    variants += [[("c", "a.mp4", "x", "train"), rows[1]], [("a", "c.mp4", "x", "train"), rows[1]]]
    variants += [[("a", "a.mp4", "y", "train"), rows[1]], [("a", "a.mp4", "x", "val"), rows[1]]]
    assert len({checksum(variant) for variant in variants}) == len(variants)
    plain = read_manifest(put(tmp_path, HEAD + "a,a.mp4,x,train\nb,b.mp4,,val\n")).sha256
    other = b'\xef\xbb\xbfpath,"video_id",split,identity\r\na.mp4,a,train,x\r\n\r\nb.mp4,"b",val,\r\n'
    assert read_manifest(put(tmp_path, other)).sha256 == plain
    assert checksum(rows) == plain


def test_columns_may_come_in_any_order_and_two_may_be_missing(tmp_path: Path) -> None:
    manifest = read_manifest(put(tmp_path, "path,video_id\na.mp4,a\n"))
    assert (manifest.video_ids, manifest.paths) == (["a"], ["a.mp4"])
    assert (manifest.identities, manifest.splits) == ([""], [""])
    manifest = read_manifest(
        put(tmp_path, '{"path": "a.mp4", "video_id": "a", "identity": null}\n', "set.jsonl")
    )
    assert (manifest.video_ids, manifest.identities, manifest.splits) == (["a"], [""], [""])
    pq.write_table(pa.table({"path": ["a.mp4"], "video_id": ["a"]}), tmp_path / "set.parquet")
    manifest = read_manifest(tmp_path / "set.parquet")
    assert (manifest.video_ids, manifest.paths, manifest.splits) == (["a"], ["a.mp4"], [""])


def test_parquet_text_of_several_kinds_and_nulls(tmp_path: Path) -> None:
    columns = {
        "video_id": pa.array(["007", "8"], pa.large_string()),
        "path": pa.array(["a", "b"], pa.string()),
        "identity": pa.array(["x", None], pa.string()).dictionary_encode(),
        "split": pa.array([None, None], pa.null()),
    }
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    manifest = read_manifest(tmp_path / "set.parquet")
    assert (manifest.video_ids, manifest.identities, manifest.splits) == (["007", "8"], ["x", ""], ["", ""])


# What is wrong, and where


@pytest.mark.parametrize(
    ("body", "line", "kind", "says"),
    [
        ("a,a.mp4,,\na,b.mp4,,\n", 3, "duplicate-id", "already in line 2"),
        ("Clip,a.mp4,,\nclip,b.mp4,,\n", 3, "confusable-id", "line 2"),
        ("caf\u00e9,a.mp4,,\ncafe\u0301,b.mp4,,\n", 3, "confusable-id", r"'cafe\u0301'"),
        ("a,a.mp4,Zo\u00eb,\nb,b.mp4,Zoe\u0308,\n", 3, "confusable-identity", r"'Zoe\u0308'"),
        (",a.mp4,,\n", 2, "empty", "no video_id"),
        ("a,,,\n", 2, "empty", "no path"),
        ("a,b/../../a.mp4,,\n", 2, "outside-root", ".."),
        ("a\0b,a.mp4,,\n", 2, "control", r"\x00"),
        ("a,a.mp4,x\ty,\n", 2, "control", r"\t"),
        ("a,a.mp4,,v\x85al\n", 2, "control", "split"),
        ("a,a.mp4, x,\n", 2, "white-space", "' x'"),
        ("a,a.mp4,,val\u3000\n", 2, "white-space", "split"),
        ("a ,a.mp4,,\n", 2, "white-space", "video_id"),
        ("a,a.mp4,\n", 2, "fields", "3 fields"),
        ('"a"b,a.mp4,,\n', 2, "syntax", "quote"),
        ('b,b.mp4,,\n"a,a.mp4,,\nc,c.mp4,,\n', 3, "syntax", "quote"),
    ],
)
def test_a_bad_row_is_found_at_its_line_and_stops_the_reader(
    tmp_path: Path, body: str, line: int, kind: str, says: str
) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = put(tmp_path, HEAD + body)
    found_here = [problem for problem in check_manifest(path) if problem.kind != "missing-file"]
    assert [(problem.line, problem.kind) for problem in found_here] == [(line, kind)]
    assert says in found_here[0].message
    assert "\n" not in found_here[0].message
    assert "\x1b" not in found_here[0].message
    assert fatal(path) == f"{path}:{line}: {found_here[0].message}"


def test_ids_that_only_look_alike_to_a_program_are_fine(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = put(tmp_path, HEAD + "1,a.mp4,Anna,\n01,b.mp4,anna,\n001,c.mp4,anna,\n")
    assert [problem.kind for problem in check_manifest(path)] == ["two-spellings"]  # a warning, no problem


def test_missing_media_and_a_path_listed_twice_do_not_stop_the_reader(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nothing")
    body = "a,a.mp4,,\nb,gone.mp4,,\nc,gone/x,,\nd,a.mp4,,\ne,pipe,,\nf,dangling,,\ng,a.mp4/x,,\n"
    path = put(tmp_path, HEAD + body)
    assert found(path) == [(row, "duplicate-path" if row == 5 else "missing-file") for row in range(3, 9)]
    assert len(read_manifest(path).video_ids) == 7


def test_links_may_not_lead_out_of_the_root(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "root-beside"
    touch(root, "real/a.mp4")
    touch(other, "b.mp4", "more/c.mp4")
    (root / "inner").symlink_to(root / "real")
    (root / "file.mp4").symlink_to(other / "b.mp4")
    (root / "folder").symlink_to(other)
    (root / "back").symlink_to("folder/../real")  # leads out by another link: the target is beside root
    (root / "fine.mp4").symlink_to("inner/a.mp4")
    (root / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "loop").symlink_to("loop")
    names = "inner/a.mp4 file.mp4 folder/b.mp4 folder/more folder/ fine.mp4 dead.mp4 loop folder back/a.mp4 inner ."
    body = "".join(f"{row},{name},,\n" for row, name in enumerate(names.split()))
    path = put(root, HEAD + body)
    out = "outside-root"
    lines = [(3, out), (4, out), (5, out), (6, out), (8, out), (9, "missing-file"), (10, out), (11, out)]
    assert found(path) == lines
    assert "symbolic link" in fatal(path)
    (tmp_path / "link").symlink_to(root)  # the root itself may be reached by a link
    assert found(tmp_path / "link" / "set.csv") == lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video_id,path,person\na,a.mp4,x\n", [(1, "unknown-column")]),
        ("a,a.mp4,x,val\n", [(1, "unknown-column")] * 4 + [(1, "missing-column")] * 2),
        ("video_id;path\na;a.mp4\n", [(1, "syntax")]),
        ("Video_id,path\na,a.mp4\n", [(1, "unknown-column"), (1, "missing-column")]),
        ("video_id,path,path\na,a.mp4,b.mp4\n", [(1, "duplicate-column")]),
        ("video_id,path,split,split\na,a.mp4,b,c\n", [(1, "duplicate-column")]),
        (
            HEAD.encode() + b"a,a.mp4,Jos\xe9,\n\xff,a.mp4,,\n",
            [(2, "undecodable"), (3, "undecodable"), (3, "duplicate-path")],
        ),
        (HEAD.encode("utf-16"), [(1, "undecodable")]),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str | bytes, expected: list[tuple[int, str]]) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    path = put(tmp_path, text)
    assert found(path) == expected
    fatal(path)


def test_every_problem_is_found_in_one_pass_and_counted(tmp_path: Path) -> None:
    path = put(tmp_path, HEAD + 'a,x,,\n"b\r\nc",y,,\na,z,,\n"q"q,w,,\n,w,,\nd,../e,,\nshort\n')
    kinds = {line: kind for line, kind in found(path) if kind != "missing-file"}
    assert list(kinds) == [3, 5, 6, 7, 8, 9]
    assert " ".join(kinds.values()) == "control duplicate-id syntax empty outside-root fields"
    assert fatal(path).endswith(f"(5 more; run: vidface manifest check {path})")


def test_a_quote_left_open_in_a_long_file_is_found(tmp_path: Path) -> None:
    rows = [f"v{row},{'p' * 60}/{row},," for row in range(4000)]
    rows[10] = '"' + rows[10]
    found_here = check_manifest(put(tmp_path, HEAD + "\n".join(rows)))
    assert (12, "syntax") in [(problem.line, problem.kind) for problem in found_here]


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ('{"video_id": 144686, "path": "x"}', "type", "video_id is 144686"),
        ('{"video_id": "1", "path": ["x"]}', "type", "path"),
        ('{"video_id": "1", "path": "x", "identity": true}', "type", "identity is true"),
        ('{"video_id": "1", "path": "x", "split": {"a": 1}}', "type", "split"),
        ('{"video_id": null, "path": "x"}', "empty", "no video_id"),
        ('{"video_id": "1"}', "missing-column", "no path"),
        ('{"video_id": "1", "path": "x", "age": 3}', "unknown-column", "'age'"),
        ('{"video_id": "1", "path": "x", "path": "y"}', "syntax", "twice"),
        ('["1", "x"]', "syntax", "list"),
        ('{"video_id": "1", "path": "x"', "syntax", "JSON"),
        ("[" * 100_000, "syntax", "JSON"),
        ('{"video_id": "\\ud800", "path": "x"}', "control", r"\ud800"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, kind: str, says: str) -> None:
    touch(tmp_path, "x", "y")
    path = put(tmp_path, '{"video_id": "ok", "path": "y"}\n\n' + line + "\r\n", "set.jsonl")
    problems = check_manifest(path)
    assert [(problem.line, problem.kind) for problem in problems] == [(3, kind)]
    assert says in problems[0].message
    assert fatal(path).startswith(f"{path}:3: ")


def test_a_line_separator_inside_json_text_does_not_move_the_line_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "x", "y")
    row = json.dumps({"video_id": "a\u2028b\x85c", "path": "x"}, ensure_ascii=False)
    path = put(tmp_path, row + '\n{"video_id": 1, "path": "y"}', "set.jsonl")
    assert found(path) == [(1, "control"), (2, "type")]
    rows = [{"video_id": name, "path": name, "age": "3"} for name in "xy"]
    path = put(tmp_path, "\n".join(map(json.dumps, rows)), "set.jsonl")
    assert found(path) == [(1, "unknown-column")]  # once


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"video_id": [144686], "path": ["x"]}, [(0, "type")]),
        ({"video_id": ["1"], "path": [b"x"]}, [(0, "type")]),
        ({"video_id": ["1"]}, [(0, "missing-column")]),
        ({"video_id": ["1"], "path": ["x"], "age": ["3"]}, [(0, "unknown-column")]),
        ({"video_id": ["1", None], "path": ["x", "y"]}, [(2, "empty")]),
        ({"video_id": ["1", "1"], "path": ["x", "y"]}, [(2, "duplicate-id")]),
        ({"video_id": pa.array([], pa.string()), "path": pa.array([], pa.string())}, [(0, "empty")]),
    ],
)
def test_bad_parquet(
    tmp_path: Path, columns: dict[str, list[object]], expected: list[tuple[int, str]]
) -> None:
    touch(tmp_path, "x", "y")
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    assert found(tmp_path / "set.parquet") == expected
    fatal(tmp_path / "set.parquet")


def test_damaged_parquet(tmp_path: Path) -> None:
    write_manifest(tmp_path / "set.parquet", [("a", "a.mp4", "", "")])
    whole = (tmp_path / "set.parquet").read_bytes()
    for damaged in (b"", b"no parquet at all", whole[:-20]):
        path = put(tmp_path, damaged, "set.parquet")
        assert found(path) == [(0, "syntax")]
        fatal(path)
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    pq.write_table(pa.table({"video_id": broken, "path": ["x"]}), tmp_path / "set.parquet")
    touch(tmp_path, "x")
    assert found(tmp_path / "set.parquet") == [(1, "undecodable")]


@pytest.mark.parametrize("name", ["set.tsv", "set", "set.xlsx"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, HEAD + "a,a.mp4,,\n", name)
    assert ".csv, .jsonl, .parquet" in fatal(path)
    with pytest.raises(ManifestError, match=r"\.parquet"):
        write_manifest(path, [("a", "a.mp4", "", "")])


def test_a_manifest_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    assert "No such file" in fatal(tmp_path / "gone.csv")
    assert "No such file" in fatal(tmp_path / "gone.parquet")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in fatal(tmp_path / "folder.csv")
    with pytest.raises(ManifestError, match="No such file"):
        check_manifest(tmp_path / "gone.jsonl")


# Writing


def test_golden_bytes(tmp_path: Path) -> None:
    rows = [("0144686", "a/b.mp4", 'Ann "A", B', "val"), ("\u00e9", "c", "", "")]
    write_manifest(tmp_path / "set.csv", iter(rows))
    expected = 'video_id,path,identity,split\n0144686,a/b.mp4,"Ann ""A"", B",val\n\u00e9,c,,\n'
    assert (tmp_path / "set.csv").read_bytes() == expected.encode()
    write_manifest(tmp_path / "set.jsonl", rows)
    expected = (
        '{"video_id":"0144686","path":"a/b.mp4","identity":"Ann \\"A\\", B","split":"val"}\n'
        '{"video_id":"\u00e9","path":"c","identity":"","split":""}\n'
    )
    assert (tmp_path / "set.jsonl").read_bytes() == expected.encode()
    write_manifest(tmp_path / "set.parquet", rows)
    assert pq.read_schema(tmp_path / "set.parquet").types == [pa.string()] * 4
    assert pq.read_table(tmp_path / "set.parquet").to_pylist()[0] == dict(zip(COLUMNS, rows[0], strict=True))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("a", "a.mp4", "", ""), ("A", "b.mp4", "", "")],
        [("a", "../a.mp4", "", "")],
        [("a\nb", "a.mp4", "", "")],
        [("\udcff", "a.mp4", "", "")],
        [("", "a.mp4", "", "")],
    ],
)
def test_what_could_not_be_read_is_not_written(
    tmp_path: Path, suffix: str, rows: list[tuple[str, str, str, str]]
) -> None:
    path = put(tmp_path, "old", f"set{suffix}")
    with pytest.raises(ManifestError, match="not written"):
        write_manifest(path, rows)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
