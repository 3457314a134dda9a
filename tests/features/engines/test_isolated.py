"""Decoding processes: what they give is what reading here gives, and none is lost, left over or used when it is dead.

Most tests use a stand-in for the decoder that starts in a moment and acts on a video's name, a ``sitecustomize`` of the
process. How the real one fails is tested in tests/faults/test_decoders.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import (
    frames_of,
    pooling_model,
    read_features,
    vidface,
    write_folder,
    write_manifest,
    write_video,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidface.errors import UsageError, VidfaceError
from vidface.features.engines.decoder import ClosedError, receive, send, without_known
from vidface.features.engines.isolated import Decoders, Limits
from vidface.features.engines.local import QUEUE_BLOCKS, read_ahead
from vidface.features.engines.reading import (
    BLOCK_FRAMES,
    Block,
    Message,
    ReadOptions,
    Video,
    VideoEnd,
    read_video,
)
from vidface.files.faces import NO_FACES, FaceCounts, FaceRows

READING = ReadOptions("pyav", 8.0, False, (112, 112), timeout=60.0)

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path

here = Path(__file__).parent

def say(header, pixels=b""):
    out.write(json.dumps(header).encode() + b"\\n" + pixels)
    out.flush()

def block(*values):
    pixels = b"".join(bytes([value]) * (112 * 112 * 3) for value in values)
    say({"shape": [len(values), 112, 112, 3], "times": list(values)}, pixels)

def first(what):
    marker = here / what
    if marker.exists():
        return False
    marker.touch()
    return True

def die():
    os.kill(os.getpid(), signal.SIGKILL)

if "vidface.features.engines.decoder" in sys.orig_argv:
    told = json.loads(sys.orig_argv[-1])
    out = os.fdopen(told["answers"], "wb")
    if (here / "slow to start").exists():
        time.sleep(1000)
    for number, line in enumerate(os.fdopen(0)):
        task = json.loads(line)
        words = task["video_id"].split()
        if "dies-unheard" in words and number and first("unheard"):
            die()
        say({"begun": True} if "mute" not in words else {"faults": [], "lost": False})
        if "dies-once" in words and task["known"] == 0:
            block(1, 2)
            die()
        if "dies" in words:
            block(1, 2)
            die()
        if "large" in words:
            held = b"x" * 100_000_000
        if "junk" in words:
            out.write(b"a library's words in a file that is not its own\\n")
            out.flush()
        if "half" in words:  # of a message
            out.write(b'{"shape": [1, 112, 112, 3], "times": [1]}\\n123')
            out.flush()
        if "lies" in words:  # as a decoder might that a clip has taken over
            header, *rest = json.loads((here / "lie").read_text())
            say(header, *(bytes(size) for size in rest))
        if "hangs" in words:
            time.sleep(1000)
        while "talks" in words:
            block(1)
        block(*[v for v in (1, 2, 3, 4) if v > task["known"]])
        say({"faults": [["pid", str(os.getpid())], ["path", task["path"]]], "lost": False})
    os._exit(0)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in takes the place of the decoder; the folder where it keeps what it remembers."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def taken(decoders: Decoders, words: str) -> tuple[list[float], VideoEnd]:
    """The times of all frames of a video, each of which shows its time, and its end."""
    times: list[float] = []
    *blocks, end = decoders.read(Video(words, Path("/videos/a.mp4")))
    for message in blocks:
        assert isinstance(message, Block)
        assert message.pixels[:, 0, 0, 0].tolist() == message.times
        times += message.times
    assert isinstance(end, VideoEnd)
    return times, end


def pid_of(end: VideoEnd) -> int:
    return int(dict(end.faults)["pid"])


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process is no longer there, and was waited for: a zombie is still there."""
    return not Path(f"/proc/{pid}").exists()


_others: set[int] = set()  # what was running before a test, such as the Ray of other tests


def children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if pid not in _others]


@pytest.fixture(autouse=True)
def _what_runs_already() -> None:
    _others.clear()
    _others.update(children())


def test_a_process_is_replaced_after_so_many_videos(stand_in: Path) -> None:
    with Decoders(READING, Limits(videos=2)) as decoders:
        ends = [taken(decoders, f"v{i}") for i in range(5)]
        assert all(times == [1, 2, 3, 4] for times, _ in ends)
        used = [pid_of(end) for _, end in ends]
        assert list(Counter(used).values()) == [2, 2, 1]
        assert used == sorted(used, key=used.index)
        assert [is_gone(pid) for pid in used] == [True, True, True, True, False]
    assert is_gone(used[-1])


def test_a_process_that_has_grown_is_replaced(stand_in: Path) -> None:
    with Decoders(READING, Limits(idle_bytes=80_000_000)) as decoders:
        small, again, large, after = (
            pid_of(taken(decoders, words)[1]) for words in ("a", "b", "large c", "d")
        )
    assert small == again == large != after


@pytest.mark.timeout(60)  # half of what a new process has to start in: that is not for one that had started
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "b dies-once"),  # the one death that a video may have is still its own
        (signal.SIGSTOP, "b"),
        (None, "b dies-unheard dies-once"),
    ],
    ids=["killed idle", "stopped idle", "dies before it hears of its video"],
)
def test_what_happens_between_two_videos_is_no_videos_fault(
    stand_in: Path, number: signal.Signals | None, words: str
) -> None:
    with Decoders(READING._replace(timeout=0.5 if number == signal.SIGSTOP else 60.0)) as decoders:
        _, end = taken(decoders, "a")
        if number is not None:
            os.kill(pid_of(end), number)
        times, after = taken(decoders, words)
        assert times == [1, 2, 3, 4] and pid_of(after) != pid_of(end) and not after.lost
        assert is_gone(pid_of(end))


def test_all_processes_die_idle(stand_in: Path) -> None:
    """More of them than may fail to start: dead ones are passed over, however many they are."""
    with Decoders(READING) as decoders:
        reads = [decoders.read(Video(str(i), Path("a"))) for i in range(4)]
        for read in reads:
            next(read)  # all at a time, so each in a process of its own
        used = [list(read)[-1] for read in reads]
        for end in used:
            assert isinstance(end, VideoEnd)
            os.kill(pid_of(end), signal.SIGKILL)
        times, _ = taken(decoders, "next")
        assert times == [1, 2, 3, 4] and len(children()) == 1


@pytest.mark.parametrize(
    ("words", "limits", "kind", "detail"),
    [
        ("dies", Limits(), "decoder-crashed", "the decoder crashed 2 times (signal SIGKILL)"),
        ("junk hangs", Limits(), "decoder-crashed", "the decoder crashed 2 times (signal SIGKILL)"),
        ("hangs", Limits(), "decoder-hung", "no frame for 0.5 s: the decoder was stopped"),
        ("half hangs", Limits(), "decoder-hung", "no frame for 0.5 s: the decoder was stopped"),
        ("large hangs", Limits(bytes=90_000_000), "decoder-memory", "0.09 GB and was stopped"),
        ("large talks", Limits(bytes=90_000_000), "decoder-memory", "0.09 GB and was stopped"),
    ],
)
def test_a_lost_video_and_the_next_one(
    stand_in: Path, words: str, limits: Limits, kind: str, detail: str
) -> None:
    timeout = 0.5 if kind == "decoder-hung" else 60.0
    with Decoders(READING._replace(timeout=timeout), limits) as decoders:
        _, end = taken(decoders, words)
        assert end.lost and [found for found, _ in end.faults] == [kind]
        assert end.faults[0][1].endswith(detail)
        assert children() == []
        times, end = taken(decoders, "next")
        assert times == [1, 2, 3, 4] and not end.lost


@pytest.mark.filterwarnings("ignore:.*Popen.*", "ignore:subprocess .* is still running")
def test_a_process_that_cannot_be_killed_is_left_behind(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that waits for a disk: neither its read nor the end of the run waits for it."""
    monkeypatch.setattr("vidface.features.engines.isolated.KILL_SECONDS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "kill", lambda self: None)
        with Decoders(READING._replace(timeout=0.5)) as decoders:
            _, end = taken(decoders, "hangs")
            assert end.lost and [kind for kind, _ in end.faults] == ["decoder-hung"]
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


LIES = {
    "no json of ours": [[1, 2]],
    "a number": [5],
    "that it begins once more": [{"begun": True}],
    "no times": [{"shape": [1, 112, 112, 3]}],
    "fewer times than rows": [{"shape": [2, 112, 112, 3], "times": [1.0]}, 2 * 112 * 112 * 3],
    "times that are none": [{"shape": [1, 112, 112, 3], "times": ["soon"]}, 112 * 112 * 3],
    "a time without end": [{"shape": [1, 112, 112, 3], "times": [float("inf")]}, 112 * 112 * 3],
    "a negative shape": [{"shape": [1, -112, -112, 3], "times": [1.0]}, 112 * 112 * 3],
    "more than there is memory": [{"shape": [1, 1 << 30, 1 << 30, 3], "times": [1.0]}],
    "rows of another size": [{"shape": [1, 8, 8, 3], "times": [1.0]}, 8 * 8 * 3],
    "faces where frames are asked for": [
        {"shape": [1, 112, 112, 3], "times": [1.0], "found": True},
        112 * 112 * 3 + 4 * (4 + 10 + 3),
    ],
    "counts that are none": [{"faults": [], "lost": False, "counts": ["a"]}],
    "faults that are none": [{"faults": 3, "lost": False}],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_decoder_that_lies_costs_its_video_alone(stand_in: Path, lie: list[Any]) -> None:
    """What it says is checked before there is memory for it, and no error of Python's comes of it."""
    (stand_in / "lie").write_text(json.dumps(lie))
    with Decoders(READING) as decoders:
        *blocks, end = decoders.read(Video("lies hangs", Path("a")))
        assert isinstance(end, VideoEnd) and end.lost and blocks == []
        assert end.faults == [("decoder-crashed", "the decoder crashed 2 times (signal SIGKILL)")]
        times, end = taken(decoders, "next")
        assert times == [1, 2, 3, 4] and not end.lost


def test_a_decoder_that_does_not_begin_does_not_start(stand_in: Path) -> None:
    with Decoders(READING) as decoders, pytest.raises(VidfaceError, match="do not start: signal SIGKILL"):
        list(decoders.read(Video("mute", Path("a"))))


def test_an_error_of_a_lying_decoder_is_one_line(stand_in: Path) -> None:
    (stand_in / "lie").write_text(json.dumps([{"error": "two\nlines \x1b[2J", "usage": False}]))
    with Decoders(READING) as decoders, pytest.raises(VidfaceError) as error:
        list(decoders.read(Video("lies hangs", Path("a"))))
    assert str(error.value) == "two lines \\x1b[2J"


def test_files_and_processes_do_not_pile_up(stand_in: Path) -> None:
    def open_files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    with Decoders(READING, Limits(videos=2)) as decoders:
        taken(decoders, "first")
        before = open_files()
        for video in range(60):
            taken(decoders, f"{video} {'dies' if video % 10 == 5 else ''}")
        assert open_files() <= before and len(children()) <= 1
    assert children() == []


def test_a_process_outlives_the_thread_that_needed_it_first(tmp_path: Path) -> None:
    """Linux would end it with the thread that started it. (The real decoder: only that one asks to be ended.)"""
    videos = [Video(str(i), write_folder(tmp_path / str(i), frames_of(i, 2))) for i in range(2)]
    used = []
    with Decoders(READING) as decoders:
        for video in videos:
            thread = threading.Thread(target=lambda video=video: list(decoders.read(video)))
            thread.start()
            thread.join()
            used.append(children())
    assert used[0] == used[1] and len(used[0]) == 1


@pytest.mark.parametrize("state", ["hangs", "starts"])
def test_stopping_ends_a_read_that_waits(stand_in: Path, state: str) -> None:
    if state == "starts":
        (stand_in / "slow to start").touch()
    got: list[Message] = []
    decoders = Decoders(READING)
    thread = threading.Thread(target=lambda: got.extend(decoders.read(Video("hangs", Path("a")))))
    thread.start()
    wait_for(children)
    decoders.stop()
    decoders.stop()
    thread.join(30)
    assert not thread.is_alive() and got == [] and children() == []
    assert list(decoders.read(Video("b", Path("b")))) == [] and children() == []


def test_a_process_that_starts_while_all_is_stopped_is_ended(stand_in: Path) -> None:
    decoders = Decoders(READING)
    gate = threading.Event()
    decoders._starter.submit(gate.wait)  # the next process waits behind it
    threads = [
        threading.Thread(target=lambda: list(decoders.read(Video("hangs", Path("a"))))),
        threading.Thread(target=decoders.stop),
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    gate.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert children() == []


def test_stopping_while_many_read(stand_in: Path) -> None:
    """At any moment: no process is left, and no read ends in an error."""
    for turn in range(5):
        decoders = Decoders(READING, Limits(videos=2))
        errors: list[BaseException] = []

        def read(decoders: Decoders = decoders, errors: list[BaseException] = errors) -> None:
            try:
                while list(decoders.read(Video("v", Path("a")))):
                    pass
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05 * turn)
        decoders.stop()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert errors == [] and children() == []


def test_a_read_that_is_given_up_leaves_no_process(stand_in: Path) -> None:
    with Decoders(READING) as decoders:
        with closing(decoders.read(Video("talks", Path("a")))) as messages:
            next(messages)
            assert len(children()) == 1
        assert children() == []


def test_processes_that_cannot_be_started(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(stand_in / "python"))
    with Decoders(READING) as decoders, pytest.raises(VidfaceError, match="cannot be started: No such file"):
        list(decoders.read(Video("a", Path("a"))))


def test_a_decoding_process_is_light() -> None:
    """It starts within a fraction of a second, many hundred times in a long run."""
    code = "import sys, vidface.features.engines.decoder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "vidface" in modules
    heavy = [
        "torch",
        "onnxruntime",
        "onnx",
        "h5py",
        "numba",
        "scipy",
        "pydantic",
        "faiss",
        "pyarrow",
        "click",
    ]
    assert modules & set(heavy) == set()


# Lone surrogates too, as names of files have.
texts = st.text(st.characters(exclude_categories=[]), max_size=30)
faces = st.integers(0, 5).flatmap(
    lambda n: st.builds(
        FaceRows,
        *[arrays(like.dtype, (n, *like.shape[1:]), elements=st.integers(0, 99)) for like in NO_FACES],
    )
)


@given(
    pixels=arrays(np.uint8, (5, 6, 4, 3)),
    times=st.lists(st.floats(0, 1e6), max_size=5),
    faces=st.none() | faces,
    end=st.builds(
        VideoEnd,
        st.lists(st.tuples(texts, texts), max_size=3),
        st.booleans(),
        st.none() | st.builds(FaceCounts, *[st.integers(0, 10**9)] * len(FaceCounts._fields)),
        st.none() | st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)),
    ),
    cut=st.integers(1, 100),
)
def test_what_is_sent_is_received(
    pixels: np.ndarray, times: list[float], faces: FaceRows | None, end: VideoEnd, cut: int
) -> None:
    if faces is not None:
        times = times[: len(faces.boxes)]
        faces = faces.rows(slice(len(times)))
    pixels = pixels[: len(times), ::-1, :, ::-1]  # they need not lie in order
    pipe = io.BytesIO()
    send(pipe, None)
    send(pipe, end)
    start = pipe.tell()
    send(pipe, Block(pixels, times, faces))
    whole = pipe.getvalue()
    pipe.seek(0)
    assert receive(pipe) is None and receive(pipe) == end
    got = receive(pipe)
    assert isinstance(got, Block) and got.times == times and (got.faces is None) == (faces is None)
    for one, other in zip((got.pixels, *(got.faces or ())), (pixels, *(faces or ())), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    size = len(whole) - start
    if times or cut > 1:  # of a block without pixels the last byte is a line's end, which may be missing
        pipe = io.BytesIO(whole[start : len(whole) - min(cut, size)])
        with pytest.raises(ClosedError):
            receive(pipe)


@pytest.mark.parametrize("kind", [UsageError, VidfaceError])
def test_an_error_of_the_run_is_raised_as_itself(kind: type[VidfaceError]) -> None:
    pipe = io.BytesIO()
    send(pipe, kind("say pyav or decord"))
    pipe.seek(0)
    with pytest.raises(VidfaceError, match="say pyav or decord") as raised:
        receive(pipe)
    assert type(raised.value) is kind


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 12), st.booleans())
def test_frames_that_are_known_do_not_come_again(lengths: list[int], known: int, found: bool) -> None:
    """Every number in a row, its pixels and its faces is its time."""
    messages: list[Message] = []
    for stop, length in zip(accumulate(lengths), lengths, strict=True):
        numbers = np.arange(stop - length, stop)

        def filled(like: np.ndarray, numbers: np.ndarray = numbers) -> np.ndarray:
            shape = (len(numbers), *like.shape[1:])
            return np.broadcast_to(numbers.reshape(-1, *[1] * (like.ndim - 1)), shape).astype(like.dtype)

        faces = FaceRows(*map(filled, NO_FACES)) if found else None
        messages.append(Block(filled(np.empty((0, 1, 1, 3), np.uint8)), numbers.tolist(), faces))
    *rest, end = without_known(iter([*messages, VideoEnd([])]), known)
    assert end == VideoEnd([])
    assert len(rest) == len(lengths)  # one that nothing is left of tells that the decoder is at work
    for block in rest:
        assert isinstance(block, Block) and (block.faces is not None) == found
        for array in (block.pixels, *(block.faces or ())):
            assert np.array_equal(array.reshape(len(array), -1 if len(array) else 1).min(axis=1), block.times)
            assert np.array_equal(array.reshape(len(array), -1 if len(array) else 1).max(axis=1), block.times)
    came = [time for block in rest if isinstance(block, Block) for time in block.times]
    assert came == list(range(known, sum(lengths)))


def same(one: Iterator[Message], other: Iterator[Message]) -> bool:
    """Whether two readings give the same frames and end alike, in whatever blocks."""

    def whole(messages: Iterator[Message]) -> tuple[bytes, list[float], VideoEnd]:
        *blocks, end = messages
        assert isinstance(end, VideoEnd)
        pixels = b"".join(block.pixels.tobytes() for block in blocks if isinstance(block, Block))
        return pixels, [time for block in blocks if isinstance(block, Block) for time in block.times], end

    return whole(one) == whole(other)


def test_the_real_decoder_gives_what_reading_here_gives(tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.mp4", frames_of(1, BLOCK_FRAMES + 7))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(long.read_bytes()[:-2000])
    # A name may be any bytes, a line's end among them.
    strange = write_folder(Path(os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9 \n{"x": 1}')), frames_of(2, 3))
    (strange / "broken\udce9.png").write_bytes(b"\x89PNG")
    paths = [long, cut, strange, tmp_path / "none.mp4", tmp_path]
    with Decoders(READING) as decoders:
        for path in paths:
            video = Video("v\n\udce9", path)
            assert same(decoders.read(video), read_video(video, READING)), path
        assert len(children()) == 1


def test_a_wrong_call_is_the_runs_error() -> None:
    with Decoders(READING._replace(decoder="none")) as decoders, pytest.raises(UsageError, match="'none'"):
        list(decoders.read(Video("a", Path("a.mp4"))))


def test_a_block_goes_out_in_time_where_frames_are_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidface.features.engines.reading.BLOCK_SECONDS", -1.0)
    video = Video("v", write_folder(tmp_path / "v", frames_of(0, 3)))
    *blocks, _ = read_video(video, READING)
    assert [len(block.times) for block in blocks if isinstance(block, Block)] == [1, 1, 1]


def numbered(video: Video) -> Iterator[Message]:
    """A video named "3" has 3 blocks; "bad" raises after one."""
    yield Block(np.zeros((1, 1, 1, 3), np.uint8), [0.0])
    if video.video_id == "bad":
        raise KeyError("bad")
    for number in range(1, int(video.video_id)):
        yield Block(np.zeros((1, 1, 1, 3), np.uint8), [float(number)])
    yield VideoEnd([("name", video.video_id)])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_reading_ahead_keeps_the_order(threads: int) -> None:
    counts = [3, 1, 40, 2, 1, 1, 9, 30, 1]
    videos = [Video(str(count), Path("v")) for count in counts]
    expected = [message for video in videos for message in numbered(video)]
    got = list(read_ahead(videos, numbered, threads))
    assert [str(message) for message in got] == [str(message) for message in expected]


def test_reading_ahead_is_bounded() -> None:
    read = threading.Semaphore(0)
    count = 0

    def counted(video: Video) -> Iterator[Message]:
        nonlocal count
        for message in numbered(video):
            count += 1
            yield message
            read.release()

    videos = [Video("1000", Path("v")) for _ in range(100)]
    with closing(read_ahead(videos, counted, 2)) as messages:
        next(messages)
        for _ in range(2 * QUEUE_BLOCKS):  # both threads come as far as they may
            assert read.acquire(timeout=30)
        time.sleep(0.3)
        # Each thread has filled its video's queue and holds one block more; one block was taken.
        assert count <= 2 * (QUEUE_BLOCKS + 1) + 1


def test_an_error_of_reading_ahead_comes_at_its_place() -> None:
    videos = [Video(name, Path("v")) for name in ("2", "bad", "3")]
    messages = read_ahead(videos, numbered, 2)
    assert [type(next(messages)) for _ in range(4)] == [Block, Block, VideoEnd, Block]
    with pytest.raises(KeyError, match="bad"):
        next(messages)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """A manifest of clips and folders of many lengths, the same in another order, and the features of one run."""
    root = tmp_path_factory.mktemp("drawn")
    rows = []
    for video, length in enumerate([3, 40, 1, 7, 70, 2, 12, 5]):
        frames = frames_of(video, length)
        write = partial(write_video, lossless=False) if video % 2 else write_folder
        rows.append((f"v{video}", write(root / f"{video}{'.mp4' * (video % 2)}", frames).name))
    rows.append(("v-none", "none.mp4"))
    manifest = write_manifest(root / "manifest.csv", rows)
    shuffled = write_manifest(
        root / "shuffled.csv", [rows[i] for i in np.random.default_rng(0).permutation(9)]
    )
    pooling_model(root / "cells.onnx")
    vidface("extract", manifest, "-o", root / "features.h5", "--model", root / "cells.onnx", code=1)
    return manifest, shuffled, by_id(root / "features.h5")


def by_id(path: Path) -> dict[str, np.ndarray]:
    ids, _, rows = read_features(path)
    return dict(zip(ids, rows, strict=True))


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (1, 64), (2, 5), (4, 32)])
def test_same_bytes_for_any_workers_batch_size_and_order(
    tmp_path: Path, drawn: tuple[Path, Path, dict[str, np.ndarray]], workers: int, batch_size: int
) -> None:
    manifest, shuffled, rows = drawn
    model = ("--model", manifest.with_name("cells.onnx"), "--workers", workers, "--batch-size", batch_size)
    vidface("extract", manifest, "-o", tmp_path / "features.h5", *model, code=1)
    assert (tmp_path / "features.h5").read_bytes() == manifest.with_name("features.h5").read_bytes()
    assert (tmp_path / "faults.jsonl").read_bytes() == manifest.with_name("faults.jsonl").read_bytes()
    vidface("extract", shuffled, "-o", tmp_path / "shuffled.h5", *model, code=1)
    again = by_id(tmp_path / "shuffled.h5")
    assert list(again) != list(rows) and set(again) == set(rows)
    assert all(again[video].tobytes() == rows[video].tobytes() for video in rows)
