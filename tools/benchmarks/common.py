"""What every benchmark shares: methods that take turns, their peak memory, and the table."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Work = Callable[[], Any]


def set_threads(count: int) -> None:
    """Let every library of this process compute with so many threads, and those that start later as well."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(count)
    import threadpoolctl

    threadpoolctl.threadpool_limits(count)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(count)


def machine_line(threads: int) -> str:
    """The machine and the libraries that a run was made with."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        model = next((v.strip() for k, v in lines.items() if k.strip() == "model name"), model)
    parts = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "torch", "numba")]
    libraries = ", ".join([f"Python {platform.python_version()}", *parts])
    return f"{model}, {os.cpu_count()} cores, {threads} thread(s); {libraries}"


def installed(*modules: str) -> bool:
    """Whether all of these modules can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def best_seconds(methods: Mapping[str, Work], repeats: int, pause: float = 0.0) -> dict[str, float]:
    """Seconds of each method's best turn; they take turns, after a first one that does not count.

    ``pause``: seconds of rest before each turn. Threads of BLAS and OpenMP go on waiting at full speed for some time
    after their work, and would take the cores from the next method.
    """
    best = dict.fromkeys(methods, float("inf"))
    for turn in range(repeats + 1):
        for name, work in methods.items():
            time.sleep(pause)
            begun = time.perf_counter()
            work()
            took = time.perf_counter() - begun
            if turn:
                best[name] = min(best[name], took)
    return best


def peak_megabytes(work: Work) -> float:
    """How much resident memory the work takes at most beside what there is before it, in MB (10**6 bytes)."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) * 1024 / 1e6


def _status(field: str) -> int:
    """A field of this process's status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def print_table(
    title: str,
    seconds: Mapping[str, float],
    *,
    floor: str,
    count: int,
    unit: str,
    peaks: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Print one run.

    Args:
        title: what was measured, with its sizes.
        seconds: method -> seconds.
        floor: the method that the ratios are to.
        count, unit: how many of what each method worked off, for the rate.
        peaks: method -> MB, where it was measured.
        notes: method -> e.g. how its answer was checked; a method that is only here is listed as absent.
    """
    peaks, notes = peaks or {}, notes or {}
    width = max(map(len, [*seconds, *notes]))
    print(f"\n## {title}\n")
    print(f"{'method':{width}} {'seconds':>10} {unit + '/s':>14} {'ratio':>7} {'peak MB':>9}  check")
    for name in [*seconds, *(name for name in notes if name not in seconds)]:
        if name not in seconds:
            print(f"{name:{width}} {'':>10} {'':>14} {'':>7} {'':>9}  {notes[name]}")
            continue
        took = seconds[name]
        peak = f"{peaks[name]:.0f}" if name in peaks else ""
        ratio = f"{took / seconds[floor]:.3f}"
        print(
            f"{name:{width}} {took:10.4f} {count / took:14,.0f} {ratio:>7} {peak:>9}  {notes.get(name, '')}",
            flush=True,
        )
