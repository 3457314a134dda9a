"""Decoders that crash, hang, eat the memory or are killed: one video each, never the run, and nothing stays behind.

A ``sitecustomize.py`` leads decoding processes astray when they start; vidface knows nothing of these tests. A decoding
process can write no file: its name says where it is, and it remembers by truncating a file open from its start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from command_line import (
    MODULE,
    Ran,
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    vidface,
    vidface_process,
    write_manifest,
    write_video,
)
from fault_material import Extracted, left_by
from processes import children_of, python_path

FRAMES = 40  # more than a block: frames of a video that fails have been handed out before
GOOD_FRAMES = 5
BAD = ("crash", "exit", "raise", "hang", "memory", "killed", "chatter")
ORDER = [name for pair in zip((f"good-{n}" for n in range(7)), BAD, strict=True) for name in pair]

ASTRAY = """
import ctypes, mmap, os, signal, sys, time
from pathlib import Path

alive = os.open(Path(__file__).with_name("alive"), os.O_RDWR)
large = os.memfd_create("a decoder's")
os.ftruncate(large, 1 << 26)

def tell(what):
    ctypes.CDLL(None).prctl(15, what)  # PR_SET_NAME

def raise_():
    raise RuntimeError("a decoder with\\n two lines")

def hang():
    tell(b"hangs")
    ctypes.PyDLL(None).sleep(1000)  # in C, and nothing else of Python runs meanwhile

def memory():
    # 5 GB that are resident; the same 64 MB again and again, so that no machine suffers
    take = ctypes.CDLL(None).mmap
    take.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    for _ in range(80):
        take(None, 1 << 26, mmap.PROT_READ, mmap.MAP_SHARED | mmap.MAP_POPULATE, large, 0)
    time.sleep(1000)

def killed():
    if os.fstat(alive).st_size:
        os.ftruncate(alive, 0)
        tell(b"waits")
        time.sleep(1000)

def chatter():
    os.write(1, b"chatter" * 1000)
    os.write(2, b"chatter" * 1000)
    print("chatter", flush=True)

def lead_astray():
    import vidface.features.engines.reading as reading
    read = reading.read_frames
    ways = {"crash": lambda: ctypes.string_at(0), "exit": lambda: os._exit(3), "raise": raise_, "hang": hang}
    ways |= {"memory": memory, "killed": killed, "chatter": chatter}
    def read_frames(path, **options):
        for index, frame in enumerate(read(path, **options)):
            if index == 33 and path.stem in ways:
                ways[path.stem]()
            yield frame
    reading.read_frames = read_frames

if "vidface.features.engines.decoder" in sys.orig_argv:
    lead_astray()
"""


class Set(NamedTuple):
    """Clips of which some will meet a bad decoder, and what a run with good ones makes of them."""

    manifest: Path
    model: Path
    whole: Path


def astray(folder: Path, program: str = ASTRAY) -> dict[str, str]:
    """The environment of a command whose decoding processes run a program first."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(program)
    (folder / "alive").write_text("until a decoder has waited")
    return {**os.environ, "PYTHONPATH": python_path(folder)}


def start(env: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    words = [*MODULE, *map(str, arguments)]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        # Where the tests run in the background of a script, Ctrl-C is ignored by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)
    return found


def only_progress(err: str) -> bool:
    """Whether stderr holds nothing but lines of progress, as a slow machine shows them."""
    return all(line.startswith("extract: ") for line in err.splitlines())


def processes_of(parent: int, name: str = "") -> list[int]:
    """The processes that a process has started and that are still there, or have told by their name where they are."""
    found = []
    for pid, _ in children_of(parent):
        with contextlib.suppress(OSError):
            if not name or Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                found.append(pid)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Set:
    root = tmp_path_factory.mktemp("clips")
    for person, name in enumerate(ORDER):
        write_video(root / f"{name}.mp4", frames_of(person, FRAMES if name in BAD else GOOD_FRAMES))
    manifest = write_manifest(root / "manifest.csv", [(name, f"{name}.mp4") for name in ORDER])
    model = pooling_model(root / "cells.onnx")
    vidface("extract", manifest, "-o", root / "whole.h5", "--model", model, code=0)
    return Set(manifest, model, root / "whole.h5")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, clips: Set) -> tuple[Extracted, Path]:
    """One run in which every bad video meets its decoder; the process that waits is killed from outside."""
    root = tmp_path_factory.mktemp("bad")
    env, features = astray(root / "astray"), root / "features.h5"
    options = ("--model", clips.model, "--workers", 2, "--decoder-timeout", 4, "--json")
    process = start(env, "extract", clips.manifest, "-o", features, *options)
    (waiting,) = wait_for(lambda: processes_of(process.pid, "waits"))
    os.kill(waiting, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    return left_by(Ran(process.returncode, out, err), features), features


LOST = {
    "crash": ("decoder-crashed", "the decoder crashed 2 times (signal SIGSEGV)"),
    "exit": ("decoder-crashed", "the decoder crashed 2 times (exit code 3)"),
    "raise": ("decoder-crashed", "the decoder failed: RuntimeError: a decoder with two lines"),
    "hang": ("decoder-hung", "no frame for 4 s: the decoder was stopped"),
    "memory": ("decoder-memory", "the decoder took more than 4 GB and was stopped"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_bad_decoder_costs_its_video(bad: tuple[Extracted, Path], name: str) -> None:
    left, _ = bad
    assert (left.status[name], len(left.rows[name]), left.faults[name]) == ("failed", 0, [LOST[name]])


def test_the_other_videos_do_not_notice(bad: tuple[Extracted, Path], clips: Set) -> None:
    """Nor does one whose decoder was killed from outside in its middle, nor one whose decoder prints."""
    left, features = bad
    assert {*left.faults} == {*LOST} and left.ran.code == 1 and only_progress(left.ran.err)
    assert left.ran.json["status"] == {"ok": len(ORDER) - len(LOST), "failed": len(LOST)}
    ids, status, rows = read_features(clips.whole)
    assert ids == [*left.status] == ORDER and set(status) == {"ok"}
    for person, (name, row) in enumerate(zip(ids, rows, strict=True)):
        frames = frames_of(person, FRAMES if name in BAD else GOOD_FRAMES)
        assert np.allclose(row, cells_of(frames), atol=1e-5)
        if name not in LOST:
            assert left.status[name] == "ok" and np.array_equal(left.rows[name], row)
    with h5py.File(clips.whole) as whole, h5py.File(features) as file:
        kept = np.repeat([name not in LOST for name in ids], [len(row) for row in rows])
        assert np.array_equal(file["timestamps"][:], whole["timestamps"][:][kept])


def test_killed_while_a_decoder_hangs(tmp_path: Path, clips: Set) -> None:
    """Nothing of the run is left, and the run that is called again ends in the same bytes."""
    env = astray(tmp_path / "astray")
    features = tmp_path / "features.h5"
    process = start(env, "extract", clips.manifest, "-o", features, "--model", clips.model, "--workers", 2)
    wait_for(lambda: processes_of(process.pid, "hangs"))
    decoders = processes_of(process.pid)
    assert len(decoders) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, decoders)))
    vidface("extract", clips.manifest, "-o", features, "--model", clips.model, code=0)
    assert features.read_bytes() == clips.whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["astray", "faults.jsonl", "features.h5"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_a_decoder_hangs(tmp_path: Path, clips: Set, number: int, code: int) -> None:
    env = astray(tmp_path / "astray")
    output = tmp_path / "features.h5"
    process = start(env, "extract", clips.manifest, "-o", output, "--model", clips.model, "--workers", 2)
    wait_for(lambda: processes_of(process.pid, "hangs"))
    decoders = processes_of(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)  # the decoder would hang for much longer
    assert (process.returncode, out) == (code, "")
    assert only_progress(err.rpartition("\n\nstopped: ")[0]) and err.count("stopped: ") == 1
    assert not any(map(alive, decoders))
    assert not list(tmp_path.glob(".*"))  # no lock, no half file


NO_START = "import os, sys\nif 'vidface.features.engines.decoder' in sys.orig_argv: "
NO_DECODERS = {
    "says why": ("print('no room here', file=sys.stderr); os._exit(7)", "no room here"),
    "says nothing": ("os._exit(7)", "exit code 7"),
    "is killed": ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
    "is not there": ("pass\nsys.modules['av'] = None", "decoder pyav cannot be loaded: "),
}


@pytest.mark.parametrize("case", NO_DECODERS)
def test_decoding_processes_do_not_start(tmp_path: Path, clips: Set, case: str) -> None:
    """That is one error of the run, not a fault of each of its videos."""
    program, said = NO_DECODERS[case]
    env, output = astray(tmp_path / "astray", f"{NO_START}{program}\n"), tmp_path / "features.h5"
    for workers in (0, 2) if case == "is not there" else (2,):
        words = ("extract", clips.manifest, "-o", output, "--model", clips.model, "--workers", workers)
        error = vidface_process(*words, code=1, env=env).error
        assert said in error
        if case != "is not there":
            assert f"decoding processes do not start: {said}: " in error and "--workers 0" in error
    assert not (tmp_path / "faults.jsonl").exists() and not output.exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_timeout_that_is_none(clips: Set, seconds: str) -> None:
    options = ("--model", clips.model, "--decoder-timeout", seconds)
    assert "--decoder-timeout" in vidface("extract", clips.manifest, "-o", "x.h5", *options, code=2).err
