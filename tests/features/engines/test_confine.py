"""What a decoding process may not do, tried by its reader, from a ``sitecustomize.py``, in a real one.

It can only tell by the words of an error, which become the detail of a fault.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import frames_of, write_folder, write_video

from vidface.features.engines.confine import OPEN_FILES, confine, measures
from vidface.features.engines.isolated import Decoders, Limits
from vidface.features.engines.reading import Block, ReadOptions, Video, VideoEnd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are confined on Linux")

READING = ReadOptions("pyav", 8.0, False, (112, 112), timeout=60.0)
MEMORY = 400_000_000

TRIES = """
import json, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path

here = Path(__file__).parent

def tried(function):
    try:
        return f"done: {function()}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

def many_files():
    return [open(here / "whole.txt") for _ in range(100)]

def in_thread(function):
    got = []
    thread = threading.Thread(target=lambda: got.append(tried(function)))
    thread.start()
    thread.join()
    return got[0]

def connect():
    with socket.create_connection(("127.0.0.1", int((here / "port.txt").read_text())), 5):
        pass

def descriptors():
    with os.scandir("/proc/self/fd") as entries:
        return sorted(os.readlink(entry.path) for entry in entries)

TRIES = {
    "write a new file": lambda: (here / "new.txt").write_text("new"),
    "write in a thread": lambda: in_thread(lambda: (here / "new.txt").write_text("new")),
    "write over a file": lambda: (here / "whole.txt").write_text("other"),
    "write on in an open file": lambda: os.write(held, b"more"),
    "remove a file": lambda: (here / "whole.txt").unlink(),
    "rename a file": lambda: (here / "whole.txt").rename(here / "other.txt"),
    "make a folder": lambda: (here / "folder").mkdir(),
    "make a link": lambda: (here / "link").symlink_to("whole.txt"),
    "run a program": lambda: subprocess.run(["/bin/true"]),
    "connect": connect,
    "make a socket": lambda: socket.socket(socket.AF_UNIX),
    "make a socket in a thread": lambda: in_thread(socket.socket),
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "open many files": many_files,
    "read a file": lambda: (here / "whole.txt").read_text(),
    "limits": lambda: json.dumps({
        name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")
    }),
    "descriptors": lambda: json.dumps(descriptors()),
}

def read_frames(path, **options):
    if path.stem == "tries":
        raise RuntimeError(json.dumps({name: tried(function) for name, function in TRIES.items()}))
    if path.stem == "memory":
        held = bytearray(int((here / "bytes.txt").read_text()))
        raise RuntimeError(f"{len(held)} bytes are there")
    return read(path, **options)

if "vidface.features.engines.decoder" in sys.orig_argv:
    import vidface.features.engines.reading as reading
    read, reading.read_frames = reading.read_frames, read_frames
    held = os.open(here / "held.txt", os.O_RDWR | os.O_CREAT)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tries")
    (folder / "sitecustomize.py").write_text(TRIES)
    (folder / "whole.txt").write_text("whole")
    return folder


def fault_of(folder: Path, name: str) -> tuple[str, str]:
    """What a decoding process gives for a video of that name; the next video must be read as ever."""
    good = write_folder(folder / f"beside-{name}-{len(list(folder.iterdir()))}", frames_of(0, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with Decoders(READING, Limits(bytes=MEMORY)) as decoders:
            *_, end = decoders.read(Video(name, Path(name)))
            block, after = decoders.read(Video("good", good))
    assert isinstance(block, Block) and len(block.times) == 3
    assert isinstance(after, VideoEnd) and after.faults == []
    assert isinstance(end, VideoEnd) and end.lost
    (fault,) = end.faults
    return fault


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, str]:
    """What became of every try; beside it a server that nobody may have called, and an open secret."""
    secret = os.open(folder / "whole.txt", os.O_RDONLY)
    os.set_inheritable(secret, True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (folder / "port.txt").write_text(str(server.getsockname()[1]))
        kind, detail = fault_of(folder, "tries")
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    os.close(secret)
    assert kind == "decoder-crashed"
    found = json.loads(detail.removeprefix("the decoder failed: RuntimeError: "))
    assert isinstance(found, dict)
    return found


def test_a_decoder_writes_and_removes_no_file(found: dict[str, str], folder: Path) -> None:
    beginnings = ("write", "remove", "rename", "make a folder", "make a link")
    names = {name for name in found if name.startswith(beginnings)}
    assert len(names) == 8
    if "landlock" in measures():
        for name in names - {"write on in an open file"}:
            assert "PermissionError: [Errno 13]" in found[name], name
        assert (folder / "whole.txt").read_text() == "whole" and not (folder / "new.txt").exists()
        assert not (folder / "folder").exists() and not (folder / "link").is_symlink()
    else:
        assert "OSError: [Errno 27]" in found["write a new file"]
    assert "OSError: [Errno 27]" in found["write on in an open file"]
    assert (folder / "held.txt").read_bytes() == b""
    assert found["read a file"] == "done: whole"


def test_a_decoder_connects_to_nothing_and_runs_nothing(found: dict[str, str]) -> None:
    if not {"landlock", "seccomp"} <= set(measures()):
        pytest.skip(f"this system has {', '.join(measures())} only")
    for name in ("run a program", "connect", "make a socket", "make a socket in a thread"):
        assert "PermissionError: [Errno 13]" in found[name], name
    assert "PermissionError" in found["signal the parent"] or kernel() < (6, 12)


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


def test_a_decoder_has_limits_that_it_cannot_raise(found: dict[str, str]) -> None:
    limits = json.loads(found["limits"].removeprefix("done: "))
    assert limits["RLIMIT_CORE"] == limits["RLIMIT_FSIZE"] == [0, 0]
    assert limits["RLIMIT_NOFILE"] == [OPEN_FILES, OPEN_FILES]
    assert "OSError: [Errno 24]" in found["open many files"]
    soft, hard = limits["RLIMIT_DATA"]
    # What Python and its libraries hold at the start comes on top: 0.1 to 0.3 GB, and more where there are many cores.
    assert soft == hard and MEMORY + 10_000_000 < soft < MEMORY + 20_000_000_000


def test_a_decoder_inherits_no_open_file(found: dict[str, str]) -> None:
    """Beside its three ends of pipes: what is always there, its own listing, and what these tests have opened in it."""
    names = json.loads(found["descriptors"].removeprefix("done: "))
    rest = [name for name in names if not name.startswith(("pipe:", "/dev/null", "/proc/"))]
    assert [Path(name).name for name in rest] == ["held.txt"]
    assert len([name for name in names if name.startswith("pipe:")]) == 2


@pytest.mark.parametrize(
    ("more", "kind"), [(100_000_000, "decoder-memory"), (-250_000_000, "decoder-crashed")]
)
def test_a_decoder_that_asks_for_too_much_memory(folder: Path, more: int, kind: str) -> None:
    """It is refused at once, and is a fault by name; less than the limit is given."""
    (folder / "bytes.txt").write_text(str(MEMORY + more))
    found, detail = fault_of(folder, "memory")
    assert found == kind
    if more > 0:
        assert detail == "the decoder asked for more memory than it may have"
    else:
        assert detail == f"the decoder failed: RuntimeError: {MEMORY + more} bytes are there"


def test_a_picture_that_needs_more_memory_than_there_is(tmp_path: Path) -> None:
    """FFmpeg's own allocations fall under the limit too: a fault by name, and the next video is read."""
    large = write_video(tmp_path / "large.mp4", np.zeros((2, 4320, 7680, 3), np.uint8), lossless=False)
    with Decoders(READING._replace(input_size=None), Limits(bytes=100_000_000)) as decoders:
        *blocks, end = decoders.read(Video("large", large))
        assert isinstance(end, VideoEnd) and end.lost and blocks == []
        assert [kind for kind, _ in end.faults] == ["decoder-memory"]
    with Decoders(READING, Limits(bytes=MEMORY)) as decoders:
        *_, end = decoders.read(Video("good", write_folder(tmp_path / "good", frames_of(0, 2))))
        assert isinstance(end, VideoEnd) and end.faults == []


def test_limits_that_are_lower_already_stay(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES // 2, OPEN_FILES // 2))
            confine(MEMORY)
            confine(MEMORY)  # nothing speaks against a second time
            code = 0 if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == OPEN_FILES // 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
