"""The engine of a Ray cluster: to find one or to start one. What is done there: `vidface.features.engines.ray_work`.

Ray pickles what it sends between its nodes and runs what it gets: use it on a network that you trust. See
``docs/engines.md``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vidface.errors import UsageError, VidfaceError, printable
from vidface.features.engines.contract import Engine
from vidface.runtime import cpu_count

KNOCK_SECONDS = 5.0  # for a port to answer
CONNECT_SECONDS = 30.0  # for Ray to let us in
# Ray tries for two minutes, prints all the while and ends the process that asks: another process asks first.
_ASK = (
    "import ray, sys; ray.init(sys.argv[1], namespace='vidface', log_to_driver=False, logging_level='error')"
)

# Ray reads these when it is imported. It tells of every lost process, and on stdout, where our results go. A head that
# is gone is given up after some seconds, not after a minute.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}


@contextmanager
def ray_engine(workers: int | None, address: str | None) -> Iterator[Engine]:
    """The engine of a cluster; see `vidface.features.engines.open_engine`.

    A cluster that was there before stays after the block; one that was started here ends with it. A program that has
    called ``ray.init`` itself keeps its connection. If the head or this machine's node is lost, Ray ends the process
    without a word; the command line has a parent for that, `vidface.commands.watched`.
    """
    if workers == 0:
        raise UsageError("--workers 0 is of --engine local; with ray say 1 or more, or leave it out")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install -e '.[ray]'") from None
    from vidface.features.engines.ray_work import extract_chunks, map_ray

    lost: list[str] = []
    engine = Engine(partial(extract_chunks, workers=workers, lost=lost), partial(map_ray, lost=lost), lost)
    if ray.is_initialized():
        yield engine
        return
    if address is not None:
        _ask(address)
    with ExitStack() as stack:
        how: dict[str, Any] = {"address": address or "local", "namespace": "vidface"}
        how |= {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            folder = tempfile.TemporaryDirectory(prefix="vidface-ray-", ignore_cleanup_errors=True)
            how["_temp_dir"] = stack.enter_context(folder)
            how |= {"num_cpus": cpu_count(), "include_dashboard": False}
        try:
            with _as_before():
                ray.init(**how)
        except (RuntimeError, ValueError, OSError, SystemExit, ray.exceptions.RayError) as error:
            raise VidfaceError(f"Ray does not start: {printable(str(error))[:300]}") from error
        try:
            yield engine
        finally:
            ray.shutdown()


@contextmanager
def _as_before() -> Iterator[None]:
    """What Ray makes meanwhile is this user's alone, its token above all; what it prints, also in C++, goes nowhere.

    How SIGTERM is met stays as it was.
    """
    mask, stderr, handler = os.umask(0o077), os.dup(2), signal.getsignal(signal.SIGTERM)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.umask(mask)
        os.dup2(stderr, 2)
        os.close(stderr)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _ask(address: str) -> None:
    """See whether Ray would let this machine in, in bounded time.

    Raises:
        UsageError: it would not.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in address:
            raise UsageError(f"--address {address} is not HOST:PORT or auto")
        try:
            socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
        except OSError as error:
            raise UsageError(f"no Ray cluster answers at {address}: {error.strerror or error}") from None
    words = [sys.executable, "-P", "-c", _ASK, address]
    try:
        asked = subprocess.run(words, capture_output=True, timeout=CONNECT_SECONDS, check=False)
        if asked.returncode == 0:
            return
        said = asked.stderr
    except subprocess.TimeoutExpired as late:
        said = late.stderr or b""
    text = said.decode(errors="replace")
    if "InvalidAuthToken" in text or "AuthenticationError" in text:
        raise UsageError(
            f"the Ray cluster at {address} wants its token: set RAY_AUTH_MODE=token, and have in ~/.ray/auth_token "
            "what the head has there"
        )
    errors = list(re.finditer(r"^[\w.]+(?:Error|Exception): ", text, re.MULTILINE))
    reason = printable(text[errors[-1].end() :])[:300] if errors else f"silent for {CONNECT_SECONDS:g} s"
    raise UsageError(
        f"no Ray cluster to work with at {address} ({reason}): start one with 'ray start --head', and on this "
        "machine 'ray start --address HOST:PORT' if that is another one"
    )
