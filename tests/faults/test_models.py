"""Hostile models, weights and feature files given to the commands: one line, nothing runs, nothing else is read."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import card_beside, frames_of, vidface, write_folder, write_graph, write_manifest
from fault_material import Payload
from onnx import TensorProto, helper
from onnx.helper import make_node as node
from onnx.numpy_helper import from_array

COMMAND = "touch MARKER"  # in the working directory, which is the test's own


def word(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def call(module: str, name: str, argument: bytes) -> bytes:
    """Protocol 4: module.name(argument)."""
    return word(module) + word(name) + b"\x93" + argument + b"\x85R"


DTYPE_OBJECT = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
RUNS = b"(cos\nsystem\nS'touch MARKER'\no"  # a value that is made by a call
OPEN_MARKER = word("open('MARKER','w').close()")
INNER = b"C" + bytes([len(RUNS) + 1]) + RUNS + b"."
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt" + DTYPE_OBJECT
IMPORT = b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR"
BASES = word("numpy") + word("dtype.__class__.__base__.__subclasses__")
LIVE = {  # opcodes up to the STOP, which pickle itself runs
    "os.system": b"cos\nsystem\n(S'touch MARKER'\ntR",
    "posix.system by its short name": b"\x80\x04" + call("posix", "system", word(COMMAND)),
    "eval": b"\x80\x04" + call("builtins", "eval", OPEN_MARKER),
    "eval of Python 2": b"c__builtin__\neval\n(S\"open('MARKER','w').close()\"\ntR",
    "exec": b"\x80\x04" + call("builtins", "exec", OPEN_MARKER),
    "INST": b"(S'touch MARKER'\nios\nsystem\n",
    "OBJ": RUNS,
    "in a dictionary in a list": b"(lp0\n(dp1\nS'x'\n" + RUNS + b"sa",
    "as a key": b"(dp1\n" + RUNS + b"I1\ns",
    "in the memo, never used": RUNS + b"p9\n0I1\n",
    "a pickle in a pickle": b"\x80\x04" + call("_pickle", "loads", INNER),
    "getattr": IMPORT + b"(S'touch MARKER'\ntR",
}
PAYLOADS = LIVE | {
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\n((lp0\nS'touch'\naS'MARKER'\nat\x81",
    "NEWOBJ_EX": b"\x80\x04" + word("subprocess") + word("Popen") + b"\x93)}\x92",
    "BUILD on a class": b"cos\nsystem\n}S'__setstate__'\ncos\nsystem\nsb",
    "BUILD with a setter": b"cnumpy\nndarray\n(NcX\n}S'a'\nI1\nstb",
    "EXT1": b"\x80\x02\x82\x01",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00",
    "persistent id": b"Pos.system touch MARKER\n",
    "binary persistent id": b"S'touch MARKER'\nQ",
    "object array": ARRAY + b"I00\n(lp0\n" + RUNS + b"atb",
    "object scalar": b"cnumpy.core.multiarray\nscalar\n(" + DTYPE_OBJECT + RUNS + b"tR",
    "a class of arrays": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmemmap\n(I0\ntS'b'\ntR",
    "numpy.load": b"\x80\x04" + call("numpy", "load", word("MARKER")),
    "numpy runs a string": b'cnumpy.testing._private.utils\nrunstring\n(S\'open("MARKER","w")\'\n}tR',
    "torch loads": b"\x80\x04" + call("torch.storage", "_load_from_bytes", b"C\x01."),
    "by way of an allowed name": b"\x80\x04" + BASES + b"\x93)R",
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


Writer = Callable[[Path, bytes], object]
SCORE, EXTRACT = "score {} --manifest set.csv", "extract set.csv -o features.h5 --model {}"
FROM_IQIYI = "features from-iqiyi {} --manifest set.csv -o out.h5"
WAYS: dict[str, tuple[str, Writer, str]] = {  # way in: the file, what writes it, the command
    "extract --model x.pth": ("w.pth", archive, EXTRACT),
    "extract --model old.pth": ("w.pth", Path.write_bytes, EXTRACT),
    "extract --model x.onnx": ("w.onnx", Path.write_bytes, EXTRACT),
    "extract --model x.safetensors": ("w.safetensors", Path.write_bytes, EXTRACT),
    "extract --model x.bin": ("w.bin", Path.write_bytes, EXTRACT),
    "budget x.pth": ("w.pth", archive, "budget {}"),
    "verify x.bin": ("pairs.bin", Path.write_bytes, "verify {} --model m.onnx"),
    "score x.npy": ("f.npy", array_of_objects, SCORE),
    "score pickle.npy": ("f.npy", Path.write_bytes, SCORE),
    "score x.bin": ("f.bin", Path.write_bytes, SCORE),
    "score x.h5": ("e.h5", Path.write_bytes, SCORE),
    "cluster x.h5": ("f.h5", Path.write_bytes, "cluster {} -o out.h5"),
    "features from-iqiyi": ("f.pkl", Path.write_bytes, FROM_IQIYI),
    "submit --check": ("s.bin", Path.write_bytes, "submit --check {} --manifest set.csv"),
    "dataset check x.rec": ("d.rec", Path.write_bytes, "dataset check {}"),
}


@pytest.fixture
def folder(tmp_path: Path, videos: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is worked in, with a manifest, a model, and a card for weights that are none."""
    monkeypatch.chdir(tmp_path)
    Path("set.csv").symlink_to(videos)
    for suffix in (".onnx", ".toml"):
        Path("m").with_suffix(suffix).write_bytes(model.with_suffix(suffix).read_bytes())
    return tmp_path


def card_of_weights(path: Path) -> None:
    more = 'architecture = "y1"\n' * (path.suffix in (".pth", ".safetensors"))
    card = Path("m.toml").read_text().replace("dimension = 48", "dimension = 128")
    path.with_suffix(".toml").write_text(card + more)


@pytest.mark.parametrize("way", WAYS)
def test_no_payload_runs_anywhere(folder: Path, way: str) -> None:
    name, write, words = WAYS[way]
    card_of_weights(folder / name)
    for payload, content in PAYLOADS.items():
        write(folder / name, content + b".")
        ran = vidface(*words.format(name).split())
        assert ran.code in (1, 2) and ran.error and len(ran.error) < 1000, (payload, ran)  # one line
        assert not Path("MARKER").exists(), payload
        assert (
            "--model w" not in words
            or write is archive
            or (f"{name}: " in ran.error and "run code" in ran.error)
        )
    assert not Path("features.h5").exists() and not Path("out.h5").exists()


def test_the_payloads_are_live_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need no more than pickle: or the test above would show nothing."""
    monkeypatch.chdir(tmp_path)
    for name, content in LIVE.items():
        pickle.loads(content + b".")  # noqa: S301
        assert (tmp_path / "MARKER").exists(), name
        (tmp_path / "MARKER").unlink()
    array_of_objects(tmp_path / "a.npy", RUNS + b".")
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "MARKER").exists()


@pytest.mark.parametrize(
    "protocol", [0, 2, 4, None], ids=lambda value: "torch" if value is None else str(value)
)
def test_a_call_is_refused_by_its_name(folder: Path, protocol: int | None) -> None:
    """In pairs for `verify`, by three protocols; and in a torch archive, beside its weights."""
    marker, pairs, weights = folder / "it-ran", folder / "lfw.bin", folder / "w.pth"
    images = [b"\xff\xd8\xff\xe0"] * 3
    card_of_weights(weights)
    if protocol is None:
        torch.save({"state_dict": {"fc.weight": torch.ones(1)}, "args": Payload(marker)}, weights)
        pairs.write_bytes(pickle.dumps((images * 4, [True, False] * 3)))
    else:
        pairs.write_bytes(pickle.dumps(([*images, Payload(marker)], [True, False]), protocol))
    words = ("verify", pairs, "--model", "m.onnx" if protocol is not None else weights, "-o", "v.json")
    offered = weights if protocol is None else pairs
    assert f"{offered}: is a pickle that wants to call posix.mkdir: refused" in vidface(*words, code=1).error
    assert not marker.exists() and not Path("v.json").exists()
    if protocol is None:
        torch.load(weights, weights_only=False)  # shows that the payload was a live one
    else:
        pickle.loads(pairs.read_bytes(), encoding="bytes")  # noqa: S301
    assert marker.exists()


# ONNX


Graph = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def write_onnx(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> Path:
    """A model of these nodes, x to y, and its card."""
    card_beside(path, dimension=3, mean=[0.0] * 3, std=[1.0] * 3)
    return write_graph(path, nodes, weights)


POOL = [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"])]
ADD = [*POOL, node("Add", ["f", "w"], ["y"])]


def weight(*sides: int, **content: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", dims=sides, data_type=TensorProto.FLOAT, **content)


def outside(location: str, **more: str) -> onnx.TensorProto:
    held = weight(3, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        held.external_data.add(key=key, value=value)
    return held


def refused(model: Path, videos: Path, folder: Path, *said: str) -> None:
    ran = vidface("extract", videos, "-o", folder / "features.h5", "--model", model, "--workers", 0)
    assert ran.code in (1, 2) and all(text in ran.error for text in (str(model), *said)), ran
    assert not (folder / "features.h5").exists()


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "hard link", "folder link", "device"])
def test_onnx_data_outside_its_folder(tmp_path: Path, videos: Path, kind: str) -> None:
    """A hard link is the file itself: nobody can tell it from a file that lies there, so it is read."""
    folder, secret = tmp_path / "in", tmp_path / "secret"
    folder.mkdir()
    secret.write_bytes(np.arange(3, dtype=np.float32).tobytes())
    (folder / "link").symlink_to("../secret")
    (folder / "hard link").hardlink_to(secret)
    (folder / "folder link").symlink_to(tmp_path)
    (folder / "device").symlink_to("/dev/zero")
    others = {"above": "../secret", "absolute": str(secret), "folder link": "folder link/secret"}
    location = others.get(kind, kind)
    model = write_onnx(tmp_path / "in" / "m.onnx", ADD, [outside(location)])
    if kind == "hard link":
        vidface("extract", videos, "-o", tmp_path / "f.h5", "--model", model, "--workers", 0, code=0)
    else:
        refused(model, videos, tmp_path, "outside its own folder")


def huge_result() -> Graph:
    """2^46 numbers are asked for while it runs."""
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("ReduceMean", ["c"], ["m"])]
    sides = from_array(np.array([1 << 23, 1 << 23]), "s")
    return [*POOL, *nodes, node("Add", ["f", "m"], ["y"])], [sides]


def nested() -> Graph:
    """Branches in branches, each twice."""
    made = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    inner = helper.make_graph([node("Identity", ["f"], ["o"])], "g", [], made)
    while inner.ByteSize() < 1 << 16:
        branches = node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branches], "g", [], made)
    branches = node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return [*POOL, branches], [from_array(np.array(True), "c")]


CYCLE = [node("Add", ["f", "b"], ["a"]), node("Add", ["a", "a"], ["b"]), node("Identity", ["b"], ["y"])]
ZEROS = [from_array(np.array([0]), name) for name in "se"]
HALVES = {"kernel_shape": [56, 56], "strides": [56, 56]}
NO_MODELS: dict[str, Graph] = {
    **{
        f"data {more}": (ADD, [outside("w.bin", **more)])
        for more in (
            *({"length": str(1 << 62)}, {"offset": str(1 << 62)}, {"offset": "-4"}, {"length": "many"}),
            {"offset": "4096", "length": "12"},
        )
    },
    "cyclic": ([*POOL, *CYCLE], []),
    "huge weight": (ADD, [weight(1 << 20, 1 << 20, 64, raw_data=b"1234")]),
    "negative weight": (ADD, [weight(-1, -3, raw_data=bytes(12))]),
    "huge result": huge_result(),
    "other domain": ([*POOL, node("RunThis", ["f"], ["y"], domain="com.evil")], []),
    "no rows": ([*POOL, node("Slice", ["f", "s", "e"], ["y"])], ZEROS),
    "three axes": ([node("AveragePool", ["x"], ["y"], **HALVES)], []),
    "integers": ([*POOL, node("Cast", ["f"], ["y"], to=TensorProto.INT64)], []),
    "wrong dimension": ([*POOL, node("Concat", ["f", "f"], ["y"], axis=1)], []),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_onnx_that_is_no_face_model(tmp_path: Path, videos: Path, case: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    refused(write_onnx(tmp_path / "m.onnx", *NO_MODELS[case]), videos, tmp_path)


def test_onnx_of_nested_branches(tmp_path: Path, videos: Path) -> None:
    """Refused or run, and never the end of the process."""
    model = write_onnx(tmp_path / "m.onnx", *nested())
    ran = vidface("extract", videos, "-o", tmp_path / "features.h5", "--model", model)
    assert ran.code in (0, 1) and (ran.code == 0 or ran.error)


@pytest.mark.parametrize("others", [["A"], ["B", "A"]])
def test_onnx_functions_that_call_themselves(tmp_path: Path, videos: Path, others: list[str]) -> None:
    """A calls A; A calls B, which calls A: looked at by `budget` as well."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    functions = [
        helper.make_function("d", name, ["a"], ["b"], [node(called, ["a"], ["b"], domain="d")], opsets)
        for name, called in zip(["A", *others], others, strict=False)
    ]
    model = write_onnx(tmp_path / "m.onnx", [*POOL, node("A", ["f"], ["y"], domain="d")], [])
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


def one(shape: str, ends: str, name: str = "w", kind: str = "F32") -> str:
    return f'"{name}":{{"dtype":"{kind}","shape":[{shape}],"data_offsets":[{ends}]}}'


LIES = {
    "length of the header": lying(b"{}", 1 << 62),
    "length cut short": b"\x08\x00",
    **{
        name: lying(f"{{{header}}}".encode())
        for name, header in {
            "beyond the file": one("1073741824", "0,4294967296"),
            "more than its bytes": one("1000000", "0,12"),
            "overflowing": one("4294967296,4294967296", "0,12"),
            "backwards": one("3", "12,0"),
            "shared": f"{one('3', '0,12')},{one('3', '0,12', name='v')}",
            "no type": one("3", "0,12", kind="OBJECT"),
            "nested": '"w":' + "[" * 50_000 + "]" * 50_000,
        }.items()
    },
}


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_that_lie(folder: Path, lie: str) -> None:
    weights = folder / "w.safetensors"
    weights.write_bytes(LIES[lie])
    card_of_weights(weights)
    refused(weights, Path("set.csv"), folder)


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
def test_toml_bombs(folder: Path, bomb: str) -> None:
    """As a card, as a recipe, as a recipe of training."""
    for name in ("m.toml", "r.toml"):
        Path(name).write_text(BOMBS[bomb] + "\n")
    before = sorted(folder.iterdir())
    for words in (EXTRACT.format("m.onnx"), "run r.toml", "train r.toml"):
        ran = vidface(*words.split())
        assert ran.code in (1, 2) and ".toml" in ran.error and len(ran.error) < 2000, (words, ran)
    assert sorted(folder.iterdir()) == before


def test_a_card_that_says_another_dimension(folder: Path) -> None:
    card = Path("m.toml").read_text()
    for dimension in (47, 49, 1, 10**9):
        Path("m.toml").write_text(card.replace("dimension = 48", f"dimension = {dimension}"))
        refused(folder / "m.onnx", Path("set.csv"), folder, "dimension")
