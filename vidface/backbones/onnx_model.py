"""Any ONNX face model, run by onnxruntime on the CPU or an NVIDIA GPU: opened, tried on black images, fed.

Names in a graph promise shapes, only a run shows them. What is taken: N x 3 x H x W or N x H x W x 3 in float32,
float16 or uint8, with a free or a fixed batch; one row of numbers per face, whatever axes of length 1 stand around it.

On a CPU a batch is cut into small chunks and every thread runs chunks of its own: one session of one thread, used by
all of them. That scales better than threads inside a session, whose many small layers end in as many waits, and what
a chunk needs stays in the cache. onnxruntime's CPU kernels give a face the same bits in every chunk; the tests
hold it to that. The GPU code is written for real but was not run on a GPU yet.
"""

from __future__ import annotations

import platform
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from vidface.backbones.card import ModelCard
from vidface.backbones.onnx_files import external_files
from vidface.backbones.onnx_prelu import prelu_as_convolutions
from vidface.backbones.opened import Form, Opened, choose_output
from vidface.errors import ModelError, UsageError, printable, shortened
from vidface.runtime import cpu_count

_CPU_CHUNK = 4  # faces a run: larger ones leave the cache, smaller ones wait more often
_MAX_BATCH = 1024
# It scales by the largest value of a whole batch: a face would have other numbers beside other faces.
_DYNAMIC = b"DynamicQuantizeLinear"
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_CUDA_OPTIONS = {
    "use_tf32": "0",  # its 10-bit mantissas would move embeddings by more than 1e-3
    "cudnn_conv_algo_search": "HEURISTIC",  # the default searches again for every batch size
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
# "/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(...) what happened"
_PARENTHESES = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_PROTOTYPE = re.compile(
    r"\S*/\S+\.(?:cc|cpp|cu|cuh|h):\d+ "
    rf"(?:[^(]*(?:{_PARENTHESES})+(?: const)?(?: noexcept)?(?: \[with [^]]*\])? ?)?"
)
_NODE = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
)


def open_onnx(path: Path, card: ModelCard, device: str, half: bool, threads: int | None) -> Opened:
    """Open an ONNX model and check it against its card; the arguments are those of `vidface.backbones.load_backbone`.

    A model with a fixed batch is fed in chunks of that size, the last one padded with black images. With ``half``
    the model decides: one with float16 input runs in float16 on a GPU, any other in its own precision, and the
    returned description says so.

    Raises:
        ModelError: the file is no ONNX model, is damaged, reads files outside its folder, or does not fit the card.
        UsageError: "cuda" where onnxruntime has none.
    """
    return _open(_source(path), path, card, device, half, threads)


def open_onnx_bytes(content: bytes, path: Path, card: ModelCard, threads: int | None) -> Opened:
    """As `open_onnx`, on the CPU, for a model that was made in memory from the file `path`."""
    return _open(content, path, card, "cpu", half=False, threads=threads)


def output_dimension(path: Path, card: ModelCard) -> int:
    """Length of the embeddings that an ONNX model gives; the card's own dimension is not looked at.

    Raises:
        ModelError: as for `open_onnx`.
    """
    source = _source(path)
    return _form_of(_session(source, path, "cpu", 1), path, card, source).dimension


def _open(
    source: str | bytes, path: Path, card: ModelCard, device: str, half: bool, threads: int | None
) -> Opened:
    threads = threads or cpu_count()
    session = _session(source, path, device, 1)
    form = _form_of(session, path, card, source)
    if form.dimension != card.dimension:
        raise ModelError(
            f"{path}: gives embeddings of {form.dimension} numbers, its card says dimension {card.dimension}"
        )
    batch, dtype = form.batch, np.dtype(form.input_type)
    provider = session.get_providers()[0]
    on_cpu = provider != "CUDAExecutionProvider"
    note = ", the model has no float16 input" if half and form.input_type != "float16" else ""
    where = f"{'cpu' if on_cpu else 'cuda:0'} ({provider}, {form.input_type}{note})"
    if batch and batch > _CPU_CHUNK and on_cpu:  # one run is a whole batch: its threads must be inside
        session = _session(source, path, device, threads)
        threads = 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed") if on_cpu and threads > 1 else None

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = len(images)
        if batch and size < batch:
            images = np.concatenate([images, np.zeros((batch - size, *images.shape[1:]), np.uint8)])
        pixels = normalise(images, card).astype(dtype, copy=False)
        if form.layout == "NHWC":
            pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        return _rows(_run(session, form.output, pixels, path), len(pixels), path)[:size]

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


def normalise(images: NDArray[np.uint8], card: ModelCard) -> NDArray[np.float32]:
    """uint8 RGB [N, H, W, 3] as the model wants it: float32 [N, 3, H, W], (x - mean) / std in its colour order."""
    count, height, width, _ = images.shape
    out = np.empty((count, 3, height, width), np.float32)
    for channel, (mean, std) in enumerate(zip(card.mean, card.std, strict=True)):
        source = channel if card.colour_order == "rgb" else 2 - channel
        plane = out[:, channel]
        np.subtract(images[..., source], np.float32(mean), out=plane, dtype=np.float32)
        np.divide(plane, np.float32(std), out=plane)
    return out


def _source(path: Path) -> str | bytes:
    """What onnxruntime is to open; the files it reads have been checked.

    Bytes that were checked are the bytes that run, unless the weights lie in further files.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return str(path.resolve()) if external_files(content, path) else content


def _session(source: str | bytes, path: Path, device: str, threads: int) -> Any:
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
    elif isinstance(source, bytes) and platform.machine() in ("x86_64", "AMD64"):
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
        raise ModelError(f"{path}: onnxruntime cannot open it: {reason(error)}") from error
    if device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise UsageError("onnxruntime was built for CUDA but could not start it: check the driver and cuDNN")
    return session


def _run(session: Any, output: str, pixels: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """One output of one run, float32 of whatever shape the model gives it."""
    try:
        (out,) = session.run([output], {session.get_inputs()[0].name: pixels})
    except _ORT_ERRORS as error:
        fed = f"{pixels.dtype} {' x '.join(map(str, pixels.shape))}"
        raise ModelError(
            f"{path}: onnxruntime failed on {len(pixels)} faces ({fed}): {reason(error)}"
        ) from error
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float16, np.float32, np.float64):
        kind = f"{out.dtype} numbers" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
        raise ModelError(
            f"{path}: its output {output!r} is {kind}, not an array of floating-point numbers: export it with an "
            "embedding in float32 (of a quantised model: after DequantizeLinear)"
        )
    return out.astype(np.float32, copy=False)


def reason(error: Exception) -> str:
    """What onnxruntime says went wrong, in one line, without the C++ functions it passed through."""
    text = str(error)
    # "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what happened": the person wants the last part.
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    text = _NODE.sub(lambda node: f"{node[1]} node {node[2] or 'without a name'}: ", _PROTOTYPE.sub("", text))
    text = shortened(text)
    if "IR version" in text or "opset" in text.lower():
        text += ": export it with a lower opset_version, or install a newer onnxruntime"
    return text


def _form_of(session: Any, path: Path, card: ModelCard, source: str | bytes) -> Form:
    """What the model takes and gives, by its file and by runs on black images; the messages say how to convert it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ModelError(
            f"{path}: has {len(inputs)} inputs; a face model has one "
            f"({', '.join(repr(node.name) for node in inputs)}): export it with the faces as its only input"
        )
    shapes = {node.name: _shown(node.shape) if "tensor" in node.type else node.type for node in outputs}
    output = choose_output(shapes, card.output, str(path))
    kind, shape = inputs[0].type, inputs[0].shape or ["?"] * 4
    if kind not in _DTYPES:
        raise ModelError(
            f"{path}: its input is {kind}; only float32, float16 and uint8 are run: export it with a float32 input "
            "(in torch: network.float())"
        )
    dtype = np.dtype(_DTYPES[kind])
    if dtype == np.uint8 and (set(card.mean) != {0.0} or set(card.std) != {1.0}):
        raise ModelError(
            f"{path}: its input is uint8, so it takes pixels as they are and normalises them itself: write "
            "mean = [0, 0, 0] and std = [1, 1, 1] on its card"
        )
    batch = shape[0] if isinstance(shape[0], int) else None
    if batch is not None and not 0 < batch <= _MAX_BATCH:
        raise ModelError(
            f"{path}: a fixed batch of {batch} is too large or too small: export it with a free one"
        )
    one_by_one = _DYNAMIC in (source if isinstance(source, bytes) else Path(source).read_bytes())
    failed: ModelError | None = None
    for layout in _layouts(shape, path, card.input_size):
        for count in [batch] if batch else [1] if one_by_one else [2, 1]:
            faces = (3, *card.input_size) if layout == "NCHW" else (*card.input_size, 3)
            try:
                rows = _rows(_run(session, output, np.zeros((count, *faces), dtype), path), count, path)
            except ModelError as error:
                failed = failed or error
                continue
            why = None
            if batch is None and count == 1:
                why = "it is quantised dynamically" if one_by_one else "a batch of 2 does not give 2 rows"
            return Form(dtype.name, layout, 1 if why else batch, why, shapes, output, rows.shape[1])
    assert failed is not None
    raise failed


def _rows(out: NDArray[np.float32], count: int, path: Path) -> NDArray[np.float32]:
    """The output of a run as one row per face: [n, D] of [n, D], [n, D, 1, 1], [n, 1, D], or [D] for one face."""
    shape = out.shape if count > 1 or out.ndim != 1 else (1, *out.shape)
    inner = [side for side in shape[1:] if side != 1]
    if len(shape) >= 2 and shape[0] == count and len(inner) == 1:
        return out.reshape(count, -1)
    gives = f"{path}: {count} faces give an output of {' x '.join(map(str, out.shape))}"
    if len(shape) >= 2 and shape[0] == count and not inner:
        raise ModelError(
            f"{gives}, one number per face: not an embedding (if there is a second output, name that one)"
        )
    hint = ": a feature map: export it with its pooling and embedding layers" if len(inner) > 1 else ""
    raise ModelError(f"{gives}; a face model gives one row of numbers per face{hint}")


def _layouts(shape: list[Any], path: Path, input_size: tuple[int, int]) -> list[Literal["NCHW", "NHWC"]]:
    """The layouts that the file leaves open, most likely first; its sides must be those of the card."""
    channels: dict[Literal["NCHW", "NHWC"], Any] = {}
    if len(shape) == 4:
        channels = {"NCHW": shape[1], "NHWC": shape[3]}
    named = [layout for layout, side in channels.items() if side == 3]
    layouts = named[:1] or [layout for layout, side in channels.items() if not isinstance(side, int)]
    if not layouts:
        raise ModelError(
            f"{path}: its input is {_shown(shape)}; a face model takes N x 3 x H x W or N x H x W x 3"
        )
    sides = shape[2:] if layouts[0] == "NCHW" else shape[1:3]
    for side, wanted in zip(sides, input_size, strict=True):
        if isinstance(side, int) and side != wanted:
            height, width = input_size
            raise ModelError(f"{path}: its input is {_shown(shape)}, but its card says {height}x{width}")
    return layouts


def _shown(shape: list[Any]) -> str:
    sides = ("?" if side is None else printable(str(side)) for side in shape)
    return " x ".join(sides) or "of a shape not stated"
