"""Decoders that crash, hang, eat the memory or are killed: one video each, never the run, and nothing stays behind.

The decoding processes are led astray by a ``sitecustomize.py`` that Python imports when they start: vidface itself
knows nothing of these tests. Since a decoding process can write no file, it tells by its name where it is, and
remembers by cutting short a file that it has open from its start.
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
    read_lines,
    vidface,
    vidface_process,
    write_manifest,
    write_video,
)
from processes import python_path

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

def crash():
    ctypes.string_at(0)

def exit():
    os._exit(3)

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
    def read_frames(path, **options):
        for index, frame in enumerate(read(path, **options)):
            if index == 33 and path.stem in ("crash", "exit", "raise", "hang", "memory", "killed", "chatter"):
                globals()[path.stem.replace("raise", "raise_")]()
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


class Bad(NamedTuple):
    """What is left of the run with bad decoders."""

    ran: Ran
    features: Path
    status: dict[str, str]
    rows: dict[str, np.ndarray]
    faults: dict[str, dict[str, str]]


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


def processes_of(parent: int) -> list[int]:
    """The ids of all processes that a process has started and that are still there."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def named(parent: int, name: str) -> list[int]:
    """Those of them that have told by their name where they are."""
    found = []
    for pid in processes_of(parent):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                found.append(pid)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be buried."""
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
def bad(tmp_path_factory: pytest.TempPathFactory, clips: Set) -> Bad:
    """One run in which every bad video meets its decoder; the process that waits is killed from outside."""
    root = tmp_path_factory.mktemp("bad")
    env = astray(root / "astray")
    features = root / "features.h5"
    options = ("--model", clips.model, "--workers", 2, "--decoder-timeout", 4, "--json")
    process = start(env, "extract", clips.manifest, "-o", features, *options)
    (waiting,) = wait_for(lambda: named(process.pid, "waits"))
    os.kill(waiting, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    ids, status, rows = read_features(features)
    assert ids == ORDER
    lines = read_lines(root / "faults.jsonl")
    faults = {fault["video"]: fault for fault in lines}
    assert len(faults) == len(lines)
    return Bad(
        Ran(process.returncode, out, err),
        features,
        dict(zip(ids, status, strict=True)),
        dict(zip(ids, rows, strict=True)),
        faults,
    )


def check_lost(bad: Bad, name: str, kind: str, detail: str) -> None:
    assert (bad.status[name], len(bad.rows[name])) == ("failed", 0)
    assert (bad.faults[name]["stage"], bad.faults[name]["kind"]) == ("extract", kind)
    assert bad.faults[name]["detail"] == detail


def test_decoder_crashes(bad: Bad) -> None:
    check_lost(bad, "crash", "decoder-crashed", "the decoder crashed 2 times (signal SIGSEGV)")


def test_decoder_ends_its_process(bad: Bad) -> None:
    check_lost(bad, "exit", "decoder-crashed", "the decoder crashed 2 times (exit code 3)")


def test_decoder_raises_what_it_should_not(bad: Bad) -> None:
    detail = "the decoder failed: RuntimeError: a decoder with two lines"
    check_lost(bad, "raise", "decoder-crashed", detail)


def test_decoder_hangs(bad: Bad) -> None:
    check_lost(bad, "hang", "decoder-hung", "no frame for 4 s: the decoder was stopped")


def test_decoder_eats_the_memory(bad: Bad) -> None:
    check_lost(bad, "memory", "decoder-memory", "the decoder took more than 4 GB and was stopped")


def test_the_other_videos_do_not_notice(bad: Bad, clips: Set) -> None:
    """Nor does one whose decoder was killed from outside in its middle, nor one whose decoder prints."""
    lost = {"crash", "exit", "raise", "hang", "memory"}
    assert set(bad.faults) == lost and bad.ran.code == 1
    assert only_progress(bad.ran.err)
    assert bad.ran.json["status"] == {"ok": len(ORDER) - len(lost), "failed": len(lost)}
    ids, status, rows = read_features(clips.whole)
    assert set(status) == {"ok"}
    for person, (name, row) in enumerate(zip(ids, rows, strict=True)):
        frames = frames_of(person, FRAMES if name in BAD else GOOD_FRAMES)
        assert np.allclose(row, cells_of(frames), atol=1e-5)
        if name not in lost:
            assert bad.status[name] == "ok"
            assert np.array_equal(bad.rows[name], row)
    with h5py.File(clips.whole) as whole, h5py.File(bad.features) as file:
        kept = np.repeat([name not in lost for name in ids], [len(row) for row in rows])
        assert np.array_equal(file["timestamps"][:], whole["timestamps"][:][kept])


def test_killed_while_a_decoder_hangs(tmp_path: Path, clips: Set) -> None:
    """Nothing of the run is left, and the run that is called again ends in the same bytes."""
    env = astray(tmp_path / "astray")
    features = tmp_path / "features.h5"
    process = start(env, "extract", clips.manifest, "-o", features, "--model", clips.model, "--workers", 2)
    wait_for(lambda: named(process.pid, "hangs"))
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
    wait_for(lambda: named(process.pid, "hangs"))
    decoders = processes_of(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)  # the decoder would hang for much longer
    assert (process.returncode, out) == (code, "")
    assert only_progress(err.rpartition("\n\nstopped: ")[0]) and err.count("stopped: ") == 1
    assert not any(map(alive, decoders))
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith(".")
    ] == []  # no lock, no half file


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('no room here', file=sys.stderr); os._exit(7)", "no room here"),
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
    ],
    ids=["says why", "says nothing", "is killed"],
)
def test_decoding_processes_do_not_start(tmp_path: Path, clips: Set, program: str, said: str) -> None:
    """That is one error of the run, not a fault of each of its videos."""
    whole = f"import os, sys\nif 'vidface.features.engines.decoder' in sys.orig_argv: {program}\n"
    env = astray(tmp_path / "astray", whole)
    output = tmp_path / "features.h5"
    ran = vidface_process("extract", clips.manifest, "-o", output, "--model", clips.model, code=1, env=env)
    assert f"decoding processes do not start: {said}: " in ran.error and "--workers 0" in ran.error
    assert not (tmp_path / "faults.jsonl").exists() and not output.exists()


def test_decoder_cannot_be_loaded(tmp_path: Path, clips: Set) -> None:
    env = astray(tmp_path / "astray", "import sys\nsys.modules['av'] = None\n")
    output = tmp_path / "features.h5"
    for workers in (0, 2):
        options = ("--model", clips.model, "--workers", workers)
        ran = vidface_process("extract", clips.manifest, "-o", output, *options, code=1, env=env)
        assert "decoder pyav cannot be loaded: " in ran.error
    assert not (tmp_path / "faults.jsonl").exists() and not output.exists()


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_timeout_that_is_none(clips: Set, seconds: str) -> None:
    options = ("--model", clips.model, "--decoder-timeout", seconds)
    assert "--decoder-timeout" in vidface("extract", clips.manifest, "-o", "x.h5", *options, code=2).err
