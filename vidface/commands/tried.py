"""What trying a model has shown, for the commands that look at one: `budget` and `doctor --model`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidface.errors import VidfaceError

__all__ = ["tried", "tried_lines"]


def tried(model: Path, overrides: dict[str, object] | None = None) -> dict[str, Any]:
    """Open a model with its card on the CPU, and try it on three images; see `vidface.backbones.probe`.

    Returns:
        A dict that JSON can hold: ``model`` (its path); ``refused``, why it cannot be used, or None; ``warnings``; if
        it can be used also ``device``, ``colour_order``, ``input_type``, ``layout``, ``batch`` (None: any),
        ``why_batch``, ``outputs`` (name to shape), ``output``, ``dimension``, ``pixels`` and ``inside`` (smallest and
        largest number that the card and then the model's own first steps make of a pixel), ``repeats`` and ``alone``
        (how far two runs of an image differ, and an image alone and in a batch, as a share of the embedding's length),
        and ``norms``.
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
    """The same for people."""
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
