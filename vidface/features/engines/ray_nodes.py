"""What must be the same on every node of a Ray cluster: software, folder, videos; and where an error was.

A path says nothing of what lies there on another machine, and a version nothing of a clone that was edited.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import ray

from vidface.errors import MediaError, UsageError, VidfaceError
from vidface.files.atomic import require_regular
from vidface.files.software import software
from vidface.frames.folder import frame_files

ON_NODE = " (on node "
EDGE_BYTES = 1 << 16  # of both ends of a video that are compared: encoded again, it has another index

log = logging.getLogger("vidface")


class Home(NamedTuple):
    """The machine where the command runs: its address, its folder, and what it works with."""

    node: str
    folder: Path
    software: tuple[tuple[str, str], ...]


def home(*, detection: bool = False) -> Home:
    """What is said of this machine; with ``detection`` also the libraries that find faces are compared."""
    return Home(node(), Path.cwd(), software(detection=detection))


def node() -> str:
    """The address of the machine where this process runs."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def away_from(where: Home) -> Iterator[None]:
    """Work for the command on a node: with the same software only, and errors say which node it was.

    Raises:
        UsageError: this node has another vidface, Python or library than the machine where the command runs.
    """
    _arrive(where)
    try:
        yield
    except (VidfaceError, OSError) as error:
        if node() != where.node and ON_NODE not in str(error):
            suffix = f"{ON_NODE}{node()})"
            if isinstance(error, OSError):
                error.strerror = f"{error.strerror or error}{suffix}"
            else:
                error.args = (f"{error}{suffix}", *error.args[1:])
        raise


@lru_cache(1)
def _arrive(where: Home) -> None:
    """Go where the command is, so that a path means the same here; refuse to work if results could differ."""
    here = dict(software(detection=True))
    different = [
        f"{name} is {here[name]} there, {theirs} where the command runs"
        for name, theirs in where.software
        if here[name] != theirs
    ]
    if different:
        raise UsageError(f"node {node()} has other software: {'; '.join(different)}: install the same")
    with contextlib.suppress(OSError):  # it matters to relative paths alone, and these are missed by name
        os.chdir(where.folder)


def fingerprint(video: Path) -> str:
    """What tells a video from another at the same path, without reading it whole; or why it cannot be read.

    Of a file its size, its begin and its end; of a folder its frames' names and sizes.
    """
    digest = hashlib.sha256()
    try:
        if video.is_dir():
            frames = frame_files(video)
            digest.update("".join(f"{path.name}\0{path.stat().st_size}\n" for path in frames).encode())
            return f"{len(frames)} frames {digest.hexdigest()[:12]}"
        with require_regular(video).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(file.read(EDGE_BYTES))
            file.seek(max(0, size - EDGE_BYTES))
            digest.update(file.read(EDGE_BYTES))
    except FileNotFoundError:
        return "not there"
    except OSError as error:
        return error.strerror or type(error).__name__
    except MediaError as error:
        return str(error)
    return f"{size:,} bytes {digest.hexdigest()[:12]}"


def require_same(video: Path, told: str) -> None:
    """Refuse a video that is another one here than where the command runs, or in one place alone."""
    if (here := fingerprint(video)) != told:
        raise UsageError(
            f"{video}: {here}{ON_NODE}{node()}), {told} where the command runs: all nodes must have the same videos "
            "at the same path"
        )


class Nodes:
    """The nodes of the cluster as a run has seen them; ``lost`` gets the address of every one that is lost."""

    def __init__(self, lost: list[str]) -> None:
        self._seen, self._lost = _living(), lost

    def look(self) -> None:
        """Name every node that is gone since the last look."""
        living = _living()
        for identity, address in self._seen.items() - living.items():
            self._lost.append(address)
            log.warning(
                "warning: node %s of the Ray cluster was lost: its unfinished work is done again", address
            )
            del self._seen[identity]
        self._seen |= living


def nodes() -> list[dict[str, Any]]:
    """Every living node, as Ray describes it."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _living() -> dict[str, str]:
    """Identity -> address."""
    return {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in nodes()}
