"""What a layer and a network cost, each figure under its own name.

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

# Metadata of an exported model: {"as_bias": [...], "beside_bias": [...]}, names of the nodes into which a
# normalisation was folded; it became their bias, or joined one that was there.
FOLDED = "vidface.folded_normalisations"


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
    """What a network costs for one image; its sums are those of its layers.

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
        return self.parameters * 4 / 2**20


def conv_cost(
    channels: int, kernel: Sequence[int], numbers: int, groups: int, *, bias: bool
) -> tuple[int, int]:
    """(FLOPs on the organisers' counter, MACs) of a convolution of ``channels``, of all groups, to so many numbers."""
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
