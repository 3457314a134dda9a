from __future__ import annotations

import io
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from python2_pickle import python2_pickle

from vidface.errors import StoreError
from vidface.files.unpickle import load_plain

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def refusal(content: bytes) -> str:
    """The one line that a pickle is refused with."""
    with pytest.raises(StoreError) as caught:
        load_plain(content, source="set.bin")
    text = str(caught.value)
    assert text.startswith("set.bin: ") and text.isprintable() and len(text) < 400
    return text


# Plain values


def same(left: Any, right: Any) -> bool:
    """Equal, of the same type, all the way down; NaN equals itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind in "fc")
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and all(same(left[key], right[key]) for key in left)
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


NUMBERS = st.sampled_from(
    [np.dtype(code) for code in ["?", "i1", "<i2", ">i4", "u8", "f2", "<f4", ">f8", "c8", "c16"]]
)
KEYS = st.text(max_size=5) | st.binary(max_size=5) | st.integers(-(2**63), 2**63) | st.booleans() | st.none()
LEAVES = (
    KEYS
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.binary(max_size=300)
    | hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    | NUMBERS.flatmap(hnp.from_dtype).map(lambda value: value[()])
    | st.sets(KEYS, max_size=4)
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_come_back_as_pickle_itself_reads_them(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    ours = load_plain(content, source="here")
    assert same(ours, pickle.loads(content))  # noqa: S301
    assert pickle.dumps(ours) is not None  # whole objects, also for those who take them apart


@given(
    array=hnp.arrays("f4", (3, 4, 2)),
    view=st.sampled_from(
        [
            np.transpose,
            np.asfortranarray,
            lambda a: a[::2],
            lambda a: a[:, 1:3],
            lambda a: a.transpose(1, 0, 2),
        ]
    ),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_arrays_in_any_order_are_writable_and_of_their_own(
    array: np.ndarray, view: Callable[[np.ndarray], np.ndarray], protocol: int
) -> None:
    ours = load_plain(pickle.dumps(view(array), protocol), source="here")
    assert same(ours, np.array(view(array)))
    ours[...] = 1
    assert (ours == 1).all()


def test_python_2() -> None:
    """What Python 2.7 wrote for {'a': [1, 2L, True, u'\xe9', 'x\xff', 1.5, (None,)]}, by protocol."""
    protocols = (
        b"(dp0\nS'a'\np1\n(lp2\nI1\naL2L\naI01\naV\xe9\np3\naS'x\\xff'\np4\naF1.5\na(Ntp5\nas.",
        b"}q\x00U\x01aq\x01]q\x02(K\x01L2L\nI01\nX\x02\x00\x00\x00\xc3\xa9q\x03U\x02x\xffq\x04G?\xf8\x00\x00\x00\x00\x00\x00(Nt"
        b"q\x05es.",
        b"\x80\x02}q\x00U\x01aq\x01]q\x02(K\x01\x8a\x01\x02\x88X\x02\x00\x00\x00\xc3\xa9q\x03U\x02x\xffq\x04G?\xf8\x00\x00"
        b"\x00\x00\x00\x00N\x85q\x05es.",
    )
    for content in protocols:
        assert load_plain(content, source="here") == {"a": [1, 2, True, "é", "xÿ", 1.5, (None,)]}
        expected = {b"a": [1, 2, True, "é", b"x\xff", 1.5, (None,)]}
        assert load_plain(content, source="here", encoding="bytes") == expected


def test_official_features_of_iqiyi() -> None:
    random = np.random.default_rng(5)
    faces = [
        [n, [0.5, 1.5, 2.5, 3.5], 0.5, -1.25, random.normal(size=512).astype(np.float16)] for n in range(3)
    ]
    features = {"IQIYI_VID_TRAIN_0000001.mp4": faces, "IQIYI_VID_VAL_0000002.mp4": faces[1:]}
    content = python2_pickle(features)
    assert same(load_plain(io.BytesIO(content), source="here"), features)
    assert same(pickle.loads(content, encoding="latin1"), features)  # noqa: S301 - the bytes are what they say


def test_shared_and_cyclic_values() -> None:
    shared = [1]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    ours = load_plain(pickle.dumps(loop), source="here")
    assert ours[2] is ours and ours[0] is ours[1]


# Hostile ones; tests/faults/test_models.py offers live payloads to all that read pickles


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93\x8c\x01x\x85R.",  # a nested name
        b"coperator\nattrgetter\n(S'system'\ntR(cos\n__dict__\nt0cos\nsystem\n(S'x'\ntR.",
        b"(lp0\nI1\na0cos\nsystem\n(S'x'\ntR.",  # after a plain value
        b"(S'x'\nios\nsystem\n.",
    ],
)
def test_a_call_is_refused_by_name(content: bytes) -> None:
    assert "is a pickle that wants to call " in refusal(content)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
FLOAT = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
ENDIAN = b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nload\n.",
        b"(dcnumpy\nndarray\nI1\ns.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(S'x'\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray\n(I3\ntR.",
        b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n(S'f4,O'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n((lI0\nI1\ntR.",
        FLOAT + b"(I3\nS'|'\nN(S'a'\nt(dNNI0\ntb.",
        ARRAY + b"(I1\n(I9999\nt" + FLOAT + ENDIAN + b"I00\nS'1234'\ntb.",
        ARRAY + b"(I1\n(I-1\nt" + FLOAT + ENDIAN + b"I00\nS'1234'\ntb.",
        ARRAY + b"(I1\n(I0\nI999999999999999999999\nt" + FLOAT + ENDIAN + b"I00\nS''\ntb.",
        ARRAY + b"(I1\n(I1\nt" + FLOAT + ENDIAN + b"I00\n(lI7\natb.",
        ARRAY + b"(I1\n(I1\nt" + FLOAT + ENDIAN + b"I00\nItb.",
        ARRAY + b"(dS'x'\nI1\nsb.",
        b"I1\n(dS'x'\nI1\nsb.",
        b"c__builtin__\nset\n(}N\x86b.",  # attributes of a function of our own
        b"c__builtin__\nset\n)\x81.",
        b"(c__builtin__\nset\no.",
        b"(i__builtin__\nset\n.",
        b"c__builtin__\nset\nS'ab'\nR.",
        b"c__builtin__\nset\n(" + b"N" * 17 + b"tR.",
        b"S'upper'\n)R.",
        b"(lI1\nI2\ns.",  # an item of a list
        b"N]a.",
        b"c_codecs\nencode\n(Vx\nS'hex_codec'\ntR.",
        b"c__builtin__\nbytes\n(I99999999999\ntR.",
        b"c__builtin__\nset\n((l(lattR.",
        b"Psomething\n.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02\x82\x01.",
        b"\x80\x05\x97.",
        b"S'\\x4'\n.",
        b"S'a\n.",
        b"I12a\n.",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x80\x07\xff.",
        b"g5\n.",
        b"t.",
        b"(.",
        b".",
        b"",
        b"<html>",
        b"PK\x03\x04",
    ],
)
def test_what_is_not_plain_is_refused_in_one_line(content: bytes) -> None:
    refusal(content)


@pytest.mark.parametrize("shape", [b"(I9999\nt", b"(I0\nt", b"(t", b"(I1\nI2\nt"])
def test_an_array_holds_its_bytes_and_no_others(shape: bytes) -> None:
    """Said here and not by numpy, which would be asked to make it first."""
    content = ARRAY + b"(I1\n" + shape + FLOAT + ENDIAN + b"I00\nS'12'\ntb."
    assert "says it holds more or less than its 2 bytes" in refusal(content)
    buffer = b"cnumpy.core.numeric\n_frombuffer\n(C\x0212" + FLOAT + shape + b"S'C'\ntR."
    assert "says it holds more or less than its 2 bytes" in refusal(buffer)


def test_a_name_cannot_break_the_line() -> None:
    text = refusal(b"\x80\x04\x8c\x05o\ns\x1b[\x8c\x01x\x93.")
    assert "o\\ns\\x1b[.x" in text


def test_every_cut_is_an_error() -> None:
    for protocol in PROTOCOLS:
        content = pickle.dumps([{"a": (1, "x", b"y", 2.5)}, {3}, np.arange(3), np.float32(1)], protocol)
        for end in range(len(content)):
            refusal(content[:end])


@given(st.binary(max_size=60), st.integers(0, 10**6), st.integers(0, 255))
def test_garbage_is_a_value_or_one_line(garbage: bytes, place: int, byte: int) -> None:
    whole = bytearray(pickle.dumps([{"a": (1, "x", b"y")}, np.arange(3.0)], 2))
    whole[place % len(whole)] = byte
    for content in (garbage, garbage + b".", bytes(whole)):
        try:
            load_plain(content, source="here")
        except StoreError as error:
            assert str(error).isprintable()


DEEP = 2 * 10**5  # 3 times what ends a process under pickle itself
LATIN1 = b"X\6\0\0\0latin1"
BOMBS = {
    "a list of very many lists": b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "a tuple of very many tuples": b")" + b"\x85" * DEEP + b".",
    "very many marks": b"(" * DEEP + b".",
    "a deep key": b"})" + b"\x85" * DEEP + b"Ns.",
    "a deep member": b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.",
    "a key that is 2^60 tuples": b"})" + b"2\x86" * 60 + b"Ns.",
    "a large memo": b"Nr\xff\xff\xff\xff.",
    "4 GB of text": b"X\xff\xff\xff\xff.",
    "8 EB of bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7f.",
    "a frame of 8 EB": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "one text as bytes 10^5 times": b"c_codecs\nencode\nq\0" + b"X" + (10**5).to_bytes(4, "little") + b"x" * 10**5
    + b"q\1" + LATIN1 + b"q\2(" + b"h\0h\1h\2\x86R" * 10**5 + b"l.",
    "one array 10^4 times": b"c_codecs\nencode\nX" + (40_000).to_bytes(4, "little") + b"x" * 40_000 + LATIN1
    + b"\x86Rq\0" + FLOAT + b"q\1(" + (ARRAY + b"(K\1M\x10\x27\x85h\1I00\nh\0tb") * 10**4 + b"l.",
}  # fmt: skip


def test_bombs_cost_neither_the_process_nor_memory() -> None:
    """In a process of its own with 2 GB: under pickle itself the deep key ends it, the memo takes 4 GB and more."""
    script = (
        "import pickle, resource, sys\n"
        "from vidface.errors import StoreError\n"
        "from vidface.files.unpickle import load_plain\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "for name, content in pickle.load(sys.stdin.buffer).items():\n"
        "    try:\n"
        "        load_plain(content, source=name)\n"
        "        print(name, '- read')\n"
        "    except StoreError as error:\n"
        "        print(error)\n"
        "print('grown by', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(BOMBS), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    *lines, grown = done.stdout.decode().splitlines()
    assert [line.split(" - ")[0].split(":")[0] for line in lines] == list(BOMBS)
    # Deep lists and tuples are plain values; a memo place is one entry. The others claim what they have not.
    assert {line for line in lines if line.endswith(" - read")} == {
        f"{name} - read"
        for name in ("a list of very many lists", "a tuple of very many tuples", "a large memo")
    }
    assert int(grown.split()[-1]) < 400_000, grown


def test_what_may_be_used_again_may_be_used_again() -> None:
    """The limits above do not touch what numpy and torch write: the same bytes in many small arrays."""
    numbers = [np.bool_(True)] * 3 + [np.int8(1) for _ in range(1000)]
    for protocol in PROTOCOLS:
        assert load_plain(pickle.dumps(numbers, protocol), source="here") == numbers
