"""Model cards: what a model expects of its input, in a small TOML file beside it or given as options.

Input size, colour order, mean and standard deviation decide every number that follows, so they are stated by
a card or by the user and never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from vidface.errors import ModelError
from vidface.toml_files import listed, read_toml

__all__ = ["ModelCard", "card_text", "read_card"]

_PositiveInt = Annotated[int, Field(gt=0, strict=True)]  # strict: true is not 1
_Side = Annotated[int, Field(gt=0, le=4096, strict=True)]
_PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# What must be said where there is no card, and how to say it.
_OPTIONS = {
    "input_size": "--input-size 112x112",
    "colour_order": "--colour-order rgb",
    "mean": "--mean 127.5,127.5,127.5",
    "std": "--std 128,128,128",
}


class ModelCard(BaseModel, extra="forbid", frozen=True):
    """What a model expects and gives: x = (pixel - mean) / std, with pixels 0..255.

    Attributes:
        name: what the model is called in results.
        input_size: (height, width) in pixels.
        colour_order: order of the model's three input channels.
        mean: subtracted from the pixel values, in the order of the model's channels.
        std: divided by, in the order of the model's channels; above zero.
        dimension: length of the embedding.
        licence: under which licence the weights may be used.
        source: where they come from.
        architecture: for weights only: a name ("step0" to "step5", "y1", "y2") or a table of
            widths with the fields of `vidface.backbones.mobilefacenet.Spec`.
    """

    name: str
    input_size: tuple[_Side, _Side]
    colour_order: Literal["rgb", "bgr"]
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[_PositiveFloat, _PositiveFloat, _PositiveFloat]
    dimension: _PositiveInt
    licence: str
    source: str
    architecture: str | dict[str, Any] | None = None


def read_card(model_path: Path, overrides: Mapping[str, object]) -> ModelCard:
    """The card of a model: the file beside it (same stem, ``.toml``), or else the options.

    Args:
        model_path: the model or weights file.
        overrides: options by field name; None means not given. Sizes may be text ("112x112"), triples too
            ("127.5,127.5,127.5"). With a card they may only repeat what it says.

    Returns:
        The checked card. Without a card file the name is the model's stem, licence and source are "not
        stated", and a dimension that is not given is taken from the model.

    Raises:
        ModelError: the card is damaged or incomplete, an option contradicts it, or there is no card and an
            option is missing.
    """
    options = {name: _from_text(name, value) for name, value in overrides.items() if value is not None}
    card_path = model_path.with_suffix(".toml")
    if card_path.is_file():
        card = _validated(_read_toml(card_path), str(card_path))
        merged = _validated({**card.model_dump(), **options}, "options")
        for name in options:
            ours, theirs = getattr(card, name), getattr(merged, name)
            if ours != theirs:
                raise ModelError(
                    f"{card_path}: {name} is {_shown(ours)}, but the option says {_shown(theirs)}: "
                    "leave the option out, or correct the card"
                )
        return card
    if not model_path.is_file():
        raise ModelError(f"{model_path}: no such model file")
    if missing := [name for name in _OPTIONS if name not in options]:
        raise ModelError(
            f"{model_path}: no card {card_path.name} beside it, and {', '.join(missing)} not given: "
            f"write the card, or say for example {' '.join(_OPTIONS[name] for name in missing)}"
        )
    values: dict[str, object] = {
        "name": model_path.stem,
        "licence": "not stated",
        "source": "not stated",
        "dimension": 1,
        **options,
    }
    card = _validated(values, "options")
    if "dimension" not in options:
        card = card.model_copy(update={"dimension": _dimension_of(model_path, card)})
    return card


def card_text(card: ModelCard) -> str:
    """A card as TOML that `read_card` reads back as the same card."""
    fields = {name: value for name, value in card.model_dump().items() if value is not None}
    table = fields.pop("architecture") if isinstance(fields.get("architecture"), dict) else None
    lines = [f"{name} = {_toml(value)}\n" for name, value in fields.items()]
    if table is not None:
        lines += ["\n[architecture]\n", *(f"{name} = {_toml(value)}\n" for name, value in table.items())]
    return "".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        if any(isinstance(part, list | tuple) for part in value):  # a row a line, as table 1 is printed
            return "[\n" + "".join(f"    {_toml(part)},\n" for part in value) + "]"
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):  # a JSON string is a TOML string, but for one character that JSON leaves bare
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _dimension_of(model_path: Path, card: ModelCard) -> int:
    # Imported here, since each needs a large library that the other kind of model can do without.
    if card.architecture is not None:
        from vidface.backbones.mobilefacenet import parse_spec

        return parse_spec(card.architecture).dimension
    if model_path.suffix in (".safetensors", ".pth", ".pt"):
        raise ModelError(f"{model_path}: weights need a card that names their architecture")
    from vidface.backbones.onnx_model import output_dimension

    return output_dimension(model_path, card.input_size)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable TOML card: {error}") from error


def _validated(values: Mapping[str, object], where: str) -> ModelCard:
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        problems = {".".join(str(part) for part in e["loc"]): e["msg"] for e in error.errors()}
        raise ModelError(
            f"{where}: {listed([f'{name}: {text}' for name, text in problems.items()])}"
        ) from error


def _from_text(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name == "input_size":
        return [int(side) if side.isdecimal() else side for side in value.lower().split("x")]
    if name in ("mean", "std"):
        return value.split(",")
    return value


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{part:g}" for part in value) + "]"
    return str(value)
