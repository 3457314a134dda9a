"""Manifests that nobody would write, through the commands: one line or a counted listing, and never a wait."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import cells_of, frames_of, read_features, vidface, write_folder, write_manifest

from vidface.files.store import EmbeddingRows, FeaturesInfo, write_embeddings

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


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("../x.mp4", "outside-root"),
        ("a/../../x.mp4", "outside-root"),
        ("..", "outside-root"),
        ("..\\x.mp4", "outside-root"),
        ("a\\..\\..\\x.mp4", "outside-root"),
        ("/etc/passwd", "outside-root"),
        ("//server/share", "outside-root"),
        ("C:\\x.mp4", "outside-root"),
        # Encoded or look-alike dots are letters: nothing decodes them, so they are names of files under the root.
        ("%2e%2e/x.mp4", SEEN),
        ("..%2fx.mp4", SEEN),
        ("\uff0e\uff0e/x.mp4", SEEN),
        ("\u2024\u2024/x.mp4", SEEN),
        ("~/x.mp4", SEEN),
        ("$HOME/x.mp4", SEEN),
        ("http://example.org/x.mp4", SEEN),
        ("concat:a|b", SEEN),
    ],
)
def test_paths_that_would_leave_the_root(tmp_path: Path, path: str, kind: str) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    (tmp_path / "x.mp4").touch()  # what every one of them means to reach
    manifest = put(inside, HEAD + f"a,{path},,\n")
    assert kinds(manifest) == [(2, kind)]
    if kind == "outside-root":
        assert "root" in refused(manifest)


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
    write_folder(tmp_path / "set" / unicodedata.normalize(on_disk, name), frames)
    row = (unicodedata.normalize(written, name), unicodedata.normalize(written, name))
    manifest = write_manifest(tmp_path / "set" / "set.csv", [row])
    assert vidface("manifest", "check", manifest, "--json", code=0).json["ok"]
    output = tmp_path / "features.h5"
    vidface("extract", manifest, "-o", output, "--model", model, "--workers", 0, code=0)
    ids, status, features = read_features(output)
    assert (ids, status) == ([row[0]], ["ok"])
    assert np.allclose(features[0], cells_of(frames), atol=1e-5)
    sheet = ("--manifest", manifest, "--sheet", tmp_path / "sheet.png", "--json")
    for typed in (name, unicodedata.normalize("NFD", name)):  # and a person may type either
        seen = vidface("inspect", output, typed, *sheet, code=0).json
        assert (seen["video"], seen["notes"]) == (row[0], [])


def test_a_path_that_differs_by_more_than_its_form_is_named_with_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("Caf\u00e9", "x\u00e9\u00ea", "x\u00e9e\u0302"):
        (folder / unicodedata.normalize("NFD", name) if name < "b" else folder / name).mkdir(parents=True)
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
    letters = ["\0", '"\n"', '"\r\n"', "\t", "\x1b[2J", "\x07", "\x7f", "\x9b31m", "\u2028", "\u2029", "\x85"]
    rows = [f"v{n}{letter},v{n}.mp4,," if '"' not in letter else f'"v{n}\n{n}",v{n}.mp4,,' for n, letter in
            enumerate(letters)]  # fmt: skip
    found = kinds(put(tmp_path, HEAD + "\n".join(rows) + "\n"))
    assert [kind for _, kind in found].count("control") == len(letters)
    assert "control character" in refused(tmp_path / "set.csv")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Clip", "clip"),
        ("\u00e9t\u00e9", "e\u0301te\u0301"),  # NFC and NFD
        ("\uff43\uff4c\uff49\uff50", "clip"),  # full width
        ("\ufb01lm", "film"),  # a ligature
        ("\u0130", "i\u0307"),  # folding undoes the normal form
        ("\u212a", "k"),  # the Kelvin sign
    ],
)
def test_ids_that_differ_only_by_case_or_unicode_form(tmp_path: Path, first: str, second: str) -> None:
    manifest = put(tmp_path, HEAD + f"{first},a,,\n{second},b,,\n")
    assert [found for found in kinds(manifest) if found[1] != SEEN] == [(3, "confusable-id")]
    assert "differs only by case or Unicode form" in refused(manifest)


def test_ids_that_only_look_alike_stay_apart_and_are_shown_as_they_are(tmp_path: Path) -> None:
    """Latin and Cyrillic a: two ids. A mark that turns the direction, or has no width, is shown as its number."""
    manifest = put(tmp_path, HEAD + "a,a,,\n\u0430,b,,\nx\u202ey,c,,\nx\u200by,d,,\nx\u200by,e,,\n")
    found = kinds(manifest)
    assert [one for one in found if one[1] != SEEN] == [(6, "duplicate-id")]
    assert r"x\u200by" in refused(manifest)


@pytest.mark.parametrize(
    "spelling",
    [
        "\ufeff{head}{rows}",
        "{head}{rows}\r\n\r\n",
        '"video_id","path","identity","split"\n{rows}',
        "identity,video_id,split,path\nx,007,val,a\ny,08,val,b\n",
        'video_id,path,identity,split\n"007","a","x","val"\n08,b,y,val',
    ],
    ids=["byte order mark", "blank lines behind", "quoted head", "other order", "no last line end"],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_same_rows_however_they_are_spelled(tmp_path: Path, spelling: str, line_end: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    plain = put(tmp_path, HEAD + "007,a,x,val\n08,b,y,val\n", "plain.csv")
    text = spelling.format(head=HEAD, rows="007,a,x,val\n08,b,y,val\n").replace("\r\n", "\n")
    other = put(tmp_path, text.replace("\n", line_end), "other.csv")
    for manifest in (plain, other):
        assert vidface("manifest", "check", manifest, code=0).out == f"{manifest}: no problems\n"
    assert checksum(plain) == checksum(other)


def checksum(manifest: Path) -> str:
    from vidface.manifest.manifest import read_manifest

    return read_manifest(manifest).sha256


def test_leading_zeros_reach_the_submission(tmp_path: Path) -> None:
    rows = [("0144686", "a", "007", "train"), ("000", "b", "007", "val"), ("1e5", "c", "0", "train"),
            ("0x10", "d", "0", "val")]  # fmt: skip
    manifest = write_manifest(tmp_path / "set.csv", rows)
    embeddings = tmp_path / "embeddings.h5"
    ids = [row[0] for row in rows]
    source = FeaturesInfo(embeddings, ids, np.arange(5), ["ok"] * 4, {"dimension": 4})
    vectors = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0.8, 0.6]], np.float32)
    run = EmbeddingRows(vectors, np.ones(4, np.int64), np.zeros(4, np.int32))
    write_embeddings(embeddings, source, [run], {})
    output = tmp_path / "ranking.txt"
    vidface("submit", embeddings, "--manifest", manifest, "--format", "iqiyi", "-o", output, code=0)
    assert output.read_text() == "0 0x10.mp4 000.mp4\n007 000.mp4 0x10.mp4\n"
    ran = vidface("score", output, "--manifest", manifest, "--protocol", "iqiyi", "--json", code=0)
    assert ran.json["mAP@100"] == 1.0


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (HEAD, [(0, "empty")]),
        ("video_id,path\n", [(0, "empty")]),
        ("path,identity,split\na,x,val\n", [(1, "missing-column")]),
        (HEAD.strip() + ",age\na,a,x,val,3\n", [(1, "unknown-column"), (2, SEEN)]),
        (HEAD + "a,a,x\nb,b,y,val,more\n", [(2, "fields"), (3, "fields")]),
        (HEAD + f"a,{'b' * 200_000},,\n", [(2, "syntax")]),
        (HEAD + f"a,{'b' * 5000},,\n", [(2, "too-long")]),
        (HEAD + f"{'a' * 1025},b,,\n", [(2, "too-long"), (2, SEEN)]),
        (HEAD + f"{'a' * 1024},{'b' * 300},,\n", [(2, SEEN)]),  # no file system has a name of 300 bytes
        (HEAD + f"a,{'b/' * 2000},,\n", [(2, SEEN)]),
    ],
)
def test_rows_and_columns_that_are_not_as_they_should_be(
    tmp_path: Path, body: str, found: list[tuple[int, str]]
) -> None:
    manifest = put(tmp_path, body)
    assert kinds(manifest) == found
    if any(kind != SEEN for _, kind in found):
        refused(manifest)


def repeated(texts: Sequence[str], count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(texts))


def test_a_parquet_file_of_a_few_kilobytes_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    count = 20_000_001
    pq.write_table(pa.table({"video_id": repeated(["a"], count), "path": repeated(["a"], count)}), path)
    assert path.stat().st_size < 200_000
    assert kinds(path) == [(0, "too-large")]
    assert "20,000,001 rows" in refused(path)


def test_one_text_that_a_parquet_file_repeats_takes_memory_once(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "set.parquet"
    long = "a" * 1_000_000
    count = 3000  # 3 GB, were each its own
    pq.write_table(
        pa.table({"video_id": repeated([long], count), "path": repeated(["a"], count)}),
        path,
        store_schema=False,
    )
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
        write_manifest(
            tmp_path / f"{form}.csv", [[unicodedata.normalize(form, text) for text in row] for row in rows]
        )
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
    video = unicodedata.normalize("NFD", rows[5][0])
    sheet = ("--manifest", nfd, "--sheet", tmp_path / "sheet.png")
    assert not vidface("inspect", features, video, *sheet, code=0).err
