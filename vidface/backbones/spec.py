"""The networks of the paper, written down: MobileFaceNet and its deeper descendants, rows of tables 1 and 2.

`vidface.backbones.mobilefacenet` turns a `Spec` into a network, `vidface.backbones.budget` counts one; this module
needs no torch. On the challenge organisers' counter the six steps cost 933.34M, 1077.30M, 1041.87M, 1001.94M,
988.42M and 976.59M; the tests count them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod

from vidface.errors import ModelError

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

    def check_input(self, input_size: tuple[int, int]) -> None:
        """Refuse a (height, width) of which a side is not a multiple of the network's stride, with ModelError."""
        if any(side < self.stride or side % self.stride for side in input_size):
            height, width = input_size
            raise ModelError(
                f"input size {height}x{width}: each side must be a multiple of {self.stride} for this network"
            )


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _step(
    c1: int, c2: int, c3: int, n: tuple[int, int, int, int], dimension: int, t3: int | None = None
) -> Spec:
    """A row of table 2: C1 to C3 with C4 = 256 and C5 = 512, N2 to N5; widths by the rule of table 1."""
    n2, n3, n4, n5 = n
    t3 = t3 or 2 * c2
    second = ((c2, c1, n2, 1), (t3, c2, 1, 2), (t3, c2, n3, 1))
    third = ((2 * c3, c3, 1, 2), (2 * c3, c3, n4, 1))
    return Spec(c1, (*second, *third, (512, 256, 1, 2), (256, 256, n5, 1)), 512, dimension)


def _plain_blocks(n3: int, n4: int, n5: int) -> tuple[Row, ...]:
    """What y1 and y2 have in common: three stages, each begun by a block of stride 2."""
    third = ((128, 64, 1, 2), (128, 64, n3, 1))
    return (*third, (256, 128, 1, 2), (256, 128, n4, 1), (512, 128, 1, 2), (256, 128, n5, 1))


_Y2 = Spec(64, ((64, 64, 2, 1), *_plain_blocks(8, 16, 4)), 512, 256, se=False)
_Y1 = Spec(64, _plain_blocks(4, 6, 2), 512, 128, se=False, depthwise_stem=True)

# The rows of table 2 (step 0 is MobileFaceNet-y2, without squeeze-and-excitation) and MobileFaceNet-y1.
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
