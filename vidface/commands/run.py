"""The commands that go a whole way, and the one that looks at the machine: run, demo and doctor."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from vidface.commands.options import DIRECTORY, FILE, json_option, root_option
from vidface.commands.output import print_json
from vidface.commands.watched import watch
from vidface.errors import VidfaceError


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--overwrite", is_flag=True, help="Make again the stages whose inputs or options changed.")
@root_option
@json_option
def run(recipe: Path, overwrite: bool, root: Path | None, as_json: bool) -> int:
    """Run the stages that RECIPE (TOML) chains; finished ones are not run again."""
    if _on_ray(recipe):
        watch()
    from vidface.runs.recipe import run_recipe

    say = (lambda _line: None) if as_json else click.echo
    result = run_recipe(recipe, say, overwrite=overwrite, root=root)
    if as_json:
        print_json(result)
    return int(result["faults"] > 0)


def _on_ray(recipe: Path) -> bool:
    """Whether a recipe uses Ray, as far as it can be read; its mistakes are reported when it is read in full."""
    from vidface.files.toml import read_told

    with contextlib.suppress(VidfaceError, OSError):
        engine = read_told(recipe, "recipe").get("engine")
        return isinstance(engine, dict) and engine.get("name") == "ray"
    return False


@click.command()
@click.option(
    "-o",
    "--output",
    type=DIRECTORY,
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for all files.",
)
@click.option(
    "--faces", type=DIRECTORY, help="A folder of real people, DIR/PERSON/IMAGE, instead of drawn ones."
)
@click.option("--model", type=FILE, help="The model for --faces.")
@json_option
def demo(output: Path, faces: Path | None, model: Path | None, as_json: bool) -> int:
    """The whole way on an embedded sample: drawn people, or a folder of real ones."""
    from vidface.demo.walk import walk

    result = walk(output, faces=faces, model=model, say=(lambda _line: None) if as_json else click.echo)
    if as_json:
        print_json(result)
    return int(result["problems"] > 0)


@click.command()
@click.option("--model", type=FILE, help="Also try this model, with its card, on three images.")
@json_option
def doctor(model: Path | None, as_json: bool) -> int:
    """Show what this machine has, and any problems."""
    from vidface.commands.doctor import examine, report_lines
    from vidface.commands.models import tried, tried_lines

    findings = examine()
    trial = None if model is None else tried(model)
    if trial is not None:
        findings["model"] = trial
        if trial["refused"] is not None:
            findings["problems"].append(f"{model} cannot be used: {trial['refused']}")
    if as_json:
        print_json(findings)
    else:
        if trial is not None:
            click.echo(f"{model}\n{tried_lines(trial)}\n")
        click.echo(report_lines(findings))
    return int(bool(findings["problems"]))
