"""Pointers of Git LFS in the place of files, as a clone without it leaves them: every reader says what to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import frames_of, pooling_model, vidface, write_folder, write_manifest

from vidface.training.datasets.open import open_images
from vidface.training.datasets.rec import write_rec

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
ANNEX = b"/annex/objects/SHA256E-s12345--4d7a214614ab2935c943f9e0ff69d22e.mp4\n"
ADVICE = "a pointer of Git LFS, not the file itself: run `git lfs pull`"


def pointer(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(POINTER)
    return path


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "picture.jpg", "folder"])
def test_clips_and_pictures_that_are_pointers(tmp_path: Path, extract_beside_good: Any, name: str) -> None:
    for file in ("0.jpg", "1.png") if name == "folder" else ("",):
        pointer(tmp_path / "set" / name / file)
    found = extract_beside_good(name, "--workers", 0)
    assert found.kinds == {"not-fetched"} and found.status == "failed"
    assert all(ADVICE in fault["detail"] for fault in found.faults)


def test_a_frame_that_is_a_pointer_among_others(tmp_path: Path, extract_beside_good: Any) -> None:
    pointer(write_folder(tmp_path / "set" / "bad", frames_of(3, 3)) / "1.png")
    found = extract_beside_good("bad", "--workers", 0)
    assert (found.kinds, found.status, len(found.features)) == ({"not-fetched"}, "partial", 2)
    assert found.faults[0]["detail"].startswith("1.png: ")


def test_a_clip_that_is_a_pointer_of_git_annex(tmp_path: Path, extract_beside_good: Any) -> None:
    (tmp_path / "set" / "bad.mp4").write_bytes(ANNEX)
    found = extract_beside_good("bad.mp4", "--workers", 0)
    assert found.kinds == {"not-fetched"} and "git annex get" in found.faults[0]["detail"]


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Path]:
    """Whole inputs of most commands, by what they are."""
    people = tmp_path / "people"
    for person in range(3):
        write_folder(people / f"p{person}", frames_of(person, 2))
    manifest = write_manifest(
        tmp_path / "set.csv", [(f"p{p}", f"people/p{p}", f"p{p}", "val") for p in range(3)]
    )
    model = pooling_model(tmp_path / "model.onnx")
    np.save(tmp_path / "rows.npy", np.eye(3, 6, dtype=np.float32))
    (tmp_path / "index.csv").write_text("video_id\np0\np1\np2\n")
    (tmp_path / "pairs.csv").write_text("first,second,same\np0/0,p0/1,1\np0/0,p1/0,0\n")
    vidface("extract", manifest, "--model", model, "-o", tmp_path / "f.h5", "--workers", 0, code=0)
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", code=0)
    vidface("dataset", "pack", people, "-o", tmp_path / "people.tar", "--to", "tar", code=0)
    write_rec(tmp_path / "people.rec", open_images(people), lambda _: None)
    names = ("f.h5", "e.h5", "rows.npy", "index.csv", "pairs.csv", "people.tar", "people.rec", "people.idx")
    return {
        "manifest": manifest,
        "model": model,
        "card": model.with_suffix(".toml"),
        "people": people,
        **{name: tmp_path / name for name in names},
        **{
            name: tmp_path / name
            for name in ("recipe.toml", "pairs.bin", "f.pickle", "yunet.onnx", "m.safetensors")
        },
        **{
            name: tmp_path / name for name in ("s.bin", "s.txt", "run.json", "m.pth", "list.txt", "set.jsonl")
        },
        **{name: tmp_path / name for name in ("set.parquet", "train.txt")},
    }


def commands(at: dict[str, Path]) -> list[tuple[str, tuple[object, ...]]]:
    """What is a pointer, and a command that reads it."""
    out = at["manifest"].with_name("out.h5")
    extract = ("extract", at["manifest"], "--model", at["model"], "-o", out)
    score = ("--manifest", at["manifest"], "--targets", "1e-1")
    arrays = (
        "features",
        "from-arrays",
        at["rows.npy"],
        "--index",
        at["index.csv"],
        "--manifest",
        at["manifest"],
    )
    verify = ("verify", at["pairs.csv"], "--images", at["people"], "--model", at["model"])
    detect = ("--faces", "detect", "--detector-weights", at["yunet.onnx"])
    iqiyi = ("--train-list", at["train.txt"], "--val-list", at["list.txt"])
    return [
        *(
            (name, ("extract", at[name], "--model", at["model"], "-o", out))
            for name in ("set.jsonl", "set.parquet")
        ),
        ("manifest", extract),
        ("manifest", ("manifest", "check", at["manifest"])),
        ("model", extract),
        ("card", extract),
        ("model", ("budget", at["model"])),
        ("model", verify),
        *((n, ("extract", at["manifest"], "--model", at[n], "-o", out)) for n in ("m.safetensors", "m.pth")),
        ("yunet.onnx", (*extract, *detect)),
        ("f.h5", ("cluster", at["f.h5"], "-o", out)),
        ("f.h5", ("inspect", at["f.h5"], "p0")),
        *((name, ("score", at[name], *score)) for name in ("e.h5", "rows.npy", "s.bin", "s.txt")),
        ("e.h5", ("report", at["e.h5"], "--manifest", at["manifest"], "-o", out)),
        *((name, (*arrays, "-o", out)) for name in ("rows.npy", "index.csv")),
        ("f.pickle", ("features", "from-iqiyi", at["f.pickle"], "--manifest", at["manifest"], "-o", out)),
        ("pairs.csv", verify),
        ("pairs.csv", ("score", at["e.h5"], *score, "--protocol", "pairs", "--pairs", at["pairs.csv"])),
        ("pairs.bin", ("verify", at["pairs.bin"], "--model", at["model"])),
        *((name, ("dataset", "check", at[name])) for name in ("people.tar", "people.rec")),
        ("people.idx", ("dataset", "check", at["people.rec"])),
        *((name, ("run", at[name])) for name in ("recipe.toml",)),
        ("recipe.toml", ("train", at["recipe.toml"])),
        ("list.txt", ("manifest", "from-lfrc", at["list.txt"], "-o", at["manifest"].with_name("new.csv"))),
        ("train.txt", ("manifest", "from-iqiyi", *iqiyi, "-o", at["manifest"].with_name("new.csv"))),
    ]


def test_every_other_file_that_is_a_pointer(whole: dict[str, Path]) -> None:
    """One line that says which file it is and what to run; nothing is made."""
    before = {path: path.read_bytes() for path in whole.values() if path.is_file()}
    for name, words in commands(whole):
        pointer(whole[name])
        ran = vidface(*words)
        told = ran.out + ran.err
        assert ran.code in (1, 2) and ADVICE in told and str(whole[name]) in told, (words, told)
        assert told.count("\n") <= 2 and not whole["manifest"].with_name("out.h5").exists()
        if whole[name] in before:
            whole[name].write_bytes(before[whole[name]])
        else:
            whole[name].unlink()


def test_images_of_a_set_that_are_pointers(whole: dict[str, Path]) -> None:
    pointer(whole["people"] / "p0" / "0.png")
    told = vidface("dataset", "check", whole["people"], "--workers", 1, "--json", code=1).json
    assert [fault["name"] for fault in told["unreadable"]] == ["p0/0.png"]
    assert ADVICE in told["unreadable"][0]["detail"]
    out = whole["manifest"].with_name("new.bin")
    words = ("dataset", "pack", whole["people"], "-o", out, "--to", "bin", "--pairs", whole["pairs.csv"])
    assert ADVICE in vidface(*words, code=1).error


def test_a_picture_to_find_that_is_a_pointer(whole: dict[str, Path]) -> None:
    picture = pointer(whole["manifest"].with_name("face.jpg"))
    words = ("find", picture, whole["f.h5"], "--model", whole["model"], "--aligned")
    assert ADVICE in vidface(*words, code=1).error


def test_external_data_of_a_model_that_is_a_pointer(whole: dict[str, Path], tmp_path: Path) -> None:
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    model = onnx.load(whole["model"])
    weight = onnx.numpy_helper.from_array(np.ones((1, 3, 112, 112), np.float32), "w")
    model.graph.initializer.append(weight)
    convert_model_to_external_data(model, location="model.data", size_threshold=0)
    onnx.save(model, whole["model"])
    pointer(tmp_path / "model.data")
    words = ("extract", whole["manifest"], "--model", whole["model"], "-o", tmp_path / "out.h5")
    assert ADVICE in vidface(*words, code=1).error


def test_a_manifest_of_the_same_text_is_none(tmp_path: Path) -> None:
    """Only the first line of a file counts: a row may say the same."""
    rows = [("version https://git-lfs.github.com/spec/v1", "x.mp4")]
    manifest = write_manifest(tmp_path / "set.csv", rows)
    told = vidface("manifest", "check", manifest, "--json", code=1).json
    assert [problem["kind"] for problem in told["problems"]] == ["missing-file"]
