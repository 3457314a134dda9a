"""``vidface train``: the paper's progressive training from a recipe."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vidface.options import FILE, json_option
from vidface.output import print_json


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--stage", "only", help="Train this stage alone; the one before has to be finished.")
@json_option
def train(recipe: Path, only: str | None, as_json: bool) -> int:
    """Train a backbone by RECIPE (TOML), adding losses stage by stage; a killed run goes on where it was.

    On several GPUs: torchrun --nproc-per-node N -m vidface train RECIPE
    """
    from vidface.training.run import train as run

    result = run(recipe, only=only, say=(lambda _line: None) if as_json else click.echo)
    if as_json and os.environ.get("RANK", "0") == "0":  # torchrun starts this once for every GPU
        print_json(result)
    return int(any(stage["faults"] for stage in result["stages"]))
