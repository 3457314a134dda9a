"""Interlaced video: pictures that show two moments, line by line, are made to show one.

Tested in ``tests/frames/test_fields.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from av.filter import Graph
from av.video.frame import VideoFrame

from vidface.frames.demux import READ_ERRORS, Log
from vidface.frames.picture import Shown

__all__ = ["deinterlace"]

Timed = tuple[float, float, Shown]

# A picture for a picture, of the field that comes first. Pictures that aren't flagged as interlaced pass untouched.
FILTER = ("bwdif", "mode=send_frame:deint=interlaced")


def deinterlace(shown: Iterable[Timed]) -> Iterator[Timed]:
    """Pictures with their times, deinterlaced by FFmpeg's bwdif from the first interlaced one on.

    bwdif takes what is missing from the picture before and after where nothing moves, so still parts stay sharp; three
    pictures are held. A picture that it cannot work on, as one of two lines, stays as it is.
    """
    graph: Graph | None = None
    form: tuple[int, int, str] | None = None
    held: deque[Timed] = deque()
    for timed in shown:
        picture = timed[2].picture
        if graph is not None and _form(picture) != form:  # a graph knows one size
            yield from _pulled(graph, held, None)
            graph = None
        if graph is None and picture.interlaced_frame:
            graph, form = _graph(picture), _form(picture)
        if graph is None:
            yield timed
        else:
            held.append(timed)
            yield from _pulled(graph, held, picture)
    if graph is not None:
        yield from _pulled(graph, held, None)


def _form(picture: VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name


def _graph(picture: VideoFrame) -> Graph | None:
    try:
        with Log().capture():
            graph = Graph()
            graph.threads = 1
            size: Any = {"width": picture.width, "height": picture.height}
            source = graph.add_buffer(**size, format=picture.format, time_base=picture.time_base)
            graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
    except READ_ERRORS:
        return None
    return graph


def _pulled(graph: Graph, held: deque[Timed], picture: VideoFrame | None) -> Iterator[Timed]:
    """Give the graph a picture, or None at the end, and take what comes out, in the order of what went in."""
    with Log().capture():
        graph.vpush(picture)
    while held:
        try:
            with Log().capture():
                ready = graph.vpull()
        except READ_ERRORS:  # it wants another one first
            break
        time, duration, stored = held.popleft()
        yield time, duration, stored._replace(picture=ready)
    if picture is None:  # what it never gave stays as it was
        yield from held
        held.clear()
