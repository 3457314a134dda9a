"""Manifests that nobody would write, through the commands: one line or a counted listing, and never a wait."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import cells_of, frames_of, read_features, vidface, write_folder, write_manifest
from fault_material import embeddings_file

from vidface.manifest.manifest import read_manifest

HEAD = "video_id,path,identity,split\n"


def put(folder: Path, body: str | bytes, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape"))
    return path


def kinds(manifest: Path, *options: object) -> list[tuple[int, str]]:
    """What the command lists, after what must hold of every listing."""
    ran = vidface("manifest", "check", manifest, *options, "--json", code=1)
    assert ran.err == ""
    told = ran.json
    assert not told["ok"] and told["problems"]
    lines = vidface("manifest", "check", manifest, *options, code=1).out.splitlines()
    assert lines[-1] == f"{manifest}: {len(told['problems'])} problem{'s' * (len(told['problems']) > 1)}"
    assert len(lines) == len(told["problems"]) + 1, "a line a problem"
    assert all(line.isprintable() for line in lines), "nothing that a terminal obeys"
    return [(problem["line"], problem["kind"]) for problem in told["problems"]]


def refused(manifest: Path) -> str:
    """Every command that reads a manifest refuses it, before it looks at anything else."""
    error = vidface("score", manifest.parent / "gone.h5", "--manifest", manifest, code=1).error
    assert str(manifest) in error
    return error


SEEN = "missing-file"  # every row that is read is looked for


OUTSIDE = ["../x.mp4", "a/../../x.mp4", "..", "..\\x.mp4", "a\\..\\..\\x.mp4", "/etc/passwd"]
OUTSIDE += ["//server/share", "C:\\x.mp4"]
# Encoded or look-alike dots are letters: nothing decodes them, so they are names of files under the root.
LETTERS = ["%2e%2e/x.mp4", "..%2fx.mp4", "\uff0e\uff0e/x.mp4", "\u2024\u2024/x.mp4", "~/x.mp4", "$HOME/x.mp4"]
LETTERS += ["http://example.org/x.mp4", "concat:a|b"]


@pytest.mark.parametrize("path", [*OUTSIDE, *LETTERS])
def test_paths_that_would_leave_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "x.mp4").touch()  # what every one of them means to reach
    manifest = put(tmp_path / "set", HEAD + f"a,{path},,\n")
    assert kinds(manifest) == [(2, "outside-root" if path in OUTSIDE else SEEN)]
    if path in OUTSIDE:
        assert "root" in refused(manifest)
        words = ("extract", manifest, "-o", tmp_path / "f.h5", "--model", "gone.onnx")
        error = vidface(*words, code=1).error  # nothing is run at all
        assert f"{manifest}:2: " in error and "root" in error and not (tmp_path / "f.h5").exists()


@pytest.mark.parametrize("what", ["file", "folder", "folder-in-the-middle"])
def test_a_link_out_of_the_root(tmp_path: Path, what: str) -> None:
    inside, outside = tmp_path / "set", tmp_path / "secret"
    inside.mkdir()
    write_folder(outside / "frames", frames_of(0, 1))
    (outside / "x.mp4").touch()
    target, path = {
        "file": (outside / "x.mp4", "link"),
        "folder": (outside / "frames", "link"),
        "folder-in-the-middle": (outside, "link/frames"),
    }[what]
    (inside / "link").symlink_to(target)
    manifest = put(inside, HEAD + f"a,{path},,\n")
    assert kinds(manifest) == [(2, "outside-root")]
    words = ("extract", manifest, "-o", inside / "f.h5", "--model", "gone.onnx")
    assert "symbolic link" in vidface(*words, code=1).error
    # What opens no media does not look for them.
    assert "gone.h5: no such file" in vidface("score", "gone.h5", "--manifest", manifest, code=1).error


@pytest.mark.parametrize(("written", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_path_in_the_other_unicode_form(tmp_path: Path, model: Path, written: str, on_disk: str) -> None:
    """Lists are NFC mostly; what a Mac's archive unpacks to is NFD. The rows stay as they are written."""
    name = "Zo\u00eb/caf\u00e9"
    frames = frames_of(0, 3)
    write_folder(tmp_path / "set" / normalize(on_disk, name), frames)
    row = (normalize(written, name), normalize(written, name))
    manifest = write_manifest(tmp_path / "set" / "set.csv", [row])
    assert vidface("manifest", "check", manifest, "--json", code=0).json["ok"]
    output = tmp_path / "features.h5"
    vidface("extract", manifest, "-o", output, "--model", model, "--workers", 0, code=0)
    ids, status, features = read_features(output)
    assert (ids, status) == ([row[0]], ["ok"])
    assert np.allclose(features[0], cells_of(frames), atol=1e-5)
    sheet = ("--manifest", manifest, "--sheet", tmp_path / "sheet.png", "--json")
    for typed in (name, normalize("NFD", name)):  # and a person may type either
        seen = vidface("inspect", output, typed, *sheet, code=0).json
        assert (seen["video"], seen["notes"]) == (row[0], [])


def test_a_path_that_differs_by_more_than_its_form_is_named_with_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("Caf\u00e9", "x\u00e9\u00ea", "x\u00e9e\u0302"):
        (folder / normalize("NFD", name) if name < "b" else folder / name).mkdir(parents=True)
    rows = [("a", "caf\u00e9"), ("b", "xe\u0301e\u0302"), ("c", "cafe")]
    manifest = write_manifest(folder / "set.csv", rows)
    told = vidface("manifest", "check", manifest, "--json", code=1).json["problems"]
    assert [(problem["line"], problem["kind"]) for problem in told] == [
        (n, "missing-file") for n in (2, 3, 4)
    ]
    assert "there is 'Cafe\\u0301', which differs by case or Unicode form" in told[0]["message"]
    assert "2 differ from it by Unicode form alone: 'x\\xe9e\\u0302' and 'x\\xe9\\xea'" in told[1]["message"]
    assert told[2]["message"].endswith(f"under {folder}")


def test_one_file_under_both_unicode_forms_is_one_path(tmp_path: Path) -> None:
    (tmp_path / "set" / "caf\u00e9").mkdir(parents=True)
    manifest = write_manifest(tmp_path / "set" / "set.csv", [("a", "caf\u00e9"), ("b", "cafe\u0301")])
    (problem,) = vidface("manifest", "check", manifest, "--json", code=1).json["problems"]
    assert (problem["line"], problem["kind"]) == (3, "duplicate-path")
    assert "another Unicode form" in problem["message"]


def test_a_frame_that_is_a_link_out_of_its_folder(tmp_path: Path, model: Path) -> None:
    """The folder is in the root, a frame in it is not: it is a fault of the video, and its pixels are never read."""
    secret = write_folder(tmp_path / "secret", frames_of(7, 1)) / "0.png"
    frames = write_folder(tmp_path / "set" / "video", frames_of(0, 3))
    (frames / "1.png").unlink()
    (frames / "1.png").symlink_to(secret)
    manifest = write_manifest(tmp_path / "set" / "set.csv", [("a", "video")])
    output = tmp_path / "features.h5"
    ran = vidface("extract", manifest, "-o", output, "--model", model, "--workers", 0, "--json", code=1)
    assert ran.json["status"] == {"partial": 1} and ran.json["frames"] == 2
    assert ran.json["faults"] == {"unreadable-image": 1}
    assert "link that leads out of the folder" in (tmp_path / "faults.jsonl").read_text()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("what", ["folder", "pipe", "device without end", "device", "link to itself"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"set{suffix}"
    make: dict[str, Any] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device without end": lambda: path.symlink_to("/dev/zero"),
        "device": lambda: path.symlink_to("/dev/null"),
        "link to itself": lambda: path.symlink_to(path.name),
    }
    make[what]()
    said = {"link to itself": "symbolic links", "folder": "Is a directory"}.get(what, "not a regular file")
    assert said in vidface("manifest", "check", path, code=1).error
    assert said in refused(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"\x89HDF\r\n\x1a\n", b"<html>"]
)
def test_content_that_is_no_manifest(tmp_path: Path, content: bytes, suffix: str) -> None:
    manifest = put(tmp_path, content, f"set{suffix}")
    assert {kind for _, kind in kinds(manifest)} <= {
        *("empty", "undecodable", "syntax", "unknown-column", "missing-column")
    }
    refused(manifest)


def test_nul_line_ends_and_control_characters(tmp_path: Path) -> None:
    letters = ["\0", "\n", "\r\n", "\t", "\x1b[2J", "\x07", "\x7f", "\x9b31m", "\u2028", "\u2029", "\x85"]
    rows = [f'"v{n}{letter}",v{n}.mp4,,' for n, letter in enumerate(letters)]
    found = kinds(put(tmp_path, HEAD + "\n".join(rows) + "\n"))
    assert [kind for _, kind in found].count("control") == len(letters)
    assert "control character" in refused(tmp_path / "set.csv")


ALIKE = {  # NFC and NFD; full width; a ligature; folding undoes the normal form; the Kelvin sign
    **{"Clip": "clip", "\u00e9t\u00e9": "e\u0301te\u0301", "\uff43\uff4c\uff49\uff50": "clip"},
    **{"\ufb01lm": "film", "\u0130": "i\u0307", "\u212a": "k"},
}


@pytest.mark.parametrize("first", ALIKE)
def test_ids_that_differ_only_by_case_or_unicode_form(tmp_path: Path, first: str) -> None:
    manifest = put(tmp_path, HEAD + f"{first},a,,\n{ALIKE[first]},b,,\n")
    assert [found for found in kinds(manifest) if found[1] != SEEN] == [(3, "confusable-id")]
    assert "differs only by case or Unicode form" in refused(manifest)


def test_ids_that_only_look_alike_stay_apart_and_are_shown_as_they_are(tmp_path: Path) -> None:
    """Latin and Cyrillic a: two ids. A mark that turns the direction, or has no width, is shown as its number."""
    manifest = put(tmp_path, HEAD + "a,a,,\n\u0430,b,,\nx\u202ey,c,,\nx\u200by,d,,\nx\u200by,e,,\n")
    found = kinds(manifest)
    assert [one for one in found if one[1] != SEEN] == [(6, "duplicate-id")]
    assert r"x\u200by" in refused(manifest)


SPELLINGS = {
    "byte order mark": "\ufeff{head}{rows}",
    "blank lines behind": "{head}{rows}\n\n",
    "quoted head": '"video_id","path","identity","split"\n{rows}',
    "other order": "identity,video_id,split,path\nx,007,val,a\ny,08,val,b\n",
    "no last line end": 'video_id,path,identity,split\n"007","a","x","val"\n08,b,y,val',
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_same_rows_however_they_are_spelled(tmp_path: Path, spelling: str, line_end: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    rows = "007,a,x,val\n08,b,y,val\n"
    text = SPELLINGS[spelling].format(head=HEAD, rows=rows).replace("\n", line_end)
    manifests = [put(tmp_path, HEAD + rows, "plain.csv"), put(tmp_path, text, "other.csv")]
    for manifest in manifests:
        assert vidface("manifest", "check", manifest, code=0).out == f"{manifest}: no problems\n"
    plain, other = map(read_manifest, manifests)
    assert plain.sha256 == other.sha256


def test_leading_zeros_reach_the_submission(tmp_path: Path) -> None:
    rows = [("0144686", "a", "007", "train"), ("000", "b", "007", "val")]
    rows += [("1e5", "c", "0", "train"), ("0x10", "d", "0", "val")]
    manifest = write_manifest(tmp_path / "set.csv", rows)
    vectors = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0.8, 0.6]])
    embeddings = embeddings_file(tmp_path / "embeddings.h5", [row[0] for row in rows], vectors)
    output = tmp_path / "ranking.txt"
    vidface("submit", embeddings, "--manifest", manifest, "--format", "iqiyi", "-o", output, code=0)
    assert output.read_text() == "0 0x10.mp4 000.mp4\n007 000.mp4 0x10.mp4\n"
    ran = vidface("score", output, "--manifest", manifest, "--protocol", "iqiyi", "--json", code=0)
    assert ran.json["mAP@100"] == 1.0


BODIES = {
    "no rows": (HEAD, [(0, "empty")]),
    "two columns, no rows": ("video_id,path\n", [(0, "empty")]),
    "no id": ("path,identity,split\na,x,val\n", [(1, "missing-column")]),
    "age": (HEAD.strip() + ",age\na,a,x,val,3\n", [(1, "unknown-column"), (2, SEEN)]),
    "fields": (HEAD + "a,a,x\nb,b,y,val,more\n", [(2, "fields"), (3, "fields")]),
    "a field of 200 kB": (HEAD + f"a,{'b' * 200_000},,\n", [(2, "syntax")]),
    "a path too long": (HEAD + f"a,{'b' * 5000},,\n", [(2, "too-long")]),
    "an id too long": (HEAD + f"{'a' * 1025},b,,\n", [(2, "too-long"), (2, SEEN)]),
    # No file system has a name of 300 bytes.
    "a long name": (HEAD + f"{'a' * 1024},{'b' * 300},,\n", [(2, SEEN)]),
    "a long path": (HEAD + f"a,{'b/' * 2000},,\n", [(2, SEEN)]),
}


@pytest.mark.parametrize("case", BODIES)
def test_rows_and_columns_that_are_not_as_they_should_be(tmp_path: Path, case: str) -> None:
    body, found = BODIES[case]
    manifest = put(tmp_path, body)
    assert kinds(manifest) == found
    if any(kind != SEEN for _, kind in found):
        refused(manifest)


def repeated(texts: Sequence[str], count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(texts))


def test_a_parquet_file_of_a_few_kilobytes_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path, count = tmp_path / "set.parquet", 20_000_001
    pq.write_table(pa.table({"video_id": repeated(["a"], count), "path": repeated(["a"], count)}), path)
    assert path.stat().st_size < 200_000
    assert kinds(path) == [(0, "too-large")]
    assert "20,000,001 rows" in refused(path)


def test_one_text_that_a_parquet_file_repeats_takes_memory_once(tmp_path: Path) -> None:
    path, count = tmp_path / "set.parquet", 3000  # 3 GB, were each its own
    table = pa.table({"video_id": repeated(["a" * 1_000_000], count), "path": repeated(["a"], count)})
    pq.write_table(table, path, store_schema=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_many_rows_take_time_in_proportion(tmp_path: Path) -> None:
    """Every row has its own problem, a duplicate or a confusable id: each is found once, none is compared with all."""
    count = 20_000
    rows = "".join(f"V{n},v/{n},p{n % 50},val\nv{n},v/{n},,\n" for n in range(count))
    found = kinds(put(tmp_path, HEAD + rows))
    assert [kind for _, kind in found].count("confusable-id") == count
    assert [kind for _, kind in found].count("duplicate-path") == count
    assert "more; run: vidface manifest check" in refused(tmp_path / "set.csv")


def test_results_and_a_manifest_in_the_other_unicode_form(tmp_path: Path, model: Path) -> None:
    names = ["José/é", "Zoë/ö", "한글/동"]
    rows = []
    for person, name in enumerate(names):
        for take, split in enumerate(("train", "val")):
            write_folder(tmp_path / f"media{person}{take}", frames_of(person, 2, seed=take))
            rows.append((f"{name}{take}", f"media{person}{take}", name[:2], split))
    nfc, nfd = (
        write_manifest(tmp_path / f"{form}.csv", [[normalize(form, text) for text in row] for row in rows])
        for form in ("NFC", "NFD")
    )
    features, embeddings, ranking = (tmp_path / name for name in ("f.h5", "e.h5", "ranking.txt"))
    vidface("extract", nfc, "--model", model, "-o", features, code=0)
    vidface("cluster", features, "-o", embeddings, code=0)
    vidface("submit", embeddings, "--manifest", nfc, "--format", "iqiyi", "-o", ranking, code=0)
    for scored in (embeddings, ranking):
        numbers = [
            vidface("score", scored, "--manifest", listed, "--protocol", "iqiyi", "--json", code=0).json
            for listed in (nfc, nfd)
        ]
        assert numbers[0]["mAP@100"] == numbers[1]["mAP@100"] == 1
    told = ("--manifest", nfd, "--features", features, "--video", rows[0][0])
    shown = vidface("report", embeddings, *told, "-o", tmp_path / "page", code=0)
    assert "pictures" not in shown.out  # none is missing
    video = normalize("NFD", rows[5][0])
    sheet = ("--manifest", nfd, "--sheet", tmp_path / "sheet.png")
    assert not vidface("inspect", features, video, *sheet, code=0).err
