"""Lists of images, labels and matrices that are wrong: each ends in one line, or in a counted fault."""

from __future__ import annotations

import csv
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, frames_of, pooling_model, read_features, read_lines, vidface
from PIL import Image

GOOD = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "x/1.png"]


def convert(folder: Path, lines: bytes, labels: bytes | None = None, **options: Any) -> Ran:
    (folder / "filelist.txt").write_bytes(lines)
    asked: list[object] = [
        "manifest",
        "from-trillionpairs",
        folder / "filelist.txt",
        "-o",
        folder / "set.csv",
    ]
    if labels is not None:
        (folder / "labels.txt").write_bytes(labels)
        asked += ["--labels", folder / "labels.txt"]
    return vidface(*asked, **options)


def refused(folder: Path, lines: bytes, labels: bytes | None = None) -> str:
    ran = convert(folder, lines, labels)
    assert ran.code != 0 and ran.out == ""
    assert not (folder / "set.csv").exists(), "a manifest of a list that was refused"
    return ran.error


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "set.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    ran = vidface("manifest", "from-trillionpairs", tmp_path / "none.txt", "-o", tmp_path / "set.csv")
    assert ran.code != 0 and "none.txt: cannot be read: No such file or directory" in ran.error


@pytest.mark.parametrize("lines", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_list_without_images(tmp_path: Path, lines: bytes) -> None:
    assert "filelist.txt: names no image: give one relative path a line" in refused(tmp_path, lines)


def test_an_empty_line_in_a_list(tmp_path: Path) -> None:
    assert "filelist.txt:2: an empty line; rows are counted by lines" in refused(
        tmp_path, b"a.jpg\n \nb.jpg\n"
    )


def test_an_image_listed_twice(tmp_path: Path) -> None:
    error = refused(tmp_path, b"a.jpg\nb.jpg\na.jpg\n")
    assert "filelist.txt:3: " in error and "a.jpg" in error


@pytest.mark.parametrize("path", [b"../a.jpg", b"/etc/passwd", b"a/../../b.jpg", b"C:\\a.jpg"])
def test_a_path_that_leaves_the_folder(tmp_path: Path, path: bytes) -> None:
    assert "filelist.txt:2: " in refused(tmp_path, b"good.jpg\n" + path + b"\n")


def test_a_nul_in_a_list(tmp_path: Path) -> None:
    assert "filelist.txt:1: " in refused(tmp_path, b"a\0.jpg\n")


def test_a_list_that_is_not_utf8(tmp_path: Path) -> None:
    assert "filelist.txt:2: not UTF-8; save the file as UTF-8" in refused(tmp_path, b"a.jpg\n\xff\xfe.jpg\n")


def test_labels_of_another_length(tmp_path: Path) -> None:
    for labels, lines in ((b"p\n", 1), (b"p\nq\nr\n", 3), (b"", 0), (b"p\nq\n\n", 3)):
        error = refused(tmp_path, b"a.jpg\nb.jpg\n", labels)
        assert f"labels.txt: {lines} lines for the 2 images of " in error
        assert error.endswith("give one line an image, empty, 0 or -1 for a distractor")


def test_labels_that_are_not_utf8(tmp_path: Path) -> None:
    assert "labels.txt:2: not UTF-8" in refused(tmp_path, b"a.jpg\nb.jpg\n", b"p\n\xe9\n")


def test_line_ends_byte_order_marks_and_zeros_change_no_label(tmp_path: Path) -> None:
    lines = b"\xef\xbb\xbfa b.jpg\r\n7.jpg\r\n8.jpg\r\n9.jpg\r\n\r\n"
    convert(tmp_path, lines, b"\xef\xbb\xbf007\r\n0\r\n-1\r\n00\r\n", code=0)
    found = [(row["video_id"], row["path"], row["identity"], row["split"]) for row in rows_of(tmp_path)]
    assert found == [
        ("a b.jpg", "a b.jpg", "007", "test"),
        ("7.jpg", "7.jpg", "", "test"),
        ("8.jpg", "8.jpg", "", "test"),
        ("9.jpg", "9.jpg", "00", "test"),  # only 0 itself is nobody
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of two people and a stranger, with a model."""
    folder = tmp_path_factory.mktemp("images")
    for name in GOOD:
        (folder / name).parent.mkdir(exist_ok=True)
        person = ord(name[0]) - ord("a")
        Image.fromarray(frames_of(person, 1, seed=int(name[2]))[0]).save(folder / name, compress_level=1)
    pooling_model(folder / "model.onnx")
    return folder


def test_listed_images_that_cannot_be_used_are_counted(images: Path) -> None:
    """One is missing, one is a web page, one is cut short: they keep their rows, in the list's order."""
    (images / "page.png").write_text("<html><body>404</body></html>")
    (images / "short.png").write_bytes((images / GOOD[0]).read_bytes()[:200])
    bad = ["page.png", "missing.png", "short.png"]
    names = [GOOD[0], bad[0], *GOOD[1:4], bad[1], GOOD[4], bad[2]]
    labels = ["" if name[0] == "x" else name[0] for name in names]
    made = convert(
        images,
        "".join(f"{name}\n" for name in names).encode(),
        "".join(f"{one}\n" for one in labels).encode(),
        code=0,
    )
    assert "1" in made.out and "missing" in made.out + made.err
    asked = (
        "extract",
        images / "set.csv",
        "-o",
        images / "features.h5",
        "--model",
        images / "model.onnx",
        "--flip",
    )
    vidface(*asked, "--json", code=1)
    ids, status, features = read_features(images / "features.h5")
    assert ids == names
    assert [name for name, one in zip(ids, status, strict=True) if one != "ok"] == bad
    assert [len(rows) for rows in features] == [int(name not in bad) for name in names]
    assert {fault["video"] for fault in read_lines(images / "faults.jsonl")} == set(bad)
    vidface("cluster", images / "features.h5", "-o", images / "embeddings.h5", "--json", code=1)
    matrix = images / "features.bin"
    submitted = vidface(
        "submit", images / "embeddings.h5", "--manifest", images / "set.csv", "--format", "lfrc", "-o", matrix
    )
    assert submitted.code == 1, "zero rows are a problem of a submission"
    for scored in (images / "embeddings.h5", matrix):
        found = vidface(
            "score", scored, "--manifest", images / "set.csv", "--protocol", "trillionpairs", "--json", code=1
        ).json
        assert found["counts"]["zero_embeddings"] == 3
        assert found["counts"]["images"] == 8
        said = "3 of 8 images have no embedding: they score 0 with everybody and stay counted; "
        where = f"the first is {bad[0]!r}, a row of zeros" if scored == matrix else "see faults.jsonl"
        assert said + where in found["warnings"]


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A manifest of six images (two people, two strangers) and its matrix."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(6, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    convert(tmp_path, b"1.jpg\n2.jpg\n3.jpg\n4.jpg\n5.jpg\n6.jpg\n", b"p\np\nq\nq\n0\n0\n", code=0)
    return tmp_path / "set.csv", rows


def write_bin(path: Path, rows: np.ndarray, header: tuple[int, ...] | None = None) -> Path:
    head = header or (len(rows), rows.shape[1], rows.shape[1] * 4, 5)
    path.write_bytes(struct.pack("<4i", *head) + rows.astype("<f4").tobytes())
    return path


def score(manifest: Path, matrix: Path, *options: object) -> Ran:
    return vidface(
        "score", matrix, "--manifest", manifest, "--protocol", "trillionpairs", "--targets", "0.2", *options
    )


def test_matrices_that_do_not_fit(scored: tuple[Path, np.ndarray]) -> None:
    manifest, rows = scored
    path = manifest.parent / "f.bin"
    assert "5 rows for the 6 videos of" in score(manifest, write_bin(path, rows[:5])).error
    nan = rows.copy()
    nan[3, 1] = np.nan
    assert "1 rows hold NaN or infinity, the first is row 3" in score(manifest, write_bin(path, nan)).error
    assert (
        "6 rows are not of unit length, the first is row 0"
        in score(manifest, write_bin(path, 2 * rows)).error
    )
    write_bin(path, rows)
    os.truncate(path, path.stat().st_size - 4)
    assert "cut short" in score(manifest, path).error
    assert score(manifest, write_bin(path, rows)).code == 0
    scaled = score(manifest, write_bin(path, 2 * rows), "--normalise", "--json").json
    assert "6 of 6 rows were not of unit length (2 to 2) and were normalised" in scaled["warnings"]


def test_a_ranking_has_no_embeddings(scored: tuple[Path, np.ndarray]) -> None:
    manifest, _ = scored
    (manifest.parent / "ranking.txt").write_text("p 1.jpg.mp4\n")
    error = score(manifest, manifest.parent / "ranking.txt").error
    assert error == (
        "error: a ranking holds no embeddings: trillionpairs needs an embeddings file, a .npy or a .bin"
    )


def test_a_list_without_labels_cannot_be_scored(scored: tuple[Path, np.ndarray]) -> None:
    manifest, rows = scored
    convert(manifest.parent, (manifest.parent / "filelist.txt").read_bytes(), code=0)
    error = score(manifest, write_bin(manifest.parent / "f.bin", rows)).error
    assert error.endswith(
        "no image has an identity, so there is nobody to compare: make the manifest with --labels"
    )


def test_without_distractors_identification_is_not_measured(scored: tuple[Path, np.ndarray]) -> None:
    manifest, rows = scored
    convert(manifest.parent, b"1.jpg\n2.jpg\n3.jpg\n4.jpg\n5.jpg\n6.jpg\n", b"p\np\nq\nq\nr\nr\n", code=0)
    found = score(manifest, write_bin(manifest.parent / "f.bin", rows), "--json").json
    assert found["identification"]["rank1"] is None and found["identification"]["tpr@fpr"] == {"1e-3": None}
    assert found["tpr@fpr"]["0.2"] is not None
    assert found["warnings"] == ["identification is not measured: there are no distractors to search among"]


def test_options_of_other_protocols_are_refused(scored: tuple[Path, np.ndarray]) -> None:
    manifest, rows = scored
    path = write_bin(manifest.parent / "f.bin", rows)
    assert "--protocol trillionpairs does not use --pairs" in score(manifest, path, "--pairs", manifest).error
    assert "FPR target '2' is not a rate above 0 and below 1" in score(manifest, path, "--targets", "2").error
    without = vidface("score", path, "--protocol", "trillionpairs")
    assert without.error == "error: --protocol trillionpairs needs --manifest"
