"""`vidface verify` as a process: what it prints, its exit codes, its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import frames_of, pooling_model, vidface
from PIL import Image

from vidface.training.datasets.pairs import write_bin

PEOPLE, EACH = 8, 3


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture(scope="module")
def faces() -> dict[str, bytes]:
    return {
        f"p{person}/{number}.png": png(frame)
        for person in range(PEOPLE)
        for number, frame in enumerate(frames_of(person, EACH, spread=40.0))
    }


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, str, bool]]:
    """24 pairs, same and different in turn."""
    same = [(f"p{p}/{n}.png", f"p{p}/{(n + 1) % EACH}.png", True) for p in range(PEOPLE) for n in range(EACH)]
    other = [
        (f"p{p}/{n}.png", f"p{(p + 1 + n) % PEOPLE}/{n}.png", False)
        for p in range(PEOPLE)
        for n in range(EACH)
    ]
    return [row for two in zip(same, other, strict=True) for row in two][:24]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pooling_model(tmp_path_factory.mktemp("model") / "cells.onnx")


@pytest.fixture
def listed(tmp_path: Path, faces: dict[str, bytes], rows: list[tuple[str, str, bool]]) -> Path:
    for name, content in faces.items():
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "people" / name).write_bytes(content)
    path = tmp_path / "pairs.csv"
    path.write_text("first,second,same\n" + "".join(f"{a},{b},{int(same)}\n" for a, b, same in rows))
    return path


def test_two_sets_in_one_table(
    tmp_path: Path, listed: Path, model: Path, faces: dict[str, bytes], rows: list[tuple[str, str, bool]]
) -> None:
    lfw = tmp_path / "lfw.bin"
    write_bin(lfw, (faces[name] for row in rows for name in row[:2]), [row[2] for row in rows])
    output = tmp_path / "verify.json"
    arguments = ("verify", lfw, listed, "--images", tmp_path / "people", "--model", model, "-o", output)
    ran = vidface(*arguments, code=0)
    head, first, second = ran.out.splitlines()[:3]
    assert head.split()[:4] == ["set", "accuracy", "std", "std"]
    assert first.split()[0] == "lfw.bin" and second.split()[0] == "pairs.csv"
    assert first.split()[1:] == second.split()[1:], "the same pairs from a .bin file and from a folder"
    assert "embedding + embedding of the mirrored image, L2-normalised; squared Euclidean distance" in ran.out
    assert "10 folds in the order of the pairs" in ran.out

    written = json.loads(output.read_text())
    printed = vidface(*arguments, "--json", code=0).json
    assert printed == written
    told = {"model", "model_sha256", "device", "flip", "resize", "folds", "fpr_rule", "definition", "output"}
    assert {*told, "warnings", "faults", "sets"} == set(printed)
    assert printed["flip"] is True and printed["faults"] == 0 and len(printed["sets"]) == 2
    ours, theirs = printed["sets"]
    for key in set(ours) - {"source", "problems"}:
        assert ours[key] == theirs[key], key
    assert ours["counts"]["pairs"] == 24 and f"{ours['accuracy']:.3%}" == first.split()[1]

    single = vidface("verify", lfw, "--model", model, "--no-flip", "--json", code=0).json
    assert single["flip"] is False and "no flip" in single["definition"]
    assert single["sets"][0]["distance@fpr"] != ours["distance@fpr"]


def test_what_fails_is_counted_listed_and_exit_1(tmp_path: Path, listed: Path, model: Path) -> None:
    (tmp_path / "people" / "p0" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n, no more")
    Image.new("RGB", (50, 60)).save(tmp_path / "people" / "p1" / "0.png")
    with listed.open("a") as file:
        file.write("p0/0.png,nobody/1.png,0\n")
    arguments = ("verify", listed, "--images", tmp_path / "people", "--model", model)
    ran = vidface(*arguments, code=1)
    assert "p0/1.png: unreadable-image: " in ran.out
    assert "p1/0.png: wrong-size: the frame is 50x60, the model takes 112x112" in ran.out
    assert f"{listed}:26: left out: no image 'nobody/1.png'" in ran.out
    assert "not measured: 1 pairs that the list or its images lack" in ran.out
    printed = vidface(*arguments, "--json", code=1).json
    (each,) = printed["sets"]
    assert printed["faults"] == 3
    assert (each["counts"]["left_out"], each["counts"]["failed_images"]) == (1, 2)
    assert each["counts"]["pairs"] + each["counts"]["failed_pairs"] == 24
    assert [fault["image"] for fault in each["faults"]] == ["p0/1.png", "p1/0.png"]
    resized = vidface(*arguments, "--resize", "--json", code=1).json
    assert resized["sets"][0]["counts"]["failed_images"] == 1


def test_wrong_usage(tmp_path: Path, listed: Path, model: Path) -> None:
    assert "pass --images" in vidface("verify", listed, "--model", model, code=2).error
    lfw = tmp_path / "lfw.bin"
    write_bin(lfw, [], [])
    for_nothing = vidface("verify", lfw, "--images", tmp_path / "people", "--model", model, code=2)
    assert "leave --images out" in for_nothing.error
    assert "0 images for 0 pairs" in vidface("verify", lfw, "--model", model, code=1).error
    people = tmp_path / "people"
    nowhere = tmp_path / "none" / "verify.json"
    arguments = ("verify", listed, "--images", people, "--model", model, "-o", nowhere)
    assert "does not exist" in vidface(*arguments, code=2).error
    short = tmp_path / "short.csv"
    short.write_text("".join(listed.read_text().splitlines(keepends=True)[:6]))
    few = vidface("verify", short, "--images", people, "--model", model, code=1)
    assert "5 pairs cannot be cut into 10 folds" in few.error


def test_an_output_that_cannot_be_written_or_is_an_input_is_refused_before_the_work(
    tmp_path: Path, listed: Path, model: Path
) -> None:
    before = listed.read_bytes()
    arguments = ("verify", listed, "--images", tmp_path / "people", "--model", model, "-o")
    assert "people: is a folder; name a file" in vidface(*arguments, tmp_path / "people", code=2).error
    (tmp_path / "link.json").symlink_to(listed)
    for output in (listed, tmp_path / "link.json"):
        assert "is an input of this command" in vidface(*arguments, output, code=2).error
    assert listed.read_bytes() == before
