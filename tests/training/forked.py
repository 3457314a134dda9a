"""Run ``vidface`` many times but import torch once: one process imports it and forks for every run.

A run may kill itself (SIGKILL) after so many events (a batch, a line of metrics, the beginning, sync and end of a
written file), so that every moment of a training run can be met exactly.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from drawn_faces import without_progress


class Ended(NamedTuple):
    """How one process ended: its exit code (negative: the signal), its output without progress, the events it met."""

    code: int
    out: str
    err: str
    events: int


class Forker:
    """Keeps the process that forks. `folder` is for what the runs print."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __enter__(self) -> Forker:
        words = [sys.executable, "-W", "error", __file__]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def run(self, *arguments: object, ranks: int = 1, **orders: Any) -> list[Ended]:
        """One run, in `ranks` processes that know of each other as torchrun's do."""
        assert self.process.stdin and self.process.stdout
        self.count += 1
        words = list(map(str, arguments))
        job = {"argv": words, "ranks": ranks, "log": str(self.folder / str(self.count)), **orders}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        ended = []
        for rank, code in enumerate(json.loads(self.process.stdout.readline())):
            out, err, events = (Path(f"{job['log']}-{rank}.{part}") for part in ("out", "err", "events"))
            met = int(events.read_text()) if events.exists() else -1
            ended.append(Ended(code, out.read_text(), without_progress(err.read_text()), met))
        return ended


def _serve() -> None:
    # All of it now, so that no run has to: an optimiser's first step imports torch._dynamo, which takes seconds.
    import torch

    import vidface.commands.main
    import vidface.training.run

    torch.set_num_threads(1)  # tiny networks are slower on two
    for line in sys.stdin:
        job = json.loads(line)
        port = _free_port()
        children = []
        for rank in range(job["ranks"]):
            child = os.fork()
            if child == 0:
                _run(job, rank, port, vidface.commands.main.main)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _run(job: dict[str, Any], rank: int, port: int, main: Callable[[], None]) -> None:
    import vidface.training.run

    code = 99
    try:
        for number, part in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{job['log']}-{rank}.{part}", os.O_CREAT | os.O_WRONLY, 0o600), number)
        if job["ranks"] > 1:
            world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["ranks"], "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in world.items()}, MASTER_ADDR="127.0.0.1")
        count = _listen(job.get("die_at"))
        if job.get("without_batch_norm"):
            _without_batch_norm()
        if not job.get("curves"):  # they take longer than all the rest
            vidface.training.run.draw_curves = lambda *_given: None
        sys.argv = ["vidface", *job["argv"]]
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 98
        Path(f"{job['log']}-{rank}.events").write_text(str(count()))
    finally:  # a child never comes back from here
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _listen(die_at: int | None) -> Callable[[], int]:
    """Count the events of a run, and end it at one of them."""
    import vidface.files.atomic
    import vidface.training.loop as loop

    met = 0

    def event() -> None:
        nonlocal met
        met += 1
        if met == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def told(owner: Any, name: str, *, before: bool, after: bool) -> None:
        real = getattr(owner, name)

        def instead(*args: Any, **kwargs: Any) -> Any:
            if before:
                event()
            result = real(*args, **kwargs)
            if after:
                event()
            return result

        setattr(owner, name, instead)

    told(loop, "objective", before=True, after=False)
    told(loop.MetricsFile, "add", before=False, after=True)
    told(loop, "save_checkpoint", before=True, after=True)
    told(vidface.files.atomic, "_sync_folder", before=True, after=False)  # renamed, not yet synced
    told(os, "fsync", before=True, after=False)  # written, not yet renamed
    return lambda: met


def _without_batch_norm() -> None:
    """A network of one layer: the images of a batch then know nothing of each other."""
    import torch

    import vidface.training.loop as loop
    import vidface.training.run as run

    def build(spec: Any, size: tuple[int, int]) -> torch.nn.Module:
        layer = torch.nn.Linear(3 * size[0] * size[1], spec.dimension)
        return torch.nn.Sequential(torch.nn.Flatten(), layer)

    loop.build = run.build = build


if __name__ == "__main__":
    _serve()
