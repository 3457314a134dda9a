"""Make clips with PyAV's encoders, every frame with its own number as black and white blocks, and read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidface.errors import MediaError
from vidface.frames import Frame, ReadReport, read_frames

GOP = {"g": "12", "bf": "3", "sc_threshold": "0"}
BITS = 9
BLOCK = 16
WIDTH, HEIGHT = 160, 96  # a row of 9 blocks with a margin, and two coloured corners below
RED, BLUE = (200, 40, 40), (40, 40, 200)
MATRICES = {"bt709": 1, "bt601": 6, None: 2}


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 [height, width, 3]: the number on top, red in the lower left corner, blue in the lower right."""
    picture = np.full((height, width, 3), 110, np.uint8)
    for bit in range(BITS):
        picture[8 : 8 + BLOCK, 8 + bit * BLOCK : 8 + (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    picture[-40:, :40] = RED
    picture[-40:, -40:] = BLUE
    x = 44 + number * 7 % (width - 100)
    picture[-36:-12, x : x + 12] = (90, 200, 60)  # something that moves, so that motion is coded
    return picture


def read_number(pixels: np.ndarray) -> int | None:
    """The number of an upright numbered picture, or None where it is not one."""
    blocks = pixels[12 : 4 + BLOCK, 8 : 8 + BITS * BLOCK].astype(float).mean(axis=(0, 2))
    levels = blocks.reshape(BITS, BLOCK)[:, 4:-4].mean(axis=1)
    if np.any(np.abs(levels - 128) < 50):
        return None
    left, right = (
        pixels[-24:-8, columns].astype(int).mean(axis=(0, 1)) for columns in (slice(8, 24), slice(-24, -8))
    )
    if np.abs(left - RED).max() > 16 or np.abs(right - BLUE).max() > 16:
        return None
    return int(sum(1 << bit for bit in range(BITS) if levels[bit] > 128))


def read(
    path: Path, decoder: str = "pyav", fps: float | None = None, **options: Any
) -> tuple[list[Frame], ReadReport]:
    """All frames of a path, and what was met."""
    report = ReadReport()
    frames = list(read_frames(path, decoder=decoder, fps=fps, report=report, **options))
    assert report.sampled == len(frames)
    return frames, report


def read_numbers(
    path: Path, decoder: str = "pyav", fps: float | None = None
) -> tuple[list[int | None], list[float], ReadReport]:
    """The numbers of all frames, their times in seconds, and what was met."""
    frames, report = read(path, decoder, fps)
    return [read_number(frame.pixels) for frame in frames], [frame.pts_seconds for frame in frames], report


def kinds(report: ReadReport) -> list[str]:
    return [kind for kind, _ in report.faults]


def refusal(
    path: Path, match: str = ".", decoder: str = "pyav", fps: float | None = None, **options: Any
) -> str:
    """The kind of the error that reading a path ends in, whose text is one line and has a match."""
    with pytest.raises(MediaError, match=match) as error:
        read(path, decoder, fps, **options)
    assert "\n" not in str(error.value) and " at 0x" not in str(error.value)
    return error.value.kind


@dataclass
class Clip:
    """How to encode one numbered clip, and the frames that a reader must give back."""

    name: str
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    frames: int = 50
    rate: int = 25
    width: int = WIDTH
    height: int = HEIGHT
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    times: Sequence[float] | None = None  # seconds, of each frame; None: evenly
    first: int = 0  # frames before it are cut away by an edit list
    audio_seconds: float = 0.0
    start: float = 0.0
    turn: int = 0
    matrix: str | None = None
    full_range: bool = False
    decord: bool = True  # whether decord reads it right; else it must refuse
    lossless: bool = False
    time_error: float = 0.0011  # Matroska rounds to milliseconds

    def expected(self) -> list[tuple[int, float]]:
        """(number, seconds since the first) of every frame that is shown."""
        times = self.times or [index / self.rate for index in range(self.frames)]
        return [(index, times[index] - times[self.first]) for index in range(self.first, self.frames)]

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        ticks = 90_000
        times = self.times or [index / self.rate for index in range(self.frames)]
        with (
            av.logging.Capture(),
            av.open(str(path), "w", format=self.format, container_options=self.container) as out,
        ):
            video = out.add_stream(self.codec, rate=self.rate, options=self.options)
            flip = self.turn in (90, 270)
            video.width, video.height = (self.height, self.width) if flip else (self.width, self.height)
            video.pix_fmt = self.pix_fmt
            context = video.codec_context
            context.thread_count = 1
            if self.times is not None:
                context.time_base = Fraction(1, ticks)
            if self.turn:
                video.set_display_rotation(self.turn)
            context.colorspace = MATRICES[self.matrix]
            context.color_range = 2 if self.full_range else 0
            if self.audio_seconds:
                self._add_audio(out)
            for index, time in enumerate(times):
                upright = numbered(index, self.width, self.height)
                stored = np.ascontiguousarray(np.rot90(upright, -self.turn // 90))
                picture = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(
                    format=self.pix_fmt,
                    dst_colorspace="itu709" if self.matrix == "bt709" else "itu601",
                    dst_color_range=2 if self.full_range else 1,
                )
                picture.colorspace = MATRICES[self.matrix]
                unit = Fraction(1, self.rate) if self.times is None else Fraction(1, ticks)
                picture.pts = index if self.times is None else round(time * ticks)
                picture.time_base = unit
                for packet in video.encode(picture):
                    self._mux(out, packet)
            for packet in video.encode(None):
                self._mux(out, packet)
        return path

    def _mux(self, out: Any, packet: Any) -> None:
        shift = round((self.start - self.first / self.rate) / packet.time_base)
        packet.pts += shift
        packet.dts += shift
        out.mux(packet)

    def _add_audio(self, out: Any) -> None:
        name = "libopus" if self.name.endswith("webm") else "mp2" if self.format == "mpeg" else "aac"
        audio = out.add_stream(name, rate=48_000, layout="mono")
        samples = int(self.audio_seconds * 48_000)
        for begin in range(0, samples, 960):
            sound = av.AudioFrame(format="s16", layout="mono", samples=960)
            sound.planes[0].update(bytes(2 * 960))
            sound.sample_rate, sound.pts, sound.time_base = 48_000, begin, Fraction(1, 48_000)
            out.mux(audio.encode(sound))
        out.mux(audio.encode(None))
