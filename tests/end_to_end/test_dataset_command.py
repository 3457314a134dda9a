"""`vidface dataset check` and `pack` as a person or a script meets them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from command_line import vidface
from PIL import Image


def jpeg(seed: int, side: int = 16) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """5 people with 1 to 5 images, p1/1.jpg to p5/5.jpg."""
    for person in range(1, 6):
        (tmp_path / "people" / f"p{person}").mkdir(parents=True)
        for image in range(1, person + 1):
            (tmp_path / "people" / f"p{person}" / f"{image}.jpg").write_bytes(jpeg(10 * person + image))
    return tmp_path / "people"


def test_check_of_a_clean_folder(people: Path) -> None:
    ran = vidface("dataset", "check", people, code=0)
    assert ran.err == ""
    assert "5 people, 15 images; images a person: 1 to 5, mean 3.00, median 3" in ran.out
    assert "       3          3           12" in ran.out
    assert ran.out.splitlines()[-1] == f"{people}: 0 unreadable images, 0 pictures of several people"


def test_check_tells_faults_and_fails(people: Path) -> None:
    (people / "p2" / "2.jpg").write_bytes(b"no picture")
    (people / "p3" / "9.jpg").write_bytes(jpeg(51))
    (people / "p4" / "9.jpg").write_bytes(jpeg(44))
    (people / "p5" / "9.jpg").write_bytes(jpeg(99, 20))
    (people / "README").write_text("")
    found = vidface("dataset", "check", people, "--workers", 1, "--json", code=1).json
    tail = found.pop("long_tail")
    assert found == {
        "ok": False,
        "source": str(people),
        "left_out": ["left out: 1 files beside the folders of people, first 'README'"],
        "unreadable": [{"name": "p2/2.jpg", "detail": "it is neither a JPEG nor a PNG image, or is damaged"}],
        "size": "16x16",
        "other_sizes": [{"name": "p5/9.jpg", "detail": "20x20"}],
        "duplicates": [["p4/4.jpg", "p4/9.jpg"]],
        "duplicates_across": [["p3/9.jpg", "p5/1.jpg"]],
        "single": ["p1"],
        "warnings": [],
    }
    assert set(tail) == {"people", "images", "fewest", "median", "mean", "most", "cuts"}
    assert (tail["people"], tail["images"], tail["mean"]) == (5, 18, 3.6)
    assert tail["cuts"][1] == {"minimum": 2, "people": 4, "images": 17}
    text = vidface("dataset", "check", people, "--workers", 1, code=1).out
    for line in (
        "cannot be read: 1\n  p2/2.jpg: it is neither",
        "of another size than 16x16: 1\n  p5/9.jpg: 20x20",
        "pictures that are there twice, of one person: 1\n  p4/4.jpg = p4/9.jpg",
        "pictures of several people: 1\n  p3/9.jpg = p5/1.jpg",
        "people with one image: 1\n  p1",
        "1 unreadable images, 1 pictures of several people",
    ):
        assert line in text


def test_long_lists_are_cut_on_the_screen_alone(people: Path) -> None:
    for person in range(30):
        (people / f"x{person}").mkdir()
        (people / f"x{person}" / "1.jpg").write_bytes(jpeg(1000 + person))
    text = vidface("dataset", "check", people, "--workers", 1, code=0).out
    assert "people with one image: 31" in text and "  ... and 11 more; --json lists all" in text
    assert len(vidface("dataset", "check", people, "--workers", 1, "--json", code=0).json["single"]) == 31


def test_pack_there_and_back(people: Path, tmp_path: Path) -> None:
    cut = ("--to", "tar", "--shards", 2, "--min-images", 2)
    ran = vidface("dataset", "pack", people, "-o", tmp_path / "set", *cut, code=0)
    assert ran.out.startswith(f"{tmp_path / 'set'}: written: 14 images of 4 people in 2 files, ")
    assert ran.out.splitlines()[1] == "cut: 1 people with fewer than 2 images, 1 images"
    rec = tmp_path / "train.rec"
    made = vidface("dataset", "pack", tmp_path / "set", "-o", rec, "--to", "rec", "--json", code=0).json
    assert made == {
        "outputs": [str(rec), str(rec.with_suffix(".idx"))],
        "people": 4,
        "images": 14,
        "pairs": 0,
        "cut_people": 0,
        "cut_images": 0,
        "unusable_pairs": 0,
        "problems": [],
        "bytes": sum(path.stat().st_size for path in (rec, rec.with_suffix(".idx"))),
    }
    tail = vidface("dataset", "check", rec, "--workers", 1, "--json", code=0).json["long_tail"]
    assert (tail["people"], tail["images"], tail["most"]) == (4, 14, 5)


def test_pack_pairs(people: Path, tmp_path: Path) -> None:
    pairs, output = tmp_path / "pairs.csv", tmp_path / "out.bin"
    pairs.write_text("first,second,same\np2/1.jpg,p2/2.jpg,1\np2/1.jpg,p9/1.jpg,0\n")
    ran = vidface("dataset", "pack", people, "-o", output, "--to", "bin", "--pairs", pairs, code=1)
    assert f"{pairs}:3: " in ran.out and "'p9/1.jpg'" in ran.out and "not written: 1 lines of" in ran.out
    assert not output.exists()
    pairs.write_text("first,second,same\np2/1.jpg,p2/2.jpg,1\np2/1.jpg,p3/1.jpg,0\n")
    ran = vidface("dataset", "pack", people, "-o", output, "--to", "bin", "--pairs", pairs, code=0)
    assert ran.out.startswith(f"{output}: written: 2 pairs, ")
    images, same = pickle.loads(output.read_bytes(), encoding="bytes")  # noqa: S301  # made just now
    assert same == [True, False] and [*map(bytes, images)] == [jpeg(n) for n in (21, 22, 21, 31)]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "GONE"], 2, "GONE: no such file or folder; say a folder of people"),
        (["check", "EMPTY.tar"], 1, "EMPTY.tar: damaged, or not a .tar file"),
        (["pack", "PEOPLE", "-o", "OUT.bin", "--to", "bin"], 2, "pass --to bin and --pairs FILE together"),
        (["pack", "PEOPLE", "-o", "PEOPLE", "--to", "tar"], 2, "exists; remove it or name another output"),
        (["pack", "PEOPLE", "-o", "NOWHERE/a.tar", "--to", "tar"], 2, "does not exist; create it first"),
        (["pack", "PEOPLE", "-o", "a.tar", "--to", "rec"], 2, "name the output with .rec"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, message: str, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY.tar").write_bytes(b"")
    words = [word.replace("PEOPLE", str(people)) for word in arguments]
    assert message in vidface("dataset", *words, code=code, cwd=tmp_path).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["EMPTY.tar", "people"]
