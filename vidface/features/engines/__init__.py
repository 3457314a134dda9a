"""Where work runs: on this machine, or on a Ray cluster. The same bytes come out of both.

    with open_engine("local", workers=4) as engine:
        for rows in engine.extract_chunks(job, chunks, advance): ...
        for result in engine.map_ordered(function, tasks): ...

Whatever the engine, every result comes exactly once and in the order asked for, a bounded number of them is held, and
nothing is lost to a worker that is killed: its work is done again. A video whose decoder crashes, hangs or takes too
much memory is a fault of that video alone. Arrays in results may be read-only. One contract test runs over all engines:
``tests/features/engines/test_engines_contract.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vidface.errors import UsageError
from vidface.features.engines.contract import Engine, ExtractJob

__all__ = ["ENGINES", "Engine", "ExtractJob", "open_engine"]

ENGINES = ("local", "ray")


@contextmanager
def open_engine(
    name: str = "local", *, workers: int | None = None, address: str | None = None
) -> Iterator[Engine]:
    """Start an engine; it ends with the block, and what it had started ends with it.

    Args:
        name: one of `ENGINES`.
        workers: local: decoding processes, and threads of a computation (None: as there are cores); 0 decodes in this
            process, in threads. ray: actors that hold the network (None: one a GPU, else one a node).
        address: ray: the cluster's, or ``auto`` for the one that this machine is part of; None starts one here.

    Raises:
        UsageError: no such engine, or it is not installed or cannot be reached.
    """
    if name == "local":
        if address is not None:
            raise UsageError("--address is of --engine ray; leave it out, or pass --engine ray")
        from vidface.features.engines.local import local_engine

        yield local_engine(workers)
    elif name == "ray":
        from vidface.features.engines.on_ray import ray_engine

        with ray_engine(workers, address) as engine:
            yield engine
    else:
        raise UsageError(f"engine {name!r} is unknown: say {' or '.join(ENGINES)}")
