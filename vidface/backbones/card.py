"""Model cards: what a model expects of its input, in a small TOML file beside it or given as options.

Input size, colour order, mean and standard deviation decide every number that follows, so they are stated by
a card or by the user and never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError, ValidationInfo

from vidface.errors import ModelError
from vidface.files.toml import listed

_PositiveInt = Annotated[int, Field(gt=0, strict=True)]  # strict: true is not 1
_Side = Annotated[int, Field(gt=0, le=4096, strict=True)]
_PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Point = tuple[FiniteFloat, FiniteFloat]
_FivePoints = tuple[_Point, _Point, _Point, _Point, _Point]


def _upright_within(points: _FivePoints | None, info: ValidationInfo) -> _FivePoints | None:
    """Refuse five points that are no upright face in pixels of the input: all faces would be cut out wrongly."""
    if points is None or "input_size" not in info.data:  # then that is what is wrong
        return points
    height, width = info.data["input_size"]
    left_eye, right_eye, _, left_mouth, right_mouth = points
    if not (left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]):
        raise ValueError(
            "the image-left eye comes first, then the other, the nose, and the corners of the mouth, left and right"
        )
    if not all(0 <= x < width and 0 <= y < height for x, y in points):
        raise ValueError(f"points lie outside the input of {width}x{height}: say (x, y) in its pixels")
    below = (left_mouth[1] + right_mouth[1] - left_eye[1] - right_eye[1]) / 2
    if below < height / 20:
        raise ValueError(
            f"the mouth is {below:.3g} pixels below the eyes: say (x, y) in pixels of the input, {width}x{height}"
        )
    return points


class ModelCard(BaseModel, extra="forbid", frozen=True):
    """What a model expects and gives: x = (pixel - mean) / std, with pixels 0..255.

    Attributes:
        name: what the model is called in results.
        input_size: (height, width) in pixels.
        template: where faces that are detected have their five points, (x, y) in pixels of the input: image-left eye,
            image-right eye, nose, image-left and image-right mouth corner; None: where
            `vidface.frames.faces.align.template` has them.
        colour_order: order of the model's three input channels.
        mean: subtracted from the pixel values, in the order of the model's channels.
        std: divided by, in the order of the model's channels; above zero.
        dimension: length of the embedding.
        licence: under which licence the weights may be used.
        source: where they come from.
        output: for an ONNX model with several outputs: the name of the one that is the embedding.
        architecture: for weights only: a name ("step0" to "step5", "y1", "y2") or a table of
            widths with the fields of `vidface.backbones.spec.Spec`.
    """

    name: str
    input_size: tuple[_Side, _Side]
    template: Annotated[_FivePoints | None, AfterValidator(_upright_within)] = None
    colour_order: Literal["rgb", "bgr"]
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[_PositiveFloat, _PositiveFloat, _PositiveFloat]
    dimension: _PositiveInt
    licence: str
    source: str
    output: str | None = None
    architecture: str | dict[str, Any] | None = None


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


def validated(values: Mapping[str, object], where: str) -> ModelCard:
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        problems = {".".join(str(part) for part in e["loc"]): e["msg"] for e in error.errors()}
        raise ModelError(
            f"{where}: {listed([f'{name}: {text}' for name, text in problems.items()])}"
        ) from error
