"""The options of extract and cluster: the command line, recipes, files and docs/options.md say what the models say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner

from vidface.commands.features import cluster, extract
from vidface.embeddings.options import ClusterOptions, RecipeClusterOptions
from vidface.features.options import EngineOptions, ExtractOptions, RecipeExtractOptions
from vidface.files.options import Options, extra_of, option
from vidface.runs.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"extract": (extract, ExtractOptions), "cluster": (cluster, ClusterOptions)}
RECIPES: dict[str, type[Options]] = {
    "extract": RecipeExtractOptions,
    "cluster": RecipeClusterOptions,
    "engine": EngineOptions,
}
# Other values than the defaults, where the type does not say one: on the command line, in a recipe, in the model.
SAID: dict[str, tuple[str | None, str, Any]] = {
    "model": ("m.onnx", '"m.onnx"', Path("m.onnx")),
    "fps": ("all", '"all"', "all"),
    "detector": ("uniface:x", '"uniface:x"', "uniface:x"),
    "detector_weights": ("w.onnx", '"w.onnx"', Path("w.onnx")),
    "threshold": ("none", '"none"', "none"),
    "address": ("auto", '"auto"', "auto"),
}
ONLY_ON_THE_COMMAND_LINE: dict[str, dict[str, tuple[str, Any]]] = {
    "extract": {
        "input_size": ("96x112", (96, 112)),
        "colour_order": ("bgr", "bgr"),
        "mean": ("1,2,3", (1.0, 2.0, 3.0)),
        "std": ("4", (4.0, 4.0, 4.0)),
        "model_output": ("feature", "feature"),
        "shard": ("2/3", (2, 3)),
    },
    "cluster": {"by": ("track", "track"), "shard": ("2/3", (2, 3))},
}


def said(model: type[Options], name: str) -> tuple[str | None, str, Any]:
    """As `SAID`, of any field."""
    field = model.model_fields[name]
    kinds = [kind for kind in (*get_args(field.annotation), field.annotation) if kind is not type(None)]
    if name in SAID:
        return SAID[name]
    if bool in kinds:
        return None, "true", True
    if choices := [*(word for kind in kinds for word in get_args(kind)), *kinds]:
        words = [word for word in choices if isinstance(word, str)]
        if words:
            return words[-1], f'"{words[-1]}"', words[-1]
    return ("7", "7", 7) if int in kinds else ("0.5", "0.5", 0.5)


def told(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> dict[str, Any]:
    """What the callback of a command is given."""
    command, seen = COMMANDS[name][0], {}
    monkeypatch.setattr(command, "callback", lambda **given: seen.update(given))
    monkeypatch.setattr("vidface.commands.options.watch", lambda: None)  # it would fork this process
    first = [name, "-o", "out", *(["--model", "m.onnx"] if name == "extract" else [])]
    ran = CliRunner().invoke(command, [*first, *words], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return seen


def recipe_of(tmp_path: Path, table: str, line: str) -> Any:
    tables = {"extract": '[extract]\nmodel = "m.onnx"\n', "cluster": "[cluster]\n", "engine": "[engine]\n"}
    if line.startswith("model ="):
        tables["extract"] = "[extract]\n"
    tables[table] += line + "\n"
    (tmp_path / "recipe.toml").write_text('manifest = "m.csv"\noutput = "out"\n' + "".join(tables.values()))
    return getattr(read_recipe(tmp_path / "recipe.toml"), table)


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_are_those_of_the_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = told(monkeypatch, name)
    needed = {"model": Path("m.onnx")} if name == "extract" else {}
    assert given["options"] == COMMANDS[name][1](**needed)
    assert given["engine"] == EngineOptions()
    in_recipe = dict(recipe_of(tmp_path, name, ""))
    assert in_recipe == {k: v for k, v in dict(given["options"]).items() if k in in_recipe} | (
        {"model": tmp_path / "m.onnx"} if needed else {}
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_field_is_an_option_once(name: str) -> None:
    command, model = COMMANDS[name]
    command.make_context(name, [], resilient_parsing=True)
    options = [parameter.name for parameter in command.params if isinstance(parameter, click.Option)]
    own = ["output", "overwrite", "as_json"] + ["root"] * (name == "extract")
    assert sorted(options) == sorted([*model.model_fields, *EngineOptions.model_fields, *own])
    assert set(model.model_fields) == set(RECIPES[name].model_fields) | set(ONLY_ON_THE_COMMAND_LINE[name])


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, model in RECIPES.items() for name in model.model_fields]
)
def test_the_command_line_and_a_recipe_say_the_same(
    table: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word, text, value = said(RECIPES[table], name)
    assert value != RECIPES[table].model_fields[name].default
    flag = "--engine" if (table, name) == ("engine", "name") else f"--{name.replace('_', '-')}"
    given = told(
        monkeypatch, "cluster" if table == "engine" else table, flag, *([] if word is None else [word])
    )
    assert getattr(given["engine" if table == "engine" else "options"], name) == value
    found = getattr(recipe_of(tmp_path, table, f"{name} = {text}"), name)
    assert found == (tmp_path / value if isinstance(value, Path) else value)


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, names in ONLY_ON_THE_COMMAND_LINE.items() for name in names]
)
def test_what_only_the_command_line_says(table: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    word, value = ONLY_ON_THE_COMMAND_LINE[table][name]
    given = told(monkeypatch, table, f"--{name.replace('_', '-')}", word)
    assert getattr(given["options"], name) == value


class Grown(ExtractOptions):
    """As if an option had been added."""

    grey: bool = option(False, "Without colour.", in_file="unless default", carried=True)


def test_an_option_that_is_added_changes_no_file_where_it_is_not_said() -> None:
    before, usual, grey = ExtractOptions(model=Path()), Grown(model=Path()), Grown(model=Path(), grey=True)
    assert Grown.written(usual.in_file()) == ExtractOptions.written(before.in_file())
    assert Grown.written(grey.in_file()) == {**ExtractOptions.written(before.in_file()), "grey": True}
    assert Grown.where_absent()["grey"] is False


@pytest.mark.parametrize("model", [ExtractOptions, ClusterOptions, EngineOptions])
def test_every_field_was_made_as_an_option(model: type[Options]) -> None:
    assert all("in_file" in extra_of(model, name) for name in model.model_fields)


def test_the_page_is_of_today() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "write_options_page.py"))
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == tool["page"](), (
        "run: .venv/bin/python tools/write_options_page.py docs/options.md"
    )
