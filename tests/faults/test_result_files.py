"""Results that were spoilt after they were written: ``scores.json``, ``sweep.json`` and ``run.json``."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import vidface
from compared_sets import ComparedSet

from vidface.errors import StoreError
from vidface.runs.opened import open_run

RUN = {"run": {"manifest": "../set.csv", "features": "features.h5"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe's folder as far as reports read it, without features."""
    folder = tmp_path_factory.mktemp("set")
    some = ComparedSet(folder)
    (folder / "run").mkdir()
    some.embeddings("b.h5", 0.6)
    some.embeddings("a.h5", 0.5, features_sha256="f" * 64).rename(folder / "run" / "embeddings.h5")
    manifest = folder / "set.csv"
    embeddings = folder / "run" / "embeddings.h5"
    vidface("score", embeddings, "--manifest", manifest, "-o", folder / "scores.json", code=0)
    return folder / "run"


@pytest.fixture
def scores(run: Path) -> dict[str, Any]:
    for name in ("scores.json", "sweep.json"):
        (run / name).unlink(missing_ok=True)
    (run / "run.json").write_text(json.dumps(RUN))
    found: dict[str, Any] = json.loads((run.parent / "scores.json").read_text())
    return found


def sweep_of(scores: dict[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in scores.items() if name not in ("per_identity", "inputs")}
    rows = [{**row, "threshold": threshold, "kept": 1.0} for threshold in ("none", "0.4")]
    inputs = {**scores["inputs"], "features_sha256": "f" * 64}
    return {"rows": rows, "best": {"mAP@100": "0.4"}, "inputs": inputs}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\xfe\0", b"[]", b"3", b"{", b'{"run": NaN}', b'{"inputs": -Infinity}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"run": ' + b"9" * 5_000 + b"}"),
    ],
    ids=lambda content: content[:8].decode("latin1") + f"-{len(content)}",
)
@pytest.mark.parametrize("name", ["scores.json", "sweep.json", "run.json"])
@pytest.mark.parametrize("command", ["report", "compare"])
def test_garbage(run: Path, scores: dict[str, Any], command: str, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    others = [run.parent / "b.h5"] if command == "compare" else []
    error = vidface(command, run, *others, "-o", run.parent / "out", code=1).error
    assert error == f"error: {run / name}: not a JSON object"
    assert not (run.parent / "out").exists()


def spoilt(value: Any, chance: random.Random, depth: int = 0) -> Any:
    """The same with one thing deep inside it replaced by something of another kind."""
    if isinstance(value, dict | list) and value and (depth < 1 or chance.random() < 0.8):
        copied = copy.copy(value)
        place = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        copied[place] = spoilt(value[place], chance, depth + 1)
        return copied
    return chance.choice([None, -1, "x", [], {}, [1], {"a": None}, True, 1e308, 10**400, "nan", [None, None]])


def use_of(run: Path, name: str, content: dict[str, Any]) -> str:
    """What becomes of a file: damaged, left aside with a note, or used."""
    (run / name).write_text(json.dumps(content))
    try:
        opened = open_run(run)
    except StoreError as error:
        assert str(error).startswith(f"{run / name}: damaged (not as vidface")
        return "damaged"
    found = getattr(opened, name.removesuffix(".json"))
    assert found is not None or any(name in note for note in opened.notes)
    return "used" if found is not None else "left aside"


@pytest.mark.parametrize("name", ["scores.json", "sweep.json"])
def test_parts_of_another_kind(run: Path, scores: dict[str, Any], name: str) -> None:
    """150 of them: each is damaged, left aside with a note, or of a form that a report can be made of."""
    chance = random.Random(3)
    whole = scores if name == "scores.json" else sweep_of(scores)
    assert use_of(run, name, whole) == "used"
    assert getattr(open_run(run), name.removesuffix(".json")) == whole
    outcomes = [use_of(run, name, spoilt(whole, chance)) for _ in range(150)]
    assert all(outcomes.count(one) > 8 for one in ("damaged", "left aside", "used")), outcomes


ROWS: dict[str, Callable[[list[dict[str, Any]]], list[Any]]] = {
    "no object": lambda rows: [*rows, 7],
    "more kept than there is": lambda rows: [rows[0], {**rows[1], "kept": 2.0}],
    "no text": lambda rows: [rows[0], {**rows[1], "threshold": 0.4}],
    "other measures": lambda rows: [rows[0], {**rows[1], "protocol": "iqiyi"}],
    "none": lambda rows: [],
}


@pytest.mark.parametrize("case", ROWS)
def test_one_row_of_a_sweep(run: Path, scores: dict[str, Any], case: str) -> None:
    whole = sweep_of(scores)
    assert use_of(run, "sweep.json", {**whole, "rows": ROWS[case](whole["rows"])}) != "used"


def test_what_is_used_can_be_drawn(run: Path, scores: dict[str, Any]) -> None:
    """One of the spoilt ones that are used goes the whole way."""
    chance = random.Random(4)
    while True:
        made = {"scores.json": spoilt(scores, chance), "sweep.json": spoilt(sweep_of(scores), chance)}
        if all(use_of(run, name, content) == "used" for name, content in made.items()):
            break
        (run / "scores.json").unlink()
        (run / "sweep.json").unlink(missing_ok=True)
    vidface("report", run, "-o", run.parent / "drawn", code=0)


SET = {"manifest": "../set.csv"}
TOLD: list[Any] = [
    *(
        [],
        "x",
        3,
        None,
        {"manifest": 3},
        {"manifest": ["set.csv"]},
        {"manifest": "a\0b"},
        {"manifest": "x" * 5000},
    ),
    *({**SET, "targets": [1]}, {**SET, "targets": "1e-2"}, {**SET, "targets": ["9" * 5000]}),
    *({**SET, "protocol": "x"}, {**SET, "features": "a\0b"}, {"manifest": "../gone\n.csv"}),
]


@pytest.mark.parametrize("told", TOLD, ids=repr)
def test_what_a_run_says_of_itself(run: Path, scores: dict[str, Any], told: Any) -> None:
    (run / "run.json").write_text(json.dumps({"run": told}))
    manifest = run.parent / "set.csv"
    manifest.rename(run.parent / "set.txt")  # else it is found, whatever is said
    try:
        ran = vidface("compare", run, run.parent / "b.h5", "-o", run.parent / "compared")
        assert ran.code in (1, 2) and ran.error
    finally:
        (run.parent / "set.txt").rename(manifest)


def test_a_manifest_that_changed_after_the_run(run: Path, scores: dict[str, Any]) -> None:
    manifest = run.parent / "set.csv"
    whole = manifest.read_text()
    try:
        manifest.write_text(whole.replace(",val\n", ",train\n", 1))
        command = ["compare", run, run, "-o", run.parent / "compared"]
        assert "was not made from" in vidface(*command, code=2).error
    finally:
        manifest.write_text(whole)
