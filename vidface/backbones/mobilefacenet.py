"""MobileFaceNet and its deeper descendants: table 1 of the paper, from one definition.

A `Spec` is table 1 written down: every row of ``blocks`` is one line of the table, (t, c, n, s). `STEPS`
holds the rows of table 2 (step 0 is MobileFaceNet-y2, without squeeze-and-excitation) and MobileFaceNet-y1.
`build` turns a spec into a network. On the challenge organisers' counter the six steps cost 933.34M,
1077.30M, 1041.87M, 1001.94M, 988.42M and 976.59M; the tests count them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path

from torch import Tensor, nn

from vidface.backbones.card import ModelCard
from vidface.errors import ModelError

__all__ = ["STEPS", "Spec", "build", "card_spec", "parse_spec"]

Row = tuple[int, int, int, int]

# More than any network has; a card that says more would only fill the memory.
_MOST_BLOCKS, _MOST_CHANNELS = 1_000, 65_536


@dataclass(frozen=True)
class Spec:
    """One network, as table 1 of the paper writes it.

    Attributes:
        stem: output channels of the first 3x3 convolution, which has stride 2.
        blocks: one (t, c, n, s) a line of the table: depthwise width t, output channels c, n blocks, of which
            the first has stride s and all others stride 1.
        head: output channels of the 1x1 convolution after the blocks, and of the global depthwise
            convolution.
        dimension: length of the embedding.
        se: squeeze-and-excitation (ratio 16) on the output of every block.
        depthwise_stem: a plain depthwise 3x3 convolution after the first one (only MobileFaceNet-y1 has it).
    """

    stem: int
    blocks: tuple[Row, ...]
    head: int
    dimension: int
    se: bool = True
    depthwise_stem: bool = False

    def __post_init__(self) -> None:
        """Check every field once.

        Raises:
            ModelError: a field is of the wrong type or range.
        """
        for name in ("stem", "head", "dimension"):
            if not _positive(getattr(self, name)):
                raise ModelError(f"architecture: {name} must be a positive whole number")
        for name in ("se", "depthwise_stem"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"architecture: {name} must be true or false")
        if not self.blocks:
            raise ModelError("architecture: blocks must have at least one row [t, c, n, stride]")
        for number, row in enumerate(self.blocks, start=1):
            if len(row) != 4 or not all(map(_positive, row)) or row[3] > 2:
                raise ModelError(
                    f"architecture: row {number} of blocks must be [t, c, n, stride], stride 1 or 2"
                )
        blocks = sum(n for _, _, n, _ in self.blocks)
        widest = max(self.stem, self.head, self.dimension, *(side for row in self.blocks for side in row[:2]))
        if blocks > _MOST_BLOCKS or widest > _MOST_CHANNELS:
            raise ModelError(
                f"architecture: {blocks} blocks, up to {widest} channels wide: at most {_MOST_BLOCKS} and "
                f"{_MOST_CHANNELS} are built"
            )

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the last feature map: 16 for every network of the paper."""
        return 2 * prod(s for _, _, _, s in self.blocks)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _step(
    c1: int, c2: int, c3: int, n: tuple[int, int, int, int], dimension: int, t3: int | None = None
) -> Spec:
    """A row of table 2: C1 to C3 with C4 = 256 and C5 = 512, N2 to N5; widths by the rule of table 1."""
    n2, n3, n4, n5 = n
    t3 = t3 or 2 * c2
    return Spec(
        stem=c1,
        blocks=(
            (c2, c1, n2, 1),
            (t3, c2, 1, 2),
            (t3, c2, n3, 1),
            (2 * c3, c3, 1, 2),
            (2 * c3, c3, n4, 1),
            (512, 256, 1, 2),
            (256, 256, n5, 1),
        ),
        head=512,
        dimension=dimension,
    )


_Y2 = Spec(
    stem=64,
    blocks=(
        (64, 64, 2, 1),
        (128, 64, 1, 2),
        (128, 64, 8, 1),
        (256, 128, 1, 2),
        (256, 128, 16, 1),
        (512, 128, 1, 2),
        (256, 128, 4, 1),
    ),
    head=512,
    dimension=256,
    se=False,
)

_Y1 = replace(
    _Y2,
    blocks=(
        (128, 64, 1, 2),
        (128, 64, 4, 1),
        (256, 128, 1, 2),
        (256, 128, 6, 1),
        (512, 128, 1, 2),
        (256, 128, 2, 1),
    ),
    dimension=128,
    depthwise_stem=True,
)

STEPS: dict[str, Spec] = {
    "y1": _Y1,
    "y2": _Y2,
    "step0": _Y2,
    "step1": _step(30, 62, 128, (2, 8, 18, 16), 256),
    "step2": _step(28, 60, 128, (2, 8, 16, 19), 256),
    "step3": _step(26, 58, 128, (2, 6, 16, 21), 256),
    "step4": _step(24, 56, 124, (2, 6, 16, 23), 256, t3=116),
    "step5": _step(24, 56, 124, (2, 6, 15, 24), 282, t3=116),
}


def parse_spec(architecture: str | Mapping[str, object]) -> Spec:
    """The spec that a card means: a name of `STEPS`, or a table with the fields of `Spec`.

    Raises:
        ModelError: an unknown name or field, a missing field, or a value that is not allowed.
    """
    if isinstance(architecture, str):
        if architecture not in STEPS:
            raise ModelError(f"architecture {architecture!r} is unknown: known are {', '.join(STEPS)}")
        return STEPS[architecture]
    known = {field.name for field in fields(Spec)}
    if unknown := sorted(set(architecture) - known):
        raise ModelError(f"architecture: unknown {', '.join(unknown)} (known: {', '.join(sorted(known))})")
    if missing := sorted({"stem", "blocks", "head", "dimension"} - set(architecture)):
        raise ModelError(f"architecture: {', '.join(missing)} missing")
    values = dict(architecture)
    rows = values.pop("blocks")
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        raise ModelError("architecture: blocks must be a list of rows [t, c, n, stride]")
    return Spec(blocks=tuple(tuple(row) for row in rows), **values)  # type: ignore[arg-type]


def card_spec(card: ModelCard, path: Path) -> Spec:
    """The spec of a model's card.

    Args:
        card: the card.
        path: of the model, for messages.

    Raises:
        ModelError: it names no architecture, one that is not allowed, or one of another dimension.
    """
    if card.architecture is None:
        raise ModelError(f'{path}: its card must name an architecture, for example architecture = "step5"')
    try:
        spec = parse_spec(card.architecture)
    except ModelError as error:
        raise ModelError(f"{path}: its card: {error}") from None
    if spec.dimension != card.dimension:
        raise ModelError(
            f"{path}: its card says dimension {card.dimension}, its architecture {spec.dimension}"
        )
    return spec


def conv_bn(
    cin: int,
    cout: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    depthwise: bool = False,
    act: bool = True,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless it is linear, PReLU with a slope per channel.

    Odd kernels up to 3x3 keep the size (padding 1 for 3x3); a kernel given as (height, width) is global: no
    padding.
    """
    padding = kernel // 2 if isinstance(kernel, int) else 0
    groups = cin if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
    ]
    if act:
        layers.append(nn.PReLU(cout))
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate in (0, 1) computed from all channels' means; ratio 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // 16, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.PReLU(squeezed),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        gated: Tensor = x * self.gate(x)
        return gated


class Block(nn.Module):
    """Figure 2: expand to t, depthwise 3x3, project linearly to c, SE; added to its input if shapes agree."""

    def __init__(self, cin: int, t: int, c: int, stride: int, *, se: bool) -> None:
        super().__init__()
        self.shortcut = stride == 1 and cin == c
        self.expand = conv_bn(cin, t, 1)
        self.depthwise = conv_bn(t, t, 3, stride, depthwise=True)
        self.project = conv_bn(t, c, 1, act=False)
        self.se = SqueezeExcite(c) if se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, cin, H, W] -> [N, c, H / stride, W / stride]."""
        y: Tensor = self.se(self.project(self.depthwise(self.expand(x))))
        return x + y if self.shortcut else y


class MobileFaceNet(nn.Module):
    """The network of a spec; `build` makes it."""

    def __init__(self, spec: Spec, input_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = input_size
        c = spec.stem
        self.stem = conv_bn(3, c, 3, stride=2)
        self.depthwise_stem = conv_bn(c, c, 3, depthwise=True) if spec.depthwise_stem else nn.Identity()
        self.blocks = nn.Sequential()
        for t, cout, n, s in spec.blocks:
            for i in range(n):
                self.blocks.append(Block(c, t, cout, s if i == 0 else 1, se=spec.se))
                c = cout
        self.head = conv_bn(c, spec.head, 1)
        kernel = (height // spec.stride, width // spec.stride)
        self.gdc = conv_bn(spec.head, spec.head, kernel, depthwise=True, act=False)
        self.fc = nn.Linear(spec.head, spec.dimension)
        self.bn = nn.BatchNorm1d(spec.dimension)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised faces float32 [N, 3, H, W] -> embeddings float32 [N, D], not normalised."""
        x = self.blocks(self.depthwise_stem(self.stem(x)))
        x = self.gdc(self.head(x))
        embeddings: Tensor = self.bn(self.fc(x.flatten(1)))
        return embeddings


def build(spec: Spec, input_size: tuple[int, int] = (112, 112)) -> MobileFaceNet:
    """The network of a spec with fresh weights, in training mode.

    The weights depend on ``torch.manual_seed`` alone. Input: float32 [N, 3, H, W], normalised as the card
    says;
    output: float32 [N, D], not L2-normalised. The global depthwise kernel covers the last feature map,
    (H / 16, W / 16) for the networks of the paper.

    Args:
        spec: the widths and depths.
        input_size: (height, width) in pixels, each a multiple of the network's stride.

    Raises:
        ModelError: the input size is not a multiple of the network's stride.
    """
    if any(side < spec.stride or side % spec.stride for side in input_size):
        height, width = input_size
        raise ModelError(
            f"input size {height}x{width}: each side must be a multiple of {spec.stride} for this network"
        )
    network = MobileFaceNet(spec, input_size)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Fan-in, which for a depthwise convolution is 9: torch's fan-out ignores the groups.
            nn.init.kaiming_normal_(module.weight, a=0.25, mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return network
