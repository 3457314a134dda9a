"""What a network costs, each figure under its own name, and whether a challenge would let it in.

"FLOPs" means several things, so a figure carries the name of its rule:

- FLOPs on the challenge organisers' counter [deepinsight/insightface, flops_counter.py]: a convolution without
  bias int((2 Cin kh kw - 1) Hout Wout Cout / groups), with bias 2 Cin kh kw Hout Wout Cout / groups, where Cin is
  the full channel count for grouped convolutions too; a fully connected layer 2 in out, less `out` without bias;
  nothing else. So 2 x MACs, but for the sums that a layer without bias saves: one a number, and one a pixel in a
  depthwise convolution.
- MACs: multiply-adds that are computed, groups respected, in convolutions and products of matrices.
- 2 x MACs: what `torch.utils.flop_counter` calls FLOPs.

Parameters are all stored numbers: 4 a channel for a batch normalisation, one a channel for a PReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from vidface.backbones.card import ModelCard, read_card
from vidface.backbones.kinds import model_kind
from vidface.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from vidface.backbones.mobilefacenet import Spec

__all__ = ["LIMITS", "Budget", "Excess", "Layer", "Limits", "exceeded", "read_budget", "spec_budget"]

_MIB = 2**20


@dataclass(frozen=True)
class Layer:
    """One row of the table, for one image.

    Attributes:
        name: of the module or graph node.
        op: what it does, for example "Conv 3x3/2 depthwise".
        output: shape of its output without the batch dimension.
        parameters: stored numbers.
        flops: on the challenge organisers' counter.
        macs: multiply-adds, groups respected.
    """

    name: str
    op: str
    output: tuple[int, ...]
    parameters: int
    flops: int
    macs: int


@dataclass(frozen=True)
class Budget:
    """What a network costs for one image.

    Attributes:
        name: what was counted.
        input_size: (height, width) in pixels.
        dimension: length of the embedding.
        layers: every layer that stores numbers or is counted, in order. For a graph whose normalisations were
            folded by `vidface.backbones.export`: of the definition, before folding.
        trainable: parameters that training changes (a normalisation's statistics are not among them); None
            where the file does not say, which is every ONNX file.
        as_stored: the layers of a folded graph as they are in the file; None for all others.
        not_counted: what could not be counted; unless empty, every figure is a lower bound.
        notes: how the counting was done, where that is not plain; a line each.
    """

    name: str
    input_size: tuple[int, int]
    dimension: int
    layers: tuple[Layer, ...]
    trainable: int | None = None
    as_stored: tuple[Layer, ...] | None = None
    not_counted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """FLOPs on the challenge organisers' counter."""
        return sum(layer.flops for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Stored numbers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def mib(self) -> float:
        """Size of the parameters in float32, in MiB (2^20 bytes)."""
        return self.parameters * 4 / _MIB


@dataclass(frozen=True)
class Limits:
    """What a challenge allows: FLOPs at most, less than `mib` in float32 (None: any), dimension at most."""

    flops: int
    mib: float | None
    dimension: int


# The two tracks of LFRC 2019. Its "20 MB" is read as MiB: so do the sizes agree that its entries published.
LIMITS = {
    "light": Limits(flops=1_000_000_000, mib=20, dimension=512),
    "large": Limits(flops=30_000_000_000, mib=None, dimension=512),
}


@dataclass(frozen=True)
class Excess:
    """A limit that is exceeded: which, the value and what is allowed, and both as text."""

    limit: str
    value: float
    allowed: float
    text: str


def exceeded(budget: Budget, limits: Limits) -> list[Excess]:
    """The limits that a budget exceeds; empty if it is within all (or, with `not_counted`, not shown to be over)."""
    over = []
    if budget.flops > limits.flops:
        text = (
            f"FLOPs on the organisers' counter: {budget.flops / 1e6:,.2f}M, "
            f"{(budget.flops - limits.flops) / 1e6:,.2f}M more than the {limits.flops / 1e6:,.0f}M allowed"
        )
        over.append(Excess("flops", budget.flops, limits.flops, text))
    if limits.mib is not None and budget.mib >= limits.mib:
        text = (
            f"size in float32: {budget.mib:,.2f} MiB, {budget.mib - limits.mib:,.2f} MiB more than allowed "
            f"(less than {limits.mib:g})"
        )
        over.append(Excess("size", budget.mib, limits.mib, text))
    if budget.dimension > limits.dimension:
        text = (
            f"dimension: {budget.dimension}, {budget.dimension - limits.dimension} more than the "
            f"{limits.dimension} allowed"
        )
        over.append(Excess("dimension", budget.dimension, limits.dimension, text))
    return over


def read_budget(model: str, input_size: tuple[int, int] | None = None) -> Budget:
    """Count a network by its name or from its files; nothing of it is run.

    Args:
        model: a name of `vidface.backbones.mobilefacenet.STEPS`; a model card (``.toml``) that names an
            architecture or lies beside an ONNX model; an ONNX model; or weights (safetensors, plain .pth)
            with their card, which must fit the architecture.
        input_size: (height, width). Needed only for an ONNX model that leaves it free and has no card; a named
            network has 112x112 unless told otherwise; a card may not be contradicted.

    Raises:
        ModelError: no such model, or one that cannot be used or counted.
    """
    path = Path(model)
    if model.isalnum():
        from vidface.backbones.mobilefacenet import STEPS

        if model in STEPS:  # also where a file has that name: ./step5 means the file
            return spec_budget(STEPS[model], input_size or (112, 112), model)
        if not path.exists():
            raise ModelError(f"{model}: no such file, and no name of a network: known are {', '.join(STEPS)}")
    told: dict[str, object] = {} if input_size is None else {"input_size": input_size}
    if path.suffix == ".toml":
        if not path.is_file():
            raise ModelError(f"{path}: no such model card")
        card = read_card(path, told)
        if card.architecture is not None:
            return _card_budget(card, path)
        path = path.with_suffix(".onnx")
        if not path.is_file():
            raise ModelError(f"{model}: names no architecture, and there is no {path.name} beside it")
    if model_kind(path) != "onnx":
        from vidface.backbones.torch_model import load_network

        card = read_card(path, told)
        load_network(path, card)  # what was counted is what the file holds
        return _card_budget(card, path)
    from vidface.backbones.budget_onnx import onnx_budget

    return onnx_budget(
        path, read_card(path, told) if path.with_suffix(".toml").is_file() else None, input_size
    )


def spec_budget(spec: Spec, input_size: tuple[int, int], name: str) -> Budget:
    """Count a network of the paper's family: built without memory, and one image passed through its shapes.

    Args:
        spec: the widths and depths.
        input_size: (height, width), each a multiple of the network's stride.
        name: what to call it.

    Raises:
        ModelError: an input size that does not fit.
    """
    import torch

    from vidface.backbones.mobilefacenet import build

    with torch.device("meta"):
        network = build(spec, input_size).eval()
        image = torch.empty(1, 3, *input_size)
    layers: list[Layer] = []

    def count(name: str, module: nn.Module, out: torch.Tensor) -> None:
        stored = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        parameters = sum(tensor.numel() for tensor in stored if tensor.is_floating_point())
        op, flops, macs = _module_cost(module, out.numel())
        if parameters:
            layers.append(Layer(name, op, tuple(out.shape[1:]), parameters, flops, macs))

    for path, module in network.named_modules():
        module.register_forward_hook(lambda module, _, out, path=path: count(path, module, out))
    with torch.inference_mode():
        network(image)
    trainable = sum(tensor.numel() for tensor in network.parameters())
    return Budget(name, input_size, spec.dimension, tuple(layers), trainable)


def _card_budget(card: ModelCard, path: Path) -> Budget:
    from vidface.backbones.mobilefacenet import card_spec

    return spec_budget(card_spec(card, path), card.input_size, str(path))


def _module_cost(module: nn.Module, numbers: int) -> tuple[str, int, int]:
    """(what it does, FLOPs on the organisers' counter, MACs) of a module that gives so many numbers."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        cost = conv_cost(
            module.in_channels, module.kernel_size, numbers, module.groups, bias=module.bias is not None
        )
        return conv_name("Conv", module.kernel_size, module.stride, module.groups, module.in_channels), *cost
    if isinstance(module, nn.Linear):
        return "Linear", *dense_cost(module.in_features, numbers, bias=module.bias is not None)
    return type(module).__name__, 0, 0


def conv_cost(
    channels: int, kernel: Sequence[int], numbers: int, groups: int, *, bias: bool
) -> tuple[int, int]:
    """(FLOPs on the organisers' counter, MACs) of a convolution.

    Args:
        channels: of its input, all groups together.
        kernel: its sides.
        numbers: how many numbers it gives.
        groups: into which its channels are divided.
        bias: whether it adds one.
    """
    taps = channels * prod(kernel)
    return int((2 * taps - (not bias)) * numbers // groups), taps * numbers // groups


def dense_cost(fan_in: int, numbers: int, *, bias: bool) -> tuple[int, int]:
    """(FLOPs on the organisers' counter, MACs) of a product with a matrix that gives so many numbers."""
    return (2 * fan_in - (not bias)) * numbers, fan_in * numbers


def conv_name(op: str, kernel: Sequence[int], stride: Sequence[int], groups: int, channels: int) -> str:
    """A convolution as people write it: "Conv 3x3/2 depthwise"."""
    name = f"{op} {'x'.join(map(str, kernel))}"
    if any(side != 1 for side in stride):
        name += "/" + (str(stride[0]) if len(set(stride)) == 1 else "x".join(map(str, stride)))
    if groups > 1:
        name += " depthwise" if groups == channels else f" in {groups} groups"
    return name
