"""Packing: the same labels and bytes come out, twice the same file, and whole or not at all."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path
from typing import Literal

import pytest
from face_sets import contents, jpeg, write_people

from vidface.errors import MediaError, UsageError
from vidface.training.datasets import pack as dataset_pack
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pack import pack

Form = Literal["tar", "rec", "bin"]


def held_by(images: ImageSet) -> list[tuple[int, bytes]]:
    return [(int(label), images.read(i)) for i, label in enumerate(images.labels)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_people(tmp_path / "source", {**contents(), "Zoë/1.png": jpeg(77, kind="PNG")})


@pytest.mark.parametrize(
    ("to", "name", "shards"), [("tar", "out.tar", None), ("tar", "out", 3), ("rec", "out.rec", None)]
)
def test_what_is_packed_opens_to_the_same_and_twice_to_the_same_bytes(
    to: Form, name: str, shards: int | None, source: Path, tmp_path: Path
) -> None:
    expected = open_images(source)
    packed = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        made = pack(source, tmp_path / run / name, to=to, shards=shards)
        assert (made.people, made.images, made.pairs) == (len(expected.identities), len(expected.labels), 0)
        assert all(path.is_file() for path in made.outputs)
        packed.append([path.read_bytes() for path in made.outputs])
        images = open_images(tmp_path / run / name)
        assert held_by(images) == held_by(expected) and images.problems == ()
        if to == "tar":
            assert list(images.names) == list(expected.names) and images.identities == expected.identities
        assert not [path for path in (tmp_path / run).rglob("*") if path.name.startswith(".")]
    assert packed[0] == packed[1] and len(packed[0]) == (shards or {"tar": 1, "rec": 2}[to])


def test_tar_headers_say_nothing_of_who_packed_it_and_when(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "out.tar", to="tar")
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == list(open_images(source).names)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }


def test_shards_hold_about_as_many_each(source: Path, tmp_path: Path) -> None:
    made = pack(source, tmp_path / "set", to="tar", shards=4)
    assert [path.name for path in made.outputs] == [f"set-0000{number}.tar" for number in range(4)]
    assert sorted((tmp_path / "set").iterdir()) == made.outputs
    counts = [len(open_images(path).labels) for path in made.outputs]
    assert sum(counts) == len(open_images(source).labels) and max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("first", "name"), [("tar", "a.tar"), ("rec", "a.rec")])
@pytest.mark.parametrize(("second", "last"), [("tar", "b.tar"), ("rec", "b.rec")])
def test_every_form_can_be_packed_into_every_other(
    first: Form, name: str, second: Form, last: str, source: Path, tmp_path: Path
) -> None:
    pack(source, tmp_path / name, to=first)
    pack(tmp_path / name, tmp_path / last, to=second)
    assert held_by(open_images(tmp_path / last)) == held_by(open_images(source))


def test_records_get_names_by_person_place_and_content(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "a.rec", to="rec")
    pack(tmp_path / "a.rec", tmp_path / "b.tar", to="tar")
    assert list(open_images(tmp_path / "b.tar").names)[:2] == ["0/00000000.jpg", "1/00000001.png"]


def test_the_long_tail_is_cut_and_counted(source: Path, tmp_path: Path) -> None:
    made = pack(source, tmp_path / "out.tar", to="tar", min_images=2)
    assert open_images(tmp_path / "out.tar").identities == ("ada", "person2", "person10")
    assert (made.people, made.images, made.cut_people, made.cut_images) == (3, 7, 3, 3)
    with pytest.raises(UsageError, match="nobody has 4 images or more; lower --min-images"):
        pack(source, tmp_path / "none.tar", to="tar", min_images=4)


PAIRS = "first,second,same\nada/1.jpg,ada/2.jpg,1\nperson2/3.jpg,Zoe/1.jpg,0\nada/1.jpg,person10/1.jpg,0\n"


def test_a_bin_holds_what_public_readers_expect(source: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    made = pack(source, tmp_path / "out.bin", to="bin", pairs=tmp_path / "pairs.csv")
    assert (made.outputs, made.people, made.images, made.pairs) == ([tmp_path / "out.bin"], None, 6, 3)
    # The plain way to read such a file; it was made above.
    bins, same = pickle.loads((tmp_path / "out.bin").read_bytes(), encoding="bytes")  # noqa: S301
    images = open_images(source)
    read = {name: images.read(i) for i, name in enumerate(images.names)}
    names = ["ada/1.jpg", "ada/2.jpg", "person2/3.jpg", "Zoe/1.jpg", "ada/1.jpg", "person10/1.jpg"]
    assert bins == [read[name] for name in names] and same == [True, False, False]


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("bin", {}, "pass --to bin and --pairs"),
        ("tar", {"pairs": Path("pairs.csv")}, "pass --to bin and --pairs"),
        ("rec", {"shards": 2}, "--shards is for --to tar"),
        ("bin", {"pairs": Path("pairs.csv"), "min_images": 2}, "--min-images is not for"),
        ("tar", {"shards": 99}, "--shards is 99, more than the 10 images"),
    ],
)
def test_options_that_contradict_each_other(
    to: Form, options: dict[str, object], message: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        pack(source, tmp_path / "out", to=to, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("to", "name", "there"), [("tar", "a.tar", "a.tar"), ("rec", "a.rec", "a.idx"), ("tar", "a", "a")]
)
def test_what_exists_is_not_replaced(to: Form, name: str, there: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=rf"{there}: exists; remove it"):
        pack(source, tmp_path / name, to=to)
    assert (tmp_path / there).read_text() == "mine"
    with pytest.raises(UsageError, match="exists; remove it"):
        pack(source, Path(), to=to)


def test_a_set_killed_between_the_names_of_its_two_files_is_written_anew(
    source: Path, tmp_path: Path
) -> None:
    """The .idx has its name, the .rec has not: nobody takes the one without the other."""
    pack(source, tmp_path / "whole.rec", to="rec")
    (tmp_path / "a.idx").write_bytes((tmp_path / "whole.idx").read_bytes())
    (tmp_path / ".a.rec.123.partial").write_bytes((tmp_path / "whole.rec").read_bytes())
    pack(source, tmp_path / "a.rec", to="rec")
    assert (tmp_path / "a.rec").read_bytes() == (tmp_path / "whole.rec").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("to", "name", "shards"),
    [("tar", "out.tar", None), ("tar", "out", 3), ("rec", "out.rec", None), ("bin", "out.bin", None)],
)
def test_whole_or_not_at_all(
    to: Form, name: str, shards: int | None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last image cannot be read: nothing of the output is left, under no name."""
    (tmp_path / "pairs.csv").write_text(PAIRS.replace("Zoe/1.jpg", "person10/2.jpg"))
    opened = open_images(source)
    (source / "person10" / "2.jpg").unlink()
    monkeypatch.setattr(dataset_pack, "open_images", lambda _path: opened)
    monkeypatch.setattr("vidface.training.datasets.pairs.open_images", lambda _path: opened)
    pairs = tmp_path / "pairs.csv" if to == "bin" else None
    with pytest.raises(MediaError, match=r"person10/2\.jpg"):
        pack(source, tmp_path / name, to=to, shards=shards, pairs=pairs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.csv", "source"]


def test_what_a_killed_run_left_is_cleared_away(source: Path, tmp_path: Path) -> None:
    (tmp_path / ".out-abc").mkdir()
    (tmp_path / ".out-abc" / "out-00000.tar").write_bytes(b"half")
    pack(source, tmp_path / "out", to="tar", shards=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_pairs_of_a_list_with_folds_are_packed_fold_by_fold(tmp_path: Path) -> None:
    """A .bin file says its folds by their order alone; CALFW's own list has all pairs of one person first."""
    files = {f"x/P_{n}.jpg": jpeg(n) for n in range(1, 9)}
    images = write_people(tmp_path / "images", files)
    listed = [(1, 2, 1), (3, 4, 2), (5, 6, 0), (7, 8, 0)]
    path = tmp_path / "pairs_CALFW.txt"
    path.write_text("".join(f"P_{a}.jpg {token}\nP_{b}.jpg {token}\n" for a, b, token in listed))
    made = pack(images, tmp_path / "calfw.bin", to="bin", pairs=path)
    assert (made.pairs, made.unusable_pairs) == (4, 0)
    contents_packed, same = pickle.loads((tmp_path / "calfw.bin").read_bytes())  # noqa: S301 - written just now
    assert contents_packed == [files[f"x/P_{n}.jpg"] for n in (1, 2, 5, 6, 3, 4, 7, 8)]
    assert same == [True, False, True, False]
