"""What a network costs, by its name or from its files, and whether a challenge would let it in.

`vidface.backbones.costs` says what each figure means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from vidface.backbones.card_file import card_spec, read_card
from vidface.backbones.costs import Budget, Layer, conv_cost, conv_name, dense_cost
from vidface.backbones.kinds import model_kind
from vidface.backbones.spec import STEPS, Spec
from vidface.errors import ModelError


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
    if (more := budget.flops - limits.flops) > 0:
        text = (
            f"FLOPs on the organisers' counter: {budget.flops / 1e6:,.2f}M, {more / 1e6:,.2f}M more than the "
            f"{limits.flops / 1e6:,.0f}M allowed"
        )
        over.append(Excess("flops", budget.flops, limits.flops, text))
    if limits.mib is not None and (excess := budget.mib - limits.mib) >= 0:
        text = f"{budget.mib:,.2f} MiB, {excess:,.2f} MiB more than allowed (less than {limits.mib:g})"
        over.append(Excess("size", budget.mib, limits.mib, f"size in float32: {text}"))
    if (longer := budget.dimension - limits.dimension) > 0:
        text = f"dimension: {budget.dimension}, {longer} more than the {limits.dimension} allowed"
        over.append(Excess("dimension", budget.dimension, limits.dimension, text))
    return over


def read_budget(model: str, input_size: tuple[int, int] | None = None, output: str | None = None) -> Budget:
    """Count a network by its name or from its files; nothing of it is run.

    Args:
        model: a name of `vidface.backbones.spec.STEPS`; a model card (``.toml``) that names an
            architecture or lies beside an ONNX model; an ONNX model; or weights (safetensors, plain .pth)
            with their card, which must fit the architecture.
        input_size: (height, width). Needed only for an ONNX model that leaves it free and has no card; a named
            network has 112x112 unless told otherwise; a card may not be contradicted.
        output: which output of an ONNX model is the embedding, if it has several and no card names one.

    Raises:
        ModelError: no such model, or one that cannot be used or counted.
    """
    path = Path(model)
    if model.isalnum():
        if model in STEPS:  # also where a file has that name: ./step5 means the file
            return spec_budget(STEPS[model], input_size or (112, 112), model)
        if not path.exists():
            raise ModelError(f"{model}: no such file, and no name of a network: known are {', '.join(STEPS)}")
    told: dict[str, object] = {"input_size": input_size, "output": output}
    if path.suffix == ".toml":
        if not path.is_file():
            raise ModelError(f"{path}: no such model card")
        card = read_card(path, told)
        if card.architecture is not None:
            return spec_budget(card_spec(card, path), card.input_size, model)
        path = path.with_suffix(".onnx")
        if not path.is_file():
            raise ModelError(f"{model}: names no architecture, and there is no {path.name} beside it")
    if model_kind(path) != "onnx":
        from vidface.backbones.torch_model import load_network

        card = read_card(path, told)
        load_network(path, card)  # what was counted is what the file holds
        return spec_budget(card_spec(card, path), card.input_size, model)
    from vidface.backbones.budget_onnx import onnx_budget

    card_there = path.with_suffix(".toml").is_file()
    return onnx_budget(path, read_card(path, told) if card_there else None, input_size, output)


def spec_budget(spec: Spec, input_size: tuple[int, int], name: str) -> Budget:
    """Count a network of the paper's family from its description: torch takes seconds to say what tables say.

    Raises:
        ModelError: an input size (height, width) that is not a multiple of the network's stride.
    """
    spec.check_input(input_size)
    layers = tuple(_spec_layers(spec, input_size))
    statistics = sum(layer.parameters // 2 for layer in layers if layer.op.startswith("BatchNorm"))
    trainable = sum(layer.parameters for layer in layers) - statistics
    return Budget(name, input_size, spec.dimension, layers, trainable)


def _spec_layers(spec: Spec, input_size: tuple[int, int]) -> Iterator[Layer]:
    """The layers that `vidface.backbones.mobilefacenet.build` makes, in the order in which an image passes them."""
    height, width = input_size[0] // 2, input_size[1] // 2
    c = spec.stem
    yield from _conv_bn("stem", 3, c, (3, 3), (height, width), stride=2)
    if spec.depthwise_stem:
        yield from _conv_bn("depthwise_stem", c, c, (3, 3), (height, width), depthwise=True)
    rows = [(t, cout, s if i == 0 else 1) for t, cout, n, s in spec.blocks for i in range(n)]
    for number, (t, cout, stride) in enumerate(rows):
        block = f"blocks.{number}"
        yield from _conv_bn(f"{block}.expand", c, t, (1, 1), (height, width))
        height, width = height // stride, width // stride
        size = (height, width)
        yield from _conv_bn(f"{block}.depthwise", t, t, (3, 3), size, stride=stride, depthwise=True)
        yield from _conv_bn(f"{block}.project", t, cout, (1, 1), size, act=False)
        if spec.se:
            squeezed = max(cout // 16, 1)
            yield _conv(f"{block}.se.gate.1", cout, squeezed, (1, 1), (1, 1), bias=True)
            yield Layer(f"{block}.se.gate.2", "PReLU", (squeezed, 1, 1), squeezed, 0, 0)
            yield _conv(f"{block}.se.gate.3", squeezed, cout, (1, 1), (1, 1), bias=True)
        c = cout
    head = spec.head
    yield from _conv_bn("head", c, head, (1, 1), (height, width))
    yield from _conv_bn("gdc", head, head, (height, width), (1, 1), depthwise=True, act=False)
    cost = dense_cost(head, spec.dimension, bias=True)
    yield Layer("fc", "Linear", (spec.dimension,), (head + 1) * spec.dimension, *cost)
    yield Layer("bn", "BatchNorm1d", (spec.dimension,), 4 * spec.dimension, 0, 0)


def _conv_bn(
    name: str,
    cin: int,
    cout: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    *,
    stride: int = 1,
    depthwise: bool = False,
    act: bool = True,
) -> Iterator[Layer]:
    """A convolution, its batch normalisation and, unless it is linear, a PReLU; ``size`` is of what they give."""
    groups = cin if depthwise else 1
    yield _conv(f"{name}.0", cin, cout, kernel, size, stride=stride, groups=groups)
    yield Layer(f"{name}.1", "BatchNorm2d", (cout, *size), 4 * cout, 0, 0)
    if act:
        yield Layer(f"{name}.2", "PReLU", (cout, *size), cout, 0, 0)


def _conv(
    name: str,
    cin: int,
    cout: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> Layer:
    output = (cout, *size)
    parameters = cin // groups * cout * prod(kernel) + cout * bias
    op = conv_name("Conv", kernel, (stride, stride), groups, cin)
    return Layer(name, op, output, parameters, *conv_cost(cin, kernel, prod(output), groups, bias=bias))
