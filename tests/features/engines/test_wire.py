"""What goes into a pipe comes out of it, however it is cut; an end, a silence and junk are told apart."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidface.errors import UsageError, VidfaceError
from vidface.features.engines.decoder import without_known
from vidface.features.engines.reading import Block, VideoEnd
from vidface.features.engines.wire import Begun, ClosedError, SilentError, receive, send
from vidface.files.faces import NO_FACES, FaceCounts, FaceRows

texts = st.text(
    st.characters(exclude_categories=[]), max_size=30
)  # lone surrogates too: names of files have them
numbers = st.floats(width=32, allow_nan=False)


def faces_of(n: int) -> st.SearchStrategy[FaceRows]:
    """Faces with any numbers: what is sent must come to the last bit."""
    shapes = ((n, 4), (n, 5, 2), (n,), (n,))
    floats = [arrays(np.float32, shape, elements=numbers) for shape in shapes]
    return st.builds(FaceRows, *floats, arrays(np.int32, n))


blocks = st.integers(0, 5).flatmap(
    lambda n: st.builds(
        Block,
        arrays(np.uint8, (n, 4, 6, 3)),
        st.lists(st.floats(0, 1e6), min_size=n, max_size=n),
        st.none() | faces_of(n),
    )
)
counts = st.builds(FaceCounts, *[st.integers(0, 10**9)] * len(FaceCounts._fields))
sizes = st.tuples(st.integers(1, 10**5), st.integers(1, 10**5))
ends = st.builds(
    VideoEnd,
    st.lists(st.tuples(texts, texts), max_size=3),
    st.booleans(),
    st.none() | counts,
    st.none() | sizes,
)


@contextmanager
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        try:
            yield reader, stream
        finally:
            os.close(reader)


def nothing() -> None:
    pass


@given(st.lists(st.one_of(blocks, ends, st.builds(Begun)), max_size=5))
def test_what_is_sent_is_received(messages: list[Block | VideoEnd | Begun]) -> None:
    with pipe() as (reader, stream):
        for message in messages:
            send(stream, message)
            got = receive(reader, 5.0, nothing)
            assert type(got) is type(message)
            if isinstance(message, Block):
                assert isinstance(got, Block)
                assert got.pixels.dtype == np.uint8 and got.pixels.shape == message.pixels.shape
                assert np.array_equal(got.pixels, message.pixels)
                assert got.times == message.times
                assert (got.faces is None) == (message.faces is None)
                for mine, theirs in zip(got.faces or (), message.faces or (), strict=True):
                    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                    assert mine.tobytes() == theirs.tobytes()
            else:
                assert got == message


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 12), st.booleans())
def test_frames_that_are_known_do_not_come_again(lengths: list[int], known: int, found: bool) -> None:
    times = iter(range(100))
    messages: list[Block | VideoEnd] = []
    for length in lengths:
        some = [float(next(times)) for _ in range(length)]
        pixels = np.array(some, np.uint8)[:, None, None, None].repeat(3, axis=3)
        numbered = [np.array(some, like.dtype).reshape(-1, *[1] * (like.ndim - 1)) for like in NO_FACES]
        faces = [
            number + np.zeros(like.shape[1:], like.dtype)
            for number, like in zip(numbered, NO_FACES, strict=True)
        ]
        messages.append(Block(pixels, some, FaceRows(*faces) if found else None))
    *rest, end = without_known(iter([*messages, VideoEnd([])]), known)
    assert end == VideoEnd([])
    assert len(rest) == len(lengths)  # one that nothing is left of tells that the decoder is at work
    for block in rest:
        assert isinstance(block, Block) and (block.faces is not None) == found
        for array in block.faces or ():
            assert (
                array.reshape(len(block.times), int(np.prod(array.shape[1:]))).min(axis=1).tolist()
                == block.times
            )
            assert (
                array.reshape(len(block.times), int(np.prod(array.shape[1:]))).max(axis=1).tolist()
                == block.times
            )
    came = [time for block in rest if isinstance(block, Block) for time in block.times]
    assert came == list(range(known, sum(lengths)))
    assert [
        value for block in rest if isinstance(block, Block) for value in block.pixels[:, 0, 0, 0].tolist()
    ] == came


def test_pixels_that_do_not_lie_in_order() -> None:
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)[:, ::-1, :, ::-1]
    with pipe() as (reader, stream):
        send(stream, Block(pixels, [0.0, 1.0]))
        got = receive(reader, 5.0, nothing)
        assert isinstance(got, Block) and np.array_equal(got.pixels, pixels)


def test_a_message_larger_than_the_pipe_in_small_pieces() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), np.uint8)
    with pipe() as (reader, stream), pipe() as (trickle, end):

        def pass_on() -> None:
            for size in range(1, 100_000):
                data = os.read(reader, size)
                if not data:
                    return
                end.write(data)
                end.flush()

        threads = [threading.Thread(target=pass_on)]
        threads.append(
            threading.Thread(target=lambda: (send(stream, Block(pixels, [0.5] * 32)), stream.close()))
        )
        for thread in threads:
            thread.start()
        got = receive(trickle, 5.0, nothing)
        for thread in threads:
            thread.join()
    assert isinstance(got, Block) and np.array_equal(got.pixels, pixels)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, -1])
def test_the_other_side_is_gone(kept: int) -> None:
    """Before a message, or in the middle of its mark, its header or its pixels."""
    with pipe() as (reader, stream):
        send(stream, Block(np.zeros((2, 4, 6, 3), np.uint8), [0.0, 1.0]))
        whole = os.read(reader, 1 << 16)
        stream.write(whole[:kept])
        stream.close()
        with pytest.raises(ClosedError):
            receive(reader, 5.0, nothing)


@pytest.mark.parametrize("said", [b"", b"vfd"])
def test_the_other_side_is_silent(said: bytes) -> None:
    looks: list[int] = []
    with pipe() as (reader, stream):
        stream.write(said)
        stream.flush()
        with pytest.raises(SilentError):
            receive(reader, 0.01, lambda: looks.append(1))
    assert looks


def test_what_looking_raises_ends_the_wait() -> None:
    def look() -> None:
        raise KeyError("seen")

    with pipe() as (reader, _), pytest.raises(KeyError, match="seen"):
        receive(reader, 1000.0, look)


def test_a_slow_side_is_not_a_silent_one() -> None:
    """Silence is counted from the last byte, not from the first."""
    with pipe() as (reader, stream):
        send(stream, VideoEnd([("kind", "detail")]))
        whole = os.read(reader, 1 << 16)

        def speak() -> None:
            for start, stop in pairwise([0, 10, 15, 20, 25, 30, len(whole)]):
                time.sleep(0.3)
                stream.write(whole[start:stop])
                stream.flush()

        thread = threading.Thread(target=speak)
        thread.start()
        got = receive(reader, 1.0, nothing)  # the header alone takes longer
        thread.join()
    assert got == VideoEnd([("kind", "detail")])


def test_junk_is_no_message() -> None:
    with pipe() as (reader, stream):
        stream.write(b"Warning: something went wrong in a library\n")
        stream.flush()
        with pytest.raises(ClosedError):
            receive(reader, 5.0, nothing)


@pytest.mark.parametrize("kind", [UsageError, VidfaceError])
def test_an_error_of_the_run_is_raised_as_itself(kind: type[VidfaceError]) -> None:
    with pipe() as (reader, stream):
        send(stream, kind("say pyav or decord"))
        with pytest.raises(kind, match="say pyav or decord") as raised:
            receive(reader, 5.0, nothing)
    assert type(raised.value) is kind
