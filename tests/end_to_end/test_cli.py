"""The commands as a person or a script meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import MODULE, vidface

COMMANDS = (
    *("manifest", "extract", "cluster", "score", "sweep", "submit", "run", "demo", "doctor"),
    *("budget", "dataset", "export", "merge", "train", "verify"),
)
HEAVY = {"torch", "scipy", "faiss", "numba", "onnxruntime", "av", "decord", "h5py", "pyarrow", "numpy"}


def test_help_lists_the_commands() -> None:
    ran = vidface("--help", code=0)
    listed = {line.split()[0] for line in ran.out.splitlines() if line.startswith("  ") and line.strip()}
    assert set(COMMANDS) <= listed
    assert ran.err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    ran = vidface(command, "--help", code=0)
    assert "Usage: vidface " + command in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"], ["score", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom vidface.commands.main import main\n"
        f"sys.argv = ['vidface', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["extract"],
        ["extract", "MANIFEST", "-o", "OUT"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--fps", "-1"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--fps", "nan"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--batch-size", "0"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--decoder", "vlc"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--input-size", "112"],
        ["extract", "MANIFEST", "-o", "OUT", "--model", "MODEL", "--half", "--device", "cpu"],
        ["extract", "MANIFEST", "-o", "NOWHERE/OUT", "--model", "MODEL"],
        ["cluster", "FEATURES", "-o", "OUT", "--threshold", "much"],
        ["cluster", "FEATURES", "-o", "OUT", "--threshold", "1.5"],
        ["cluster", "FEATURES", "-o", "OUT", "--threshold", "nan"],
        ["cluster", "FEATURES", "-o", "OUT", "--threshold", "0.2,0.3"],
        ["cluster", "FEATURES", "-o", "NOWHERE/OUT"],
        ["cluster", "FEATURES", "-o", "OUT", "--address", "auto"],
        ["cluster", "FEATURES", "-o", "OUT", "--engine", "spark"],
        ["cluster", "FEATURES", "-o", "OUT", "--workers", "-1"],
        ["cluster", "FEATURES", "-o", "OUT", "--workers", "0"],
        ["sweep", "FEATURES", "--manifest", "MANIFEST", "--thresholds", "0.5:0.2:0.1"],
        ["score", "EMBEDDINGS"],
        ["score", "EMBEDDINGS", "--manifest", "MANIFEST", "--targets", "2"],
        ["score", "EMBEDDINGS", "--manifest", "MANIFEST", "--targets", "1"],
        ["score", "EMBEDDINGS", "--manifest", "MANIFEST", "--targets", "nan"],
        ["score", "EMBEDDINGS", "--manifest", "MANIFEST", "--protocol", "other"],
        pytest.param(
            ["score", "EMBEDDINGS", "--manifest", "MANIFEST", "--device", "cuda"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ["submit", "EMBEDDINGS", "--manifest", "MANIFEST"],
        ["submit", "--manifest", "MANIFEST"],
    ],
)
def test_wrong_usage_ends_with_2(small: Any, tmp_path: Path, arguments: list[str]) -> None:
    places = {
        "MANIFEST": small.manifest,
        "MODEL": small.model,
        "FEATURES": small.features,
        "EMBEDDINGS": small.embeddings,
        "OUT": tmp_path / "out.h5",
        "NOWHERE/OUT": tmp_path / "nowhere" / "out.h5",
    }
    ran = vidface(*(places.get(word, word) for word in arguments), code=2)
    assert ran.out == ""
    assert "rror: " in ran.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_ends_with_1_and_one_line(small: Any, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.h5"
    for command in [
        ("extract", tmp_path / "no.csv", "-o", tmp_path / "f.h5", "--model", small.model),
        ("extract", small.manifest, "-o", tmp_path / "f.h5", "--model", tmp_path / "no.onnx"),
        ("cluster", nothing, "-o", tmp_path / "e.h5"),
        ("score", nothing, "--manifest", small.manifest),
        ("score", small.features, "--manifest", small.manifest),  # features are not embeddings
        ("sweep", small.embeddings, "--manifest", small.manifest),
    ]:
        missing = next(
            str(word) for word in command[1:] if "no" in Path(str(word)).name or word != small.manifest
        )
        assert missing in vidface(*command, code=1).error or "no.onnx" in str(command)
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object_and_the_same_as_the_file(small: Any, tmp_path: Path) -> None:
    told = ("--manifest", small.manifest)
    scores = tmp_path / "scores.json"
    printed = vidface("score", small.embeddings, *told, "-o", scores, "--json", code=1)
    assert printed.err == ""
    assert json.loads(scores.read_text()) == printed.json
    table = vidface("sweep", small.features, *told, "--thresholds", "none,0.3", "--json").json
    assert [row["threshold"] for row in table["rows"]] == ["none", "0.3"]
    for words in (
        ("extract", small.manifest, "-o", small.features, "--model", small.model),
        ("cluster", small.features, "-o", small.embeddings, "--threshold", 0.3),
    ):
        assert vidface(*words, "--json", code=1).json
    checked = vidface("manifest", "check", small.manifest, "--json", code=1).json
    assert checked["problems"][0]["kind"] == "missing-file"


def test_a_reader_that_goes_away_is_no_error(small: Any) -> None:
    words = [*MODULE, "score", str(small.embeddings), "--manifest", str(small.manifest), "--json"]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout and run.stderr
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    run.wait()
    assert "Traceback" not in err and "Exception" not in err


def test_doctor() -> None:
    findings = vidface("doctor", "--json").json
    assert isinstance(findings["problems"], list)
    text = vidface("doctor")
    assert text.out and text.code == int(bool(findings["problems"]))
