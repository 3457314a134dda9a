"""A model that has been opened: how it is run, and what its file says of input and output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ModelError, printable

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Form:
    """What goes into a network and what comes out.

    Attributes:
        input_type: of the numbers it is fed: float32, float16 or uint8.
        layout: NCHW or NHWC.
        batch: faces that every run must have; None: any number.
        why_batch: why, if the input of the file does not say so itself.
        outputs: name -> shape as text, of all that it has.
        output: which of them is taken for the embedding.
        dimension: length of the embedding.
    """

    input_type: str
    layout: Literal["NCHW", "NHWC"]
    batch: int | None
    why_batch: str | None
    outputs: Mapping[str, str]
    output: str
    dimension: int


@dataclass(frozen=True)
class Opened:
    """A network that is ready.

    Attributes:
        where: what it runs on, as text.
        form: what goes in and what comes out.
        run: uint8 RGB [n, H, W, 3] to float32 [n, D] in one batch of the network, n >= 1 (and at most its fixed batch).
        embed: the same for any number of faces, in batches.
    """

    where: str
    form: Form
    run: Embed
    embed: Embed


def choose_output(shapes: Mapping[str, str], wanted: str | None, where: str) -> str:
    """The output that is the embedding: the only one, or the one that the card names.

    Raises:
        ModelError: there are several and none was named, or there is none of that name.
    """
    if wanted is not None and wanted in shapes:
        return wanted
    listed = ", ".join(f"{printable(name)} ({shape})" for name, shape in shapes.items())
    if wanted is not None:
        raise ModelError(f"{where}: has no output {printable(wanted)!r}: it has {listed}")
    if len(shapes) != 1:
        raise ModelError(
            f"{where}: has {len(shapes)} outputs: {listed}: name the one that is the embedding, with "
            f'output = "NAME" on its card or --model-output NAME'
        )
    return next(iter(shapes))
