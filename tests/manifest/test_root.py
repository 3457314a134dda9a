"""A set on a disk that may only be read: its manifest lies elsewhere, and nothing is written beside the media."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    vidface,
    write_folder,
    write_manifest,
)

PEOPLE, TAKES = 3, 3


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every entry below a folder with its size and the time of its last change; the folders are among them."""
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Folders of frames, PERSON/TAKE, that stay as they are: chmod does not hold for everybody, so it is compared."""
    disk = tmp_path / "disk" / "faces"
    for person in range(PEOPLE):
        for take in range(TAKES):
            write_folder(disk / f"p{person}" / f"v{take}", frames_of(person, 2, seed=take))
    before = listing(tmp_path / "disk")
    yield disk
    assert listing(tmp_path / "disk") == before, "something was written where it may only be read"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    pooling_model(home / "model.onnx")
    return home


def listed(disk: Path, home: Path, root: Path | None = None) -> Path:
    """A manifest of the folders, elsewhere."""
    vidface("manifest", "from-folder", disk, "--root", root or disk, "-o", home / "set.csv", code=0)
    return home / "set.csv"


def extract(manifest: Path, home: Path, *words: object, output: str = "f.h5", code: int = 0) -> Path:
    told = ("--model", home / "model.onnx", "-o", home / output)
    vidface("extract", manifest, *told, *words, code=code)
    return home / output


def recipe(home: Path, root: str, *more: str) -> Path:
    lines = [
        'manifest = "set.csv"',
        f'root = "{root}"',
        'output = "out"',
        "[extract]",
        'model = "model.onnx"',
    ]
    (home / "recipe.toml").write_text("\n".join([*lines, *more]))
    return home / "recipe.toml"


def test_extract_from_a_root_gives_the_bytes_of_a_manifest_beside_the_media(
    disk: Path, home: Path, tmp_path: Path
) -> None:
    here, away = listed(disk, home), home / "above" / "set.csv"
    assert here.read_text().splitlines()[1] == "p0/v0,p0/v0,p0,train"
    told = vidface("manifest", "from-folder", disk, "--root", disk, "-o", here, code=0).out
    assert f"note: paths start at {disk}: pass --root {disk} to extract" in told
    one = extract(here, home, "--root", disk, output="a.h5")
    # The same rows beside the media, in a copy of the set.
    away.parent.mkdir()
    (away.parent / "p0").symlink_to(disk / "p0")  # a link out of the root: refused without --root
    away.write_bytes(here.read_bytes())
    words = ("--model", home / "model.onnx", "-o", home / "b.h5")
    assert "--root" in vidface("extract", away, *words, code=1).error
    (away.parent / "p0").unlink()
    shutil.copytree(disk, away.parent, dirs_exist_ok=True)
    assert one.read_bytes() == extract(away, home, output="b.h5").read_bytes()
    ids, status, features = read_features(one)
    assert ids[0] == "p0/v0" and set(status) == {"ok"}
    assert np.allclose(features[0], cells_of(frames_of(0, 2, seed=0)), atol=1e-5)


def test_a_recipe_with_a_root_and_what_is_shown_of_its_run(disk: Path, home: Path) -> None:
    manifest, out = listed(disk, home, disk.parent), home / "out"
    words = recipe(home, "../disk", "[score]", 'targets = ["1e-1"]')
    assert vidface("run", words, "--json", code=0).json["status"] == {"ok": PEOPLE * TAKES}
    assert json.loads((out / "run.json").read_text())["run"]["root"] == "../../disk"
    # Without a word the pictures are found: the folder knows its root. A features file alone does not.
    told = ("p0/v0", "--json", "--sheet")
    assert vidface("inspect", out, *told, home / "a.png", code=0).json["notes"] == []
    blind = ("inspect", out / "features.h5", "--manifest", manifest, *told)
    assert vidface(*blind, home / "b.png", "--root", disk.parent, code=0).json["notes"] == []
    assert (home / "a.png").read_bytes() == (home / "b.png").read_bytes()
    assert "no such file" in vidface(*blind, home / "c.png", code=0).json["notes"][0]


def test_a_report_with_a_root(disk: Path, home: Path) -> None:
    manifest = listed(disk, home)
    features = extract(manifest, home, "--root", disk)
    vidface("cluster", features, "-o", home / "e.h5", code=0)
    told = ("report", home / "e.h5", "--manifest", manifest, "--features", features, "--json", "-o")
    pages = [vidface(*told, home / "with", "--root", disk, code=0), vidface(*told, home / "without", code=0)]
    pictures = [Path(page.json["page"]).read_text().count("data:image/") for page in pages]
    assert pictures[0] > pictures[1]


def test_a_root_that_is_gone_costs_the_pictures_alone(disk: Path, home: Path) -> None:
    listed(disk, home)
    vidface("run", recipe(home, "../disk/faces"), code=0)
    state = home / "out" / "run.json"
    state.write_text(state.read_text().replace("../../disk/faces", "../../unmounted"))
    words = ("inspect", home / "out", "p0/v0", "--sheet", home / "a.png", "--json")
    assert "no such file" in vidface(*words, code=0).json["notes"][0]
    ran = vidface("run", home / "recipe.toml", "--json", code=0).json
    assert ran["ran"] == []  # the root is no part of what a file was made from


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "link", "link/x", "p0/../../secret"])
def test_no_path_leaves_the_named_root(disk: Path, home: Path, path: str) -> None:
    copy = home / "set"
    (copy / "p0").mkdir(parents=True)
    (home / "secret").mkdir()
    (home / "secret" / "x").touch()
    (copy / "link").symlink_to(home / "secret")
    manifest = write_manifest(home / "elsewhere" / "set.csv", [("a", path)])
    words = ("extract", manifest, "--root", copy, "--model", home / "model.onnx", "-o", home / "f.h5")
    assert f"{manifest}:2" in vidface(*words, code=1).error
    assert not (home / "f.h5").exists()


def test_every_converter_takes_a_root(disk: Path, home: Path) -> None:
    top, output = disk.parent, home / "set.csv"
    (home / "list.txt").write_text("p0/v0\np1/v0\n")
    for command, source, root in (
        ("from-folder", disk, top),
        ("from-ytf", disk, top),
        ("from-lfrc", home / "list.txt", disk),
        ("from-trillionpairs", home / "list.txt", disk),
    ):
        words = ("manifest", command, source, "--root", root, "-o", output, "--json")
        assert vidface(*words, code=0).json["missing"] == 0, command
        assert vidface("manifest", "check", output, "--root", root, "--json", code=0).json["ok"]
    # A list beside the media starts beside the media, whatever the root.
    assert output.read_text().splitlines()[1].startswith("p0/v0,p0/v0,")
    (home / "train.txt").write_text("v0.mp4 7\n")
    (home / "val.txt").write_text("7 v1.mp4\n")
    lists = ("--train-list", home / "train.txt", "--val-list", home / "val.txt")
    folders = ("--train-folder", disk / "p0", "--val-folder", disk / "p0", "--root", top)
    told = vidface("manifest", "from-iqiyi", *lists, *folders, "-o", output, "--json", code=0).json
    assert (told["missing"], told["unknown"]) == (0, 1)  # v2 is a distractor
    assert output.read_text().splitlines()[1] == "v0,faces/p0/v0,7,train"


def test_media_outside_of_the_named_root_are_refused(disk: Path, home: Path) -> None:
    words = ("manifest", "from-folder", disk, "-o", home / "set.csv")
    assert "--root" in vidface(*words, code=1).error  # says how
    assert "not under" in vidface(*words, "--root", disk / "p0", code=1).error
    assert "no such folder" in vidface(*words, "--root", disk / "p9", code=1).error
    assert not (home / "set.csv").exists()


def test_what_opens_no_media_does_not_ask_where_they_lie(disk: Path, home: Path) -> None:
    manifest = listed(disk, home)
    features = extract(manifest, home, "--root", disk)
    # As people do; a path leads through it out of the manifest's folder.
    (home / "p0").symlink_to(disk / "p0")
    vidface("cluster", features, "-o", home / "e.h5", code=0)
    words = ("score", home / "e.h5", "--manifest", manifest, "--targets", "1e-1", "--json")
    assert vidface(*words, code=0).json["mAP@100"] == 1.0


def test_a_root_on_the_command_line_goes_before_that_of_a_recipe(disk: Path, home: Path) -> None:
    listed(disk, home)
    words = recipe(home, "nowhere")
    assert "nowhere: not a folder" in vidface("run", words, code=1).error
    assert vidface("run", words, "--root", disk, "--json", code=0).json["status"] == {"ok": PEOPLE * TAKES}
    assert json.loads((home / "out" / "run.json").read_text())["run"]["root"] == "../../disk/faces"


@pytest.mark.parametrize("shard", [(), ("--shard", "1/1")])
def test_a_root_that_was_forgotten_is_named_the_next_time(
    disk: Path, home: Path, shard: tuple[str, ...]
) -> None:
    words = ("extract", listed(disk, home), "--model", home / "model.onnx", "-o", home / "a.h5", *shard)
    told = vidface(*words, code=1).out
    assert "no video is there: name the folder that the manifest's paths start from with --root" in told
    vidface(*words, "--root", disk, code=0)
    _, status, features = read_features(home / "a.h5")
    assert set(status) == {"ok"} and not json.loads((home / "faults.jsonl").read_text() or "[]")
    assert np.allclose(features[0], cells_of(frames_of(0, 2, seed=0)), atol=1e-5)
    again = vidface(*words, "--root", home, code=0).out  # what is whole stays, wherever the media lie
    assert "already there: 9 videos" in again
