"""Imports go along the arrow only, the command line stays light, and nothing can execute a pickle."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vidface"

# What lies at the top of vidface/, in the order of the data: each imports only from those before it. Inside a folder
# imports are free, but for circles. ``__init__`` holds the version and whatever is public: every module may import it.
ORDER = (
    *(
        "errors",
        "runtime",
        "files",
        "arrays",
        "manifest",
        "frames",
        "backbones",
        "features",
        "embeddings",
        "submission",
    ),
    *("scores", "runs", "report", "training", "demo", "commands", "__main__", "__init__"),
)
MOST_ENTRIES = 20

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


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str) -> str:
    """What a module belongs to at the top of vidface/."""
    return (*module.split("."), "__init__")[1]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((node.lineno, f"{dots}{node.module or ''}.{alias.name}") for alias in node.names)


def graph_of(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which modules every module imports, even lazily or for types; the top ``__init__`` does not count, others do."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = [name for _, name in imported(ast.parse(source)) if name.startswith("vidface.")]
        found = {name if name in sources else name.rpartition(".")[0] for name in names}
        graph[module] = found - {"vidface", module}
    return graph


def relative_imports(source: str) -> list[int]:
    """The lines of imports that do not say vidface in full."""
    return [line for line, name in imported(ast.parse(source)) if name.startswith(".")]


def climbing_imports(graph: dict[str, set[str]]) -> list[str]:
    """The imports of something that does not stand before the importing module, as "A imports B"."""
    height = {part: place for place, part in enumerate(ORDER)}
    return [
        f"{module} imports {other}"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if part_of(other) != part_of(module) and height[part_of(other)] > height[part_of(module)]
    ]


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; empty where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def entries_of(package: Path) -> set[str]:
    """What lies at the top of a package; folders that hold nothing but compiled files do not count."""
    files = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
    return {path.parts[0] for path in files if "__pycache__" not in path.parts}


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


GRAPH = graph_of({module_of(path): path.read_text("utf-8") for path in SOURCES})


def test_the_order_names_what_is_there() -> None:
    assert len(ORDER) == len(set(ORDER))
    assert set(ORDER) == {part_of(module) for module in GRAPH}, (
        "each has its place in ORDER, after all it imports"
    )


def test_no_import_climbs() -> None:
    assert climbing_imports(GRAPH) == []


def test_no_modules_import_each_other() -> None:
    assert circle_in(GRAPH) == []


def test_imports_say_vidface_in_full() -> None:
    assert {module_of(path): lines for path in SOURCES if (lines := relative_imports(path.read_text()))} == {}


def test_few_things_lie_at_the_top() -> None:
    assert len(entries_of(PACKAGE)) <= MOST_ENTRIES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vidface.scores.score", "import vidface.commands"),
        ("vidface.scores.metrics.folds", "from vidface.runs.recipe import run_recipe"),
        ("vidface.embeddings.pooling", "from vidface.scores import score"),
        ("vidface.runs.recipe", "def f():\n    from vidface.demo.walk import walk"),
        (
            "vidface.files.hdf5",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vidface.manifest.rows",
        ),
        ("vidface.errors", "from vidface.runtime import progress"),
    ],
)
def test_a_climbing_import_is_seen(module: str, source: str) -> None:
    everything = dict.fromkeys(GRAPH, "")
    assert climbing_imports(graph_of(everything)) == []
    assert len(climbing_imports(graph_of(everything | {module: source}))) == 1


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import vidface.b", "b": "import vidface.a"},
        {"a": "from vidface.b import name", "b": "def f():\n    from vidface import a"},
        {"a": "from vidface.b import name", "b": "if TYPE_CHECKING:\n    from vidface.a import Kind"},
        {"a": "import vidface.b", "b": "import vidface.c", "c": "import vidface.d", "d": "import vidface.b"},
        {
            "a": "from vidface.a.one import name",
            "a.one": "from vidface.a import name",
        },  # a folder's own __init__
    ],
)
def test_a_circle_is_seen(sources: dict[str, str]) -> None:
    graph = graph_of({f"vidface.{name}": source for name, source in sources.items()})
    assert len(circle_in(graph)) > 2


def test_what_is_no_circle_is_let_through() -> None:
    sources = {
        "vidface": "from vidface.a import name",
        "vidface.a": "from vidface.a.one import name",
        "vidface.a.one": "import vidface\nfrom vidface import __version__\nfrom vidface.a.two import other",
        "vidface.a.two": "import vidface.b",
        "vidface.b": "",
    }
    assert circle_in(graph_of(sources)) == []


@pytest.mark.parametrize("source", ["from . import errors", "def f():\n    from ..errors import UsageError"])
def test_a_relative_import_is_seen(source: str) -> None:
    assert len(relative_imports(source)) == 1


def test_a_crowd_at_the_top_is_seen(tmp_path: Path) -> None:
    for number in range(MOST_ENTRIES):
        (tmp_path / f"part{number}").mkdir()
        (tmp_path / f"part{number}" / "__init__.py").touch()
    (tmp_path / "gone" / "__pycache__").mkdir(parents=True)
    (tmp_path / "gone" / "__pycache__" / "gone.pyc").touch()
    assert len(entries_of(tmp_path)) == MOST_ENTRIES
    (tmp_path / "one_more.py").touch()
    assert len(entries_of(tmp_path)) > MOST_ENTRIES


@pytest.mark.parametrize(
    "statement",
    [
        "import vidface.commands.main",
        "from vidface.commands.main import cli\ntry:\n    cli(['--help'])\nexcept SystemExit:\n    pass",
    ],
    ids=["import", "help"],
)
def test_the_command_line_is_light(statement: str) -> None:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = set(json.loads(done.stderr))
    assert "vidface.commands.main" in modules
    assert modules & (HEAVY | {"pydantic"}) == set()


def test_the_help_of_a_stage_needs_no_numbers() -> None:
    """Its options come from models, which must not bring along what the stage works with."""
    code = (
        "import json, sys\nfrom vidface.commands.main import cli\n"
        "for command in ('extract', 'cluster', 'verify', 'find'):\n"
        "    cli([command, '--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "--threshold" in done.stdout
    assert set(json.loads(done.stderr)) & HEAVY == set()


def test_nothing_can_execute_a_pickle() -> None:
    """But for the module that takes from the standard library the opcodes of plain values, and no others."""
    found = {module_of(path): unpickles(path.read_text("utf-8")) for path in SOURCES}
    assert [module for module, lines in found.items() if lines] == ["vidface.files.unpickle"]
    tree = ast.parse((PACKAGE / "files" / "unpickle.py").read_text("utf-8"))
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {name for name in names if name.startswith("pickle.")}
    assert used == {"pickle._Unpickler", "pickle._Unpickler.dispatch", "pickle.UnpicklingError"}
    assert [name for _, name in imported(tree) if "pickle" in name] == ["pickle"]


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
