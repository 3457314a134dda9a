"""The paper's networks with weights from a file: by torch on an NVIDIA GPU, by onnxruntime on a CPU.

On a CPU the network is written as an ONNX graph in memory, as `vidface.backbones.export` writes it to a file:
onnxruntime is faster there than torch, and gives a face the same bits in every batch and for any number of threads,
which torch does not.

The GPU code is written for real but was not run on a GPU yet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidface.backbones.card import ModelCard
from vidface.backbones.card_file import card_spec
from vidface.backbones.mobilefacenet import MobileFaceNet, build, fold
from vidface.backbones.opened import Form, Opened
from vidface.backbones.spec import Spec
from vidface.backbones.weights import load_weights
from vidface.errors import UsageError

_GPU_CHUNK = 256  # faces sent to a GPU at a time


def open_torch(path: Path, card: ModelCard, device: str, half: bool, threads: int | None) -> Opened:
    """Build the card's architecture, fill it with weights (safetensors, plain .pth), and make it ready to embed.

    The arguments are those of `vidface.backbones.load_backbone`; in float16 normalisation stays in float32.

    Raises:
        ModelError: the card names no architecture, or one that the weights do not fit.
        UsageError: "cuda" where torch has none.
    """
    network, spec = load_network(path, card)
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UsageError(
            f"no GPU for torch {torch.__version__} (CUDA {torch.version.cuda or 'not built in'}): use cpu"
        )
    if cuda and device != "cpu":
        return _open_on_gpu(network, spec, card, torch.float16 if half else torch.float32)
    # Imported here, since the graph is written with what this module folds.
    from vidface.backbones.onnx_graph import onnx_model
    from vidface.backbones.onnx_model import open_onnx_bytes

    graph = onnx_model(network, spec, card.input_size).SerializeToString(deterministic=True)
    return open_onnx_bytes(graph, path, card, threads)


def _open_on_gpu(network: MobileFaceNet, spec: Spec, card: ModelCard, dtype: torch.dtype) -> Opened:
    """The network on the first GPU. Not yet run on one."""
    place = torch.device("cuda:0")
    folded = fold(network).to(place, dtype)
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from its stubs
    mean, std = (torch.tensor(values, device=place).view(1, 3, 1, 1) for values in (card.mean, card.std))

    def forward(images: NDArray[np.uint8]) -> Tensor:
        faces = torch.from_numpy(np.ascontiguousarray(images)).pin_memory().to(place, non_blocking=True)
        # [N, H, W, 3] seen as [N, 3, H, W] is channels_last already: nothing is copied.
        faces = faces.permute(0, 3, 1, 2)
        if card.colour_order == "bgr":
            faces = faces.flip(1)
        out: Tensor = folded(((faces.float() - mean) / std).to(dtype))
        return out.float()

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not len(images):
            return np.empty((0, spec.dimension), np.float32)
        # TF32 would move embeddings by 1e-3, and cuDNN's autotuner may choose another algorithm every run.
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            # Nothing waits before the end: the next chunk is pinned and sent while the GPU computes this one.
            chunks = [
                forward(images[start : start + _GPU_CHUNK]) for start in range(0, len(images), _GPU_CHUNK)
            ]
            embeddings: NDArray[np.float32] = torch.cat(chunks).cpu().numpy()
        return embeddings

    precision = "float16" if dtype == torch.float16 else "float32"
    shape = f"N x {spec.dimension}"
    form = Form(precision, "NCHW", None, None, {"embeddings": shape}, "embeddings", spec.dimension)
    return Opened(f"{place} (torch {torch.__version__}, {precision})", form, embed, embed)


def load_network(path: Path, card: ModelCard) -> tuple[MobileFaceNet, Spec]:
    """The network of a card with its weights, in float32 on the CPU and ready to run, and its spec.

    Raises:
        ModelError: the card names no architecture, or the file is damaged or holds other weights.
    """
    spec = card_spec(card, path)
    network = build(spec, card.input_size)
    load_weights(network, path)
    return network.eval(), spec
