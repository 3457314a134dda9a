"""What this process may use of the machine, how work is shared out, and its progress; ``tests/test_runtime.py``.

Work that releases the interpreter's lock goes to threads: `map_ordered` if every task has a result, `in_threads` if
every thread adds up its own; the rest to processes, `in_processes`. None takes tasks long before they are worked on;
all end early after an error or Ctrl-C. Threads are `concurrent.futures`' (joblib works on when nobody takes results, so
bounds no memory); processes are joblib's, which inherit no locks and need no guard in the main module of a program.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from threading import Event, Lock
from typing import Any, TypeVar

PLAIN_SECONDS = 10.0  # between two plain lines
# A Ctrl-C that comes just before Python begins to wait for another thread is seen only after that wait: it has an end.
WAKE_SECONDS = 0.2
log = logging.getLogger("vidface")

Result = TypeVar("Result")
Job = TypeVar("Job")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a stage is on stderr: a bar with rate and end time on a terminal, else a plain line now and then.

    ``unit`` is in the plural. Yields a function that takes how many more units are done.
    """
    if sys.stderr.isatty():
        with _bar(label, total, unit) as advance:
            yield advance
    else:
        with _lines(label, total, unit) as advance:
            yield advance


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as EndTime
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f} {unit}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), EndTime())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def _lines(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    begun = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS:
            last = now
            rate = done / (now - begun)
            left = (total - done) / rate if rate else float("inf")
            log.info("%s: %d of %d %s, %.0f/s, %.0f s left", label, done, total, unit, rate, left)

    yield advance


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(
    function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], *, workers: int
) -> Generator[Result]:
    """``function(*task)`` for every task, in order; at most 2 x ``workers`` tasks are begun and not yet taken.

    If the body that takes them may fail, `contextlib.closing` ends the threads with it.
    """
    upcoming = iter(tasks)
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="work") as pool:
        try:
            while True:
                running.extend(
                    pool.submit(function, *task) for task in islice(upcoming, 2 * workers - len(running))
                )
                if not running:
                    return
                future = running.popleft()
                while not wait([future], WAKE_SECONDS).done:
                    pass
                yield future.result()
        finally:
            for waiting in running:
                waiting.cancel()


def in_processes(
    function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]], *, workers: int
) -> Iterator[Result]:
    """``function(*task)`` for every task, in order. Results are held until they are taken: they should be small."""
    from joblib import Parallel, delayed  # it imports numpy

    run = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
    results: Iterator[Result] = run(delayed(function)(*task) for task in tasks)
    return results


def in_threads(work: Callable[[Iterator[Job]], Result], jobs: Iterable[Job], workers: int) -> list[Result]:
    """Let threads share out jobs, each taking the next one when it is done with the last; what each returns."""
    lock, stop, left = Lock(), Event(), iter(jobs)

    def take() -> Iterator[Job]:
        while True:
            with lock:
                try:
                    job = next(left)
                except StopIteration:
                    return
            if stop.is_set():
                return
            yield job

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, take()) for _ in range(workers)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()  # after an error or Ctrl-C no thread takes another job
    return [future.result() for future in futures]


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks instead of giving each back to the system; no effect without glibc.

    Activations come and go by the hundred megabytes in every step: page faults took a third of CPU training, measured.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
