"""A set on a disk that may only be read: its manifest lies elsewhere, and nothing is written beside the media."""

from __future__ import annotations

import json
import unicodedata
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


def test_extract_from_a_root_gives_the_bytes_of_a_manifest_beside_the_media(
    disk: Path, home: Path, tmp_path: Path
) -> None:
    here, away = home / "set.csv", home / "above" / "set.csv"
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", here, code=0)
    assert here.read_text().splitlines()[1] == "p0/v0,p0/v0,p0,train"
    told = vidface("manifest", "from-folder", disk, "--root", disk, "-o", here, code=0).out
    assert f"note: paths start at {disk}: pass --root {disk} to extract" in told
    vidface("extract", here, "--root", disk, "--model", home / "model.onnx", "-o", home / "a.h5", code=0)
    # The same rows beside the media, in a copy of the set.
    away.parent.mkdir()
    (away.parent / "p0").symlink_to(disk / "p0")  # a link out of the root: refused without --root
    away.write_bytes(here.read_bytes())
    model = ("--model", home / "model.onnx", "-o", home / "b.h5")
    assert "--root" in vidface("extract", away, *model, code=1).error
    (away.parent / "p0").unlink()
    for person in range(PEOPLE):
        for take in range(TAKES):
            write_folder(away.parent / f"p{person}" / f"v{take}", frames_of(person, 2, seed=take))
    vidface("extract", away, *model, code=0)
    assert (home / "a.h5").read_bytes() == (home / "b.h5").read_bytes()
    ids, status, features = read_features(home / "a.h5")
    assert ids[0] == "p0/v0" and set(status) == {"ok"}
    assert np.allclose(features[0], cells_of(frames_of(0, 2, seed=0)), atol=1e-5)


def test_a_recipe_with_a_root_and_what_is_shown_of_its_run(disk: Path, home: Path) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk.parent, "-o", home / "set.csv", code=0)
    (home / "recipe.toml").write_text(
        'manifest = "set.csv"\nroot = "../disk"\noutput = "out"\n[extract]\nmodel = "model.onnx"\n'
        '[score]\ntargets = ["1e-1"]\n'
    )
    result = vidface("run", home / "recipe.toml", "--json", code=0).json
    assert result["status"] == {"ok": PEOPLE * TAKES}
    assert json.loads((home / "out" / "run.json").read_text())["run"]["root"] == "../../disk"
    out = home / "out"
    # Without a word the pictures are found: the folder knows its root. An embeddings file alone does not.
    assert vidface("inspect", out, "p0/v0", "--sheet", home / "a.png", "--json", code=0).json["notes"] == []
    seen = vidface(
        *("inspect", out / "features.h5", "p0/v0", "--manifest", home / "set.csv", "--root", disk.parent),
        *("--sheet", home / "b.png", "--json"),
        code=0,
    ).json
    assert seen["notes"] == []
    assert (home / "a.png").read_bytes() == (home / "b.png").read_bytes()
    blind = (
        "inspect",
        out / "features.h5",
        "p0/v0",
        "--manifest",
        home / "set.csv",
        "--sheet",
        home / "c.png",
    )
    assert "no such file" in vidface(*blind, "--json", code=0).json["notes"][0]


def test_a_report_with_a_root(disk: Path, home: Path) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", home / "set.csv", code=0)
    vidface(
        *(
            "extract",
            home / "set.csv",
            "--root",
            disk,
            "--model",
            home / "model.onnx",
            "-o",
            home / "features.h5",
        ),
        code=0,
    )
    vidface("cluster", home / "features.h5", "-o", home / "e.h5", code=0)
    told = ("report", home / "e.h5", "--manifest", home / "set.csv", "--features", home / "features.h5")
    pictures = {}
    for name, root in (("with", ("--root", disk)), ("without", ())):
        page = vidface(*told, *root, "-o", home / name, "--json", code=0).json["page"]
        pictures[name] = Path(page).read_text().count("data:image/")
    assert pictures["with"] > pictures["without"]


def test_a_root_that_is_gone_costs_the_pictures_alone(disk: Path, home: Path) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", home / "set.csv", code=0)
    (home / "recipe.toml").write_text(
        'manifest = "set.csv"\nroot = "../disk/faces"\noutput = "out"\n[extract]\nmodel = "model.onnx"\n'
    )
    vidface("run", home / "recipe.toml", code=0)
    state = home / "out" / "run.json"
    state.write_text(state.read_text().replace("../../disk/faces", "../../unmounted"))
    notes = vidface("inspect", home / "out", "p0/v0", "--sheet", home / "a.png", "--json", code=0).json[
        "notes"
    ]
    assert "no such file" in notes[0]
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
    top = disk.parent
    (home / "list.txt").write_text("p0/v0\np1/v0\n")
    made = {
        "from-folder": (disk,),
        "from-ytf": (disk,),
        "from-lfrc": (home / "list.txt",),
        "from-trillionpairs": (home / "list.txt",),
    }
    for command, words in made.items():
        root = disk if words[0] != disk else top
        told = vidface(
            "manifest", command, *words, "--root", root, "-o", home / "set.csv", "--json", code=0
        ).json
        assert told["missing"] == 0, command
        assert vidface("manifest", "check", home / "set.csv", "--root", root, "--json", code=0).json["ok"]
    # A list beside the media starts beside the media, whatever the root.
    rows = (home / "set.csv").read_text().splitlines()
    assert rows[1].startswith("p0/v0,p0/v0,")
    (home / "train.txt").write_text("v0.mp4 7\n")
    (home / "val.txt").write_text("7 v1.mp4\n")
    told = vidface(
        *("manifest", "from-iqiyi", "--train-list", home / "train.txt", "--val-list", home / "val.txt"),
        *(
            "--train-folder",
            disk / "p0",
            "--val-folder",
            disk / "p0",
            "--root",
            top,
            "-o",
            home / "iq.csv",
            "--json",
        ),
        code=0,
    ).json
    assert (told["missing"], told["unknown"]) == (0, 1)  # v2 is a distractor
    assert (home / "iq.csv").read_text().splitlines()[1] == "v0,faces/p0/v0,7,train"


def test_media_outside_of_the_named_root_are_refused(disk: Path, home: Path) -> None:
    words = ("manifest", "from-folder", disk, "-o", home / "set.csv")
    assert "--root" in vidface(*words, code=1).error  # says how
    assert "not under" in vidface(*words, "--root", disk / "p0", code=1).error
    assert "no such folder" in vidface(*words, "--root", disk / "p9", code=1).error
    assert not (home / "set.csv").exists()


def test_what_opens_no_media_does_not_ask_where_they_lie(disk: Path, home: Path) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", home / "set.csv", code=0)
    vidface(
        *("extract", home / "set.csv", "--root", disk, "--model", home / "model.onnx", "-o", home / "f.h5"),
        code=0,
    )
    (home / "p0").symlink_to(
        disk / "p0"
    )  # as people do; a path leads through it out of the manifest's folder
    vidface("cluster", home / "f.h5", "-o", home / "e.h5", code=0)
    scores = vidface(
        "score", home / "e.h5", "--manifest", home / "set.csv", "--targets", "1e-1", "--json", code=0
    )
    assert scores.json["mAP@100"] == 1.0


def test_a_root_on_the_command_line_goes_before_that_of_a_recipe(disk: Path, home: Path) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", home / "set.csv", code=0)
    (home / "recipe.toml").write_text(
        'manifest = "set.csv"\nroot = "nowhere"\noutput = "out"\n[extract]\nmodel = "model.onnx"\n'
    )
    assert "nowhere: not a folder" in vidface("run", home / "recipe.toml", code=1).error
    told = vidface("run", home / "recipe.toml", "--root", disk, "--json", code=0).json
    assert told["status"] == {"ok": PEOPLE * TAKES}
    assert json.loads((home / "out" / "run.json").read_text())["run"]["root"] == "../../disk/faces"


def test_a_manifest_in_the_other_unicode_form_scores_the_same(disk: Path, home: Path) -> None:
    """Somebody saved the list again, on another system: the ids look the same, and are."""
    rows = [
        (f"Zo\u00eb {p}/{v}", f"p{p}/v{v}", f"p{p}", "val" if v else "train")
        for p in range(3)
        for v in range(3)
    ]
    written = write_manifest(home / "set.csv", rows)
    again = write_manifest(
        home / "again.csv", [(unicodedata.normalize("NFD", row[0]), *row[1:]) for row in rows]
    )
    vidface("extract", written, "--root", disk, "--model", home / "model.onnx", "-o", home / "f.h5", code=0)
    vidface("cluster", home / "f.h5", "-o", home / "e.h5", code=0)
    scores = [
        vidface("score", home / "e.h5", "--manifest", path, "--targets", "1e-1", "--json", code=0).json
        for path in (written, again)
    ]
    assert scores[0]["mAP@100"] == scores[1]["mAP@100"] == 1.0


@pytest.mark.parametrize("shard", [(), ("--shard", "1/1")])
def test_a_root_that_was_forgotten_is_named_the_next_time(
    disk: Path, home: Path, shard: tuple[str, ...]
) -> None:
    vidface("manifest", "from-folder", disk, "--root", disk, "-o", home / "set.csv", code=0)
    extract = ("extract", home / "set.csv", "--model", home / "model.onnx", "-o", home / "a.h5", *shard)
    told = vidface(*extract, code=1).out
    assert "no video is there: name the folder that the manifest's paths start from with --root" in told
    vidface(*extract, "--root", disk, code=0)
    _, status, features = read_features(home / "a.h5")
    assert set(status) == {"ok"} and not json.loads((home / "faults.jsonl").read_text() or "[]")
    assert np.allclose(features[0], cells_of(frames_of(0, 2, seed=0)), atol=1e-5)
    again = vidface(*extract, "--root", home, code=0).out  # what is whole stays, wherever the media lie
    assert "already there: 9 videos" in again
