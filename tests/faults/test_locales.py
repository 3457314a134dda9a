"""A terminal, pipe or locale whose encoding lacks letters: of names, of our own bars and signs."""

from __future__ import annotations

import io
import json
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from command_line import vidface, vidface_process, write_manifest
from fault_material import features_file

from vidface.commands.main import main
from vidface.commands.output import stand_in_for_letters

NAMES = ("Анна", "Zoë", "李雷")
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, features and embeddings of people with such names; no media."""
    folder = tmp_path_factory.mktemp("named")
    ids = [f"{name}-{take}" for name in NAMES for take in range(2)]
    rows = [(name, f"v{i}", name[:-2], "val" if i % 2 else "train") for i, name in enumerate(ids)]
    write_manifest(folder / "set.csv", rows)
    random = np.random.default_rng(0)
    base = np.repeat(random.normal(size=(3, 8)), 2, axis=0)
    videos = {name: base[i] + random.normal(0, 0.5, (4, 8)) for i, name in enumerate(ids)}
    features_file(folder / "features.h5", videos)
    vidface("cluster", folder / "features.h5", "-o", folder / "embeddings.h5", code=0)
    return folder


def printed(encoding: str, *words: object, code: int) -> tuple[str, str]:
    """What a command writes to a stdout and a stderr of that encoding, as that encoding reads it."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    arguments = patch("sys.argv", ["vidface", *map(str, words)])
    with (
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
        arguments,
        pytest.raises(SystemExit) as ended,
    ):
        main()
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    assert ended.value.code == code, (out, err)
    return out, err


# Of ASCII click makes UTF-8, so that one is tried by what goes past click below.
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "koi8-r"])
def test_names_that_the_terminal_cannot_show(named: Path, encoding: str) -> None:
    out, err = printed(encoding, "manifest", "check", named / "set.csv", code=1)
    shown = "Анна-0" if encoding == "koi8-r" else r"\u0410\u043d\u043d\u0430-0"
    assert re.search("missing-file", out) and err == ""
    out, _ = printed(encoding, "inspect", named / "features.h5", "Анна-0", code=0)
    assert out.startswith(f"{shown}  4 frames, ")
    out, _ = printed(encoding, "score", named / "embeddings.h5", "--manifest", named / "set.csv", code=0)
    assert "mAP" in out
    _, err = printed(encoding, "inspect", named / "features.h5", "李", code=2)
    assert err.startswith("error: ") and r"no video \u674e among 6" in err


def test_json_is_json_in_every_encoding(named: Path) -> None:
    words = ("inspect", named / "features.h5", "Анна-0", "--json")
    wanted = vidface(*words, code=0)
    assert "Анна-0" in wanted.out  # where UTF-8 is read, as it was
    for encoding in ("latin-1", "ascii", "cp1252"):
        out, _ = printed(encoding, *words, code=0)
        assert out.isascii() and json.loads(out) == wanted.json


def test_bars_where_the_encoding_has_none(named: Path) -> None:
    """In ASCII, and of the same length."""
    words = ("inspect", named / "features.h5", "Zoë-0")
    bars = re.findall(r"^ *[-0-9.]+ to +[-0-9.]+  ([█░]+) \d+$", vidface(*words, code=0).out, re.M)
    assert bars
    for encoding in ("latin-1", "ascii"):
        out, _ = printed(encoding, *words, code=0)
        assert "(# in one cluster, - in two" in out
        found = re.findall(r"^ *[-0-9.]+ to +[-0-9.]+  ([#-]+) \d+$", out, re.M)
        assert found == [bar.replace("█", "#").replace("░", "-") for bar in bars]


def test_every_sign_has_a_stand_in() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    with redirect_stdout(stream):
        stand_in_for_letters()
        print("█░ · ± – ü 李 \udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"#- . +- - \\xfc \\u674e \\udcff\n"


def test_a_locale_that_cannot_name_a_file(tmp_path: Path) -> None:
    """Python then knows no letter beyond ASCII: one line with the way on, and what is written is UTF-8 all the same."""
    write_manifest(tmp_path / "set.csv", [("v", "Zoë", "Zoë", "val")])
    ran = vidface_process("manifest", "check", "set.csv", code=1, env=os.environ | ASCII, cwd=tmp_path)
    assert ran.error.endswith("Zoë: the locale (ascii) lacks some of its letters: set PYTHONUTF8=1")


def test_files_are_utf8_whatever_the_locale(named: Path, tmp_path: Path) -> None:
    words = ("score", named / "embeddings.h5", "--manifest", named / "set.csv", "-o")
    vidface(*words, tmp_path / "here.json", code=0)
    vidface_process(*words, tmp_path / "there.json", code=0, env=os.environ | ASCII)
    assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()
    assert "Zoë".encode() in (tmp_path / "here.json").read_bytes()
    with h5py.File(named / "features.h5") as file:
        assert "Анна-0".encode() in file["video_ids"][:].tolist()
