"""The commands about training: dataset (labelled images), train, and verify (listed pairs of images)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.commands.options import FILE, fpr_rule_option, json_option, output_option, stage_command
from vidface.commands.output import fields_of, print_json, print_warnings
from vidface.errors import UsageError
from vidface.files.atomic import spare_inputs
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE

if TYPE_CHECKING:
    from vidface.features.options import ModelOptions

SHOWN = 20  # lines of a kind, and problems of listed pairs; the JSON has all


@click.command()
@click.argument("recipe", type=FILE)
@click.option("--stage", "only", help="Train this stage alone; the one before has to be finished.")
@json_option
def train(recipe: Path, only: str | None, as_json: bool) -> int:
    """Train a backbone by RECIPE (TOML), adding losses stage by stage; a killed run resumes where it was.

    On several GPUs: torchrun --nproc-per-node N -m vidface train RECIPE
    """
    from vidface.training.run import train as run

    result = run(recipe, only=only, say=(lambda _line: None) if as_json else click.echo)
    if as_json and os.environ.get("RANK", "0") == "0":  # torchrun starts this once for every GPU
        print_json(result)
    return int(any(stage["faults"] for stage in result["stages"]))


@click.group()
def dataset() -> None:
    """Labelled face images: a folder of people, tar shards, or .rec with .idx."""


@dataset.command("check")
@click.argument("source", type=FILE)
@click.option("--workers", type=click.IntRange(1), help="Processes [default: as there are cores].")
@json_option
def dataset_check(source: Path, workers: int | None, as_json: bool) -> int:
    """Decode every image: damage, sizes, the same picture twice, and how many images people have.

    The exit code is 1 where an image cannot be read or one picture is of several people.
    """
    import dataclasses

    from vidface.training.datasets.check import check

    found = check(source, workers=workers)
    if as_json:
        print_json({"ok": found.ok, **dataclasses.asdict(found)})
        return int(not found.ok)
    for what, lines in (
        ("left out on opening", found.left_out),
        ("cannot be read", [f"{one.name}: {one.detail}" for one in found.unreadable]),
        (f"of another size than {found.size}", [f"{one.name}: {one.detail}" for one in found.other_sizes]),
        ("pictures that are there twice, of one person", [" = ".join(g) for g in found.duplicates]),
        ("pictures of several people", [" = ".join(g) for g in found.duplicates_across]),
        ("people with one image", found.single),
    ):
        _print_list(what, lines)
    tail = found.long_tail
    click.echo(
        f"{tail.people} people, {tail.images} images; images a person: {tail.fewest} to {tail.most}, "
        f"mean {tail.mean:.2f}, median {tail.median:g}\n{'minimum':>8} {'people':>10} {'images':>12}"
    )
    for cut in tail.cuts:
        click.echo(f"{cut.minimum:>8} {cut.people:>10} {cut.images:>12}")
    print_warnings(found.warnings)
    click.echo(
        f"{found.source}: {len(found.unreadable)} unreadable images, "
        f"{len(found.duplicates_across)} pictures of several people"
    )
    return int(not found.ok)


@dataset.command("pack")
@click.argument("source", type=FILE)
@output_option("The file to write; with --shards a folder.", kind=FILE)
@click.option("--to", type=click.Choice(["tar", "rec", "bin"]), required=True, help="Its form.")
@click.option("--shards", type=click.IntRange(1), help="How many tar files, in a folder.")
@click.option(
    "--pairs",
    type=FILE,
    help="For a .bin: a list of pairs, as CSV (first,second,same) or in the format of a known set.",
)
@click.option(
    "--min-images", type=click.IntRange(1), default=1, show_default=True, help="People with fewer are cut."
)
@json_option
def dataset_pack(source: Path, output: Path, as_json: bool, **given: Any) -> int:
    """Write images as tar shards, as .rec with .idx, or pairs of them as a verification .bin."""
    from vidface.training.datasets.pack import pack

    made = pack(source, output, **given)
    size = sum(path.stat().st_size for path in made.outputs)
    if as_json:
        print_json({**fields_of(made), "bytes": size})
        return int(made.unusable_pairs > 0)
    if made.unusable_pairs:
        for line in made.problems:
            click.echo(line)
        click.echo(f"{output}: not written: {made.unusable_pairs} lines of {given['pairs']} cannot be used")
        return 1
    _print_list("met in the source and the list", made.problems)
    what = f"{made.pairs} pairs" if made.people is None else f"{made.images} images of {made.people} people"
    files = f" in {len(made.outputs)} files" if len(made.outputs) > 1 else ""
    click.echo(f"{output}: written: {what}{files}, {size:,} bytes")
    least = given["min_images"]
    if least > 1:
        click.echo(f"cut: {made.cut_people} people with fewer than {least} images, {made.cut_images} images")
    return 0


def _print_list(what: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"{what}: {len(lines)}")
        for line in lines[:SHOWN]:
            click.echo(f"  {line}")
        if len(lines) > SHOWN:
            click.echo(f"  ... and {len(lines) - SHOWN} more; --json lists all")


@stage_command(network="vidface.features.options:ModelOptions")
@click.argument("pairs", metavar="PAIRS...", type=FILE, nargs=-1, required=True)
@click.option("--images", type=FILE, help="Images of a list of pairs: a folder, .tar or .rec.")
@click.option("--flip/--no-flip", default=True, show_default=True, help="Add the mirrored image's embedding.")
@click.option("--resize", is_flag=True, help="Resize images of another size.")
@fpr_rule_option(DEFAULT_RULE, "; it is printed with the numbers")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@output_option("Also write everything to this JSON file.", required=False)
@json_option
def verify(
    pairs: tuple[Path, ...],
    network: ModelOptions,
    images: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Ten-fold accuracy over listed pairs, for each of PAIRS.

    A .bin file (LFW, CFP-FP, AgeDB-30), or with --images a list: CSV first,second,same of PERSON/IMAGE names, or as LFW
    and its kin have it (docs/protocols/pairs.md).

    The JSON object: ``model``, ``model_sha256``, ``device``, ``flip``, ``resize``, ``folds``, ``fpr_rule``,
    ``definition`` (in words), ``output``, ``warnings`` (of the model), ``faults`` (how many images and pairs could not
    be used) and ``sets``, an object a file as `vidface.training.verify.verify` describes it. Exit code 1 where an image
    or a pair could not be used.
    """
    from vidface.files.json_files import write_json
    from vidface.scores.protocols.pairs import FOLDS
    from vidface.training.verify import definition, open_all
    from vidface.training.verify import verify as run

    if output is not None and not output.parent.is_dir():
        raise UsageError(f"{output}: the folder {output.parent} does not exist; create it first")
    spare_inputs(output, [*pairs, network.model, images])
    opened = open_all(pairs, images)
    backbone = network.load()
    sets = [run(each, backbone, **options) for each in opened]
    result = {
        "model": backbone.card.name,
        "model_sha256": backbone.sha256,
        "device": backbone.device,
        "flip": options["flip"],
        "resize": options["resize"],
        "folds": FOLDS,
        "fpr_rule": options["fpr_rule"],
        "definition": definition(options["flip"], options["fpr_rule"]),
        "output": output and str(output),
        "warnings": backbone.warnings,
        "faults": sum(each["counts"]["failed_images"] + each["counts"]["left_out"] for each in sets),
        "sets": sets,
    }
    if output is not None:
        write_json(output, result)
    if as_json:
        print_json(result)
    else:
        click.echo(_verify_lines(result))
    return int(result["faults"] > 0)


def _verify_lines(result: Mapping[str, Any]) -> str:
    from vidface.scores.text import columns, number, rule_line

    sets = result["sets"]
    targets = list(sets[0]["tpr@fpr"])
    shown = (
        ("accuracy", ".3%"),
        ("std", ".3%"),
        ("standard_error", ".3%"),
        ("threshold", ".2f"),
        ("auc", ".5f"),
    )
    head = ("set", "accuracy", "std", "std error", "threshold", "AUC", *(f"TPR@FPR={t}" for t in targets))
    table = [[*head, "pairs", "same"]]
    for each in sets:
        rates = (format(each[name], form) for name, form in shown)
        counts = (str(each["counts"][name]) for name in ("pairs", "same"))
        table.append(
            [Path(each["source"]).name, *rates, *(number(each["tpr@fpr"][t]) for t in targets), *counts]
        )
    # The rule that TPR at FPR follows once, or one line per set if it reaches another FPR.
    rules = [rule_line(result)]
    if result["fpr_rule"] == "nearest":
        rules = [f"{Path(each['source']).name}: {rule_line(each)}" for each in sets]
    about = f"{result['model']} on {result['device']}: {result['definition']}"
    warnings = (f"warning: {warning}" for warning in result["warnings"])
    return "\n".join([columns(table), "", about, *rules, *warnings, *_notes(sets)])


def _notes(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    for each in sets:
        name, counts = each["source"], each["counts"]
        notes += [f"warning: {name}: {warning}" for warning in each["warnings"]]
        found = [f"{fault['image']}: {fault['kind']}: {fault['detail']}" for fault in each["faults"]]
        if counts["failed_images"] or counts["left_out"]:
            notes.append(
                f"{name}: not measured: {counts['left_out']} pairs that the list or its images lack, and "
                f"{counts['failed_pairs']} pairs of {counts['failed_images']} images that failed"
            )
        found += each["problems"]
        notes += found[:SHOWN]
        if len(found) > SHOWN:
            notes.append(f"{name}: and {len(found) - SHOWN} more like these; -o or --json lists all")
    return notes
