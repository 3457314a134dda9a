"""Reading a features file's float16 rows to float32, block by block, so that there is no second copy of the whole.

The floor is reading the same blocks of the file, as they are, into one block of memory; the file is in the page cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from benchmarks.common import best_seconds, peak_megabytes, print_table
from vidface.embeddings.exact import unit_rows
from vidface.files.store import VideoRows, join_shards, read_features, read_rows, row_blocks, write_shard

DIMENSION = 512
BLOCK = 512  # rows: block and float32 rows stay in the second cache
ROWS, ALL_ROWS = 630_000, 6_300_000  # a tenth of iQIYI-VID's frames, 645 MB; and all

Array = np.ndarray


def bench(quick: bool, threads: int) -> None:
    """Print one table; all is done by one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        rows = 5_000 if quick else ROWS
        _write(path, rows)
        _table(path, rows, repeats=1 if quick else 4)


def _write(path: Path, rows: int) -> None:
    """A features file, of the same 10,000 rows again and again."""
    random = np.random.default_rng(0)
    some = random.standard_normal((min(rows, 10_000), DIMENSION), np.float32).astype(np.float16)
    shard = path.with_name("shard.h5")
    times = np.zeros(len(some), np.float32)
    write_shard(shard, [VideoRows("v", some, times, "ok", [])], DIMENSION, "float16")
    join_shards([shard] * (rows // len(some)), path, {"model_name": "made up"})
    shard.unlink()


def _table(path: Path, rows: int, repeats: int) -> None:
    bounds = [*range(0, rows, BLOCK), rows]
    layout = read_features(path)
    assert layout.offsets[-1] == rows
    half = np.empty((BLOCK, DIMENSION), np.float16)
    single = np.empty((BLOCK, DIMENSION), np.float32)
    none, lengths = np.empty((0, DIMENSION), np.float32), np.empty(BLOCK)
    with h5py.File(path) as file:
        begin = file["features"].id.get_offset()

    def bare() -> None:
        with path.open("rb", buffering=0) as raw:
            raw.seek(begin)
            for start in range(0, rows, BLOCK):
                raw.readinto(half[: min(BLOCK, rows - start)].data)

    def unit() -> None:
        for block in row_blocks(path, bounds):
            unit_rows(block.view(np.int16), none, single[: len(block)], lengths[: len(block)])

    def numpy_cast(use: Callable[[Array], object] = lambda block: None) -> None:
        for block in row_blocks(path, bounds):
            single[: len(block)] = block
            use(single[: len(block)])

    def h5py_cast() -> None:
        with h5py.File(path) as file:
            features = file["features"].astype(np.float32)
            for start in range(0, rows, BLOCK):
                features[start : start + BLOCK]

    def h5py_half() -> None:
        with h5py.File(path) as file:
            for start in range(0, rows, BLOCK):
                file["features"][start : start + BLOCK]

    work: dict[str, Callable[[], object]] = {
        "reading the bytes of the blocks": bare,
        "vidface, blocks to float32 of unit length": unit,
        "vidface, blocks as they are": lambda: [None for _ in row_blocks(path, bounds)],
        "vidface, blocks, then numpy's cast": numpy_cast,
        "h5py, blocks as they are": h5py_half,
        "h5py, blocks with astype(float32)": h5py_cast,
    }
    seconds = best_seconds(work, repeats)
    notes = {
        "vidface, blocks, then numpy's cast": _check(path, rows, numpy_cast),
        "reading the bytes of the blocks": f"{ALL_ROWS / rows:.0f} times the seconds at all {ALL_ROWS:,} rows",
    }
    print_table(
        f"float16 rows of a features file: {rows:,} x {DIMENSION}, {rows * DIMENSION * 2 / 1e6:.0f} MB in the page "
        f"cache, blocks of {BLOCK:,} rows, one thread",
        seconds,
        floor=next(iter(work)),
        count=rows,
        unit="rows",
        peaks={name: peak_megabytes(run) for name, run in work.items()},
        notes=notes,
    )


def _check(path: Path, rows: int, ours: Callable[[Callable[[Array], object]], None]) -> str:
    """Every value against h5py's rows."""
    start = 0

    def compare(block: Array) -> None:
        nonlocal start
        assert np.array_equal(block, read_rows(path, start, start + len(block)).astype(np.float32))
        if not start:
            with h5py.File(path) as file:
                assert np.array_equal(block, file["features"][: len(block)].astype(np.float32))
        start += len(block)

    ours(compare)
    assert start == rows
    return "every value as h5py reads it"
