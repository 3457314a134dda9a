"""inspect and find as a person calls them: piped, in a terminal, without colours, and wrongly."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import h5py
import pytest
from command_line import MODULE, frames_of, vidface, write_manifest
from PIL import Image

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|_[^\x1b]*\x1b\\|[78])")


def test_a_video_is_printed_plainly_where_there_is_no_terminal(small: Any) -> None:
    ran = vidface("inspect", small.features, "v03-1", "--threshold", 0.3, code=0)
    assert "\x1b" not in ran.out and ran.err == ""
    assert ran.out.startswith("v03-1  4 frames, status ok, cells, 8 fps\nthreshold 0.3: ")
    assert re.search(r"^ A  kept +\d", ran.out, re.M) and re.search(
        r"^   0\.0 s [A·B]( [A·B]){3}$", ran.out, re.M
    )
    assert re.search(r"^0\.3 \* +\d", ran.out, re.M)
    assert max(map(len, ran.out.splitlines())) <= 80


def test_json_says_what_the_embeddings_file_says(small: Any) -> None:
    with h5py.File(small.embeddings, "r") as file:
        ids = [name.decode() for name in file["video_ids"][:]]
        place = ids.index("v03-1")
        start = int(file["frames"][:place].sum())
        labels = file["labels"][start : start + 4].tolist()
        kept = int(file["kept"][place])
    ran = vidface("inspect", small.features, "v03-1", "--embeddings", small.embeddings, "--json", code=0)
    assert ran.err == ""
    told = ran.json
    assert told["rows"]["cluster"] == labels and told["kept"] == kept and told["threshold"] == "0.3"
    assert set(told) == {
        *("video", "status", "threshold", "pool", "pooling", "kept", "why", "clusters", "thresholds"),
        *("pairs", "rows", "faces", "tracks", "sheet", "notes"),
    }
    assert [cluster["size"] for cluster in told["clusters"]] == [
        labels.count(i) for i in range(max(labels) + 1)
    ]


def test_the_folder_of_a_run_says_the_rest(small: Any, tmp_path: Path) -> None:
    """As a recipe leaves it: features, embeddings, and in run.json where the manifest lies."""
    for name in ("features.h5", "embeddings.h5"):
        (tmp_path / name).symlink_to(small.features.parent / name)
    entry = {
        "manifest": os.path.relpath(small.manifest, tmp_path),
        "features": "features.h5",
        **{"protocol": "both", "enrolment_split": "train", "gallery_split": "val", "targets": ["1e-2"]},
    }
    (tmp_path / "run.json").write_text(json.dumps({"run": entry}))
    sheet = tmp_path / "s.png"
    told = vidface("inspect", tmp_path, "v03-1", "--sheet", sheet, "--json", code=0).json
    assert told["threshold"] == "0.3" and told["pooling"] and told["notes"] == [] and sheet.exists()
    told = vidface("inspect", tmp_path, "v03-1", "--threshold", "0.45", "--json", code=0).json
    assert told["threshold"] == "0.45" and told["pooling"] is None
    (tmp_path / "features.h5").unlink()
    assert "features" in vidface("inspect", tmp_path, "v03-1", code=1).error


def test_a_video_that_failed(small: Any, tmp_path: Path) -> None:
    out = vidface("inspect", small.features, "v05-3", code=0).out
    assert "0 frames, status failed" in out and "nothing is kept: the video has no usable frame" in out
    sheet = ("--manifest", small.manifest, "--sheet", tmp_path / "s.png")
    told = vidface("inspect", small.features, "v05-3", *sheet, "--json", code=0).json
    assert told["kept"] == 0 and told["clusters"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{features}", "v03_1"], 2, "no video v03_1 among 66; close: v03-1"),
        (["{features}", "v03-1", "--embeddings", "{embeddings}", "--threshold", "0.4"], 2, "leave --threshold and"),
        (["{features}", "v03-1", "--sheet", "s.png"], 2, "--sheet needs --manifest"),
        (["{features}", "v03-1", "--sheet", "s.jpg", "--manifest", "{manifest}"], 2, "a contact sheet is a .png"),
        (["{embeddings}", "v03-1"], 1, "expected a vidface features file, found embeddings"),
        (["{manifest}", "v03-1"], 1, "not a readable HDF5 file"),
        (["nowhere.h5", "v03-1"], 1, "nowhere.h5: no such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(small: Any, arguments: list[str], code: int, words: str) -> None:
    ran = vidface("inspect", *(word.format(**small._asdict()) for word in arguments), code=code)
    assert words in ran.error


def in_terminal(*arguments: object, **environment: str) -> tuple[int, str]:
    """Run a command in a pseudo-terminal of 80 columns that answers nothing."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    told = {**plain, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment}
    process = subprocess.Popen(
        [*MODULE, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, env=told
    )
    os.close(theirs)
    said = b""
    begun = time.monotonic()
    while time.monotonic() - begun < 120:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        elif process.poll() is not None:
            break
    os.close(ours)
    return process.wait(10), said.decode().replace("\r\n", "\n")


def test_in_a_terminal_there_are_colours_and_pictures(small: Any) -> None:
    pytest.importorskip("textual_image", reason="pip install -e '.[report]'")
    arguments = ("inspect", small.features, "v03-1", "--threshold", 0.3)
    plain = vidface(*arguments, code=0).out
    code, said = in_terminal(*arguments)
    assert code == 0 and "\x1b[" in said and ESCAPES.sub("", said) == plain
    code, said = in_terminal(*arguments, "--manifest", small.manifest)
    assert code == 0 and said.count("▀") >= 10 * 10 and "Traceback" not in said
    text = ESCAPES.sub("", said)
    pictures = re.compile(r" [AB]  \d of \d|.*▀.*")
    assert [line for line in text.splitlines() if not pictures.fullmatch(line)] == plain.splitlines()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_a_terminal_without_colours_gets_plain_text(small: Any, environment: dict[str, str]) -> None:
    arguments = ("inspect", small.features, "v03-1", "--threshold", 0.3)
    code, said = in_terminal(*arguments, "--manifest", small.manifest, **environment)
    assert code == 0 and not re.search(r"\x1b\[[0-9;]*[34]8;", said) and "▀" not in said
    assert ESCAPES.sub("", said) == vidface(*arguments, code=0).out


def test_find_names_the_videos_of_a_person(small: Any, tmp_path: Path) -> None:
    Image.fromarray(frames_of(3, 1, seed=77)[0]).save(tmp_path / "p.png")
    command = ("find", tmp_path / "p.png", small.features, "--model", small.model, "--aligned", "--top", 5)
    told = vidface(*command, "--json", code=0).json
    assert {hit["video_id"] for hit in told["hits"]} == {f"v03-{take}" for take in range(5)}
    assert told["compared"] == 65 and told["empty"] == 1 and told["units"] == "videos"
    assert told["above"] >= 5 and told["box"] is None
    out = vidface(*command, "--threshold", 1, code=0).out  # that nobody is found is an answer
    assert "at or above 1: nobody of 65 videos" in out and out.count("  v03-") == 5 and "* v" not in out
    assert "not compared: 1 videos without a usable frame" in out


def test_the_person_of_a_photograph_is_found_in_a_film(shared_data: Path, tmp_path: Path) -> None:
    """Raw film of several people: one track is the person of the photograph, the others are not."""
    pytest.importorskip("cv2", reason="pip install -e '.[detect]'")
    clips, model = shared_data / "clips", shared_data / "models/mobilefacenet_128.onnx"
    (tmp_path / "film.mp4").write_bytes((clips / "short_hamilton_clip.mp4").read_bytes())
    manifest = write_manifest(tmp_path / "set.csv", [("film", "film.mp4")])
    network = ("--model", model, "--detector-weights", shared_data / "models/yunet.onnx")
    features, picture = tmp_path / "f.h5", clips / "ref_lin-manuel-miranda.png"
    vidface("extract", manifest, "-o", features, "--faces", "detect", "--track", "all", *network, code=0)
    told = vidface("find", picture, features, *network, "--json", code=0).json
    best, *others = told["hits"]
    assert told["above"] == 1 and best["cosine"] > 0.6 and max(hit["cosine"] for hit in others) < 0.3
    track = vidface("inspect", features, f"film#{best['track']}", "--json", code=0).json
    assert track["tracks"][0]["size"] == best["rows"] and len(track["tracks"]) == 1
    sheet = tmp_path / "sheet.png"
    vidface("inspect", features, "film", "--manifest", manifest, "--sheet", sheet, code=0)
    with Image.open(sheet) as image:
        assert image.width == 1320 and image.height > 1500
