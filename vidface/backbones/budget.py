"""What a network costs, by its name or from its files, and whether a challenge would let it in.

`vidface.backbones.costs` says what each figure means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidface.backbones.card import ModelCard
from vidface.backbones.card_file import read_card
from vidface.backbones.costs import Budget, Layer, conv_cost, conv_name, dense_cost
from vidface.backbones.kinds import model_kind
from vidface.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from vidface.backbones.mobilefacenet import Spec

__all__ = ["LIMITS", "Excess", "Limits", "exceeded", "read_budget", "spec_budget"]


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
