"""What an engine is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.features.engines.reading import ReadOptions, Video
from vidface.frames.frame import Pixels

if TYPE_CHECKING:  # a decoding process imports this module, and must be there at once
    from vidface.backbones import Backbone
    from vidface.features.options import ExtractOptions
    from vidface.files.store import VideoRows

Embed = Callable[[Pixels], npt.NDArray[np.float32]]


class ExtractJob(NamedTuple):
    """Everything that decides the features of a set of videos; chunks are ranges into ``videos``.

    An engine that loads the network elsewhere, from where ``options`` say it is, compares its SHA-256 with that of
    ``backbone``, which is loaded in this process. The rows do not depend on ``batch_size``.
    """

    videos: Sequence[Video]
    reading: ReadOptions
    backbone: Backbone
    options: ExtractOptions


class Engine(NamedTuple):
    """Two ways to have work done; see `vidface.features.engines` for what both keep.

    Attributes:
        extract_chunks: (job, chunks, advance) -> the rows of every chunk's videos, a list a chunk, in order.
            ``advance`` is told how many more videos are done.
        map_ordered: (function, tasks) -> ``function(*task)`` of every task, in order. The function is a module's own,
            its arguments and results are plain data: they may travel to another machine.
        lost: the machines that were lost on the way; their work was done again.
    """

    extract_chunks: Callable[[ExtractJob, Sequence[range], Callable[[int], None]], Iterator[list[VideoRows]]]
    map_ordered: Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
    lost: Sequence[str] = ()
