"""Damaged videos: each kind becomes a fault, good frames stay, and no thread hears of another's damage."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import av
import numpy as np
import pytest
from clips import Clip, kinds, read_numbers

from vidface.errors import MediaError, UsageError
from vidface.frames import DECODERS, ReadReport, read_frames
from vidface.frames.demux import Log

GOP = {"g": "12", "bf": "2", "sc_threshold": "0"}
INDEX_FIRST = {"movflags": "faststart"}


def cut(path: Path, share: float) -> Path:
    short = path.with_name("cut_" + path.name)
    data = path.read_bytes()
    short.write_bytes(data[: int(len(data) * share)])
    return short


def flip(path: Path, begin: float, end: float, count: int, seed: int) -> Path:
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(int(begin * len(data)), int(end * len(data)), count):
        data[at] ^= 1 << int(random.integers(8))
    bad = path.with_name("flipped_" + path.name)
    bad.write_bytes(data)
    return bad


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("clip", "share"),
    [
        (Clip("cut.mp4", options=GOP, container=INDEX_FIRST), 0.6),
        (Clip("cut.mkv", options=GOP), 0.6),
        (Clip("cut_with_sound.mkv", options=GOP, audio_seconds=2.0), 0.6),
        (Clip("cut.flv", options=GOP), 0.6),
        # The stated length of the pictures counts, not that of the whole file.
        (Clip("sound_first.mp4", options=GOP, audio_seconds=2.0, container=INDEX_FIRST), 0.75),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_truncated_keeps_its_good_frames(clip: Clip, share: float, decoder: str, tmp_path: Path) -> None:
    numbers, _, report = read_numbers(cut(clip.write(tmp_path), share), decoder)
    assert 5 < len(numbers) < 45
    assert numbers == list(range(len(numbers)))
    assert "truncated" in kinds(report)
    assert report.decoded == report.sampled == len(numbers)


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_in_h264_are_counted(seed: int, tmp_path: Path) -> None:
    numbers, _, report = read_numbers(
        flip(Clip("bits.mp4", options=GOP).write(tmp_path), 0.35, 0.75, 5, seed)
    )
    assert set(kinds(report)) & {"concealed", "partial"}
    assert report.decoded == len(numbers) > 20


@pytest.mark.parametrize(
    "clip",
    [
        Clip("bits.mkv", codec="ffv1", pix_fmt="bgr0"),
        Clip("bits.avi", codec="mpeg4", options={"g": "12", "b": "2000k"}),
        Clip("bits.mov", codec="png", pix_fmt="rgb24"),
        Clip("bits.mpg", codec="mpeg2video", format="mpeg", options={"g": "12", "b": "4000k"}),
        Clip("bits.ts", options={**GOP, "crf": "5"}),
    ],
    ids=lambda clip: clip.name,
)
def test_flipped_bits_in_other_codecs(clip: Clip, tmp_path: Path) -> None:
    _, _, report = read_numbers(flip(clip.write(tmp_path), 0.4, 0.8, 12, seed=2))
    assert set(kinds(report)) & {"concealed", "partial"}


@pytest.mark.parametrize("seed", range(4))
def test_decord_hands_out_no_other_picture_of_a_damaged_clip(seed: int, tmp_path: Path) -> None:
    path = flip(Clip("bits.mp4", options=GOP, frames=150).write(tmp_path), 0.35, 0.75, 5, seed)
    report, truth = ReadReport(), ReadReport()
    good = {frame.pts_seconds: frame.pixels for frame in read_frames(path, fps=None, report=truth)}
    try:
        for frame in read_frames(path, decoder="decord", fps=None, report=report):
            difference = np.abs(frame.pixels.astype(int) - good[frame.pts_seconds])
            assert difference.mean() < 1
    except MediaError as error:
        assert error.kind == "decoder-refused"
    else:
        assert set(kinds(report)) & {"concealed", "partial", "decoder-refused"}


def test_a_lost_picture_is_partial(tmp_path: Path) -> None:
    """Whole packets can be missing without a single error: here a clip that starts in the middle of a GOP."""
    source = Clip("whole.mkv", options=GOP).write(tmp_path)
    bad = tmp_path / "no_start.mkv"
    with av.logging.Capture(), av.open(str(source)) as given, av.open(str(bad), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for index, packet in enumerate(given.demux(given.streams.video[0])):
            if index >= 6 and packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    numbers, _, report = read_numbers(bad)
    assert numbers[-1] == 49
    assert set(kinds(report)) & {"partial", "concealed"}


def test_many_threads_keep_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Good and damaged clips side by side, the same damage twice: as when each is read alone."""
    good = [Clip(f"good_{n}.mp4", options=GOP, frames=60 + n).write(tmp_path) for n in range(3)]
    bad = flip(Clip("bits.mp4", options=GOP, frames=80).write(tmp_path), 0.35, 0.75, 5, seed=0)
    twin = bad.with_name("twin.mp4")
    twin.write_bytes(bad.read_bytes())
    paths = [*good, bad, twin] * 6
    alone = {path: read_numbers(path) for path in dict.fromkeys(paths)}
    assert all(alone[path][2].faults == [] for path in good)
    assert alone[bad] == alone[twin] and alone[bad][2].faults
    caplog.clear()
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(read_numbers, paths))
    assert together == [alone[path] for path in paths]
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_each_thread_hears_its_own_errors() -> None:
    """The same line too: PyAV by itself folds a line that repeats the last one, whoever said it."""
    both = Barrier(2, timeout=60)

    def say(name: str) -> list[str]:
        log = Log()
        with log.capture():
            for words in (name, "the same"):
                both.wait()
                av.logging.log(av.logging.ERROR, "decoder", words)
            both.wait()
        return log.errors

    with ThreadPoolExecutor(2) as pool:
        heard = list(pool.map(say, ["one", "other"]))
    assert heard == [["decoder: one", "decoder: the same"], ["decoder: other", "decoder: the same"]]


def test_two_readers_in_one_thread_keep_apart(tmp_path: Path) -> None:
    good = Clip("good.mp4", options=GOP, frames=80).write(tmp_path)
    bad = flip(Clip("bits.mp4", options=GOP, frames=80).write(tmp_path), 0.35, 0.75, 5, seed=0)
    reports = ReadReport(), ReadReport()
    readers = [
        read_frames(path, fps=8.0, report=report) for path, report in zip((good, bad), reports, strict=True)
    ]
    for pair in zip(*readers, strict=False):
        assert len(pair) == 2
    for reader in readers:
        list(reader)
    assert reports[0].faults == []
    assert reports[1].faults == read_numbers(bad, fps=8.0)[2].faults != []


@pytest.mark.parametrize(
    ("decoder", "fps"), [("opencv", 8.0), ("pyav", 0.0), ("pyav", -1.0), ("pyav", float("nan"))]
)
def test_wrong_use_is_said_at_once(decoder: str, fps: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_frames(tmp_path, decoder=decoder, fps=fps, report=ReadReport())
