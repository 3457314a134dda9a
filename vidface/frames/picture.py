"""From FFmpeg's picture to RGB: one moment a picture, colours as tagged, the right way up, pixels made square.

Pixels that are not square are met on DVDs and in broadcasts, and so are interlaced pictures, which show two moments,
line by line. Tested in ``tests/frames/test_aspect.py``, ``tests/frames/test_orientation.py``,
``tests/frames/test_fields.py`` and ``tests/frames/test_hdr.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from PIL import Image

from vidface.frames.demux import READ_ERRORS, Log, Video
from vidface.frames.frame import MAX_PIXELS, Pixels
from vidface.frames.orientation import UPRIGHT, Matrix, turn

# FFmpeg's own default, the fast way: decord and most tools turn 8-bit video into the very same RGB. Interpolating
# the chroma and rounding instead of truncating differs by 1 level of luma on average and takes 10 times as long.
SCALING = Interpolation.BICUBIC

# High dynamic range, as networks and detectors have never seen it: FFmpeg maps its tones and colours to BT.709.
HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})
TO_BT709 = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}

# The widest pixel that is in use is 32:11 (half a line of wide PAL). What lies further off is a mistake.
WIDEST = Fraction(4)

# These have no field of their own: each picture says it, and it may change, as between a film and what comes before it.
BY_PICTURE = frozenset({"mpegts", "mpeg", "mpegvideo", "flv"})


class Shown(NamedTuple):
    """A decoded picture, and the width of its stored pixels over their height."""

    picture: VideoFrame
    aspect: Fraction


Timed = tuple[float, float, Shown]

# A picture for a picture, of the field that comes first. Pictures that aren't flagged as interlaced pass untouched.
FILTER = ("bwdif", "mode=send_frame:deint=interlaced")


def is_hdr(picture: VideoFrame) -> bool:
    """Whether its transfer is PQ (SMPTE ST 2084) or HLG (ARIB STD-B67)."""
    return picture.color_trc in HDR


class ToRgb:
    """Turns the decoded pictures of one video into RGB, applies their display matrix and makes their pixels square.

    Colour matrix and range are the ones that a picture is tagged with; an untagged one is BT.601 in limited
    range, as FFmpeg has it. More than 8 bits are reduced to 8. HDR becomes BT.709.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # setting one up costs more than using it
        self._matrices: dict[int, Matrix] = {}

    def __call__(self, shown: Shown) -> Pixels:
        """Convert one picture of any pixel format to uint8 [H, W, 3], C-contiguous."""
        return square(self.upright(shown.picture), self.aspect(shown))

    def upright(self, picture: VideoFrame) -> Pixels:
        """As ``__call__``, without making pixels square."""
        # Reading a picture's side data ties it into a cycle that only the garbage collector frees, and some
        # hundred pictures pile up until then: so it is read once for each rotation that a video shows.
        if picture.rotation not in self._matrices:
            self._matrices[picture.rotation] = display_matrix(picture)
        hdr: dict[str, Any] = TO_BT709 if is_hdr(picture) else {}
        rgb = self._reformatter.reformat(picture, format="rgb24", interpolation=SCALING, threads=1, **hdr)
        pixels: Any = rgb.to_ndarray()
        return turn(pixels, self._matrices[picture.rotation])

    def aspect(self, shown: Shown) -> Fraction:
        """Of the pixels that ``upright`` gave: a quarter turn makes wide ones tall."""
        sideways = self._matrices[shown.picture.rotation][0] == 0
        return 1 / shown.aspect if sideways else shown.aspect


def display_matrix(picture: VideoFrame) -> Matrix:
    """The picture's rotation and mirroring; angles between quarter turns, which no camera writes, are taken as none."""
    sides: Any = picture.side_data
    for side in sides:
        if side.type == Type.DISPLAYMATRIX:
            numbers = np.frombuffer(bytes(side), dtype=np.int32) / 65536
            a, b, c, d = (round(float(numbers[index])) for index in (0, 1, 3, 4))
            if {abs(a), abs(d)} in ({0}, {1}) and {abs(b), abs(c)} in ({0}, {1}) and abs(a) != abs(b):
                return a, b, c, d
    return UPRIGHT


class PixelAspect:
    """The width of a stored pixel over its height, of each picture of one video.

    As FFmpeg's ``av_guess_sample_aspect_ratio`` and players have it: what the container says goes before what the codec
    says, and 0 means that nothing is said. What is too far from 1 to be true is taken as 1.
    """

    def __init__(self, video: Video) -> None:
        self._refused: Fraction | None = None
        self._context = video.stream.codec_context
        self._by_picture = video.demuxer in BY_PICTURE
        self._said = self._usable(video.stream.sample_aspect_ratio)
        self._changes: deque[tuple[int, Fraction]] = deque()  # (time of a packet, what holds from there on)

    def see_packet(self, packet: Packet[Any]) -> None:
        """Note what the decoder knows now that it has taken a packet; headers come with key frames."""
        if self._by_picture and packet.is_keyframe and packet.pts is not None:
            now = self._usable(self._context.sample_aspect_ratio)
            if now != (self._changes[-1][1] if self._changes else self._said):
                self._changes.append((packet.pts, now))

    def of(self, picture: VideoFrame) -> Fraction:
        """That of a picture, the next one in order of time."""
        while self._changes and picture.pts is not None and self._changes[0][0] <= picture.pts:
            self._said = self._changes.popleft()[1]
        return self._said

    def faults(self) -> list[tuple[str, str]]:
        """What is to be known at the end, as (kind, detail) for a ``ReadReport``."""
        if self._refused is None:
            return []
        said = f"{self._refused.numerator}:{self._refused.denominator}"
        detail = f"its pixel aspect ratio is {said}, which cannot be true: its pixels are taken as square"
        return [("pixel-aspect", detail)]

    def _usable(self, said: Fraction | None) -> Fraction:
        if said is None or said <= 0:
            return Fraction(1)
        if not 1 / WIDEST <= said <= WIDEST:
            self._refused = said
            return Fraction(1)
        return said


def square(pixels: Pixels, aspect: Fraction) -> Pixels:
    """Make pixels square by scaling up the side that is stored too short, so that none is lost.

    Upright uint8 [H, W, 3] with pixels ``aspect`` times as wide as high becomes W times ``aspect`` wide if that is
    above 1, else H divided by it high, rounded; the very same array if that changes nothing. If it would be more than
    ``MAX_PIXELS`` the other side is scaled down.
    """
    height, width = pixels.shape[:2]
    wider, higher = (round(width * aspect), height), (width, round(height / aspect))
    size, other = (wider, higher) if aspect > 1 else (higher, wider)
    if size == (width, height):
        return pixels
    if size[0] * size[1] > MAX_PIXELS:
        size = other
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


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
