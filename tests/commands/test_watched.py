"""The parent of a command that runs on Ray: it says how the command ended, whatever Ray's C++ does to it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Commands that end as commands on Ray may end, without Ray.
PROGRAM = """
import atexit, os, signal, sys, time
import click
from vidface.commands.main import cli, main
from vidface.commands.watched import watch
from vidface.errors import ClusterError, UsageError

@cli.command()
@click.argument("how")
@click.option("--json", is_flag=True)
def end(how, json):
    watch()
    print(os.getpid(), flush=True)
    if how == "quits":  # as Ray's C++ does
        os._exit(1)
    if how == "aborts":
        os.kill(os.getpid(), signal.SIGABRT)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "aborts late":
        atexit.register(os.kill, os.getpid(), signal.SIGABRT)
    if how == "wrong":
        raise UsageError("it is wrong")
    if how == "gives up":
        raise ClusterError("Ray gave the work up")
    if how == "deaf":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    if how in ("waits", "deaf"):
        time.sleep(60)
    return 1

main()
"""


def start(how: str, *words: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", PROGRAM, "end", how, *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_there(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Its exit status, stdout and stderr; the child is gone."""
    out, err = process.communicate(timeout=60)
    child, *lines = out.splitlines()
    assert not is_there(int(child))
    return process.returncode, lines, [line for line in err.splitlines() if line]


@pytest.mark.parametrize("how", ["quits", "aborts"])
def test_a_command_that_ray_ends_without_a_word(how: str) -> None:
    """Not with the exit status 1 of videos that are at fault."""
    status, out, err = ended(start(how, "--json"))
    assert status == 3 and len(err) == 1 and err[0].startswith("error: the Ray cluster is lost: ")
    assert [list(json.loads(line)) for line in out] == [["error"]]
    assert ended(start(how)) == (3, [], err)


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("ends", 1, []),
        ("aborts late", 1, []),  # Ray's threads, when the interpreter ends
        ("wrong", 2, ["error: it is wrong"]),
        ("gives up", 3, ["error: Ray gave the work up"]),
        ("killed", -signal.SIGKILL, []),
        ("crashes", -signal.SIGSEGV, []),
    ],
)
def test_a_command_that_ends_itself(how: str, status: int, said: list[str]) -> None:
    assert ended(start(how)) == (status, [], said)


@pytest.mark.parametrize("how", ["waits", "deaf"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on(how: str, number: int) -> None:
    process = start(how)
    assert process.stdout is not None
    child = process.stdout.readline()
    time.sleep(0.2)  # it goes to sleep
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and out == "" and not is_there(int(child))
    assert [line.partition(":")[0] for line in err.splitlines() if line] == ["stopped"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_parent_that_is_killed_takes_the_command_with_it() -> None:
    process = start("waits")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=30)  # which ends when nobody holds its stdout any more
    until = time.monotonic() + 10  # it closes its files before it is gone
    while is_there(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_there(child)
