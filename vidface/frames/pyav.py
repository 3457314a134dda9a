"""Read a video with PyAV: every frame decoded in order, those that are sampled turned into RGB.

The times are the container's presentation times, so B-frames, variable frame rates, edit lists and open GOPs
need no special care. ``tests/frames/test_frames_contract.py`` holds every decoder to the same frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from av.packet import Packet
from av.video.frame import VideoFrame

from vidface.errors import MediaError
from vidface.frames.damage import Damage
from vidface.frames.demux import READ_ERRORS, Log, Video, open_video, too_large
from vidface.frames.frame import MAX_PIXELS, Frame, ReadReport
from vidface.frames.joined import Timeline
from vidface.frames.picture import PixelAspect, Shown, ToRgb, deinterlace
from vidface.frames.sampling import sample_by_time


def read_with_pyav(path: Path, *, fps: float | None, film: bool, report: ReadReport) -> Iterator[Frame]:
    """Read one video file; see ``vidface.frames.read_frames``."""
    to_rgb = ToRgb()
    refused: list[str] = []  # why a picture could not be turned into RGB
    with open_video(path) as video:
        timed = decode(video, report)
        if film:
            timed = deinterlace(timed)
        for time, shown in sample_by_time(timed, fps):
            try:
                with Log().capture():
                    pixels = to_rgb(shown)
            except MemoryError:  # no damage of the video's
                raise
            except READ_ERRORS as error:  # its colours are tagged with what FFmpeg does not know
                refused.append(str(error))
                continue
            report.sampled += 1
            yield Frame(pixels, time, to_rgb.aspect(shown))
    if refused:
        detail = f"{len(refused)} of {report.sampled + len(refused)} frames cannot be turned into RGB: {refused[0]}"
        if report.sampled == 0:
            raise MediaError("no-frames", f"{path}: {detail}")
        report.faults.append(("partial", detail))


def decode(
    video: Video, report: ReadReport, tap: Callable[[Packet[Any]], None] | None = None
) -> Iterator[tuple[float, float, Shown]]:
    """Decode every frame in presentation order, count it, and report the damage at the end.

    ``tap`` is called with each packet of the video stream before it is decoded. Yields (time, duration, shown): seconds
    since the first frame, never falling; duration 0 if unknown. Raises MediaError: ``no-frames``, or ``too-large`` if
    nothing could be decoded since all is over ``MAX_PIXELS``.
    """
    stream = video.stream
    unit = float(stream.time_base or 0)
    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    damage, aspect = Damage(video), PixelAspect(video)
    slots: deque[int] = deque()  # AVI only: the display slots that are not taken yet
    start, now = None, 0.0
    for picture in _pictures(video, damage, aspect, slots, tap):
        tick = slots.popleft() if slots else picture.pts
        time = tick * unit if tick is not None else (start or 0.0) + now + usual
        start = time if start is None else start
        damage.see_picture(picture, went_back=time - start < now)
        now = max(time - start, now)
        report.decoded += 1
        yield now, picture.duration * unit or usual, Shown(picture, aspect.of(picture))
    if report.decoded == 0:
        errors = video.log.errors + damage.decoder_log.errors
        if size := too_large(errors):
            raise MediaError("too-large", f"{video.path}: frames of {size} are over {MAX_PIXELS} pixels")
        none = f"{damage.refused} packets are damaged" if damage.refused else "the file holds none"
        reason = damage.stopped or (errors[-1] if errors else none)
        raise MediaError("no-frames", f"{video.path}: no frame could be decoded: {reason}")
    report.faults += damage.faults(report.decoded) + aspect.faults()


def _pictures(
    video: Video,
    damage: Damage,
    aspect: PixelAspect,
    slots: deque[int],
    tap: Callable[[Packet[Any]], None] | None,
) -> Iterator[VideoFrame]:
    """All pictures of the stream, past packets that cannot be decoded, up to where the file cannot be read.

    AVI has no presentation times: its n-th chunk only says when the n-th picture is shown. These times go to
    ``slots``, in order; what FFmpeg guesses instead runs backwards where there are B-frames.
    """
    timeline = Timeline(float(video.stream.time_base or 0))
    for packet in _packets(video, damage):
        if packet.stream.index != video.stream.index:
            damage.see_packet(packet)
        else:
            damage.restarts += timeline.place(packet)
            damage.see_packet(packet)
            if video.demuxer == "avi" and packet.dts is not None:
                slots.append(packet.dts)
            if tap is not None:
                tap(packet)
            pictures = _decoded(video, packet, damage)
            aspect.see_packet(packet)
            yield from pictures
    yield from _decoded(video, None, damage)  # those that the decoder still holds


def _packets(video: Video, damage: Damage) -> Iterator[Packet[Any]]:
    """The packets of all streams: sound and subtitles too show whether the file goes on to its end."""
    packets = video.container.demux()
    while True:
        try:
            with video.log.capture():
                packet = next(packets, None)
        except READ_ERRORS as error:
            damage.stopped = str(error)
            return
        except IndexError:  # all is read: PyAV stumbles over streams that began in the middle of the file
            return
        if packet is None:
            return
        if packet.dts is not None or packet.pts is not None or packet.size > 0:  # else it only marks the end
            yield packet


def _decoded(video: Video, packet: Packet[Any] | None, damage: Damage) -> list[VideoFrame]:
    with damage.decoder_log.capture():
        try:
            return video.stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except READ_ERRORS:
            damage.refused += 1
            return []
