"""Tell the damage of a video from what its packets and pictures show.

Three signs: what the decoder itself reports, packets that gave no picture, and an end that comes long before
the length stated in the file. ``tests/frames/test_frames_damage.py`` breaks clips in each of these ways, and
``tests/frames/test_frames_contract.py`` checks that whole clips of many kinds show none.
"""

from __future__ import annotations

from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from vidface.frames.demux import Log, Video, too_large
from vidface.frames.frame import MAX_PIXELS
from vidface.frames.joined import second_file

# Codecs in which every packet is one picture, so a packet without a picture is a lost one. (VP8 to AV1 have
# packets that are only referred to, MPEG-4 in AVI packs two pictures in one.)
ONE_TO_ONE = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mjpeg", "ffv1", "png"})

# Containers that are made to be joined by joining their bytes.
JOINABLE = frozenset({"mpegts", "mpeg", "flv"})

# Containers whose header states a duration. In the others FFmpeg takes it from the last packet or guesses it
# from the bit rate, which says nothing about what is missing.
STATES_DURATION = frozenset({"mov", "matroska", "avi", "flv", "asf"})

# Stated lengths are rounded, and count the last frame's own duration in different ways. On whole clips of
# some 50 kinds the difference was at most 0.011 s.
END_TOLERANCE_SECONDS = 0.25
END_TOLERANCE_FRAMES = 2


class Damage:
    """Collects the signs of damage while one video is decoded."""

    def __init__(self, video: Video) -> None:
        self.video = video
        self.decoder_log = Log()
        self._backwards = 0  # pictures whose time is before an earlier one's
        self.refused = 0  # packets that the decoder would not take
        self.stopped: str | None = None  # why the reading ended before the file did
        self.restarts = 0  # how often time started anew
        self._corrupt = 0  # pictures that the decoder marked as damaged
        self._interlaced = False
        self._awaited: set[int] = set()  # times of packets that have given no picture yet
        self._end = 0.0  # where the last packet of the video stream ends, in seconds
        self._last_end = 0.0  # and of any stream
        self._last_place = 0  # of a packet, in bytes of the file

    def see_packet(self, packet: Packet[Any]) -> None:
        """Note a packet of any stream before it is decoded."""
        self._last_place = max(self._last_place, packet.pos or 0)
        if packet.pts is None or packet.time_base is None:
            return
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        self._last_end = max(self._last_end, end)
        if packet.stream.index == self.video.stream.index:
            self._end = max(self._end, end)
            if not packet.is_discard:
                self._awaited.add(packet.pts)

    def see_picture(self, picture: VideoFrame, *, went_back: bool) -> None:
        """Note a decoded picture, and whether its time is before an earlier one's."""
        self._backwards += went_back
        self._corrupt += picture.is_corrupt
        self._interlaced |= picture.interlaced_frame
        if picture.pts is not None:
            self._awaited.discard(picture.pts)

    def faults(self, decoded: int) -> list[tuple[str, str]]:
        """Sum up, after the last picture, as (kind, detail) for a ``ReadReport``."""
        video, errors = self.video, self.decoder_log.errors
        found: list[tuple[str, str]] = []

        def add(kind: str, detail: str) -> None:
            found.append((kind, detail))

        if self._corrupt or self.refused or errors:
            made_up = f"of {decoded} frames {self._corrupt} are partly made up by the decoder"
            lost = f"{self.refused} packets could not be decoded"
            add("concealed", f"{made_up}, {lost}{_first(errors)}")
        if size := too_large(errors):
            add("too-large", f"some of its frames, of {size}, are over {MAX_PIXELS} pixels: left out")
        if errors := self._container_errors():
            add("partial", f"the {video.demuxer} container is damaged{_first(errors)}")
        one_to_one = video.stream.codec_context.name in ONE_TO_ONE and not self._interlaced
        if one_to_one and self._awaited:
            add("partial", f"{len(self._awaited)} frames are lost, {decoded} are left")
        if self._backwards:
            add("partial", f"the times of {self._backwards} of {decoded} frames run backwards")
        if self.stopped is not None:
            add("partial", f"reading stopped after {decoded} frames: {self.stopped}")
        if self.restarts:
            lossless = video.demuxer in JOINABLE
            often = "once" if self.restarts == 1 else f"{self.restarts} times"
            parts = "each part is taken to begin where the one before ends"
            loss = "" if lossless else f"; between parts of {video.demuxer} files frames can be lost"
            kind = "joined" if lossless else "partial"
            add(kind, f"its time starts again {often}, as in joined files: {parts}{loss}")
        second = second_file(video.file, video.demuxer, self._last_place)
        if second is not None:
            what = (
                f"a second {video.demuxer} file begins at byte {second:,}, and all or part of it was not read"
            )
            add("partial", f"{what}: join the files with FFmpeg's concat, or list each as a video")
        missing = self._missing_seconds()
        rate = video.stream.average_rate
        frames = float(END_TOLERANCE_FRAMES / rate) if rate else 0.0
        if missing > END_TOLERANCE_SECONDS + frames:
            add("truncated", f"the video ends {missing:.2f} s before the length that the file states")
        return found

    def _container_errors(self) -> list[str]:
        """What was reported outside of the picture's decoder; what a sound decoder met while probing is no matter."""
        others = [stream for stream in self.video.container.streams if stream.type != "video"]
        names = tuple(f"{other.codec_context.name}: " for other in others if other.codec_context is not None)
        return [line for line in self.video.log.errors if not line.startswith(names)]

    def _missing_seconds(self) -> float:
        """How long before its stated end the video breaks off."""
        stream, container = self.video.stream, self.video.container
        if self.video.demuxer not in STATES_DURATION:
            return 0.0
        missing = 0.0
        if container.duration is not None:
            # Matroska counts from 0 even if the first frame comes later, so all are taken to.
            missing = container.duration / av.time_base - self._last_end
        if stream.duration is not None and stream.time_base is not None:
            begin = stream.start_time or 0
            missing = max(missing, float((begin + stream.duration) * stream.time_base) - self._end)
        return missing


def _first(errors: list[str]) -> str:
    return f" ({len(errors)} errors, first: {errors[0]})" if errors else ""
