"""Any ONNX face model, run by onnxruntime on the CPU or an NVIDIA GPU.

On a CPU a batch is cut into small chunks and every thread runs chunks of its own: one session of one thread, used by
all of them. That scales better than threads inside a session, whose many small layers end in as many waits, and what
a chunk needs stays in the cache. onnxruntime's CPU kernels give a face the same bits in every chunk; the tests
hold it to that.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.backbones.card import ModelCard
from vidface.backbones.onnx_form import INPUT_DTYPES, embedding_rows, form_of
from vidface.backbones.onnx_session import open_session, read_source, run_session
from vidface.backbones.opened import Opened
from vidface.errors import ModelError
from vidface.runtime import cpu_count

__all__ = ["normalise", "open_onnx", "open_onnx_bytes", "output_dimension"]

_CPU_CHUNK = 4  # faces a run: larger ones leave the cache, smaller ones wait more often
# It scales by the largest value of a whole batch: a face would have other numbers beside other faces.
_DYNAMIC = b"DynamicQuantizeLinear"


def open_onnx(path: Path, card: ModelCard, device: str, half: bool, threads: int | None) -> Opened:
    """Open an ONNX model and check it against its card.

    A model with a fixed batch is fed in chunks of that size, the last one padded with black images.

    Args:
        path: the model; external data is read only from its own folder.
        card: input size, colour order, mean, std, dimension and output.
        device: "auto", "cpu" or "cuda".
        half: on a GPU, half precision. The model decides: one with float16 input runs in float16, any other
            in its own precision, and the returned description says so.
        threads: compute threads; None: all cores this process may use.

    Raises:
        ModelError: the file is no ONNX model, is damaged, reads files outside its folder, or does not fit the
            card.
        UsageError: "cuda" where onnxruntime has none.
    """
    return _open(read_source(path), path, card, device, half, threads)


def open_onnx_bytes(content: bytes, path: Path, card: ModelCard, threads: int | None) -> Opened:
    """As `open_onnx`, on the CPU, for a model that was made in memory from the file `path`."""
    return _open(content, path, card, "cpu", half=False, threads=threads)


def _open(
    source: str | bytes, path: Path, card: ModelCard, device: str, half: bool, threads: int | None
) -> Opened:
    threads = threads or cpu_count()
    session = open_session(source, path, device, 1)
    form = form_of(session, path, card, one_by_one=_one_by_one(source))
    batch, dtype = form.batch, INPUT_DTYPES[form.input_type]
    where = _describe(session, form.input_type, half and form.input_type != "float16")
    on_cpu = where.startswith("cpu")
    if form.dimension != card.dimension:
        raise ModelError(
            f"{path}: gives embeddings of {form.dimension} numbers, its card says dimension {card.dimension}"
        )
    if batch and batch > _CPU_CHUNK and on_cpu:  # one run is a whole batch: its threads must be inside
        session = open_session(source, path, device, threads)
        threads = 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed") if on_cpu and threads > 1 else None

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = len(images)
        if batch and size < batch:
            images = np.concatenate([images, np.zeros((batch - size, *images.shape[1:]), np.uint8)])
        pixels = normalise(images, card).astype(dtype, copy=False)
        if form.layout == "NHWC":
            pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        return embedding_rows(run_session(session, form.output, pixels, path), len(pixels), path)[:size]

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        step = batch or (min(_CPU_CHUNK, -(-count // threads)) if on_cpu else count) or 1
        out = np.empty((count, card.dimension), np.float32)

        def work(start: int) -> None:
            out[start : start + step] = run(images[start : start + step])

        starts = range(0, count, step)
        for _ in pool.map(work, starts) if pool and len(starts) > 1 else map(work, starts):
            pass
        return out

    return Opened(where, form, run, embed)


def output_dimension(path: Path, card: ModelCard) -> int:
    """Length of the embeddings that an ONNX model gives; the card's own dimension is not looked at.

    Raises:
        ModelError: as for `open_onnx`.
    """
    source = read_source(path)
    return form_of(open_session(source, path, "cpu", 1), path, card, one_by_one=_one_by_one(source)).dimension


def normalise(images: NDArray[np.uint8], card: ModelCard) -> NDArray[np.float32]:
    """Pixels as the model wants them: (x - mean) / std in its colour order.

    Args:
        images: uint8 RGB [N, H, W, 3].
        card: colour order, and mean and std in that order.

    Returns:
        float32 [N, 3, H, W].
    """
    count, height, width, _ = images.shape
    out = np.empty((count, 3, height, width), np.float32)
    for channel, (mean, std) in enumerate(zip(card.mean, card.std, strict=True)):
        source = channel if card.colour_order == "rgb" else 2 - channel
        plane = out[:, channel]
        np.subtract(images[..., source], np.float32(mean), out=plane, dtype=np.float32)
        np.divide(plane, np.float32(std), out=plane)
    return out


def _one_by_one(source: str | bytes) -> bool:
    return _DYNAMIC in (source if isinstance(source, bytes) else Path(source).read_bytes())


def _describe(session: Any, precision: str, refused_half: bool) -> str:
    provider = session.get_providers()[0]
    place = "cuda:0" if provider == "CUDAExecutionProvider" else "cpu"
    note = ", the model has no float16 input" if refused_half else ""
    return f"{place} ({provider}, {precision}{note})"
