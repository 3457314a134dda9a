"""The paper's network of step 5 on a CPU: faces a second at several batch sizes, and the share of the product's rate.

The floor is what the network's multiply-adds would take at the rate of a large product of float32 (sgemm), measured in
the same run. Eager torch is the network as it is defined, in eval(), NCHW. Weights are random, with running
statistics as training leaves them; slopes of the PReLUs are drawn as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.common import best_seconds, installed, peak_megabytes, print_table
from vidface.backbones import Backbone, load_backbone
from vidface.backbones.budget import spec_budget
from vidface.backbones.export import export
from vidface.backbones.mobilefacenet import MobileFaceNet, build
from vidface.backbones.spec import STEPS
from vidface.backbones.weights import save_weights

NAME = "step5"
SIDE = 2048  # of the matrices of the product
CARD = f"""name = "{NAME}"
input_size = [112, 112]
colour_order = "rgb"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]
dimension = {STEPS[NAME].dimension}
licence = "Apache-2.0"
source = "random weights"
architecture = "{NAME}"
"""


def bench(quick: bool, threads: int) -> None:
    """Print one table a batch size."""
    with tempfile.TemporaryDirectory() as folder:
        network = _network()
        path = Path(folder) / f"{NAME}.safetensors"
        save_weights(network, path, {})
        path.with_suffix(".toml").write_text(CARD)
        backbone = load_backbone(path, device="cpu", threads=threads)
        exported = path.with_name("exported.onnx")
        export(path, exported)
        for batch in (2,) if quick else (1, 8, 32, 64, 128):
            _table(
                network, backbone, exported, batch, threads, repeats=1 if quick else 10 if batch < 32 else 3
            )


def _network() -> MobileFaceNet:
    torch.manual_seed(0)
    network = build(STEPS[NAME])
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.1, 0.5)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # the statistics of one batch
        network(torch.randn(16, 3, 112, 112))
    return network.eval()


def _table(
    network: MobileFaceNet, backbone: Backbone, exported: Path, batch: int, threads: int, repeats: int
) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8)
    pixels = np.ascontiguousarray(np.transpose((faces.astype(np.float32) - 127.5) / 128, (0, 3, 1, 2)))
    square = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    tensor = torch.from_numpy(pixels)

    def eager() -> np.ndarray:
        with torch.inference_mode():
            out: np.ndarray = network(tensor).numpy()
        return out

    work: dict[str, Callable[[], object]] = {
        "product": lambda: square @ square,
        "vidface embed": lambda: backbone.embed(faces),
        "torch, eager": eager,
        "onnxruntime": _onnxruntime(exported, pixels, threads),
    }
    notes = {"onnxruntime": "our export as it is, one session"}
    if installed("openvino"):
        work["openvino"] = _openvino(exported, pixels, threads)
        notes["openvino"] = "our export, asynchronous, chunks of 4, float32"
    else:
        notes["openvino"] = "absent: pip install -e '.[bench]'"
    seconds = best_seconds(work, repeats, pause=0.3)
    macs = spec_budget(STEPS[NAME], (112, 112), NAME).macs
    floor = f"{macs / 1e6:.0f}M MACs at the product's rate"
    # Each method's best turn counts, that of the product too.
    floors = {floor: seconds.pop("product") * batch * macs / SIDE**3}
    notes["vidface embed"] = _check(backbone, faces, eager())
    peaks = {name: peak_megabytes(work[name]) for name in seconds}
    rate = 2 * batch * macs / floors[floor] / 1e9
    print_table(
        f"network, {NAME}, batch {batch}, {threads} thread(s), product {rate:.0f} GFLOP/s",
        floors | seconds,
        floor=floor,
        count=batch,
        unit="faces",
        peaks=peaks,
        notes=notes,
    )
    share, gain = floors[floor] / seconds["vidface embed"], seconds["torch, eager"] / seconds["vidface embed"]
    print(f"vidface: {share:.2f} of the product's rate, {gain:.2f} times eager torch")


def _check(backbone: Backbone, faces: np.ndarray, wanted: np.ndarray) -> str:
    """Against eager torch; and the same bits for every face alone."""
    found = backbone.embed(faces)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(np.min(np.einsum("ij,ij->i", found, wanted) / lengths))
    assert cosine >= 0.99999, cosine
    for face in range(min(len(faces), 8)):
        assert backbone.embed(faces[face : face + 1]).tobytes() == found[face].tobytes()
    return f"cosine to eager at least {cosine:.7f}; bits as face by face"


def _onnxruntime(exported: Path, pixels: np.ndarray, threads: int) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"faces": pixels})


def _openvino(exported: Path, pixels: np.ndarray, threads: int) -> Callable[[], object]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.compile_model(core.read_model(exported), "CPU", settings)
    jobs = openvino.AsyncInferQueue(model, threads)

    def run() -> None:
        for start in range(0, len(pixels), 4):
            jobs.start_async({0: pixels[start : start + 4]})
        jobs.wait_all()

    return run
