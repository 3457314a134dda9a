from __future__ import annotations

import os
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import vidface

from vidface.errors import ManifestError, UsageError
from vidface.frames.folder import frame_files
from vidface.manifest.manifest import check_manifest, read_manifest
from vidface.manifest.sources import Converted, from_folder, from_iqiyi, from_lfrc, from_pictures, from_ytf

Rows = list[tuple[str, str, str, str]]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def rows_of(path: Path) -> Rows:
    manifest = read_manifest(path)
    return list(zip(manifest.video_ids, manifest.paths, manifest.identities, manifest.splits, strict=True))


def convert(
    tmp_path: Path, *names: str, by: Callable[..., Converted] = from_folder, **options: object
) -> tuple[Rows, Converted]:
    names_here = list(names)
    random.Random(0).shuffle(names_here)  # the order on the disk must not show
    touch(tmp_path / "faces", *names_here)
    result = by(tmp_path / "faces", tmp_path / "set.csv", **options)
    rows = rows_of(tmp_path / "set.csv")
    assert result.rows == len(rows)
    assert check_manifest(tmp_path / "set.csv") == []
    return rows, result


def refusal(tmp_path: Path, *names: str, by: Callable[..., Converted] = from_folder) -> str:
    touch(tmp_path / "faces", *names)
    with pytest.raises(ManifestError) as caught:
        by(tmp_path / "faces", tmp_path / "set.csv")
    assert not (tmp_path / "set.csv").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# from-folder


def test_folders_of_people(tmp_path: Path) -> None:
    rows, result = convert(
        tmp_path,
        *("anna/10.mp4", "anna/2.MKV", "anna/frames/1.jpg", "anna/frames/2.PNG", "bob/only.mov"),
        *("_distractors/x.mp4", "_unknown/y/1.jpeg"),
    )
    assert rows == [
        ("_distractors/x", "faces/_distractors/x.mp4", "", "val"),
        ("_unknown/y", "faces/_unknown/y", "", "val"),
        ("anna/2", "faces/anna/2.MKV", "anna", "train"),
        ("anna/10", "faces/anna/10.mp4", "anna", "val"),
        ("anna/frames", "faces/anna/frames", "anna", "val"),
        ("bob/only", "faces/bob/only.mov", "bob", "val"),
    ]
    assert (result.identities, result.unknown, result.missing) == (2, 2, 0)
    assert result.splits == {"val": 5, "train": 1}
    assert result.ignored == {}
    assert result.notes == [
        "1 identities have gallery videos but no enrolment video, and will score 0 in iqiyi"
    ]


@pytest.mark.parametrize(
    ("enrol", "splits"),
    [(0, ["val"] * 4), (2, ["train", "train", "val", "val"]), (9, ["train"] * 2 + ["val"] * 2)],
)
def test_enrolment_leaves_a_video_to_be_found(tmp_path: Path, enrol: int, splits: list[str]) -> None:
    rows, _ = convert(tmp_path, "a/1.mp4", "a/2.mp4", "a/3.mp4", "b/1.mp4", enrol=enrol)
    assert [row[3] for row in rows] == splits


@pytest.mark.parametrize("by", [from_folder, from_pictures])
def test_enrolment_cannot_be_negative(tmp_path: Path, by: Callable[..., Converted]) -> None:
    with pytest.raises(UsageError, match="enrol is -1"):
        convert(tmp_path, "a/1.mp4", by=by, enrol=-1)


def test_folders_of_splits(tmp_path: Path) -> None:
    rows, _ = convert(
        tmp_path,
        *("train/anna/1.mp4", "train/anna/2.mp4", "val/anna/1.mp4", "val/_unknown/1.mp4"),
        *("test/b.mp4", "test/a/1.jpg"),
    )
    assert rows == [
        ("test/a", "faces/test/a", "", "test"),
        ("test/b", "faces/test/b.mp4", "", "test"),
        ("train/anna/1", "faces/train/anna/1.mp4", "anna", "train"),
        ("train/anna/2", "faces/train/anna/2.mp4", "anna", "train"),
        ("val/_unknown/1", "faces/val/_unknown/1.mp4", "", "val"),
        ("val/anna/1", "faces/val/anna/1.mp4", "anna", "val"),
    ]


def test_videos_without_people(tmp_path: Path) -> None:
    rows, result = convert(tmp_path, "b.mp4", "a/1.jpg", "c.tar.mp4")
    assert rows == [
        ("a", "faces/a", "", "val"),
        ("b", "faces/b.mp4", "", "val"),
        ("c.tar", "faces/c.tar.mp4", "", "val"),
    ]
    assert result.notes == [
        "no video has an identity: there is nobody to search for, and no pair of one person"
    ]


def test_folders_of_images_alone_may_be_people(tmp_path: Path) -> None:
    """The photographs of a person would be one video, and nobody would have an identity."""
    _, result = convert(tmp_path, "ann/1.jpg", "ann/2.jpg", "ben/1.jpg")
    assert result.identities == 0
    assert "pass --pictures" in result.notes[-1]
    _, result = convert(tmp_path / "b", "ann/1/1.jpg", "ann/2/1.jpg", "ben/1/1.jpg")  # folders of frames
    assert not any("--pictures" in note for note in result.notes)


def test_the_manifest_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "a/2.mp4")
    from_folder(tmp_path, tmp_path / "set.jsonl")
    assert [row[1] for row in rows_of(tmp_path / "set.jsonl")] == ["a/1.mp4", "a/2.mp4"]


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    home = tmp_path / "faces"
    touch(tmp_path, "fac/1.jpg", "faces/b/1.mp4", "faces/empty/deep/x.txt")
    (home / "away").symlink_to(tmp_path.parent)
    (home / "b" / "up").symlink_to(home)
    (home / "b" / "again.mp4").symlink_to(home / "b" / "1.mp4")
    (home / "b" / "near").symlink_to(tmp_path / "fac")  # not above, though the name is how "faces" begins
    (home / "dead.mp4").symlink_to(home / "gone.mp4")
    rows, result = convert(tmp_path, ".DS_Store", "a/.hidden.mp4", "a/1.mp4", "a/notes.txt", "read.me")
    assert [row[0] for row in rows] == ["a/1", "b/1", "b/again", "b/near"]
    assert result.ignored == {
        "hidden": [".DS_Store", "a/.hidden.mp4"],
        "file that is no video or image": ["a/notes.txt", "empty/deep/x.txt", "read.me"],
        "link that leaves the root": ["away"],
        "link to a folder above": ["b/up"],
        "neither file nor folder": ["dead.mp4"],
        "folder without videos or frames": ["empty/deep", "empty"],
    }


def test_ids_with_white_space_are_noted(tmp_path: Path) -> None:
    _, result = convert(tmp_path, "Anna Lee/1.mp4", "Anna Lee/2.mp4", "bob/1.mp4", "bob/2.mp4")
    assert result.notes == ["2 video ids contain white space, which the iQIYI submission file cannot hold"]


REFUSED = {
    from_folder: [
        ([], "it is empty"),
        (["notes.txt", ".x"], "left out: 1 hidden, 1 file that is no video or image"),
        (["1.jpg", "2.jpg"], "is one video"),
        (["a/1.mp4", "b.mp4"], "'a' and 'b.mp4' do not go together"),
        (["a/1.mp4", "b/1.jpg"], "'a' and 'b' do not go together"),
        (["a/1.mp4", "a/cover.jpg"], "images beside '1.mp4'"),
        (["a/x/1.jpg", "a/x/y/1.jpg"], "images beside 'y'"),
        (["a/1.mp4", "b/x/1.mp4"], "'a' and 'b' do not go together"),
        (["a/x/1.mp4"], "--identity-from first-folder (or last-folder)"),
        (["train/a/x/1.mp4"], "deeper"),
        (["train/a/1.mp4", "b/1.mp4"], "train/ is a split but 'b' is not"),
        (["val/a/1.mp4", "b.mp4"], "val/ is a split but 'b.mp4' is not"),
        (["val/a/1.mp4", "val/b.mp4"], "do not go together"),
        (["a/1.mp4", "a/1.mkv"], "'a/1.mkv' and 'a/1.mp4' would both have the id 'a/1'"),
        (["a/x.mp4", "a/X.mp4"], "differs only by case"),
        (["a/x\n.mp4", "a/y.mp4"], "control character"),
        (["a /x.mp4"], "white space"),
        (["a\\b/x.mp4"], "may leave the root"),
    ],
    from_pictures: [
        (["Ann/1.jpg", "Ann/1.png"], "would both have the id 'Ann/1'"),
        (["train/Ann/1.jpg", "val/Ann/2.jpg"], "its folders are splits"),
        (["Ann/1.mp4"], "no .jpg, .jpeg or .png image in it; left out: 1 file that is no image"),
    ],
    from_ytf: [
        (["aligned_images_DB/A/0/1.jpg"], "the whole set; give"),
        (["1.jpg"], "images directly in it"),
        (["A/1.jpg", "A/2.jpg"], "a video, where <person>/<video>"),
        (["A/x/y/1.jpg"], "folders of folders"),
        (["A/0.mp4"], "no <person>/<video>/<frame>.jpg in it; 1 video file"),
        (["A.txt"], "no <person>/<video>/<frame>.jpg in it; 1 file that is no video"),
    ],
}


@pytest.mark.parametrize(("by", "names", "says"), [(by, *case) for by in REFUSED for case in REFUSED[by]])
def test_what_is_not_clear_is_refused(
    tmp_path: Path, by: Callable[..., Converted], names: list[str], says: str
) -> None:
    (tmp_path / "faces").mkdir()
    assert says in refusal(tmp_path, *names, by=by)


def test_the_manifest_must_lie_above_the_videos(tmp_path: Path) -> None:
    touch(tmp_path, "faces/a.mp4", "other/x")
    with pytest.raises(ManifestError, match=f"-o '{tmp_path / 'set.csv'}'"):
        from_folder(tmp_path / "faces", tmp_path / "other" / "set.csv")
    (tmp_path / "other" / "link").symlink_to(tmp_path / "faces")
    with pytest.raises(ManifestError, match="not under"):
        from_folder(tmp_path / "other" / "link", tmp_path / "other" / "set.csv")
    with pytest.raises(ManifestError, match="no such folder"):
        from_folder(tmp_path / "gone", tmp_path / "set.csv")
    with pytest.raises(ManifestError, match=r"\.parquet"):
        from_folder(tmp_path / "faces", tmp_path / "set.txt")


# from-iqiyi


def iqiyi(tmp_path: Path, train: str, val: str, train_folder: str = "T", val_folder: str = "V") -> Converted:
    (tmp_path / "train_gt.txt").write_text(train)
    (tmp_path / "val_gt.txt").write_text(val)
    for name in (train_folder, val_folder):
        (tmp_path / name).mkdir(exist_ok=True)
    lists = (tmp_path / "train_gt.txt", tmp_path / "val_gt.txt")
    return from_iqiyi(*lists, tmp_path / train_folder, tmp_path / val_folder, tmp_path / "set.csv")


def test_the_iqiyi_lists(tmp_path: Path) -> None:
    touch(tmp_path, "T/T1.mp4", "T/T2.mp4", "T/extra.mp4", "V/V1.mp4", "V/V3/1.jpg", "V/V10.mp4", "V/V9.mp4")
    touch(tmp_path, "V/.hid", "V/read.me", "V/folder/1.jpg", "V/V1/1.jpg", "V/IQIYI_VID_TEST_1.mp4")
    val = "1 V1.mp4 V2.mp4 V1.mp4 \r\n2 V3.mp4 \n0 V4.mp4\n"
    result = iqiyi(tmp_path, "T1.mp4 191\nT2.mp4 0\n\nT3.mp4 007\n", val)
    assert rows_of(tmp_path / "set.csv") == [
        ("T1", "T/T1.mp4", "191", "train"),
        ("T2", "T/T2.mp4", "", "train"),
        ("T3", "T/T3.mp4", "007", "train"),
        ("V1", "V/V1.mp4", "1", "val"),
        ("V2", "V/V2.mp4", "1", "val"),
        ("V3", "V/V3", "2", "val"),
        ("V4", "V/V4.mp4", "", "val"),
        ("V9", "V/V9.mp4", "", "val"),
        ("V10", "V/V10.mp4", "", "val"),
        ("folder", "V/folder", "", "val"),
    ]
    assert (result.rows, result.identities, result.unknown, result.missing) == (10, 4, 5, 3)
    assert result.ignored == {
        "listed again for the same identity": ["V1.mp4"],
        "in the training folder, but not in the list": ["extra.mp4"],
        "hidden": [".hid"],
        "not an .mp4 file": ["read.me"],
        "a second copy of a listed video": ["V1"],
        "of another part of the set": ["IQIYI_VID_TEST_1.mp4"],
    }


def test_one_folder_for_both_iqiyi_parts(tmp_path: Path) -> None:
    touch(tmp_path, "A/T1.mp4", "A/V1.mp4", "A/V2.mp4", "A/IQIYI_VID_TRAIN_1.mp4")
    result = iqiyi(tmp_path, "T1.mp4 1\n", "1 V1.mp4\n", "A", "A")
    assert [row[0::2] for row in rows_of(tmp_path / "set.csv")] == [("T1", "1"), ("V1", "1"), ("V2", "")]
    assert result.ignored == {"of another part of the set": ["IQIYI_VID_TRAIN_1.mp4"]}


@pytest.mark.parametrize(
    ("train", "val", "says"),
    [
        ("T1.mp4\n", "1 V1.mp4\n", "train_gt.txt:1: 1 words"),
        ("T1.mp4 1\nT2.mp4 2 3\n", "1 V1.mp4\n", "train_gt.txt:2: 3 words"),
        ("T1 1\n", "1 V1.mp4\n", "train_gt.txt:1: 'T1' is not the name"),
        ("T1.mp4 1\n", "1 V1.mp4\n2 .mp4\n", "val_gt.txt:2: '.mp4' is not the name"),
        ("T1.mp4 1\nT1.mp4 2\n", "1 V1.mp4\n", "train_gt.txt:2: video 'T1' is listed as train 1 in"),
        ("T1.mp4 1\n", "1 V1.mp4\n2 V2.mp4 V1.mp4\n", "val_gt.txt:2: video 'V1' is listed as val 1 in"),
        ("T1.mp4 1\n", "1 T1.mp4\n", "val_gt.txt:1: video 'T1' is listed as train 1 in"),
        ("T1.mp4 0\n", "1 V1.mp4\n1 V1.mp4\n2 V1.mp4\n3 V1.mp4\n", "(1 more)"),
        ("../T1.mp4 1\n", "1 V1.mp4\n", "may leave the root"),
    ],
)
def test_what_is_wrong_in_the_iqiyi_lists(tmp_path: Path, train: str, val: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        iqiyi(tmp_path, train, val)
    assert says in str(caught.value)
    assert not (tmp_path / "set.csv").exists()


def test_iqiyi_lists_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"T1.mp4 1\n\xff.mp4 2\n")
    for name, says in (("bad.txt", r"bad\.txt:2: not UTF-8"), ("gone.txt", "No such file")):
        with pytest.raises(ManifestError, match=says):
            from_iqiyi(tmp_path / name, tmp_path / "bad.txt", tmp_path, tmp_path, tmp_path / "set.csv")


# from-lfrc


def lfrc(tmp_path: Path, text: str) -> Converted:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "filelist.txt").write_bytes(text.encode())
    return from_lfrc(tmp_path / "data" / "filelist.txt", tmp_path / "set.csv")


def test_the_lfrc_list_keeps_its_order_and_only_first_words(tmp_path: Path) -> None:
    touch(tmp_path, "data/0144686/1.jpg", "data/7/1.jpg")
    result = lfrc(tmp_path, "0144686 31 x\r\n10\t3\n7\n2 \n\n")
    assert rows_of(tmp_path / "set.csv") == [
        ("0144686", "data/0144686", "", "test"),
        ("10", "data/10", "", "test"),
        ("7", "data/7", "", "test"),
        ("2", "data/2", "", "test"),
    ]
    assert (result.rows, result.missing, result.unknown) == (4, 2, 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n\nb\n", r"filelist\.txt:2: an empty line"),
        ("\na\n", r"filelist\.txt:1: an empty line"),
        ("a\nb\na 1\n", r"filelist\.txt:3: video_id 'a' is already in line 1"),
        ("a\n../b\n", r"filelist\.txt:2: .*may leave the root"),
        ("/etc\n", r"filelist\.txt:1: .*may leave the root"),
        ("", "no videos"),
    ],
)
def test_what_is_wrong_in_the_lfrc_list(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        lfrc(tmp_path, text)


def test_the_lfrc_manifest_must_lie_above_the_list(tmp_path: Path) -> None:
    touch(tmp_path, "data/filelist.txt", "other/x")
    with pytest.raises(ManifestError, match="not under"):
        from_lfrc(tmp_path / "data" / "filelist.txt", tmp_path / "other" / "set.csv")


DEEP = {
    # As VoxCeleb's IDENTITY/VIDEO/CLIP; clips of one recording are never both enrolled and searched.
    "first-folder": [
        ("id1/aa/00001.mp4", "id1/aa/00001", "id1", "train"),
        ("id1/aa/00002.MP4", "id1/aa/00002", "id1", "train"),
        ("id1/bb/00001.mp4", "id1/bb/00001", "id1", "val"),
        ("id2/cc/00001.mp4", "id2/cc/00001", "id2", "train"),
        ("id2/dd/1.jpg", "id2/dd", "id2", "val"),
        ("id3/x.mp4", "id3/x", "id3", "val"),
    ],
    "last-folder": [
        ("2019/ann/1.mp4", "2019/ann/1", "ann", "train"),
        ("2019/ann/2.mp4", "2019/ann/2", "ann", "val"),
        ("2020/q1/_unknown/1.mp4", "2020/q1/_unknown/1", "", "val"),
        ("2020/q1/bob.b/1.mp4", "2020/q1/bob.b/1", "bob.b", "val"),
    ],
    "first-folder below splits": [
        ("test/id1/bb/1.mp4", "test/id1/bb/1", "id1", "test"),
        ("test/id2/cc/1.mp4", "test/id2/cc/1", "id2", "test"),
        ("train/id1/aa/1.mp4", "train/id1/aa/1", "id1", "train"),
    ],
}


@pytest.mark.parametrize("which", DEEP)
def test_videos_and_people_at_any_depth(tmp_path: Path, which: str) -> None:
    rows, _ = convert(tmp_path, *(name for name, *_ in DEEP[which]), identity_from=which.split()[0])
    assert [(row[0], *row[2:]) for row in rows] == [tuple(row) for _, *row in DEEP[which]]


@pytest.mark.parametrize("name", [b"caf\xe9/1.mp4", b"ann/caf\xe9.mp4"])
def test_a_name_that_is_not_utf_8_is_to_be_renamed(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path / "faces") + b"/" + name
    os.makedirs(os.path.dirname(path))  # noqa: PTH103, PTH120 - bytes
    Path(os.fsdecode(path)).touch()
    error = vidface("manifest", "from-folder", tmp_path / "faces", "-o", tmp_path / "set.csv", code=1).error
    assert "is not UTF-8; rename the file or folder" in error and "save the file" not in error
    assert "caf\\udce9" in error


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_iqiyi_s_lists_and_videos_in_two_unicode_forms(tmp_path: Path, form: str) -> None:
    """Else the video of the list would be missing, and its file a distractor."""
    listed, there = unicodedata.normalize(form, "caf\u00e9"), "cafe\u0301" if form == "NFC" else "caf\u00e9"
    touch(tmp_path / "videos", f"{there}.mp4", "x.mp4")
    (tmp_path / "train.txt").write_text("x.mp4 2\n")
    (tmp_path / "val.txt").write_text(f"1 {listed}.mp4\n")
    made = from_iqiyi(
        tmp_path / "train.txt", tmp_path / "val.txt", *[tmp_path / "videos"] * 2, tmp_path / "set.csv"
    )
    assert (made.missing, made.unknown) == (0, 0)
    assert rows_of(tmp_path / "set.csv")[1] == (listed, f"videos/{there}.mp4", "1", "val")


@pytest.mark.parametrize("command", ["from-lfrc", "from-trillionpairs"])
def test_lists_and_media_in_two_unicode_forms(tmp_path: Path, command: str) -> None:
    touch(tmp_path / "faces", "cafe\u0301/1.jpg")
    (tmp_path / "faces" / "list.txt").write_text("caf\u00e9\n")
    words = ("manifest", command, tmp_path / "faces" / "list.txt", "-o", tmp_path / "set.csv", "--json")
    assert vidface(*words, code=0).json["missing"] == 0


# from-pictures


def test_every_picture_is_a_video(tmp_path: Path) -> None:
    names = (
        "Ann/Ann_0010.jpg",
        "Ann/Ann_0002.PNG",
        "Bo/Bo_0001.jpeg",
        "_unknown/x.jpg",
        "Bo/notes.txt",
        ".a/b.jpg",
    )
    rows, result = convert(tmp_path, *names, by=from_pictures)
    assert rows == [
        ("Ann/Ann_0002", "faces/Ann/Ann_0002.PNG", "Ann", "train"),
        ("Ann/Ann_0010", "faces/Ann/Ann_0010.jpg", "Ann", "val"),
        ("Bo/Bo_0001", "faces/Bo/Bo_0001.jpeg", "Bo", "val"),
        ("_unknown/x", "faces/_unknown/x.jpg", "", "val"),
    ]
    assert result.ignored == {"file that is no image": ["Bo/notes.txt"], "hidden": [".a"]}


def test_pictures_deeper_down_and_of_nobody_known(tmp_path: Path) -> None:
    names = ("001/frontal/01.jpg", "001/profile/01.jpg", "train/1.jpg", "2.jpg", "10.jpg")
    rows, _ = convert(tmp_path, *names, by=from_pictures, enrol=0)
    people = {"001/frontal/01": "001", "001/profile/01": "001", "2": "", "10": "", "train/1": "train"}
    assert {row[0]: row[2] for row in rows} == people and {row[3] for row in rows} == {"val"}


def test_pictures_behind_links_that_lead_out_are_left_out(tmp_path: Path) -> None:
    inside = tmp_path / "in" / "faces"
    touch(tmp_path, "out/secret.jpg", "in/faces/Ann/1.jpg")
    (inside / "Ann" / "2.jpg").symlink_to(tmp_path / "out" / "secret.jpg")
    (inside / "Ann" / "up").symlink_to(inside)
    result = from_pictures(inside, tmp_path / "in" / "set.csv")
    assert result.rows == 1
    assert result.ignored == {
        "link that leaves the root": ["Ann/2.jpg"],
        "link to a folder above": ["Ann/up"],
    }


# from-ytf


def test_aligned_images_of_youtube_faces(tmp_path: Path) -> None:
    frames = [f"Bo_Li/1/aligned_detect_1.{n}.jpg" for n in (1000, 99, 100)]
    others = [f"Ann_Lee/{n}/aligned_detect_{n}.7.jpg" for n in (10, 2, 0)]
    rows, result = convert(tmp_path, *frames, *others, by=from_ytf)
    videos = ["Ann_Lee/0", "Ann_Lee/2", "Ann_Lee/10", "Bo_Li/1"]
    assert rows == [(name, f"faces/{name}", name.partition("/")[0], "test") for name in videos]
    assert (result.rows, result.identities, result.ignored) == (4, 2, {})
    names = [path.name for path in frame_files(tmp_path / "faces" / "Bo_Li" / "1")]
    assert names == [f"aligned_detect_1.{n}.jpg" for n in (99, 100, 1000)]  # the order of extract


def test_frames_of_youtube_faces_and_what_lies_beside_them(tmp_path: Path) -> None:
    for empty in ("Cy_Ng/0", "Ann_Lee/3"):
        (tmp_path / "faces" / empty).mkdir(parents=True)
    names = ("Bo_Li/1/1.99.jpg", "Bo_Li.labeled_faces.txt", "Ann_Lee/2/2.7.jpg", "Ann_Lee/4/notes.txt")
    rows, result = convert(tmp_path, *names, "Ann_Lee/clip.mp4", by=from_ytf)
    assert [row[0] for row in rows] == ["Ann_Lee/2", "Bo_Li/1"]
    assert result.ignored == {
        "file that is no video or image": ["Ann_Lee/4/notes.txt", "Bo_Li.labeled_faces.txt"],
        "folder without videos or frames": ["Ann_Lee/3", "Ann_Lee/4", "Cy_Ng/0", "Cy_Ng"],
        "video file where a folder of frames belongs": ["Ann_Lee/clip.mp4"],
    }
