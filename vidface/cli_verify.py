"""``vidface verify``: accuracy over listed pairs of face images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from vidface.errors import UsageError
from vidface.options import FILE, card_fields, fpr_rule_option, json_option, model_options, spare_inputs
from vidface.output import print_json

SHOWN = 20  # problems that are printed; all of them are in the JSON


@click.command()
@click.argument("pairs", metavar="PAIRS...", type=FILE, nargs=-1, required=True)
@model_options
@click.option("--images", type=FILE, help="Where a CSV list finds its images: a folder, .tar or .rec.")
@click.option("--flip/--no-flip", default=True, show_default=True, help="Add the mirrored image's embedding.")
@click.option("--resize", is_flag=True, help="Resize images of another size.")
@fpr_rule_option
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("-o", "--output", type=FILE, help="Also write everything to this JSON file.")
@json_option
def verify(
    pairs: tuple[Path, ...],
    model: Path,
    device: str,
    half: bool,
    input_size: tuple[int, int] | None,
    colour_order: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    images: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Ten-fold accuracy over listed pairs, for each of PAIRS.

    A .bin file (LFW, CFP-FP, AgeDB-30), or a CSV list first,second,same of PERSON/IMAGE names with --images.

    The JSON object: ``model``, ``model_sha256``, ``device``, ``flip``, ``resize``, ``folds``, ``fpr_rule``,
    ``definition`` (in words), ``output``, ``faults`` (how many images and pairs could not be used) and ``sets``, an
    object a file as `vidface.stages.verify.verify` describes it. Exit code 1 where an image or a pair could not
    be used.
    """
    from vidface.backbones import load_backbone
    from vidface.stages.outputs import write_json
    from vidface.stages.verify import FOLDS, definition, open_all
    from vidface.stages.verify import verify as run

    if output is not None:
        _check_output(output, [*pairs, model, *([] if images is None else [images])])
    overrides = card_fields(input_size=input_size, colour_order=colour_order, mean=mean, std=std)
    opened = open_all(pairs, images)
    backbone = load_backbone(model, overrides=overrides, device=device, half=half)
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
        "output": None if output is None else str(output),
        "faults": sum(each["counts"]["failed_images"] + each["counts"]["left_out"] for each in sets),
        "sets": sets,
    }
    if output is not None:
        write_json(output, result)
    if as_json:
        print_json(result)
    else:
        click.echo(_lines(result))
    return int(result["faults"] > 0)


def _check_output(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse before the work what could not be written after it, or would be written over what is measured."""
    if not output.parent.is_dir():
        raise UsageError(f"{output}: the folder {output.parent} does not exist; create it first")
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; name a file")
    spare_inputs(output, inputs)


def _lines(result: Mapping[str, Any]) -> str:
    from vidface.tables import columns

    targets = list(result["sets"][0]["tpr@fpr"])
    table = [
        [
            "set",
            "accuracy",
            "std",
            "std error",
            "threshold",
            "AUC",
            *(f"TPR@FPR={t}" for t in targets),
            "pairs",
            "same",
        ]
    ]
    for each in result["sets"]:
        table.append(
            [
                Path(each["source"]).name,
                f"{each['accuracy']:.3%}",
                f"{each['std']:.3%}",
                f"{each['standard_error']:.3%}",
                f"{each['threshold']:.2f}",
                f"{each['auc']:.5f}",
                *("-" if each["tpr@fpr"][t] is None else f"{each['tpr@fpr'][t]:.4f}" for t in targets),
                str(each["counts"]["pairs"]),
                str(each["counts"]["same"]),
            ]
        )
    return "\n".join(
        [
            columns(table),
            "",
            f"{result['model']} on {result['device']}: {result['definition']}",
            *_rule_lines(result),
            *_notes(result["sets"]),
        ]
    )


def _rule_lines(result: Mapping[str, Any]) -> list[str]:
    """The rule that TPR at FPR follows, once, or a line a set where the FPR that is reached is to be said."""
    from vidface.tables.text import rule_line

    if result["fpr_rule"] == "nearest":
        return [f"{Path(each['source']).name}: {rule_line(each)}" for each in result["sets"]]
    return [rule_line(result)]


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
