"""What is particular to decord: which installation is used, pieces, and memory on long clips."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import Clip, kinds, read, refusal

from vidface.errors import UsageError
from vidface.frames import ReadReport, decord_reader, read_frames

GOP = {"g": "12", "bf": "2", "sc_threshold": "0"}


@pytest.mark.parametrize(
    ("installed", "said"),
    [(("decord", "decord2"), "both installed"), ((), "not installed"), (("decord",), "decord2")],
)
def test_an_unclear_installation_is_refused(
    installed: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def distributions(name: str) -> Any:
        return iter([object()] if name in installed else [])

    monkeypatch.setattr(metadata, "distributions", distributions)
    with pytest.raises(UsageError, match=said):
        read_frames(tmp_path / "any.mp4", decoder="decord", report=ReadReport())


Calls = list[tuple[int, int]]
Change = Callable[[list[Any], list[Any], Calls], list[Any]]


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], Calls]:
    """Has what is asked of decord changed, as (packets, wanted, calls so far) -> wanted; the sizes of all calls."""
    right = decord_reader._decord_frames

    def start(change: Change) -> Calls:
        calls: Calls = []

        def asked(video: Any, packets: list[Any], wanted: list[Any]) -> Any:
            calls.append((len(packets), len(wanted)))
            return right(video, packets, change(packets, wanted, calls))

        monkeypatch.setattr(decord_reader, "_decord_frames", asked)
        return calls

    return start


def test_a_wrong_picture_is_never_handed_out(led: Callable[[Change], Calls], tmp_path: Path) -> None:
    """decord is made to give the next frame, as it does after a seek into an open GOP."""

    def one_late(packets: list[Any], wanted: list[Any], calls: Calls) -> list[Any]:
        shown = sorted(packet.pts for packet in packets)
        return [one._replace(pts=shown[min(shown.index(one.pts) + 1, len(shown) - 1)]) for one in wanted]

    led(one_late)
    path = Clip("a.mp4", options=GOP).write(tmp_path)
    assert refusal(path, r"another picture at 0\.000 s", "decord", 8.0) == "decoder-refused"


def test_a_refusal_after_good_frames_keeps_them(led: Callable[[Change], Calls], tmp_path: Path) -> None:
    def fails_later(packets: list[Any], wanted: list[Any], calls: Calls) -> list[Any]:
        if len(calls) == 2:
            raise decord_reader._RefusedError("it fails")
        return wanted

    calls = led(fails_later)
    frames, report = read(Clip("a.mp4", options=GOP, frames=200).write(tmp_path), "decord")
    assert len(frames) == calls[0][1] and kinds(report) == ["decoder-refused"]


def test_pieces_hold_few_frames_however_long_the_clip(
    led: Callable[[Change], Calls], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What bounds the memory: decord is never given more packets, nor asked for more frames, than one piece has."""
    calls = led(lambda packets, wanted, calls: wanted)
    path = Clip("a.mp4", options=GOP, frames=300).write(tmp_path)
    assert len(read(path, "decord")[0]) == 300
    assert max(packets for packets, _ in calls) <= decord_reader.PIECE_FRAMES + 12
    calls.clear()
    monkeypatch.setattr(decord_reader, "BATCH_BYTES", 10 * 160 * 96 * 3)
    assert len(read(path, "decord")[0]) == 300
    assert max(wanted for _, wanted in calls) == 10


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 frames of 1280x720: 4.1 GB as RGB."""
    import av

    path = tmp_path_factory.mktemp("long") / "long.mp4"
    stills = [np.full((720, 1280, 3), level, np.uint8) for level in (40, 90, 140, 190)]
    pictures = [
        av.VideoFrame.from_ndarray(still, format="rgb24").reformat(format="yuv420p") for still in stills
    ]
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "250", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for index in range(1500):
            pictures[index % 4].pts = index
            out.mux(stream.encode(pictures[index % 4]))
        out.mux(stream.encode(None))
    return path


# VmHWM starts anew with the program; ru_maxrss would still know the size of the test process that started it.
PEAK = """
import re, sys
from pathlib import Path
from vidface.frames import ReadReport, read_frames
report = ReadReport()
count = sum(1 for frame in read_frames(Path(sys.argv[1]), decoder=sys.argv[2], report=report))
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(count, report.decoded, len(report.faults), peak // 1024)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize(("decoder", "megabytes"), [("pyav", 250), ("decord", 1000)])
def test_a_long_clip_stays_bounded(decoder: str, megabytes: int, long_clip: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(long_clip), decoder], capture_output=True, text=True, check=True
    )
    count, decoded, faults, peak = map(int, done.stdout.split())
    assert (count, decoded, faults) == (480, 1500, 0)
    assert peak < megabytes
    assert done.stderr == ""
