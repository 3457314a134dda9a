from __future__ import annotations

import io
import os
import pickle
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_sets import content_of, contents, jpeg, write_people

from vidface.errors import ManifestError, StoreError, UsageError
from vidface.training.datasets.pairs import is_bin, open_pairs, read_bin, write_bin

NAMES = ("Ann_Lee", "Bo_Li", "Cy_Ng")
FILES = contents({"ada": 3, "Bo, junior": 2, "Zoë": 1})
ROWS = [
    ("ada/1.jpg", "ada/2.jpg", True),
    ("Bo, junior/1.jpg", "ada/3.jpg", False),
    ("Zoë/1.jpg", "ada/1.jpg", False),
    ("Bo, junior/1.jpg", "Bo, junior/2.jpg", True),
]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write_people(tmp_path / "people", FILES)


def as_csv(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["first,second,same", *lines]) + "\n", "utf-8")
    return path


def lines_of(rows: list[tuple[str, str, bool]]) -> list[str]:
    return [f'"{first}","{second}",{int(same)}' for first, second, same in rows]


EXPECTED = [(FILES[first], FILES[second], same) for first, second, same in ROWS]


def test_list_with_folder_and_with_tar_and_bin_are_the_same_pairs(tmp_path: Path, people: Path) -> None:
    path = as_csv(tmp_path / "pairs.csv", lines_of(ROWS))
    tar = tmp_path / "people.tar"
    with tarfile.open(tar, "w") as out:
        out.add(people, arcname=".")
    bin_path = tmp_path / "pairs.dat"  # told by its content
    write_bin(bin_path, [FILES[name] for row in ROWS for name in row[:2]], [same for _, _, same in ROWS])
    for pairs in (open_pairs(path, people), open_pairs(path, tar), open_pairs(bin_path)):
        assert content_of(pairs) == EXPECTED
        assert (pairs.problems, pairs.left_out) == ((), 0)
    pairs = open_pairs(path, people)
    assert [pairs.names[int(index)] for index in pairs.second] == [second for _, second, _ in ROWS]


def test_a_quote_that_is_not_closed_costs_its_own_line_only(tmp_path: Path, people: Path) -> None:
    lines = ["ada/1.jpg,ada/2.jpg,1", '"ada/1.jpg,ada/3.jpg,1', *lines_of(ROWS)]
    pairs = open_pairs(as_csv(tmp_path / "pairs.csv", lines), people)
    assert (len(pairs.same), pairs.left_out) == (1 + len(ROWS), 1)
    assert pairs.problems[0].startswith(f"{tmp_path / 'pairs.csv'}:3: left out: ")


def test_every_problem_is_listed_with_its_line(tmp_path: Path, people: Path) -> None:
    lines = [
        "ada/1.jpg,ada/2.jpg,1",  # line 2
        "ada/1.jpg,nobody/1.jpg,0",
        "../secret.jpg,/etc/passwd,0",
        "ada/1.jpg,ada/3.jpg,yes",
        "ada/1.jpg,ada/3.jpg",
        "ada/1.jpg,ada/3.jpg,1,",
        "",
        'ada/1.jpg,"ada"/3.jpg,1',  # line 9
        "ada/1.jpg,Zoë/1.jpg,0",
        "ada/2.jpg,ada/1.jpg,1",
        "ada/1.jpg,ada/2.jpg,0",
        "ada/3.jpg,ada/3.jpg,1",  # line 13
    ]
    path = as_csv(tmp_path / "pairs.csv", lines)
    pairs = open_pairs(path, people)
    assert pairs.problems[:5] == (
        f"{path}:3: left out: no image 'nobody/1.jpg'",
        f"{path}:4: left out: no image '../secret.jpg' and no image '/etc/passwd'",
        f"{path}:5: left out: same must be 1 or 0, not 'yes'",
        f"{path}:6: left out: 2 fields instead of first,second,same",
        f"{path}:7: left out: 4 fields instead of first,second,same",
    )
    assert pairs.problems[5].startswith(f"{path}:9: left out: ") and "not CSV" in pairs.problems[5]
    assert pairs.problems[6:] == (
        f"{path}:11: the same pair as {path}:2",
        f"{path}:12: the same pair as {path}:2, where it says the opposite",
        f"{path}:13: 'ada/3.jpg' is paired with itself",
    )
    assert pairs.left_out == 6
    # The doubtful ones are compared all the same: a published list is not mended in silence.
    one, two, three = (FILES[f"ada/{number}.jpg"] for number in (1, 2, 3))
    zoe = FILES["Zoë/1.jpg"]
    assert content_of(pairs) == [
        (one, two, True),
        (one, zoe, False),
        (two, one, True),
        (one, two, False),
        (three, three, True),
    ]


def test_what_the_images_lack_is_told_too(tmp_path: Path, people: Path) -> None:
    (people / "ada" / "notes.txt").write_text("x")
    pairs = open_pairs(as_csv(tmp_path / "pairs.csv", lines_of(ROWS)), people)
    assert len(pairs.problems) == 1 and "notes.txt" in pairs.problems[0]
    assert pairs.left_out == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "an empty file, no list of pairs"),
        (b"first,second,same\n", "no pair that can be used"),
        (
            b"first,second,same\nx/1.jpg,y/1.jpg,1\nx/1.jpg,z/1.jpg,1\n",
            r"all 2 are left out, the first: .*pairs.csv:2: left out: no image 'x/1.jpg' and no image 'y/1.jpg'; the "
            "images are called 'Bo",
        ),
        (b"a,b,c\n", r"pairs.csv:1: no list of pairs that is known, it begins with 'a,b,c'"),
        (b"\xff\xfef\x00i\x00", "not UTF-8 text"),
        (b"first,second,same\n\xff", "not UTF-8 text"),
        (b"\xff\xd8\xff\xe0", "not UTF-8 text"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path: Path, people: Path, text: bytes, said: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(text)
    with pytest.raises(ManifestError, match=said) as caught:
        open_pairs(path, people)
    assert str(caught.value).isprintable()


def test_images_where_they_belong(tmp_path: Path, people: Path) -> None:
    path = as_csv(tmp_path / "pairs.csv", lines_of(ROWS))
    with pytest.raises(UsageError, match="needs its images"):
        open_pairs(path)
    with pytest.raises(UsageError, match="no such file or folder"):
        open_pairs(path, tmp_path / "none")
    with pytest.raises(ManifestError, match="No such file"):
        open_pairs(tmp_path / "none.csv", people)
    write_bin(tmp_path / "pairs.bin", list(FILES.values())[:2], [True])
    with pytest.raises(UsageError, match="holds its own images"):
        open_pairs(tmp_path / "pairs.bin", people)
    (tmp_path / "old.bin").write_bytes(b"(lp0\n")
    with pytest.raises(StoreError, match=r"old\.bin: not a pickle of plain values, or a damaged one"):
        open_pairs(tmp_path / "old.bin")


def test_a_pipe_does_not_lose_its_first_bytes_in_silence(tmp_path: Path) -> None:
    pipe = tmp_path / "pairs.pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        with pipe.open("w", encoding="utf-8") as out:
            out.write("\n".join(["first,second,same", *lines_of(ROWS)]))

    writer = threading.Thread(target=feed, daemon=True)  # whoever reads the pipe waits for one
    writer.start()
    with pytest.raises(ManifestError, match=r"pairs\.pipe: a pipe can be read only once"):
        is_bin(pipe)
    assert writer.is_alive(), "the pipe was opened"
    assert pipe.read_bytes().startswith(b"first,second,same"), "and lets the writer go"
    writer.join(10)


LFW = {
    f"{name}/{name}_{number:04d}": jpeg(31 * place + number)
    for place, name in enumerate(NAMES)
    for number in (1, 2, 3)
}


# Two folds, with a pair of either kind in each.
LFW_PAIRS = [
    ("Ann_Lee/Ann_Lee_0001", "Ann_Lee/Ann_Lee_0003", True, 1),
    ("Ann_Lee/Ann_Lee_0002", "Bo_Li/Bo_Li_0001", False, 1),
    ("Bo_Li/Bo_Li_0001", "Bo_Li/Bo_Li_0002", True, 2),
    ("Bo_Li/Bo_Li_0003", "Cy_Ng/Cy_Ng_0001", False, 2),
]
LISTS = {
    "pairs.txt": ["2\t1", "Ann_Lee\t1\t3", "Ann_Lee\t2\tBo_Li\t1", "Bo_Li\t1\t2", "Bo_Li\t3\tCy_Ng\t1"],
    "pairs.csv": [
        *("name,imagenum1,imagenum2,", "Ann_Lee,1,3,", "Ann_Lee,2,Bo_Li,1", "Bo_Li,1,2,", "Bo_Li,3,Cy_Ng,1")
    ],
    "pairs_CALFW.txt": [
        *("Ann_Lee_0001.jpg 1", "Ann_Lee_0003.jpg 1", "Ann_Lee_0002.jpg 0", "Bo_Li_0001.jpg 0"),
        *("Bo_Li_0001.jpg 2", "Bo_Li_0002.jpg 2", "Bo_Li_0003.jpg 0", "Cy_Ng_0001.jpg 0"),
    ],
    "words.txt": [f"{int(same)} {one}.wav {other}.wav" for one, other, same, _ in LFW_PAIRS],
    "no suffix.csv": ["first;second;same;fold", *(f"{a};{b};{int(s)};{f}" for a, b, s, f in LFW_PAIRS)],
    "backslashes.csv": [
        "first,second,same",
        *(f".\\{one}.JPG,{other}.JPG,{same}".replace("/", "\\") for one, other, same, _ in LFW_PAIRS),
    ],
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_every_known_format(tmp_path: Path, name: str) -> None:
    folder = write_people(tmp_path / "lfw", {f"{image}.jpg": content for image, content in LFW.items()})
    path = tmp_path / name
    path.write_text("\n".join(LISTS[name]) + "\n")
    tar = tmp_path / "lfw.tar"
    with tarfile.open(tar, "w") as out:
        out.add(folder, arcname=".")
    for images in (folder, tar):
        pairs = open_pairs(path, images)
        assert content_of(pairs) == [(LFW[one], LFW[other], same) for one, other, same, _ in LFW_PAIRS]
        assert pairs.left_out == 0
    folds = [fold for *_, fold in LFW_PAIRS]
    has_folds = name in ("pairs.txt", "pairs_CALFW.txt", "no suffix.csv")
    assert (None if pairs.folds is None else pairs.folds.tolist()) == (folds if has_folds else None)


def test_a_name_in_the_other_unicode_form_and_one_of_two_images(tmp_path: Path) -> None:
    files = {
        "Zoe\u0308/1.jpg": jpeg(1),
        "ada/1.jpg": jpeg(2),
        "ada/1.png": jpeg(3, kind="PNG"),
        "ada/2.jpg": jpeg(4),
    }
    folder = write_people(tmp_path / "people", files)
    path = as_csv(tmp_path / "pairs.csv", ["Zo\u00eb/1,ada/2,0", "ada/1,ada/2,1", "ada/1.png,ada/2.jpg,1"])
    pairs = open_pairs(path, folder)
    one, _, png, two = files.values()
    assert content_of(pairs) == [(one, two, False), (png, two, True)]
    assert pairs.problems == (f"{path}:3: left out: more than one image 'ada/1'",)


IMAGES = [jpeg(0), jpeg(1), jpeg(2, kind="PNG"), jpeg(0), jpeg(4), jpeg(5)]
SAME = [True, False, True]


BIN_EXPECTED = [(IMAGES[2 * pair], IMAGES[2 * pair + 1], SAME[pair]) for pair in range(3)]


@pytest.mark.parametrize("kind", [bytes, lambda image: np.frombuffer(image, np.uint8)])
def test_public_readers_read_what_is_written(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "set.bin"
    write_bin(path, (kind(image) for image in IMAGES), SAME)
    with path.open("rb") as file:
        images, same = pickle.load(file, encoding="bytes")  # noqa: S301 - as public readers do
    assert (images, same) == (IMAGES, SAME)
    assert {type(image) for image in images} == {bytes} and {type(one) for one in same} == {bool}
    assert content_of(read_bin(path)) == BIN_EXPECTED
    before = path.read_bytes()
    write_bin(path, IMAGES, SAME)
    assert path.read_bytes() == before


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["lists", "arrays", "numpy flags", "numbers"])
def test_what_others_write_is_read(tmp_path: Path, protocol: int, form: str) -> None:
    images: list[Any] = list(IMAGES)
    same: Any = SAME
    if form == "arrays":
        images = [np.frombuffer(image, np.uint8) for image in IMAGES]
    elif form == "numpy flags":
        same = np.array(SAME)
    elif form == "numbers":
        same = [int(one) for one in SAME]
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((images, same), protocol))
    assert content_of(read_bin(path)) == BIN_EXPECTED


def test_python_2_str(tmp_path: Path) -> None:
    texts = b"".join(b"T" + len(image).to_bytes(4, "little") + image for image in IMAGES)
    content = b"\x80\x02](" + texts + b"e](\x88\x89\x88e\x86."
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)  # noqa: S301
    path = tmp_path / "set.bin"
    path.write_bytes(content)
    assert content_of(read_bin(path)) == BIN_EXPECTED


def test_equal_images_are_one_and_repeats_are_listed(tmp_path: Path) -> None:
    a, b, c = jpeg(0), jpeg(1), jpeg(2)
    path = tmp_path / "set.bin"
    write_bin(path, [a, b, c, c, b, a, a, b], [True, True, False, True])
    pairs = read_bin(path)
    assert list(pairs.names) == ["pair 1, first image", "pair 1, second image", "pair 2, first image"]
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 2, 1, 0], [1, 2, 0, 1])
    assert pairs.problems == (
        f"{path}: pair 2: 'pair 2, first image' is paired with itself",
        f"{path}: pair 3: the same pair as {path}: pair 1, where it says the opposite",
        f"{path}: pair 4: the same pair as {path}: pair 1",
    )
    assert pairs.left_out == 0


@pytest.mark.parametrize(
    ("images", "same", "said"),
    [
        (IMAGES[:5], SAME, "5 images for 3 pairs, which take 6"),
        (IMAGES, SAME[:2], "6 images for 2 pairs, which take 4"),
        ([*IMAGES[:3], b"<html>", *IMAGES[4:]], SAME, "pair 2, second image is neither a JPEG nor a PNG"),
        ([b"", *IMAGES[1:]], SAME, "pair 1, first image is neither"),
    ],
)
def test_what_does_not_fit_is_neither_written_nor_read(
    tmp_path: Path, images: list[bytes], same: list[bool], said: str
) -> None:
    path = tmp_path / "set.bin"
    with pytest.raises(StoreError, match=said):
        write_bin(path, images, same)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(pickle.dumps((images, same)))
    with pytest.raises(StoreError, match=said):
        read_bin(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "two lists"),
        ([IMAGES], "two lists"),
        ((IMAGES, 3), "two lists"),
        (({}, []), "two lists"),
        (([], []), "0 images for 0 pairs"),
        ((IMAGES, [True, "yes", False]), "pair 2: whether"),
        ((IMAGES, [True, 2, False]), "pair 2: whether"),
        ((IMAGES, [True, 0.0, False]), "pair 2: whether"),
        (([*IMAGES[:5], "text"], SAME), "pair 3, second image"),
        (([*IMAGES[:5], np.zeros((112, 112, 3), np.uint8)], SAME), "pair 3, second image"),
        (([*IMAGES[:5], None], SAME), "pair 3, second image"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, value: Any, said: str) -> None:
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(StoreError, match=said) as caught:
        read_bin(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()


def test_missing_cut_and_unwritable(tmp_path: Path) -> None:
    path = tmp_path / "set.bin"
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        read_bin(path)
    write_bin(path, IMAGES, SAME)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="damaged"):
        read_bin(path)
    with pytest.raises(StoreError, match="cannot be written"):
        write_bin(tmp_path / "none" / "set.bin", IMAGES, SAME)


class Bomb:
    """An image that is a call."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_a_call_among_the_images_never_runs(tmp_path: Path) -> None:
    path, marker = tmp_path / "set.bin", tmp_path / "it-ran"
    path.write_bytes(pickle.dumps(([*IMAGES[:5], Bomb(marker)], SAME)))
    with pytest.raises(StoreError, match=r"wants to call posix\.mkdir: refused"):
        read_bin(path)
    assert not marker.exists()
    pickle.load(io.BytesIO(path.read_bytes()))  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()
