"""A small process that waits beside a command that works on Ray, and says how it ended.

When the node under it or the head of the cluster is lost, Ray's C++ ends the process without a word, with exit
status 1, which means faults of videos. So the command runs in a child process, and its parent speaks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

import click

from vidface.errors import ClusterError

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_ours: list[int] = []  # in the child: where its parent reads the exit status


def watch() -> None:
    """Continue in a child process, which ends with its parent; in the parent this does not return.

    Signals that end a command are passed on to the child, which is in a process group of its own: a terminal sends
    Ctrl-C to a whole group.

    Raises:
        click.exceptions.Exit: in the parent, with the exit status of the child.
        ClusterError: in the parent, if the child has ended without one.
        KeyboardInterrupt: in the parent, if that was after a signal.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        os.setpgid(0, 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _ours.append(writes)
        return
    os.close(writes)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handed_on: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        handed_on.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in before:
        signal.signal(number, hand_on)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number, handler in before.items():
        signal.signal(number, handler)
    if told := os.read(reads, 1):
        raise click.exceptions.Exit(told[0])
    if handed_on:
        signal.raise_signal(handed_on[0])
    if ended < 0 and ended != -signal.SIGABRT:  # by the kernel, say: seen as it would be without a parent
        if ended != -signal.SIGKILL:
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    raise ClusterError(
        "the Ray cluster is lost: its head, or Ray's own process on this machine, has ended; what is finished is kept: "
        "restart the cluster and run the command again"
    )


def tell(status: int) -> None:
    """Give the parent, if there is one, the exit status: what Ray does when the process ends changes nothing."""
    while _ours:
        os.write(_ours.pop(), bytes([status]))
