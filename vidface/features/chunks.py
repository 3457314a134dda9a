"""The videos of a features file, some consecutive ones at a time: through an engine in chunks, in memory in blocks.

Tested in ``tests/embeddings/test_cluster_runs.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from vidface.arrays import NotFiniteError
from vidface.errors import StoreError
from vidface.features.engines import Engine
from vidface.features.engines.local import local_engine
from vidface.files.store import FeaturesInfo, not_finite, read_attributes, row_blocks, verify_file
from vidface.runtime import progress

CHUNK_ROWS = 16_384  # frames a task, of some 500 videos: every core of a large machine gets several tasks
BLOCK_ROWS = 8_192  # frames read at a time: few enough for the last cache, many for what a call costs

Result = TypeVar("Result")


def over_videos(
    source: FeaturesInfo,
    function: Callable[[Path, npt.NDArray[np.int64], Any], Result],
    argument: Any,
    *,
    engine: Engine | None,
    label: str,
    what: str = "videos",
) -> Iterator[Result]:
    """Call ``function(path, offsets, argument)`` over chunks of consecutive videos; results in order.

    The file is compared with its digests meanwhile, so results count only once the iterator has ended.

    Workers read their own rows from the file, so only results travel, and memory is bounded by the chunks in flight.
    Here they are threads: what the functions do is compiled and lets go of the interpreter's lock.
    """
    stamp = _stamp(source.path)
    chunks = list(_chunks(source.offsets, CHUNK_ROWS))
    content = str(source.attributes["content_sha256"])
    tasks = ((function, source.path, content, source.offsets[a : b + 1], argument) for a, b in chunks)
    map_ordered = (engine or local_engine()).map_ordered
    with (
        threadpool_limits(1, user_api="blas"),  # each task multiplies on its own
        progress(label, len(source.video_ids), what) as advance,
        ThreadPoolExecutor(1) as aside,
    ):
        # Beside the work, which leaves the file in memory: of both, hashing is the shorter.
        verified = aside.submit(verify_file, source.path, source.attributes)
        for (start, stop), result in zip(chunks, map_ordered(_of_content, tasks), strict=True):
            yield result
            advance(stop - start)
        verified.result()
        if _stamp(source.path) != stamp:
            raise StoreError(f"{source.path}: was changed while it was read; run again")


def _of_content(
    function: Callable[[Path, npt.NDArray[np.int64], Any], Result],
    path: Path,
    content: str,
    offsets: npt.NDArray[np.int64],
    argument: Any,
) -> Result:
    """The task itself, wherever it runs: on another machine another file may lie at that path.

    Raises:
        StoreError: it does.
    """
    if _content(path, _stamp(path)) != content:
        raise StoreError(
            f"{path}: not the features that the command started with: keep the same file on all machines, and leave it "
            "as it is while it is read"
        )
    return function(path, offsets, argument)


@lru_cache(maxsize=16)
def _content(path: Path, _version: tuple[int, ...]) -> str:
    """What a features file says that it holds; ``_version`` tells one state of it from the next."""
    return str(read_attributes(path, "features").get("content_sha256"))


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def over_blocks(
    path: Path,
    offsets: npt.NDArray[np.int64],
    function: Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], Result],
) -> list[Result]:
    """Call ``function`` with the features of a few consecutive videos at a time, so that they stay in the cache.

    Args:
        path: a features file.
        offsets: int64 [v+1], rows of the file.
        function: takes [F, D] and int64 [w+1], as `vidface.embeddings.embed.embed_videos` does.

    Raises:
        StoreError: a row is not finite: ``function`` looks at them all, so it is not done twice.
    """
    cuts = [0, *(stop for _, stop in _chunks(offsets, BLOCK_ROWS))]
    results = []
    for start, stop, block in zip(
        cuts[:-1], cuts[1:], row_blocks(path, [int(offsets[cut]) for cut in cuts]), strict=True
    ):
        try:
            results.append(function(block, offsets[start : stop + 1] - offsets[start]))
        except NotFiniteError as error:
            row = int(offsets[start]) + error.row
            raise not_finite(path, row) from None
    return results


def _chunks(offsets: npt.NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive videos of together at most so many frames, or one longer video."""
    start, n_videos = 0, len(offsets) - 1
    while start < n_videos:
        stop = int(np.searchsorted(offsets, offsets[start] + rows, side="right")) - 1
        stop = min(max(stop, start + 1), n_videos)
        yield start, stop
        start = stop
