"""Processes of this machine: what they import, and, found in /proc, what they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def python_path(*folders: Path | str) -> str:
    """``PYTHONPATH`` of test folders, then this checkout: else a process may import another, installed vidface."""
    return os.pathsep.join([*map(str, folders), str(ROOT)])


def children_of(pid: int, word: str = "") -> list[tuple[int, str]]:
    """(pid, command line) of everything below a process whose command line holds ``word``."""
    parents: dict[int, list[int]] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(folder.name))
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                titles[int(folder.name)] = title.decode(errors="replace").strip()
    below: list[int] = []
    rest = [pid]
    while rest:
        found = parents.get(rest.pop(), [])
        below += found
        rest += found
    return [(child, titles[child]) for child in below if word in titles.get(child, "")]


@contextlib.contextmanager
def one_killed(word: str) -> Iterator[list[int]]:
    """Kill the first process below this one with such a word that shows up within the block; who it was, if any."""
    killed: list[int] = []
    stop = threading.Event()

    def kill_when_seen() -> None:
        while not stop.wait(0.02):
            for child, _ in children_of(os.getpid(), word):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    killed.append(child)
                    return

    killer = threading.Thread(target=kill_when_seen)
    killer.start()
    try:
        yield killed
    finally:
        stop.set()
        killer.join()
