"""Imports go along the arrow only, the command line stays light, and nothing can execute a pickle."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vidface"

# The layers, lowest first. A part (a module or a folder of vidface/) imports only from the layers above its
# own line in this table. Inside a folder imports are free.
LAYERS = (
    ("__init__", "errors", "files"),  # __init__ holds the version
    ("progress", "machine", "unpickle", "hdf5", "npy", "toml_files"),
    (
        *("manifest_parquet", "manifest_formats", "manifest", "manifest_sources", "pair_lists", "frames"),
        *("backbones", "store", "manifest_known", "manifest_against"),
    ),
    ("faces", "feature_sources"),
    ("datasets", "engines"),
    (
        "fixed_dot",
        "half",
        "components",
        "clustering",
        "pooling",
        "embedding",
        "retrieval_scan",
        "retrieval",
        "metrics",
    ),
    ("protocols", "submission"),
    ("tables",),
    ("stages",),
    ("report",),
    ("training",),
    ("demo", "doctor"),
    ("options", "output"),
    (
        *(
            "cli_compare",
            "cli_dataset",
            "cli_features",
            "cli_inspect",
            "cli_manifest",
            "cli_merge",
            "cli_models",
            "cli_report",
        ),
        *("cli_score", "cli_submit", "cli_training", "cli_verify"),
    ),
    ("cli",),
    ("__main__",),
)

# The few imports inside one layer: (who, what).
SIDEWAYS = {
    ("files", "errors"),
    ("manifest_parquet", "manifest_formats"),
    ("manifest_formats", "manifest_parquet"),  # only inside functions: pyarrow is imported for Parquet alone
    ("manifest", "manifest_formats"),
    ("manifest_against", "manifest"),
    ("manifest_against", "manifest_formats"),
    ("manifest_against", "manifest_known"),
    ("manifest_sources", "manifest"),
    ("manifest_sources", "manifest_formats"),
    ("pair_lists", "manifest"),
    ("pair_lists", "manifest_formats"),
    ("components", "fixed_dot"),
    ("clustering", "components"),
    ("clustering", "fixed_dot"),
    ("clustering", "half"),
    ("embedding", "clustering"),
    ("embedding", "components"),
    ("embedding", "fixed_dot"),
    ("embedding", "pooling"),
    ("retrieval_scan", "fixed_dot"),
    ("retrieval", "retrieval_scan"),
    ("retrieval", "pooling"),
    ("metrics", "fixed_dot"),
    ("metrics", "half"),
}

HEAVY = {
    "torch",
    "faiss",
    "numba",
    "onnxruntime",
    "av",
    "decord",
    "pyarrow",
    "h5py",
    "numpy",
    "scipy",
    "PIL",
    "onnx",
    "google",
}

# Distributions whose module has another name.
MODULE_OF = {
    **{"decord2": "decord", "faiss-cpu": "faiss", "opencv-python-headless": "cv2", "pillow": "PIL"},
    **{"protobuf": "google", "textual-image": "textual_image"},
}

# Modules that unpickle, and calls that do so unless told otherwise.
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "jsonpickle"}
UNPICKLING_CALLS = {"torch.load", "joblib.load", "faiss.read_index", "pandas.read_pickle"}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def layer_of(part: str) -> int:
    for height, layer in enumerate(LAYERS):
        if part in layer:
            return height
    raise AssertionError(
        f"vidface/{part} has no layer: add it to LAYERS in {Path(__file__).name}, above all it imports"
    )


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((node.lineno, f"{dots}{node.module or ''}.{alias.name}") for alias in node.names)


def wrong_imports(source: str, part: str, parts: set[str]) -> list[str]:
    """What a module of ``part`` imports against the direction, as "line N: ..."."""
    wrong = []
    for line, name in imported(ast.parse(source)):
        if name.startswith("."):
            wrong.append(f"line {line}: relative import: write vidface in full")
            continue
        head, _, rest = name.partition(".")
        if head != "vidface":
            continue
        target = rest.split(".")[0]
        target = target if target in parts else "__init__"  # `import vidface`, or a name that __init__ holds
        if target == part or (part, target) in SIDEWAYS:
            continue
        if layer_of(target) >= layer_of(part):
            wrong.append(f"line {line}: {part} imports {target}, which is not below it")
    return wrong


def unpickles(source: str) -> list[str]:
    """Where a module can execute a pickle, as "line N: ..."."""
    tree = ast.parse(source)
    found = [
        f"line {line}: imports {name}" for line, name in imported(tree) if set(name.split(".")) & PICKLERS
    ]
    found += [f"line {line}: imports {name}" for line, name in imported(tree) if name in UNPICKLING_CALLS]
    # `import torch as t` must not hide t.load.
    names = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            head, *rest = ast.unparse(node).split(".")
            if ".".join([names.get(head, head), *rest]) in UNPICKLING_CALLS:
                found.append(f"line {node.lineno}: uses {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "allow_pickle" and not is_false:
                    found.append(f"line {node.lineno}: allow_pickle is not False")
    return found


def test_every_module_has_one_layer_and_every_layer_its_modules() -> None:
    listed = [part for layer in LAYERS for part in layer]
    assert len(listed) == len(set(listed))
    for path in SOURCES:
        layer_of(part_of(path))
    gone = set(listed) - {part_of(path) for path in SOURCES}
    assert not gone, f"take out of LAYERS what is no longer there: {sorted(gone)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    parts = {part_of(source) for source in SOURCES}
    assert wrong_imports(path.read_text("utf-8"), part_of(path), parts) == []


def test_sideways_imports_are_few_and_used() -> None:
    used = set()
    parts = {part_of(path) for path in SOURCES}
    for path in SOURCES:
        for _, name in imported(ast.parse(path.read_text("utf-8"))):
            if name.startswith("vidface."):
                used.add((part_of(path), name.split(".")[1]))
    for who, what in SIDEWAYS:
        assert {who, what} <= parts and layer_of(who) == layer_of(what)
        assert (who, what) in used, f"take {(who, what)} out of SIDEWAYS: it is not needed"


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("import vidface.cli", "stages"),
        ("from vidface.stages.score import score", "metrics"),
        ("from vidface import retrieval", "pooling"),
        ("def f():\n    from vidface.demo.walk import walk", "stages"),
        ("from vidface.manifest import Row", "manifest_formats"),
        ("from . import errors", "metrics"),
        ("from ..errors import UsageError", "metrics"),
    ],
)
def test_an_import_against_the_direction_is_seen(source: str, part: str) -> None:
    assert len(wrong_imports(source, part, {part for layer in LAYERS for part in layer})) == 1


def test_a_new_module_must_be_given_a_layer() -> None:
    with pytest.raises(AssertionError, match="vidface/novelty has no layer: add it to LAYERS"):
        wrong_imports("from vidface.errors import UsageError", "novelty", {"novelty", "errors"})


@pytest.mark.parametrize(
    "statement",
    [
        "import vidface.cli",
        "from vidface.cli import cli\ntry:\n    cli(['--help'])\nexcept SystemExit:\n    pass",
    ],
    ids=["import", "help"],
)
def test_the_command_line_is_light(statement: str) -> None:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = set(json.loads(done.stderr))
    assert "vidface.cli" in modules
    assert modules & HEAVY == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_can_execute_a_pickle(path: Path) -> None:
    assert unpickles(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import Unpickler",
        "def f():\n    import cloudpickle as safe",
        "from joblib.externals import cloudpickle",
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch as t\nt.load('x')",
        "import torch\nload = torch.load",
        "from torch import load as read",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "import joblib\njoblib.load('x')",
        "import faiss\nfaiss.read_index('x')",
    ],
)
def test_an_unpickler_is_seen(source: str) -> None:
    assert len(unpickles(source)) == 1


def test_the_safe_ways_are_let_through() -> None:
    source = "import numpy as np\nimport json\nnp.load('x', allow_pickle=False)\njson.load(f)\nnp.load('x')"
    assert unpickles(source) == []


def test_what_is_imported_is_required_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = ("detect", "map", "ray", "report", "train")
    asked = [*project["dependencies"], *(text for extra in optional for text in extras[extra])]
    required = {re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in asked}
    modules = {MODULE_OF.get(name, name) for name in required}
    whole = {name for path in SOURCES for _, name in imported(ast.parse(path.read_text("utf-8")))}
    names = {name.split(".")[0] for name in whole}
    if any(name.startswith("torch.utils.tensorboard") for name in whole):
        names.add("tensorboard")  # torch's writer is a part of it
    foreign = names - sys.stdlib_module_names - {"vidface", "__future__"}
    assert foreign == modules
