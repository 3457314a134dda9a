"""Hostile models, weights and feature files given to the commands: one line, nothing runs, nothing else is read."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Ran, card_beside, frames_of, vidface, write_folder, write_graph, write_manifest
from onnx import TensorProto, helper

SIDE = 112
COMMAND = "touch MARKER"  # in the working directory, which is the test's own


def word(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def call(module: str, name: str, argument: bytes) -> bytes:
    """Protocol 4: module.name(argument)."""
    return word(module) + word(name) + b"\x93" + argument + b"\x85R"


DTYPE_OBJECT = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
RUNS = b"(cos\nsystem\nS'touch MARKER'\no"  # a value that is made by a call
# (opcodes up to the STOP, does pickle itself run it?)
PAYLOADS = {
    "os.system": (b"cos\nsystem\n(S'touch MARKER'\ntR", True),
    "posix.system by its short name": (b"\x80\x04" + call("posix", "system", word(COMMAND)), True),
    "eval": (b"\x80\x04" + call("builtins", "eval", word("open('MARKER','w').close()")), True),
    "eval of Python 2": (b"c__builtin__\neval\n(S\"open('MARKER','w').close()\"\ntR", True),
    "exec": (b"\x80\x04" + call("builtins", "exec", word("open('MARKER','w').close()")), True),
    "INST": (b"(S'touch MARKER'\nios\nsystem\n", True),
    "OBJ": (RUNS, True),
    "NEWOBJ": (b"\x80\x02csubprocess\nPopen\n((lp0\nS'touch'\naS'MARKER'\nat\x81", False),
    "NEWOBJ_EX": (b"\x80\x04" + word("subprocess") + word("Popen") + b"\x93)}\x92", False),
    "BUILD on a class": (b"cos\nsystem\n}S'__setstate__'\ncos\nsystem\nsb", False),
    "BUILD with a setter": (b"cnumpy\nndarray\n(NcX\n}S'a'\nI1\nstb", False),
    "EXT1": (b"\x80\x02\x82\x01", False),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00", False),
    "persistent id": (b"Pos.system touch MARKER\n", False),
    "binary persistent id": (b"S'touch MARKER'\nQ", False),
    "in a dictionary in a list": (b"(lp0\n(dp1\nS'x'\n" + RUNS + b"sa", True),
    "as a key": (b"(dp1\n" + RUNS + b"I1\ns", True),
    "in the memo, never used": (RUNS + b"p9\n0I1\n", True),
    "a pickle in a pickle": (
        b"\x80\x04" + call("_pickle", "loads", b"C" + bytes([len(RUNS) + 1]) + RUNS + b"."),
        True,
    ),
    "object array": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt"
        + DTYPE_OBJECT
        + b"I00\n(lp0\n"
        + RUNS
        + b"atb",
        False,
    ),
    "object scalar": (b"cnumpy.core.multiarray\nscalar\n(" + DTYPE_OBJECT + RUNS + b"tR", False),
    "a class of arrays": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmemmap\n(I0\ntS'b'\ntR",
        False,
    ),
    "numpy.load": (b"\x80\x04" + call("numpy", "load", word("MARKER")), False),
    "numpy runs a string": (
        b"cnumpy.testing._private.utils\nrunstring\n(S'import os; os.system(\"touch MARKER\")'\n}tR",
        False,
    ),
    "torch loads": (b"\x80\x04" + call("torch.storage", "_load_from_bytes", b"C\x01."), False),
    "by way of an allowed name": (
        b"\x80\x04" + word("numpy") + word("dtype.__class__.__base__.__subclasses__") + b"\x93)R",
        False,
    ),
    "getattr": (
        b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'touch MARKER'\ntR",
        True,
    ),
}


def archive(path: Path, content: bytes) -> None:
    """A torch archive of one pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", content)
        file.writestr("weights/version", b"3\n")


def array_of_objects(path: Path, content: bytes) -> None:
    """A .npy that says its content is one pickle, as numpy itself writes arrays of objects."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (4, 8), }"
    text = header.ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + content)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(2):
        write_folder(root / str(number), frames_of(number, 2))
    return write_manifest(root / "manifest.csv", [(f"v{n}", str(n), f"p{n}", "val") for n in range(2)])


@pytest.fixture
def offer(
    tmp_path: Path, videos: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Callable[[bytes], Ran]]:
    """Every way in for a pickle: a function that offers these bytes there and gives the end of the command."""
    monkeypatch.chdir(tmp_path)
    card = model.with_suffix(".toml").read_text().replace("dimension = 48", "dimension = 128")
    told = ("--manifest", videos)

    def weights(name: str, write: Callable[[Path, bytes], object]) -> Callable[[bytes], Ran]:
        def ran(content: bytes) -> Ran:
            path = tmp_path / name
            write(path, content)
            path.with_suffix(".toml").write_text(card + 'architecture = "y1"\n' * name.endswith(".pth"))
            return vidface("extract", videos, "-o", "features.h5", "--model", path)

        return ran

    def file(
        name: str, *words: object, write: Callable[[Path, bytes], object] = Path.write_bytes
    ) -> Callable[[bytes], Ran]:
        def ran(content: bytes) -> Ran:
            write(tmp_path / name, content)
            return vidface(*words)

        return ran

    return {
        "extract --model x.pth": weights("weights.pth", archive),
        "extract --model old.pth": weights("weights.pth", Path.write_bytes),
        "extract --model x.onnx": weights("weights.onnx", Path.write_bytes),
        "verify x.bin": file("pairs.bin", "verify", "pairs.bin", "--model", model),
        "score x.npy": file("f.npy", "score", "f.npy", *told, write=array_of_objects),
        "score pickle.npy": file("f.npy", "score", "f.npy", *told),
        "score x.bin": file("f.bin", "score", "f.bin", *told),
        "score x.h5": file("e.h5", "score", "e.h5", *told),
        "cluster x.h5": file("f.h5", "cluster", "f.h5", "-o", "out.h5"),
        "features from-iqiyi": file("f.pkl", "features", "from-iqiyi", "f.pkl", *told, "-o", "out.h5"),
        "submit --check": file("s.bin", "submit", "--check", "s.bin", *told),
        "dataset check x.rec": file("d.rec", "dataset", "check", "d.rec"),
        "budget x.pth": file("weights.pth", "budget", "weights.pth", write=archive),
    }


WAYS = (
    *(
        "extract --model x.pth",
        "extract --model old.pth",
        "extract --model x.onnx",
        "verify x.bin",
        "score x.npy",
    ),
    *(
        "score pickle.npy",
        "score x.bin",
        "score x.h5",
        "cluster x.h5",
        "features from-iqiyi",
        "submit --check",
    ),
    *("dataset check x.rec", "budget x.pth"),
)


@pytest.mark.parametrize("way", WAYS)
def test_no_payload_runs_anywhere(tmp_path: Path, offer: dict[str, Callable[[bytes], Ran]], way: str) -> None:
    assert set(offer) == set(WAYS)
    for name, (payload, _) in PAYLOADS.items():
        ran = offer[way](payload + b".")
        assert ran.code in (1, 2), (name, ran)
        assert ran.error and len(ran.error) < 1000, (name, ran)  # one line
        assert not (tmp_path / "MARKER").exists(), name
    assert not (tmp_path / "features.h5").exists() and not (tmp_path / "out.h5").exists()


def test_the_payloads_are_live_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need no more than pickle: or the test above would show nothing."""
    monkeypatch.chdir(tmp_path)
    live = [name for name, (_, runs) in PAYLOADS.items() if runs]
    assert len(live) >= 12
    for name in live:
        pickle.loads(PAYLOADS[name][0] + b".")  # noqa: S301
        assert (tmp_path / "MARKER").exists(), name
        (tmp_path / "MARKER").unlink()
    monkeypatch.chdir(tmp_path)
    array_of_objects(tmp_path / "a.npy", RUNS + b".")
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "MARKER").exists()


# ONNX


def tensor(values: np.ndarray, name: str) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(values.astype(np.float32), name)


def write_onnx(
    path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], dimension: int = 3
) -> Path:
    """A model of these nodes, x to y, and its card."""
    card_beside(path, dimension=dimension, mean=[0.0] * 3, std=[1.0] * 3)
    return write_graph(path, nodes, weights)


POOL = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]


def outside(location: str, **more: str) -> onnx.TensorProto:
    held = onnx.TensorProto(
        name="w", dims=[3], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **more}.items():
        held.external_data.add(key=key, value=value)
    return held


def extracted(model: Path, videos: Path, folder: Path) -> Ran:
    ran = vidface("extract", videos, "-o", folder / "features.h5", "--model", model, "--workers", 0)
    assert "Traceback" not in ran.err
    return ran


def refused(model: Path, videos: Path, folder: Path, *said: str) -> None:
    ran = extracted(model, videos, folder)
    assert ran.code in (1, 2) and str(model) in ran.error
    assert all(text in ran.error for text in said), ran.error
    assert not (folder / "features.h5").exists()


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "hard link", "folder link", "device"])
def test_onnx_data_outside_its_folder(tmp_path: Path, videos: Path, kind: str) -> None:
    """A hard link is the file itself: nobody can tell it from a file that lies there, so it is read."""
    (tmp_path / "in").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(3, dtype=np.float32).tobytes())
    location = {"above": "../secret", "absolute": str(secret), "device": "zero"}.get(kind, "w.bin")
    if kind == "link":
        (tmp_path / "in" / "w.bin").symlink_to("../secret")
    elif kind == "hard link":
        (tmp_path / "in" / "w.bin").hardlink_to(secret)
    elif kind == "folder link":
        (tmp_path / "in" / "sub").symlink_to(tmp_path)
        location = "sub/secret"
    elif kind == "device":
        (tmp_path / "in" / "zero").symlink_to("/dev/zero")
    add = helper.make_node("Add", ["f", "w"], ["y"])
    model = write_onnx(tmp_path / "in" / "m.onnx", [*POOL, add], [outside(location)])
    if kind == "hard link":
        assert extracted(model, videos, tmp_path).code == 0
    else:
        refused(model, videos, tmp_path, "outside its own folder")


@pytest.mark.parametrize(
    "more",
    [
        {"length": str(1 << 62)},
        {"offset": str(1 << 62)},
        {"offset": "-4"},
        {"length": "many"},
        {"offset": "4096", "length": "12"},
    ],
)
def test_onnx_data_beyond_its_file(tmp_path: Path, videos: Path, more: dict[str, str]) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    add = helper.make_node("Add", ["f", "w"], ["y"])
    model = write_onnx(tmp_path / "m.onnx", [*POOL, add], [outside("w.bin", **more)])
    refused(model, videos, tmp_path)


def cyclic() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [*POOL, helper.make_node("Add", ["f", "b"], ["a"]), helper.make_node("Add", ["a", "a"], ["b"]),
            helper.make_node("Identity", ["b"], ["y"])], []  # fmt: skip


def huge_weight() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    held = onnx.TensorProto(
        name="w", dims=[1 << 20, 1 << 20, 64], data_type=TensorProto.FLOAT, raw_data=b"1234"
    )
    return [*POOL, helper.make_node("Add", ["f", "w"], ["y"])], [held]


def negative_weight() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    held = onnx.TensorProto(name="w", dims=[-1, -3], data_type=TensorProto.FLOAT, raw_data=bytes(12))
    return [*POOL, helper.make_node("Add", ["f", "w"], ["y"])], [held]


def huge_result() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """2^46 numbers are asked for while it runs."""
    sides = onnx.numpy_helper.from_array(np.array([1 << 23, 1 << 23], np.int64), "s")
    nodes = [
        *POOL,
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["m"]),
    ]
    return [*nodes, helper.make_node("Add", ["f", "m"], ["y"])], [sides]


def other_domain() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [*POOL, helper.make_node("RunThis", ["f"], ["y"], domain="com.evil")], []


def deep() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Branches in branches, each twice."""
    yes = onnx.numpy_helper.from_array(np.array(True), "c")
    inner = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["o"])],
        "g",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    while inner.ByteSize() < 1 << 16:
        inner = (
            helper.make_graph(
                [helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)],
                "g",
                [],
                [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
            )
            if inner.ByteSize() < 1 << 20
            else inner
        )
    return [*POOL, helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)], [yes]


def no_rows() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    ends = [onnx.numpy_helper.from_array(np.array([0], np.int64), name) for name in "se"]
    return [*POOL, helper.make_node("Slice", ["f", "s", "e"], ["y"])], ends


def three_axes() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[56, 56], strides=[56, 56])], []


def integers() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [*POOL, helper.make_node("Cast", ["f"], ["y"], to=TensorProto.INT64)], []


def wrong_dimension() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [*POOL, helper.make_node("Concat", ["f", "f"], ["y"], axis=1)], []


@pytest.mark.parametrize(
    "made",
    [cyclic, huge_weight, negative_weight, huge_result, other_domain, no_rows, three_axes, integers,
     wrong_dimension],
)  # fmt: skip
def test_onnx_that_is_no_face_model(
    tmp_path: Path, videos: Path, made: Callable[[], tuple[list[onnx.NodeProto], list[onnx.TensorProto]]]
) -> None:
    refused(write_onnx(tmp_path / "m.onnx", *made()), videos, tmp_path)


def test_onnx_of_nested_branches(tmp_path: Path, videos: Path) -> None:
    """Refused or run, and never the end of the process."""
    model = write_onnx(tmp_path / "m.onnx", *deep())
    ran = vidface("extract", videos, "-o", tmp_path / "features.h5", "--model", model)
    assert ran.code in (0, 1) and (ran.code == 0 or ran.error)


@pytest.mark.parametrize("others", [["A"], ["B", "A"]])
def test_onnx_functions_that_call_themselves(tmp_path: Path, videos: Path, others: list[str]) -> None:
    """A calls A; A calls B, which calls A: looked at by `budget` as well."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    functions = [
        helper.make_function(
            "d", name, ["a"], ["b"], [helper.make_node(called, ["a"], ["b"], domain="d")], opsets
        )
        for name, called in zip(["A", *others], others, strict=False)
    ]
    model = write_onnx(tmp_path / "m.onnx", [*POOL, helper.make_node("A", ["f"], ["y"], domain="d")], [])
    made = onnx.load(model)
    made.functions.extend(functions)
    made.opset_import.append(opsets[1])
    model.write_bytes(made.SerializeToString())
    refused(model, videos, tmp_path)
    ran = vidface("budget", model)
    assert ran.code == 1 and str(model) in ran.error


# Cards and weights


def lying(header: bytes, length: int | None = None) -> bytes:
    """A safetensors file: the length of its header, the header, twelve bytes of numbers."""
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(12)


LIES = {
    "length of the header": lying(b"{}", 1 << 62),
    "length cut short": b"\x08\x00",
    "beyond the file": lying(b'{"w":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}'),
    "more than its bytes": lying(b'{"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,12]}}'),
    "overflowing": lying(b'{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,12]}}'),
    "backwards": lying(b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[12,0]}}'),
    "shared": lying(
        b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"v":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    ),
    "no type": lying(b'{"w":{"dtype":"OBJECT","shape":[3],"data_offsets":[0,12]}}'),
    "nested": lying(b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_that_lie(tmp_path: Path, videos: Path, model: Path, lie: str) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(LIES[lie])
    card = model.with_suffix(".toml").read_text().replace("dimension = 48", "dimension = 128")
    weights.with_suffix(".toml").write_text(card + 'architecture = "y1"\n')
    refused(weights, videos, tmp_path)


BOMBS = {
    "deep arrays": "x = " + "[" * 20_000 + "]" * 20_000,
    "deep tables": "x = " + "{a=" * 20_000 + "1" + "}" * 20_000,
    "long key": "x" + ".x" * 20_000 + " = 1",
    "long number": "dimension = " + "9" * 10_000,
    "long float": "x = 1e" + "9" * 10_000,
    "bad date": "x = 2026-99-99",
    "NUL": 'name = "a\0b"',
    "surrogate": 'name = "\\ud800"',
    "line end in a key": '"a\\nb\\u001b[2J" = 1',
    "ten thousand keys": "\n".join(f"x{number} = 1" for number in range(10_000)),
    "twice": "name = 'a'\nname = 'b'",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_toml_bombs(tmp_path: Path, videos: Path, model: Path, bomb: str) -> None:
    """As a card, as a recipe, as a recipe of training."""
    content = BOMBS[bomb] + "\n"
    copy = tmp_path / "m.onnx"
    copy.write_bytes(model.read_bytes())
    copy.with_suffix(".toml").write_text(content)
    (tmp_path / "r.toml").write_text(content)
    for words in [
        ("extract", videos, "-o", tmp_path / "features.h5", "--model", copy),
        ("run", tmp_path / "r.toml"),
        ("train", tmp_path / "r.toml"),
    ]:
        ran = vidface(*words)
        assert ran.code in (1, 2) and ".toml" in ran.error and len(ran.error) < 2000, (words[0], ran)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.toml", "r.toml"]


def test_a_card_that_says_another_dimension(tmp_path: Path, videos: Path, model: Path) -> None:
    copy = tmp_path / "m.onnx"
    copy.write_bytes(model.read_bytes())
    for dimension in (47, 49, 1, 10**9):
        card = model.with_suffix(".toml").read_text().replace("dimension = 48", f"dimension = {dimension}")
        copy.with_suffix(".toml").write_text(card)
        refused(copy, videos, tmp_path, "dimension")
