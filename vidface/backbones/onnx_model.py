"""Any ONNX face model, run by onnxruntime on the CPU or an NVIDIA GPU.

On a CPU a batch is cut into small chunks and every thread runs chunks of its own: one session of one thread, used by
all of them. That scales better than threads inside a session, whose many small layers end in as many waits, and what
a chunk needs stays in the cache. onnxruntime's CPU kernels give a face the same bits in every chunk; the tests
hold it to that.

The GPU code is written for real but was not run on a GPU yet.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from vidface.backbones.card import ModelCard
from vidface.backbones.onnx_files import external_files
from vidface.backbones.onnx_prelu import prelu_as_convolutions
from vidface.errors import ModelError, UsageError, shortened
from vidface.runtime import cpu_count

__all__ = ["normalise", "open_onnx", "open_onnx_bytes", "output_dimension"]

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_INPUT_DTYPES: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
# onnxruntime has no common base class for what it raises; names that are not UTF-8 end in UnicodeDecodeError.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    UnicodeDecodeError,
    *(
        error
        for error in vars(ort_errors).values()
        if isinstance(error, type)
        and issubclass(error, Exception)
        and error.__module__ == ort_errors.__name__
    ),
)
_CUDA_OPTIONS = {
    "use_tf32": "0",  # its 10-bit mantissas would move embeddings by more than 1e-3
    "cudnn_conv_algo_search": "HEURISTIC",  # the default searches again for every batch size
}
_CPU_CHUNK = 4  # faces a run: larger ones leave the cache, smaller ones wait more often
_MAX_BATCH = 1024
_X86 = ("x86_64", "AMD64")


def open_onnx(path: Path, card: ModelCard, device: str, half: bool, threads: int | None) -> tuple[str, Embed]:
    """Open an ONNX model and check it against its card.

    A model with a fixed batch is fed in chunks of that size, the last one padded with black images.

    Args:
        path: the model; external data is read only from its own folder.
        card: input size, colour order, mean, std and dimension.
        device: "auto", "cpu" or "cuda".
        half: on a GPU, half precision. The model decides: one with float16 input runs in float16, any other
            in its own precision, and the returned description says so.
        threads: compute threads; None: all cores this process may use.

    Returns:
        What it runs on, as text, and the function from uint8 RGB [N, H, W, 3] to float32 [N, D].

    Raises:
        ModelError: the file is no ONNX model, is damaged, reads files outside its folder, or does not fit the
            card.
        UsageError: "cuda" where onnxruntime has none.
    """
    return _open(_read(path), path, card, device, half, threads)


def open_onnx_bytes(content: bytes, path: Path, card: ModelCard, threads: int | None) -> tuple[str, Embed]:
    """As `open_onnx`, on the CPU, for a model that was made in memory from the file `path`."""
    return _open(content, path, card, "cpu", half=False, threads=threads)


def _open(
    source: str | bytes, path: Path, card: ModelCard, device: str, half: bool, threads: int | None
) -> tuple[str, Embed]:
    threads = threads or cpu_count()
    session = _open_session(source, path, device, 1)
    batch, dtype = _check_input(session, path, card.input_size)
    where = _describe(session, half and dtype != np.float16)
    on_cpu = where.startswith("cpu")
    if batch and batch > _CPU_CHUNK and on_cpu:  # one run is a whole batch: its threads must be inside
        session = _open_session(source, path, device, threads)
        threads = 1
    found = _probe(session, batch, dtype, path, card.input_size)
    if found != card.dimension:
        raise ModelError(
            f"{path}: gives embeddings of {found} numbers, its card says dimension {card.dimension}"
        )
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed") if on_cpu and threads > 1 else None

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        step = batch or (min(_CPU_CHUNK, -(-count // threads)) if on_cpu else count) or 1
        out = np.empty((count, card.dimension), np.float32)

        def work(start: int) -> None:
            part = images[start : start + step]
            size = len(part)
            if batch and size < batch:
                part = np.concatenate([part, np.zeros((batch - size, *part.shape[1:]), np.uint8)])
            pixels = normalise(part, card).astype(dtype, copy=False)
            out[start : start + size] = _run(session, pixels, path)[:size]

        starts = range(0, count, step)
        for _ in pool.map(work, starts) if pool and len(starts) > 1 else map(work, starts):
            pass
        return out

    return where, embed


def output_dimension(path: Path, input_size: tuple[int, int]) -> int:
    """Length of the embeddings that an ONNX model gives for faces of (height, width).

    Raises:
        ModelError: as for `open_onnx`.
    """
    session = _open_session(_read(path), path, "cpu", 1)
    batch, dtype = _check_input(session, path, input_size)
    return _probe(session, batch, dtype, path, input_size)


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


def _read(path: Path) -> str | bytes:
    """What onnxruntime is to open; the files it reads have been checked.

    Bytes that were checked are the bytes that run, unless the weights lie in further files.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return str(path.resolve()) if external_files(content, path) else content


def _open_session(source: str | bytes, path: Path, device: str, threads: int) -> Any:
    """An inference session whose runs use so many threads on a CPU."""
    cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "cuda" and not cuda:
        raise UsageError(
            f"no GPU for ONNX models: onnxruntime {ort.__version__} has only "
            f"{', '.join(ort.get_available_providers())}: install the extra vidface[gpu], or use the CPU"
        )
    providers: list[Any] = ["CPUExecutionProvider"]
    if cuda and device != "cpu":
        providers.insert(0, ("CUDAExecutionProvider", _CUDA_OPTIONS))
    elif isinstance(source, bytes) and platform.machine() in _X86:
        source = prelu_as_convolutions(source)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # every error is raised as well; warnings are for the model's author
    # Never 0, which also pins the threads to cores, and several processes then share the first ones.
    options.intra_op_num_threads = threads
    options.use_deterministic_compute = True
    # Spinning threads take the cores from whatever decodes meanwhile: twice the CPU time an image, measured.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Its fallback prints on stdout and tries the same again.
        session = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
        # Names that are not UTF-8 show only here.
        _ = [(node.name, node.shape) for node in (*session.get_inputs(), *session.get_outputs())]
    except _ORT_ERRORS as error:
        raise ModelError(f"{path}: onnxruntime cannot open it: {_one_line(error)}") from error
    if device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise UsageError("onnxruntime was built for CUDA but could not start it: check the driver and cuDNN")
    return session


def _check_input(
    session: Any, path: Path, input_size: tuple[int, int]
) -> tuple[int | None, type[np.floating[Any]]]:
    """(fixed batch size or None, dtype) of the one input, N x 3 x H x W with free or matching sizes."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a face model has one of each "
            f"({', '.join(repr(node.name) for node in [*inputs, *outputs])})"
        )
    shape, kind = inputs[0].shape, inputs[0].type
    shown = " x ".join("?" if side is None else " ".join(str(side).split()) for side in shape)
    if kind not in _INPUT_DTYPES:
        raise ModelError(f"{path}: its input is {kind}; only float and float16 models are run")
    if len(shape) == 4 and shape[3] == 3 and shape[1] != 3:
        raise ModelError(f"{path}: its input is {shown}, channels last; export it with N x 3 x H x W")
    if len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{path}: its input is {shown}; a face model takes N x 3 x H x W")
    for side, wanted in zip(shape[2:], input_size, strict=True):
        if isinstance(side, int) and side != wanted:
            height, width = input_size
            raise ModelError(f"{path}: its input is {shown}, but its card says {height}x{width}")
    batch = shape[0] if isinstance(shape[0], int) else None
    if batch is not None and not 0 < batch <= _MAX_BATCH:
        raise ModelError(
            f"{path}: a fixed batch of {batch} is too large or too small: export it with a free one"
        )
    return batch, _INPUT_DTYPES[kind]


def _probe(
    session: Any, batch: int | None, dtype: type[np.floating[Any]], path: Path, input_size: tuple[int, int]
) -> int:
    """Embedding length, from a run on black images: names in a graph promise shapes, only a run shows them.

    Two images where the batch is free, which shows a model whose export has frozen the batch somewhere
    inside.
    """
    count = batch or 2
    out = _run(session, np.zeros((count, 3, *input_size), dtype), path)
    if out.ndim != 2 or len(out) != count:
        raise ModelError(
            f"{path}: {count} faces give an output of {' x '.join(map(str, out.shape))}; "
            "a face model gives one row of numbers a face"
        )
    return int(out.shape[1])


def _run(session: Any, pixels: NDArray[np.floating[Any]], path: Path) -> NDArray[np.float32]:
    try:
        (out,) = session.run(None, {session.get_inputs()[0].name: pixels})
    except _ORT_ERRORS as error:
        raise ModelError(f"{path}: onnxruntime failed on {len(pixels)} faces: {_one_line(error)}") from error
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float16, np.float32, np.float64):
        raise ModelError(f"{path}: its output is not an array of floating-point numbers")
    return out.astype(np.float32, copy=False)


def _describe(session: Any, refused_half: bool) -> str:
    provider = session.get_providers()[0]
    place = "cuda:0" if provider == "CUDAExecutionProvider" else "cpu"
    precision = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    precision = {"float": "float32"}.get(precision, precision)
    note = ", the model has no float16 input" if refused_half else ""
    return f"{place} ({provider}, {precision}{note})"


def _one_line(error: Exception) -> str:
    text = str(error)
    # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what happened": the person wants the last part.
    return shortened(text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text)
