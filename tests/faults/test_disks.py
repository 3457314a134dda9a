"""Outputs that cannot be written, inputs that cannot be read: one line, an exit code, and what was there stays."""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import (
    MODULE,
    Ran,
    frames_of,
    pooling_model,
    read_lines,
    vidface,
    vidface_process,
    write_folder,
    write_manifest,
)
from fault_material import fill, small_disk
from PIL import Image

from vidface import runtime
from vidface.errors import StoreError
from vidface.files.atomic import write_atomic

PICTURES = 66  # two runs of 64 videos at most, so that there are shards to merge
EARLIER = b"an earlier file"


class Set(NamedTuple):
    root: Path
    manifest: Path
    commands: dict[str, tuple[object, ...]]  # words before -o and the output


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Set:
    root = tmp_path_factory.mktemp("given")
    model = pooling_model(root / "cells.onnx")
    rows, pairs = [], ["first,second,same"]
    for number in range(PICTURES):
        person, name = number // 6, f"p{number // 6:02d}/{number}.png"
        (root / "faces" / f"p{person:02d}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames_of(person, 1, seed=number)[0]).save(root / "faces" / name, compress_level=1)
        rows.append((f"v{number:02d}", f"faces/{name}", f"p{person:02d}", "train" if number % 2 else "val"))
        if number % 6:
            pairs += [f"p{person:02d}/{number}.png,p{person:02d}/{number - 1}.png,1"]
            pairs += [f"p{person:02d}/{number}.png,p{(person + 1) % 11:02d}/{(number + 6) % 66}.png,0"]
    (root / "pairs.csv").write_text("\n".join(pairs) + "\n")
    manifest = write_manifest(root / "set.csv", rows)
    extract = ("extract", manifest, "--model", model, "--workers", 0)
    base = {name: root / f"{name}.h5" for name in ("features", "one", "two", "embeddings", "plain")}
    vidface(*extract, "-o", base["features"], code=0)
    vidface(*extract, "-o", base["one"], "--shard", "1/2", code=0)
    vidface(*extract, "-o", base["two"], "--shard", "2/2", code=0)
    vidface("cluster", base["features"], "-o", base["embeddings"], code=0)
    vidface("cluster", base["features"], "-o", base["plain"], "--threshold", "none", code=0)
    told, pack = ("--manifest", manifest), ("dataset", "pack", root / "faces", "--to")
    return Set(
        root,
        manifest,
        {
            "extract": extract,
            "cluster": ("cluster", base["features"]),
            "merge": ("merge", base["one"], base["two"]),
            "score": ("score", base["embeddings"], *told),
            "sweep": ("sweep", base["features"], *told, "--thresholds", "none,0.4"),
            "submit iqiyi": ("submit", base["embeddings"], *told, "--format", "iqiyi"),
            "submit lfrc": ("submit", base["embeddings"], *told, "--format", "lfrc"),
            "pack tar": (*pack, "tar"),
            "pack bin": (*pack, "bin", "--pairs", root / "pairs.csv"),
            "verify": ("verify", root / "pairs.csv", "--images", root / "faces", "--model", model),
            "manifest": ("manifest", "from-folder", root / "faces"),
            "report": ("report", base["embeddings"], *told, "--no-pictures"),
            "compare": ("compare", base["plain"], base["embeddings"], *told),
        },
    )


FILES = (
    *("extract", "cluster", "merge", "score", "sweep", "submit iqiyi", "submit lfrc", "pack tar", "pack bin"),
    *("verify", "manifest"),  # a manifest stands above its clips, so it is not tried on other disks
)
FOLDERS = ("report", "compare")
TURNS = {"score", "sweep", "verify", "manifest"}  # no run of these refuses another


def test_every_command_is_tried(given: Set) -> None:
    assert set(given.commands) == {*FILES, *FOLDERS}


def tree(folder: Path) -> dict[str, bytes]:
    """All files under a folder, links as what they name."""
    return {
        str(path.relative_to(folder)): os.fsencode(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a stage may take the 10 s after which stderr holds how far it is, beside the error."""
    monkeypatch.setattr(runtime, "PLAIN_SECONDS", math.inf)


def failed(given: Set, command: str, output: object) -> Ran:
    ran = vidface(*given.commands[command], "-o", output)
    assert ran.code in (1, 2), (command, ran)
    told = ran.err.splitlines()
    usage = command in FOLDERS and len(told) == 4 and told[0].startswith("Usage: ")  # as click tells it
    assert usage or ran.error, command  # one line
    return ran


def name_of(command: str) -> str:
    return "out.csv" if command == "manifest" else "out"


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_an_output_that_cannot_be(tmp_path: Path, given: Set, command: str) -> None:
    """In a folder that is not there, a folder itself, below a file: what is there stays."""
    before = {"file": EARLIER, "out.bin/mine": EARLIER}
    (tmp_path / "out.bin").mkdir()
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    outputs = ("none/out.rec", "out.bin", "file/out") if command in FILES else ("file",)
    for output in outputs:
        failed(given, command, tmp_path / output)
    assert {name: data for name, data in tree(tmp_path).items() if name != "faults.jsonl"} == before
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", FILES)
def test_output_through_a_link(tmp_path: Path, given: Set, command: str) -> None:
    """The link becomes the file, or it is refused; what it named is never written to."""
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "mine"
    target.write_bytes(EARLIER)
    link = tmp_path / "out"
    link.symlink_to(target)
    ran = vidface(*given.commands[command], "-o", link)
    assert ran.code in (0, 1, 2) and (ran.code != 2 or ran.error)
    assert tree(tmp_path / "elsewhere") == {"mine": EARLIER}


@pytest.mark.parametrize("command", FILES[:-1])
def test_names_with_spaces_and_line_ends(tmp_path: Path, given: Set, command: str) -> None:
    folder = tmp_path / "a b\nc \u00e9"
    folder.mkdir()
    name = " out\n1"
    ran = vidface(*given.commands[command], "-o", folder / name)
    assert ran.code == 0 and ran.err == "", ran
    assert {path.name for path in folder.iterdir()} <= {name, "faults.jsonl"}


@pytest.mark.parametrize("command", FILES)
def test_a_name_that_is_too_long(tmp_path: Path, given: Set, command: str) -> None:
    """255 bytes are the most that file systems take, and the partial file and the lock need some of them."""
    for length in (251, 255, 256, 5000):
        ran = vidface(*given.commands[command], "-o", tmp_path / ("n" * length))
        assert ran.code in (0, 1, 2) and (ran.code == 0 or ran.error), (length, ran)
        if ran.code:
            assert set(tree(tmp_path)) <= {"faults.jsonl"}
        for path in tmp_path.iterdir():
            if path.is_file():
                path.unlink()


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without the rights by which root reads and writes whatever the modes of files say (capabilities(7))."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root cannot give up its rights here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    before = ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    words = list(struct.unpack("6I", before.raw))
    words[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, struct.pack("6I", *words)):
        pytest.skip("root cannot give up its rights here")
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.mark.parametrize("command", [*FILES[:-1], *FOLDERS])
def test_a_read_only_folder(tmp_path: Path, given: Set, command: str) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    (folder / "mine").write_bytes(EARLIER)
    folder.chmod(0o555)
    try:
        with as_anybody():
            ran = failed(given, command, folder / name_of(command))
    finally:
        folder.chmod(0o755)
    assert "Permission denied" in ran.error and str(folder) in ran.error
    assert tree(folder) == {"mine": EARLIER}


def test_a_clip_in_a_folder_that_may_not_be_entered(tmp_path: Path, given: Set) -> None:
    locked = tmp_path / "locked"
    write_folder(locked / "clip", frames_of(0, 2))
    listed = write_manifest(tmp_path / "set.csv", [("a", "locked/clip", "", "")])
    locked.chmod(0)
    try:
        with as_anybody():
            checked = vidface("manifest", "check", listed, code=1).out
            extract = ("extract", listed, "--model", given.root / "cells.onnx", "--workers", 0)
            vidface(*extract, "-o", tmp_path / "out.h5", code=1)
    finally:
        locked.chmod(0o755)
    assert "set.csv:2: missing-file: no permission to look at 'locked/clip'" in checked
    (fault,) = read_lines(tmp_path / "faults.jsonl")
    assert fault["kind"] == "unreadable" and fault["detail"].endswith("locked/clip: Permission denied")


def test_a_disk_that_may_only_be_read(full_disk: Path) -> None:
    again = ["mount", "-o", "remount,ro", str(full_disk)]
    assert subprocess.run(again, check=False).returncode == 0
    with (
        pytest.raises(StoreError, match="/out: cannot be written: Read-only file system"),
        write_atomic(full_disk / "out"),
    ):
        pytest.fail("it was opened")


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_an_input_that_may_not_be_read(tmp_path: Path, given: Set, command: str) -> None:
    inputs = [word for word in given.commands[command] if isinstance(word, Path) and word.exists()]
    assert inputs
    for path in inputs:
        mode = path.stat().st_mode & 0o777
        path.chmod(0)
        try:
            with as_anybody():
                failed(given, command, tmp_path / "out")
        finally:
            path.chmod(mode)
        assert tree(tmp_path) == {}, path


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB with room for some hundred bytes, and an earlier file on it."""
    with small_disk(tmp_path / "disk") as disk:
        (disk / "out").write_bytes(EARLIER)
        fill(disk)
        yield disk


@pytest.mark.parametrize("command", [*FILES[:-1], *FOLDERS])
def test_a_full_disk(full_disk: Path, given: Set, command: str) -> None:
    """Not a byte is free: the earlier file stays whole."""
    there = command.partition(" ")[0] in ("score", "sweep", "submit", "verify")  # they replace what is there
    ran = failed(given, command, full_disk / ("out" if there else "new.csv"))
    assert "no space left" in ran.error.lower(), ran
    left = tree(full_disk)
    assert left.pop("out") == EARLIER
    assert {name for name in left if not name.startswith("new.csv/")} <= {"filling", "faults.jsonl"}
    assert not [name for name in left if name.endswith(".partial")]


@pytest.mark.parametrize("command", [*sorted(set(FILES) - TURNS), *FOLDERS])
def test_two_runs_at_once(tmp_path: Path, given: Set, command: str) -> None:
    output = tmp_path / "out"
    lock = output / ".folder.lock" if command in FOLDERS else tmp_path / ".out.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = failed(given, command, output)
        assert ran.code == 2 and "another run is writing it now" in ran.error
        assert output.is_dir() if command in FOLDERS else not output.exists()
    vidface(*given.commands[command], "-o", output, code=0)  # the lock of a run that is gone stops nobody
    assert not lock.exists()


def test_two_runs_of_score_at_once(tmp_path: Path, given: Set) -> None:
    """They take turns: the file is that of one of them, whole."""
    results = []
    for split in ("val", "train"):
        words = (*given.commands["score"], "--gallery-split", split, "--protocol", "iqiyi")
        vidface(*words, "-o", tmp_path / split, code=0)
        results.append((words, (tmp_path / split).read_bytes()))
        (tmp_path / split).unlink()
    processes = [
        subprocess.Popen([*MODULE, *map(str, words), "-o", str(tmp_path / "out")], stdout=subprocess.DEVNULL)
        for words, _ in results
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert (tmp_path / "out").read_bytes() in [whole for _, whole in results]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_folder_for_temporary_files_and_no_home(tmp_path: Path, given: Set) -> None:
    """Nothing of ours needs them; what libraries keep there they go without."""
    nowhere = dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/dev/null/none")
    for command in ("extract", "cluster"):
        words = (*given.commands[command], "-o", tmp_path / command)
        ran = vidface_process(*words, code=0, env={**os.environ, **nowhere})
        assert ran.err == "", ran.err


@pytest.mark.parametrize("command", FOLDERS)
def test_a_page_never_stands_beside_the_data_of_another(
    tmp_path: Path, given: Set, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run's folder is taken, its half files go; if the next run fails on its way, the first page is gone."""
    for part in ("data", "figures"):
        (tmp_path / "out" / part).mkdir(parents=True)
        (tmp_path / "out" / part / ".headline.csv.123.partial").write_bytes(EARLIER)
    (tmp_path / "out" / ".folder.lock").touch()
    words, index = (*given.commands[command], "-o", tmp_path / "out"), tmp_path / "out" / "index.html"
    vidface(*words, code=0)
    assert index.is_file() and [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []

    def full(*_given: object) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("vidface.report.drawing.files.write_drawing", full)
        assert "no space left" in vidface(*words, code=1).error and not index.exists()
    vidface(*words, code=0)  # what is left stops nobody
    assert index.is_file()


def without_rights() -> None:
    """As `as_anybody`, for a program that is started: it would get the rights back with its first step."""
    if os.geteuid() == 0:
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="root cannot give up its rights here")
@pytest.mark.parametrize("home", ["home", "none", "closed"])
def test_a_program_folder_that_may_not_be_written(tmp_path: Path, home: str) -> None:
    """What numba compiles is then kept at home, or in a new folder that goes with the process: not refused."""
    package = tmp_path / "program" / "vidface"
    package.mkdir(parents=True)
    shutil.copyfile(Path(sys.modules["vidface"].__file__ or ""), package / "__init__.py")
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    package.chmod(0o555)
    kept = {name: os.environ[name] for name in os.environ.keys() - {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}
    where = {"HOME": str(tmp_path / home / "x"), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "none").write_text("")
    (tmp_path / "closed").mkdir(0o000)
    code = "import os, vidface; f = os.environ.get('NUMBA_CACHE_DIR'); print(f, bool(f) and os.listdir(f))"
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path / "program",
            env={**kept, **where},
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=without_rights,
        )
    finally:
        package.chmod(0o755)
        (tmp_path / "closed").chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    if home == "home":
        assert done.stdout == "None False\n"
    else:
        assert done.stdout.startswith(str(tmp_path / "temporary")) and done.stdout.endswith(" []\n")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_nothing_is_written_into_the_home_folder(tmp_path: Path, given: Set) -> None:
    """onnxruntime would keep a device number there, and a list of what it has yet to send."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    words = (*given.commands["extract"], "-o", tmp_path / "out")
    vidface_process(*words, code=0, env={**kept, "HOME": str(home)})
    assert list(home.rglob("*")) == []
