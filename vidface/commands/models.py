"""The commands about models themselves: what one costs, how it leaves as ONNX, and what trying one shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.commands.options import DIRECTORY, FILE, json_option, output_option, reading
from vidface.commands.output import fields_of, print_json
from vidface.errors import UsageError, VidfaceError
from vidface.scores.text import columns

if TYPE_CHECKING:
    from vidface.backbones.costs import Budget, Layer

_MOST_FACES = 256  # enough to see a difference, whatever the folder holds


@click.command()
@click.argument("model")
@click.option(
    "--limits",
    type=click.Choice(["light", "large", "none"]),
    default="light",
    show_default=True,
    help="light: 1 GFLOPs on the organisers' counter, 20 MB, 512-d; large: 30 GFLOPs, 512-d.",
)
@click.option("--input-size", callback=reading("size"), help="HEIGHTxWIDTH, if the model does not say.")
@click.option(
    "--model-output", metavar="NAME", help="Which of several outputs is the embedding, if no card names it."
)
@click.option("--layers", "with_layers", is_flag=True, help="A row for every layer.")
@json_option
def budget(
    model: str,
    limits: str,
    input_size: tuple[int, int] | None,
    model_output: str | None,
    with_layers: bool,
    as_json: bool,
) -> int:
    """What MODEL costs: FLOPs, MACs, parameters, size; exits with status 1 if it is over the limits.

    MODEL is step0 to step5, y1 or y2, a model card, an ONNX model, or weights (safetensors, plain
    .pth) with their card. A file with a card is also tried on three images, and what that shows is printed.
    """
    from vidface.backbones.budget import LIMITS, exceeded, read_budget

    found = read_budget(model, input_size, model_output)
    over = exceeded(found, LIMITS[limits]) if limits != "none" else []
    # What was not counted may be what is over: then nothing is promised.
    trial = _tried(model, model_output)
    within = None if limits == "none" or (found.not_counted and not over) else not over
    if as_json:
        exceeding = [{"limit": e.limit, "value": e.value, "allowed": e.allowed} for e in over]
        told = {**_budget_json(found), "limits": limits, "within": within, "over": exceeding, "tried": trial}
        layers = [{**fields_of(layer), "output": list(layer.output)} for layer in found.layers]
        print_json(told | ({"layers": layers} if with_layers else {}))
    else:
        click.echo(_budget_text(found, with_layers))
        if trial is not None:
            click.echo(tried_lines(trial))
        for excess in over:
            click.echo(f"limits {limits}: over: {excess.text}")
        if within:
            click.echo(
                f"limits {limits}: within" + (" (its 20 MB are read as MiB)" if limits == "light" else "")
            )
        elif limits != "none" and not over:
            click.echo(f"limits {limits}: not shown to be within: not all was counted")
    return int(limits != "none" and not within)


def _tried(model: str, output: str | None) -> dict[str, Any] | None:
    """What trying a file with a card shows; None for the name of a network, a card alone, a file without one."""
    path = Path(model)
    if path.suffix == ".toml":
        beside = (path.with_suffix(suffix) for suffix in (".onnx", ".safetensors", ".pth", ".pt"))
        path = next((file for file in beside if file.is_file()), path)
    there = path.suffix != ".toml" and path.is_file() and path.with_suffix(".toml").is_file()
    return tried(path, {"output": output}) if there else None


@click.command("export")
@click.argument("checkpoint", type=FILE)
@output_option("The model to write, NAME.onnx.", kind=FILE)
@click.option("--faces", type=DIRECTORY, help="Compare on the first 256 aligned faces of this folder too.")
@json_option
def export_command(checkpoint: Path, output: Path, faces: Path | None, as_json: bool) -> int:
    """Write CHECKPOINT, weights (safetensors, plain .pth) with their card, as an ONNX model with its card.

    Both are run on noise, and on --faces; where they differ nothing is written.
    """
    from vidface.backbones.export import export

    images, faults = (None, []) if faces is None else _read_faces(faces)
    made = export(checkpoint, output, images)
    if as_json:
        told = {"output" if name == "model" else name: value for name, value in fields_of(made).items()}
        print_json({**told, "faults": faults})
    else:
        click.echo(f"{made.model}, {made.card}: written, {made.model.stat().st_size:,} bytes")
        click.echo(
            f"onnxruntime's embeddings of {made.faces} images differ from torch's by at most {made.difference:.1e} "
            f"of their length (torch's own rounding: {made.rounding:.1e})"
        )
        for fault in faults:
            click.echo(f"left out: {fault}")
    return int(bool(faults))


def _read_faces(folder: Path) -> tuple[Any, list[str]]:
    """(uint8 RGB [N, H, W, 3], images that could not be used)."""
    import numpy as np

    from vidface.frames import ReadReport, read_frames

    report = ReadReport()
    frames = itertools.islice(read_frames(folder, report=report), _MOST_FACES)
    images = [frame.pixels for frame in frames]
    if len({image.shape for image in images}) > 1:
        raise UsageError(f"{folder}: its images differ in size: aligned faces are wanted")
    return np.stack(images), [detail for _, detail in report.faults]


def _budget_json(budget: Budget) -> dict[str, Any]:
    stored = budget.as_stored
    return {
        "model": budget.name,
        "input_size": list(budget.input_size),
        "dimension": budget.dimension,
        **_figures(budget.layers),
        "trainable": budget.trainable,
        "as_stored": None if stored is None else _figures(stored),
        "at_least": bool(budget.not_counted),
        "not_counted": list(budget.not_counted),
        "notes": list(budget.notes),
    }


def _figures(layers: Sequence[Layer]) -> dict[str, int]:
    macs, parameters = sum(layer.macs for layer in layers), sum(layer.parameters for layer in layers)
    return {
        "flops_organisers": sum(layer.flops for layer in layers),
        "macs": macs,
        "two_macs": 2 * macs,
        "parameters": parameters,
        "bytes_float32": 4 * parameters,
        "bytes_float16": 2 * parameters,
    }


def _budget_text(budget: Budget, with_layers: bool) -> str:
    height, width = budget.input_size
    lines = []
    if with_layers:
        table = [["layer", "operation", "output", "parameters", "FLOPs (organisers')", "MACs"]]
        for layer in budget.layers:
            numbers = (f"{number:,}" for number in (layer.parameters, layer.flops, layer.macs))
            table.append([layer.name, layer.op, "x".join(map(str, layer.output)), *numbers])
        lines += [columns(table), ""]
    least = "at least " if budget.not_counted else ""
    figures = [_figures(budget.layers)] + ([] if budget.as_stored is None else [_figures(budget.as_stored)])
    rows: list[tuple[str, ...]] = [
        (what, *(least + form(figure[key]) for figure in figures)) for what, key, form in _SHOWN
    ]
    rows.append(("dimension", *(str(budget.dimension) for _ in figures)))
    if len(figures) > 1:
        rows.insert(0, ("", "before folding", "as the file is"))
    lines += [f"{budget.name}: one image of {height}x{width}", columns(rows)]
    if budget.trainable is not None:
        lines.append(
            f"of the parameters {budget.trainable / 1e6:,.3f}M are trainable, the rest are statistics"
        )
    lines += [f"not counted: {what}" for what in budget.not_counted]
    lines += [f"note: {note}" for note in budget.notes]
    return "\n".join(lines)


def _millions(count: int, places: int = 2) -> str:
    return f"{count / 1e6:,.{places}f}M"


def _size_text(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB ({size / 1e6:,.2f} MB)"


_SHOWN: tuple[tuple[str, str, Callable[[int], str]], ...] = (
    ("FLOPs, challenge organisers' counter", "flops_organisers", _millions),
    ("MACs", "macs", _millions),
    ("2 x MACs", "two_macs", _millions),
    ("parameters", "parameters", lambda count: _millions(count, 3)),
    ("size in float32", "bytes_float32", _size_text),
    ("size in float16", "bytes_float16", _size_text),
)


def tried(model: Path, overrides: dict[str, object] | None = None) -> dict[str, Any]:
    """Open a model with its card on the CPU, and try it on three images; see `vidface.backbones.probe`.

    Returns:
        A dict that JSON can hold: ``model`` (its path), ``refused`` (why it cannot be used, or None), ``warnings``; if
        it can be used also ``device``, ``colour_order``, ``input_type``, ``layout``, ``batch`` (None: any),
        ``why_batch``, ``outputs`` (name to shape), ``output``, ``dimension``, ``pixels`` and ``inside`` (smallest and
        largest number that the card, then the model's own first steps, make of a pixel), ``repeats`` and ``alone`` (how
        far two runs of an image, and an image alone and in a batch, differ, as a share of the embedding's length),
        ``norms``.
    """
    from vidface.backbones import load_backbone

    try:
        backbone = load_backbone(model, overrides=overrides, device="cpu")
    except VidfaceError as error:
        return {"model": str(model), "refused": str(error).removeprefix(f"{model}: "), "warnings": []}
    found = backbone.findings
    assert found is not None, "it was probed"
    shown = asdict(found)
    return {
        "model": str(model),
        "refused": None,
        "device": backbone.device,
        "colour_order": backbone.card.colour_order,
        **shown.pop("form"),
        **shown,
        "warnings": backbone.warnings,
    }


def tried_lines(found: dict[str, Any]) -> str:
    if found["refused"] is not None:
        return f"cannot be used: {found['refused']}"
    batch = "any batch" if found["batch"] is None else f"a batch of {found['batch']}"
    batch += f" ({found['why_batch']})" if found["why_batch"] else ""
    inside = (
        "" if found["inside"] is None else f", {_range(found['inside'])} after the model's own first steps"
    )
    others = ", ".join(f"{name} ({shape})" for name, shape in found["outputs"].items())
    low, high = found["norms"]
    unit = abs(low - 1) < 1e-3 and abs(high - 1) < 1e-3
    rows = [
        ("input", f"{found['input_type']}, {found['layout']}, {batch}"),
        ("pixels", f"{_range(found['pixels'])} by its card{inside}"),
        ("colours", f"{found['colour_order']} by its card; no test can tell whether that is right"),
        ("output", f"{found['output']}, {found['dimension']} numbers; it has {others}"),
        ("two runs of an image", _apart(found["repeats"])),
        (
            "alone and in a batch",
            "never in a batch" if found["alone"] is None else _apart(found["alone"]),
        ),
        ("lengths", f"{low:.4g} to {high:.4g} for three images" + (": normalised already" if unit else "")),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in found["warnings"])])


def _apart(share: float) -> str:
    return "the same bits" if share == 0 else f"{share:.1e} of an embedding's length apart"


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"
