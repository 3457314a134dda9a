"""An output that is one of a command's inputs: refused before anything is written, and so are options of no use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import vidface, write_manifest

PAIRS = "first,second,same\na/0,a/1,1\nb/0,b/1,1\na/0,b/0,0\na/1,b/1,0\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind that is read here, two people with two videos each."""
    folder = tmp_path_factory.mktemp("kept")
    np.save(folder / "e.npy", np.repeat(np.eye(2, 4, dtype=np.float32), 2, axis=0))
    videos = [(f"{person}/{take}", "x", person, ("train", "val")[take]) for person in "ab" for take in (0, 1)]
    write_manifest(folder / "set.csv", videos)
    (folder / "pairs.csv").write_text(PAIRS)
    (folder / "features.h5").write_bytes(b"hours of work")
    (folder / "list.csv").write_text("x/1.jpg\nx/2.jpg\n")
    (folder / "labels.csv").write_text("x\nx\n")
    (folder / "train.csv").write_text("T_1.mp4 1\n")
    (folder / "val.csv").write_text("1 V_1.mp4 \n")
    return folder


@pytest.fixture(autouse=True)
def work_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


PAIR_SCORES = ["score", "e.npy", "--manifest", "set.csv", "--protocol", "pairs", "--pairs", "pairs.csv"]
OPEN_SET = ["score", "e.npy", "--manifest", "set.csv", "--protocol", "openset"]
SUBMIT = ["submit", "e.npy", "--manifest", "set.csv", "--format", "lfrc"]
SWEEP = ["sweep", "features.h5", "--manifest", "set.csv"]
IMAGES = ["manifest", "from-trillionpairs", "list.csv", "--labels", "labels.csv"]
VIDEOS = ["manifest", "from-lfrc", "list.csv", "--identities", "labels.csv"]
LISTS = ["manifest", "from-iqiyi", "--train-list", "train.csv", "--val-list", "val.csv"]


@pytest.mark.parametrize(
    ("words", "option", "files"),
    [
        (PAIR_SCORES, "-o", ["e.npy", "set.csv", "pairs.csv"]),
        (OPEN_SET, "--det", ["set.csv"]),
        (SUBMIT, "-o", ["e.npy", "set.csv"]),
        (SWEEP, "-o", ["features.h5", "set.csv"]),
        (IMAGES, "-o", ["list.csv", "labels.csv"]),
        (VIDEOS, "-o", ["list.csv", "labels.csv"]),
        (LISTS, "-o", ["train.csv", "val.csv"]),
    ],
)
def test_no_input_is_overwritten(words: list[str], option: str, files: list[str], folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in files:
        for spelt in (name, f"../{folder.name}/{name}"):
            error = vidface(*words, option, spelt, code=2).error
            assert error == f"error: {spelt}: is an input of this command; name another output"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("option", ["--enrolment-split", "--gallery-split", "--device"])
def test_options_of_other_protocols_are_not_passed_over(option: str) -> None:
    """What would change nothing is refused, as files of other protocols are; what is not said is no fault."""
    vidface(*PAIR_SCORES, code=0)
    error = vidface(*PAIR_SCORES, option, "cpu", code=2).error
    assert error == f"error: --protocol pairs does not use {option}: leave it out"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        *[(PAIR_SCORES, "-o"), (OPEN_SET, "--det"), (SUBMIT, "-o"), (SWEEP, "-o"), (IMAGES, "-o")],
        *[(["cluster", "features.h5"], "-o"), (["merge", "features.h5"], "-o")],
        (["extract", "set.csv", "--model", "m"], "-o"),
    ],
)
def test_an_output_that_is_a_folder(words: list[str], option: str, tmp_path: Path) -> None:
    for name in (".", tmp_path, ""):
        error = vidface(*words, option, name, code=2).error
        assert error == f"error: {name or repr(name)}: is a folder; name a file"


@pytest.mark.parametrize(("option", "value"), [("--targets", "1e-3"), ("--fpr-rule", "nearest")])
def test_a_ranking_has_no_fpr(option: str, value: str) -> None:
    words = ["score", "e.npy", "--manifest", "set.csv"]
    error = vidface(*words, "--protocol", "iqiyi", option, value, code=2).error
    assert error == f"error: --protocol iqiyi does not use {option}: leave it out"
    vidface(*words, option, value, code=0)
