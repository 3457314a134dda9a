"""Sessions of onnxruntime: how one is opened, how it runs, and what its errors say to a person.

The GPU code is written for real but was not run on a GPU yet.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from vidface.backbones.onnx_files import external_files
from vidface.backbones.onnx_prelu import prelu_as_convolutions
from vidface.errors import ModelError, UsageError, shortened

__all__ = ["open_session", "read_source", "reason", "run_session"]

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
_X86 = ("x86_64", "AMD64")
# "/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(...) what happened"
_SOURCE = re.compile(r"\S*/\S+\.(?:cc|cpp|cu|cuh|h):\d+ ")
_NODE = re.compile(
    r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
)


def read_source(path: Path) -> str | bytes:
    """What onnxruntime is to open; the files it reads have been checked.

    Bytes that were checked are the bytes that run, unless the weights lie in further files.

    Raises:
        ModelError: the file cannot be read, is no ONNX model, or reads files outside its folder.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return str(path.resolve()) if external_files(content, path) else content


def open_session(source: str | bytes, path: Path, device: str, threads: int) -> Any:
    """An inference session whose runs use so many threads on a CPU.

    Raises:
        ModelError: onnxruntime cannot open it.
        UsageError: "cuda" where onnxruntime has none.
    """
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
        raise ModelError(f"{path}: onnxruntime cannot open it: {reason(error)}") from error
    if device == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise UsageError("onnxruntime was built for CUDA but could not start it: check the driver and cuDNN")
    return session


def run_session(session: Any, output: str, pixels: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """One output of one run, float32 of whatever shape the model gives it.

    Raises:
        ModelError: onnxruntime failed, or the output is no array of floating-point numbers.
    """
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
    while found := _SOURCE.search(text):
        text = text[: found.start()] + _after_prototype(text[found.end() :])
    text = shortened(_NODE.sub(lambda node: f"{node[1]} node {node[2] or 'without a name'}: ", text))
    if "IR version" in text or "opset" in text.lower():
        text += ": export it with a lower opset_version, or install a newer onnxruntime"
    return text


def _after_prototype(text: str) -> str:
    """What follows a C++ function's name, its parameters and the types of its template; all of it if there are none."""
    start = text.find("(")
    if start < 0:
        return text
    rest = text[start:]
    while rest.startswith(("(", "[")):  # "operator()(...) const [with T = float]"
        depth = 0
        for place, letter in enumerate(rest):
            depth += (letter in "([") - (letter in ")]")
            if not depth:
                rest = rest[place + 1 :].removeprefix(" const").removeprefix(" noexcept")
                rest = rest[1:] if rest.startswith(" [with ") else rest
                break
        else:
            return text
    return rest.lstrip()
