"""Time that starts anew inside a file: nothing is lost, time goes on, and it is said; what is not read is said too."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from clips import GOP, Clip, kinds
from clips import read_numbers as read

from vidface.frames import DECODERS
from vidface.frames.joined import Timeline

MPEG2 = {"g": "12", "bf": "2", "b": "2000k"}
CLOCK = 2**33 / 90_000  # when the clock of an MPEG stream runs over, seconds


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


STREAMS = [
    Clip("a.ts", options=GOP),
    Clip("sound.ts", options=GOP, audio_seconds=2.0),
    Clip("a.m2ts", options=GOP, format="mpegts", container={"mpegts_m2ts_mode": "1"}),
    Clip("mpeg2.ts", codec="mpeg2video", options=MPEG2),
    Clip("a.vob", codec="mpeg2video", options=MPEG2, format="vob"),
    Clip("a.mpg", codec="mpeg2video", options=MPEG2, format="mpeg", audio_seconds=2.0),
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("clip", STREAMS, ids=lambda clip: clip.name)
def test_three_clips_joined_byte_by_byte(clip: Clip, decoder: str, tmp_path: Path) -> None:
    """150 frames of 25 a second, one every 40 ms; before, the last two thirds were all at the end of the first."""
    path = joined(tmp_path / f"all_{clip.name}", *[clip.write(tmp_path)] * 3)
    numbers, times, report = read(path, decoder)
    assert numbers == [*range(50)] * 3
    assert times == pytest.approx([n / 25 for n in range(150)], abs=0.002)
    ((kind, detail),) = report.faults
    assert kind == "joined" and "2 times" in detail
    sampled = read(path, decoder, 8.0)[0]
    assert sampled == [int(k * 25 / 8 + 1e-9) % 50 for k in range(48)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_parts_that_keep_back_different_numbers_of_frames(decoder: str, tmp_path: Path) -> None:
    """Decoding and showing are some frames apart where there are B-frames: neither time may run backwards."""
    deep, none = (Clip(f"{bf}.ts", options={**GOP, "bf": bf}).write(tmp_path) for bf in ("3", "0"))
    numbers, times, report = read(joined(tmp_path / "all.ts", deep, none, deep), decoder)
    assert numbers == [*range(50)] * 3 and set(kinds(report)) == {"joined"}
    steps = [round(later - sooner, 3) for sooner, later in pairwise(times)]
    assert min(steps) >= 0.04 and max(steps) <= 0.2


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_clock_that_runs_over_is_no_restart(decoder: str, tmp_path: Path) -> None:
    """33 bits at 90 kHz last 26.5 hours; a recording over that moment goes on."""
    numbers, times, report = read(Clip("over.ts", options=GOP, start=CLOCK - 2.4).write(tmp_path), decoder)
    assert numbers == [*range(50)] and report.faults == []
    assert times == pytest.approx([n / 25 for n in range(50)], abs=0.002)


def test_a_clock_that_was_far_ahead(tmp_path: Path) -> None:
    """FFmpeg takes the second part's times for ones after the clock's end, and would put it 26.5 hours later."""
    parts = [Clip(f"{start}.ts", options=GOP, start=start).write(tmp_path) for start in (5000.0, 0.0)]
    check_two(joined(tmp_path / "all.ts", *parts))


def test_flash_whose_times_start_anew(tmp_path: Path) -> None:
    """The tags of a second recording behind the first, with one header: read on. With its own header: said."""
    clip = Clip("a.flv", options=GOP, container={"flvflags": "no_duration_filesize"}).write(tmp_path)
    data = clip.read_bytes()
    clip.write_bytes(data + data[13:])
    check_two(clip)


def check_two(path: Path) -> None:
    numbers, times, report = read(path)
    assert numbers == [*range(50)] * 2 and times == pytest.approx([n / 25 for n in range(100)], abs=0.01)
    assert kinds(report) == ["joined"]


SECOND = [
    Clip("a.flv", options=GOP),
    Clip("a.mp4", options=GOP),
    Clip("first.mp4", options=GOP, container={"movflags": "faststart"}),
    Clip("a.mkv", options=GOP),
    Clip("a.wmv", codec="wmv2", options={"b": "2000k"}),
]


@pytest.mark.parametrize("clip", SECOND, ids=lambda clip: clip.name)
def test_a_second_file_that_is_not_read_is_said(clip: Clip, tmp_path: Path) -> None:
    """FFmpeg reads the first of them alone, without a word; of Matroska it loses parts."""
    one = clip.write(tmp_path)
    assert read(one)[2].faults == []
    numbers, _, report = read(joined(tmp_path / f"all_{clip.name}", one, one, one))
    assert numbers[:50] == [*range(50)] and len(numbers) < 150
    assert set(kinds(report)) == {"partial"}
    assert any(f"begins at byte {one.stat().st_size:,}" in detail for _, detail in report.faults) or (
        "mp4" in clip.name and "a second mov file" in report.faults[0][1]
    )


def test_fragments_joined_lose_frames_and_say_so(tmp_path: Path) -> None:
    one = Clip("a.mp4", options=GOP, container={"movflags": "frag_keyframe+empty_moov"}).write(tmp_path)
    numbers, times, report = read(joined(tmp_path / "all.mp4", one, one))
    assert 50 < len(numbers) < 100 and times == sorted(times) and times[-1] > 2.5
    assert kinds(report) == ["partial"]


def packet(dts: int | None, pts: int | None, duration: int = 40) -> Packet[Any]:
    made: Packet[Any] = Packet(b"x")
    made.time_base = Fraction(1, 1000)
    made.dts, made.pts, made.duration = dts, pts, duration
    return made


def test_a_step_back_of_some_frames_is_no_restart() -> None:
    times = Timeline(0.001)
    given = [(0, 80), (40, 40), (80, 120), (200, 300), (120, 160), (None, 200), (240, 260)]
    packets = [packet(*one) for one in given]
    assert not any(times.place(one) for one in packets)
    assert [(one.dts, one.pts) for one in packets] == given


def test_parts_meet_without_gap_or_overlap() -> None:
    """By hand: 4 frames of 40 ms shown up to 240, then time from 1000 back to 80, where the next part begins."""
    times = Timeline(0.001)
    first = [packet(80, 80), packet(120, 200), packet(160, 120), packet(200, 160)]
    second = [packet(0, 80), packet(40, 120)]
    assert [times.place(one) for one in (*first, *second)] == [False] * 4 + [True, False]
    # Decoded up to 240, shown up to 240: the first of the second part is decoded at 240, and shown 80 later.
    assert [(one.dts, one.pts) for one in second] == [(240, 320), (280, 360)]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_subtitles_that_outlast_the_picture_are_no_truncation(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    plain = Clip("plain.mkv", options=GOP).write(tmp_path)
    with av.logging.Capture(), av.open(str(plain)) as given, av.open(str(path), "w") as out:
        codec = "subrip" if name == "a.mkv" else "mov_text"
        words = b"word" if name == "a.mkv" else b"\0\x04word"
        video: Any = out.add_stream_from_template(given.streams.video[0])
        titles: Any = out.add_stream(codec)
        titles.codec_context.subtitle_header = b"[Script Info]\n\n[V4+ Styles]\n\n[Events]\n"
        for begin in (0, 11_000):
            title: Packet[Any] = Packet(words)
            title.stream, title.time_base = titles, Fraction(1, 1000)
            title.pts = title.dts = begin
            title.duration = 1000
            if begin == 0:
                out.mux(title)
        for one in given.demux(video=0):
            if one.size:
                one.stream = video
                out.mux(one)
        out.mux(title)
    with av.open(str(path)) as made:
        # Of mp4 FFmpeg leaves text out.
        assert made.duration == (12_000_000 if name == "a.mkv" else 2_000_000)
    numbers, _, report = read(path)
    assert numbers == [*range(50)] and report.faults == []
