"""The data manifests that come with the program, and manifests beside them."""

from __future__ import annotations

import csv
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import vidface

from vidface.demo.benchmark import Plan, _cast
from vidface.demo.sources import drawn_faces
from vidface.demo.walk import DRAWN, POPULATION
from vidface.errors import UsageError
from vidface.manifest.against import compare_manifest
from vidface.manifest.known_sets import known_names, read_known
from vidface.manifest.manifest import read_manifest
from vidface.manifest.sources import from_iqiyi, from_lfrc, from_pictures, from_trillionpairs, from_ytf
from vidface.manifest.sources.ijb import from_ijb

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data_manifests"
SETS = [
    *("agedb-30", "cfp-fp", "demo", "ijb-b", "ijb-c", "iqiyi-vid-2019", "lfrc-image", "lfrc-video"),
    *("lfw", "ms1m-retinaface", "trillion-pairs", "ytf"),
]
NOT_COMPARABLE = {"agedb-30", "ms1m-retinaface"}
Rows = list[tuple[str, str, str, str]]

MINE = """
name = "my-set"
title = "Ours"
what = "Clips of the entrance."
origin = "our own disk"
licence = "not to be passed on"
layout = "one folder a person"

[sources]
us = "counted by hand"

[[counts]]
of = "videos"
value = 3
compared = true
source = "us"

[[counts]]
of = "identities"
value = 2
split = "val"
compared = true
source = "us"

[manifest]
command = "vidface manifest from-folder clips -o ours.csv"
"""
OURS: Rows = [("a", "a.mp4", "anna", "val"), ("b", "b.mp4", "bob", "val"), ("c", "c.mp4", "", "val")]


def write(path: Path, rows: Sequence[tuple[str, ...]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video_id", "path", "identity", "split"))
        table.writerows(rows)
    return path


def mine(tmp_path: Path, text: str = MINE) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def iqiyi_rows(distractors: int = 5) -> Rows:
    """Every video of the lists, and some distractors; all 10,034 people are in val."""
    train = [(f"IQIYI_VID_TRAIN_{n:07d}", str(1 + n % 9000), "train") for n in range(60_566)]
    val = [(f"IQIYI_VID_VAL_{n:07d}", str(1 + n % 10_034), "val") for n in range(45_472)]
    nobody = [(f"IQIYI_VID_VAL_{n:07d}", "", "val") for n in range(50_000, 50_000 + distractors)]
    return [(name, f"{name}.mp4", who, split) for name, who, split in train + val + nobody]


def demo_rows() -> Rows:
    _, *lines = (FOLDER / "demo.csv").read_text().splitlines()
    return [(a, b, c, d) for a, b, c, d in (line.split(",") for line in lines)]


def complete(name: str) -> Rows:
    """All rows of a set."""
    if name == "iqiyi-vid-2019":
        return iqiyi_rows()
    if name == "demo":
        return demo_rows()
    if name == "ytf":
        ids = [(f"Name_{n % 1595}/{n // 1595}", f"Name_{n % 1595}") for n in range(3425)]
    else:
        assert name == "cfp-fp"
        views = [f"frontal/{n:02d}" for n in range(1, 11)] + [f"profile/{n:02d}" for n in range(1, 5)]
        ids = [(f"{n:03d}/{view}", f"{n:03d}") for view in views for n in range(1, 501)]
    return [(video_id, video_id, who, "test") for video_id, who in ids]


# the files themselves


def test_every_set_that_the_program_knows_is_there() -> None:
    assert known_names() == SETS
    assert {path.suffix for path in FOLDER.iterdir()} == {".toml", ".csv", ".md"}


@pytest.mark.parametrize("name", SETS)
def test_a_set_reads(name: str) -> None:
    known = read_known(name)
    assert known.name == name
    for entry in (*known.counts, *known.checksums):
        assert known.sources[entry.source].strip()  # a number without a source is worth nothing
    assert known.counts
    assert bool(known.manifest.not_comparable) == (name in NOT_COMPARABLE)


@pytest.mark.parametrize("name", [name for name in SETS if name not in NOT_COMPARABLE])
def test_its_example_is_a_manifest_of_that_set(name: str, tmp_path: Path) -> None:
    path = tmp_path / "example.csv"
    path.write_text(read_known(name).manifest.example.lstrip())
    assert 2 <= len(read_manifest(path).video_ids) <= 10
    found = compare_manifest(path, read_known(name))
    assert (found.problems, found.extra, found.differs) == ([], [], [])
    assert found.missing


def test_protocols_and_commands_are_those_of_the_program() -> None:
    offered = vidface("score", "--help", code=0).out
    for name in SETS:
        assert all(protocol in offered for protocol in read_known(name).protocols)
        program, *words = read_known(name).manifest.command.split()
        assert program == "vidface"
        depth = 2 if words[0] in ("manifest", "dataset") else 1
        helped = vidface(*words[:depth], "--help", code=0).out
        assert all(word in helped for word in words if word.startswith("--"))


def test_the_wheel_and_the_source_hold_them() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"]["force-include"] == {"data_manifests": "vidface/data_manifests"}
    assert "/data_manifests" in built["sdist"]["include"]


def test_they_are_found_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vidface" / "data_manifests").mkdir(parents=True)
    (tmp_path / "vidface" / "data_manifests" / "my-set.toml").write_text(MINE)
    monkeypatch.setattr("vidface.__file__", str(tmp_path / "vidface" / "__init__.py"))
    assert known_names() == ["my-set"]
    assert read_known("my-set").title == "Ours"


# what the program's own readers make is what the sets say


def test_the_demo_set_is_what_the_demo_makes() -> None:
    videos = _cast(drawn_faces(400, seed=POPULATION), Plan(**DRAWN, seed=1))
    planned = [(v.video_id, f"videos/{v.video_id}.mp4", v.identity, v.split) for v in videos]
    assert demo_rows() == planned
    counts = {(count.of, count.split): count.value for count in read_known("demo").counts}
    splits = Counter(split for *_, split in planned)
    assert counts == {
        ("videos", ""): len(planned),
        ("videos", "train"): splits["train"],
        ("videos", "val"): splits["val"],
        ("distractors", "val"): sum(not who for _, _, who, _ in planned),
        ("identities", ""): len({who for _, _, who, _ in planned} - {""}),
        ("frames", ""): sum(len(video.shots) for video in videos),
    }


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


IJB = {"1.jpg": (1, 69544), "2.jpg": (2, 69545)}
READ = {
    "lfrc-video": lambda here, out: from_lfrc(listed(here, "0144686 1", "0144610 1"), out),
    "lfrc-image": lambda here, out: from_trillionpairs(listed(here, "a/1.jpg", "b/2.jpg"), out),
    "trillion-pairs": lambda here, out: from_trillionpairs(listed(here, "a/1.jpg", "b/2.jpg"), out),
    "ytf": lambda here, out: from_ytf(touch(here / "frames", "Name/0/0.jpg", "Name/1/0.jpg"), out),
    "ijb-b": lambda here, out: from_ijb("ijbb", here, touch(here / "crops", *IJB), out),
    "lfw": lambda here, out: from_pictures(touch(here / "lfw", "A_B/A_B_0001.jpg", "A_B/A_B_0002.jpg"), out),
    "cfp-fp": lambda here, out: from_pictures(
        touch(here / "c", "001/frontal/01.jpg", "001/profile/04.jpg"), out
    ),
    "iqiyi-vid-2019": lambda here, out: from_iqiyi(
        listed(here, "IQIYI_VID_TRAIN_0000001.mp4 191", "IQIYI_VID_TRAIN_0000002.mp4 0"),
        listed(here, "10034 IQIYI_VID_VAL_0000499.mp4 ", name="val.txt"),
        *(None, None, out),
        names=["IQIYI_VID_VAL_0000003"],
    ),
}


def listed(folder: Path, *lines: str, name: str = "list.txt") -> Path:
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder / name


@pytest.mark.parametrize("name", READ)
def test_what_the_readers_write_is_of_the_set(name: str, tmp_path: Path) -> None:
    listed(tmp_path, *(f"{image} {a} {b}" for image, (a, b) in IJB.items()), name="ijbb_face_tid_mid.txt")
    READ[name](tmp_path, tmp_path / "set.csv")
    found = compare_manifest(tmp_path / "set.csv", read_known(name))
    assert (found.problems, found.extra, found.differs) == ([], [], [])
    assert found.missing  # there are hardly any


# the command


@pytest.mark.parametrize("name", ["iqiyi-vid-2019", "ytf", "cfp-fp", "demo"])
def test_a_complete_manifest_agrees(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", complete(name))
    ran = vidface("manifest", "check", path, "--against", name, code=0)
    *lines, last = ran.out.splitlines()
    assert last == f"{path}: agrees with {name}; media were not looked for"
    assert len(lines) == sum(count.compared for count in read_known(name).counts)
    assert all(line.startswith("agrees: ") for line in lines)


def test_rows_that_are_missing_are_counted(tmp_path: Path) -> None:
    rows = iqiyi_rows(distractors=0)
    path = write(tmp_path / "set.csv", rows[3 : 60_566 + 45_472 - 10])
    ran = vidface("manifest", "check", path, "--against", "iqiyi-vid-2019", code=1)
    assert ran.out.splitlines() == [
        "agrees: 10,034 identities in split val",
        "agrees: 10,034 identities",
        "missing: 3 videos in split train: 60,563 here, 60,566 in the set",
        "missing: 10 videos with an identity in split val: 45,462 here, 45,472 in the set",
        "missing: 1 video without an identity in split val: 0 here, at least 1 in the set",
        f"{path}: 3 differences from iqiyi-vid-2019; media were not looked for",
    ]


def test_rows_that_are_too_many_are_counted(tmp_path: Path) -> None:
    rows = [*complete("cfp-fp"), ("001/frontal/11", "x.jpg", "001", "val"), ("one/1", "y.jpg", "one", "val")]
    path = write(tmp_path / "set.csv", rows)
    ran = vidface("manifest", "check", path, "--against", "cfp-fp", "--json", code=1)
    images = {"of": "images", "split": "", "at_least": False, "agrees": False}
    assert ran.json["against"]["counts"] == [
        {**images, "in_set": 7000, "in_manifest": 7002},
        {**images, "of": "identities", "in_set": 500, "in_manifest": 501},
    ]
    extra = ran.json["against"]["extra"]
    assert len(extra) == 3
    assert extra[2].startswith("1 image whose id is none of the set's")
    assert extra[2].endswith("'one/1' in line 7003")


def test_a_manifest_of_another_set(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", complete("ytf"))
    ran = vidface("manifest", "check", path, "--against", "iqiyi-vid-2019", "--json", code=1)
    against = ran.json["against"]
    assert ran.json["ok"] is False
    assert against["set"] == "iqiyi-vid-2019"
    assert len(against["missing"]) == 5
    assert against["extra"] == [
        "3,425 videos in split 'test', where the set has train, val; the first are line 2, line 3, line 4, ..."
    ]


def test_rows_of_the_demo_are_named(tmp_path: Path) -> None:
    rows = demo_rows()
    rows[0] = (*rows[0][:2], "somebody", "val")
    path = write(tmp_path / "set.csv", [*rows[:-2], ("more", "more.mp4", "", "val")])
    ran = vidface("manifest", "check", path, "--against", "demo", code=1)
    assert [line for line in ran.out.splitlines() if not line.startswith("agrees")] == [
        "missing: 2 videos: 'distractor0058', 'distractor0059'",
        "extra: 1 video: 'more'",
        "differs: identity of 1 video: 'id0000_v1' has 'somebody', in the set 'person00309'",
        "differs: split of 1 video: 'id0000_v1' has 'val', in the set 'train'",
        f"{path}: 4 differences from demo; media were not looked for",
    ]


def test_rows_that_are_no_manifest_are_not_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", [*OURS, OURS[0]])
    ran = vidface("manifest", "check", path, "--against", "demo", code=1)
    assert "set.csv:5: duplicate-id" in ran.out
    assert ran.out.splitlines()[-1] == f"{path}: not compared with demo until that is fixed"
    ran = vidface("manifest", "check", path, "--against", "demo", "--json", code=1)
    assert [problem["line"] for problem in ran.json["problems"]] == [5]
    assert ran.json["against"]["counts"] == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("iqiyi_vid_2019", "did you mean iqiyi-vid-2019?"),
        ("LFW", "did you mean lfw?"),
        ("lfrc", "did you mean lfrc-image or lfrc-video?"),
        ("ijbb", "did you mean ijb-b?"),
        ("../data_manifests/lfw", ""),
        ("nothing\nlike it", ""),
    ],
)
def test_an_unknown_name_lists_the_known_ones(name: str, hint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    error = vidface("manifest", "check", path, "--against", name, code=2).error
    assert hint in error
    assert ", ".join(SETS) in error


@pytest.mark.parametrize("name", sorted(NOT_COMPARABLE))
def test_a_set_that_no_manifest_is_made_of(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    error = vidface("manifest", "check", path, "--against", name, code=2).error
    assert f"cannot be compared with {name}" in error
    assert "without a manifest" in error


def test_root_and_against_do_not_go_together(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    error = vidface("manifest", "check", path, "--root", tmp_path, "--against", "demo", code=2).error
    assert "--root" in error


# a set of one's own


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    ran = vidface("manifest", "check", path, "--against", mine(tmp_path), code=0)
    assert "agrees with my-set" in ran.out
    write(path, OURS[:1])
    ran = vidface("manifest", "check", path, "--against", mine(tmp_path), code=1)
    assert "missing: 2 videos: 1 here, 3 in the set" in ran.out
    assert "missing: 1 identity in split val: 1 here, 2 in the set" in ran.out


def test_a_set_of_ones_own_that_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "all.csv", OURS)
    toml = mine(tmp_path, MINE + 'listed = "all.csv"\n')
    path = write(tmp_path / "set.csv", OURS[1:])
    ran = vidface("manifest", "check", path, "--against", toml, code=1)
    assert "missing: 1 video: 'a'" in ran.out
    write(tmp_path / "all.csv", OURS[:2])  # another number than its own counts
    error = vidface("manifest", "check", path, "--against", toml, code=2).error
    assert "not what [[counts]] of my-set says: 1 video: 2 here, 3 in the set" in error
    (tmp_path / "all.csv").unlink()
    assert "all.csv" in vidface("manifest", "check", path, "--against", toml, code=1).error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('licence = "not', 'colour = "red"\nlicence = "not'), "colour: Extra inputs are not permitted"),
        (("value = 3", "value = 3\nsize = 3"), "counts 1 size: Extra inputs are not permitted"),
        (('title = "Ours"\n', ""), "title: Field required"),
        (("value = 3", 'value = "3"'), "counts 1 value: "),
        (("value = 3", "value = -3"), "counts 1 value: "),
        (('of = "videos"', 'of = "cats"'), "counts 1 of: "),
        (('source = "us"', 'source = "them"'), "source 'them' is not a key of [sources]"),
        (('of = "videos"', 'of = "pairs"'), "a manifest does not say how many pairs there are"),
        (("value = 3", 'value = 3\nknown = "about"'), "a rounded number"),
        (('of = "videos"', 'of = "images"'), "images cannot be compared: rows of the manifest are videos"),
        (('of = "videos"\n', 'of = "identities"\nsplit = "val"\n'), "identities are counted twice"),
        (("compared = true", ""), "say compared = true of a count, or manifest.listed"),
        (("[manifest]", '[manifest]\nlisted = "../all.csv"'), "without a path"),
        (("[manifest]", "[manifest]\nsplits = { test = ['*'] }"), "split 'val' of a count"),
        (("[manifest]", "[manifest"), "not TOML"),
    ],
)
def test_a_wrong_set_is_refused_in_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    assert change[0] in MINE
    toml = mine(tmp_path, MINE.replace(*change))
    error = vidface("manifest", "check", path, "--against", toml, code=2).error
    assert str(toml) in error
    assert message in error


def test_a_stranger_s_toml_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    toml = mine(tmp_path, MINE + 'splits = { val = ["\\u001b[31m*"] }\n')
    ran = vidface("manifest", "check", path, "--against", toml, code=1)
    assert "\x1b" not in ran.out
    assert "\\x1b[31m*" in ran.out


def test_a_toml_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: no such data manifest"):
        read_known(str(tmp_path / "none.toml"))


def test_a_check_alone_does_not_wait_for_pydantic(tmp_path: Path) -> None:
    path = write(tmp_path / "set.csv", OURS)
    code = (
        "import sys; from vidface.commands.main import cli\n"
        f"cli(['manifest', 'check', {str(path)!r}], standalone_mode=False)\n"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False"


# the sets' own lists, where they are at hand


def test_cfp_has_what_its_lists_say(shared_data: Path, tmp_path: Path) -> None:
    protocol = shared_data / "cfp" / "Protocol"
    lines = [(protocol / f"Pair_list_{side}.txt").read_text().split() for side in "FP"]
    images = [word.removeprefix("../Data/Images/") for words in lines for word in words[1::2]]
    known = read_known("cfp-fp")
    counts = {count.of: count.value for count in known.counts}
    same, different = (
        sum(len(path.read_text().split()) for path in protocol.glob(f"Split/FP/*/{kind}.txt"))
        for kind in ("same", "diff")
    )
    assert (counts["pairs"], counts["same pairs"]) == (same + different, same)
    rows = [(name.removesuffix(".jpg"), name, name[:3], "val") for name in images]
    assert compare_manifest(write(tmp_path / "cfp.csv", rows), known).agrees
