"""The card of a model: from the file beside it, or from options, which may not contradict it; and its network.

A dimension that nothing states is taken from the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vidface.backbones.card import ModelCard, validated
from vidface.backbones.kinds import model_kind
from vidface.backbones.spec import STEPS, Spec, parse_spec
from vidface.errors import ModelError
from vidface.files.toml import read_toml

# What must be said where there is no card, and how to say it.
_OPTIONS = {
    "input_size": "--input-size 112x112",
    "colour_order": "--colour-order rgb",
    "mean": "--mean 127.5,127.5,127.5",
    "std": "--std 128,128,128",
}


def read_card(model_path: Path, overrides: Mapping[str, object]) -> ModelCard:
    """The card of a model: the file beside it (same stem, ``.toml``), or else the options.

    ``overrides`` are options by field name; None means not given. Sizes may be text ("112x112"), triples too
    ("127.5,127.5,127.5"). With a card they may only repeat what it says, or say what it leaves open. Without one
    the name is the model's stem, licence and source are "not stated", and a dimension that is not given is taken
    from the model.

    Raises:
        ModelError: the card is damaged or incomplete, an option contradicts it, or there is no card and an
            option is missing.
    """
    options = {name: _from_text(name, value) for name, value in overrides.items() if value is not None}
    card_path = model_path.with_suffix(".toml")
    if card_path.is_file():
        try:
            content = read_toml(card_path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{card_path}: not a readable TOML card: {reason}") from error
        card = validated(content, str(card_path))
        merged = validated({**card.model_dump(), **options}, "options")
        for name in options:
            ours, theirs = getattr(card, name), getattr(merged, name)
            if ours is not None and ours != theirs:
                raise ModelError(
                    f"{card_path}: {name} is {_shown(ours)}, but the option says {_shown(theirs)}: "
                    "leave the option out, or correct the card"
                )
        return merged
    if not model_path.is_file():
        raise ModelError(f"{model_path}: no such model file")
    if "architecture" not in options and model_kind(model_path) != "onnx":
        raise _no_architecture(model_path)
    if missing := [name for name in _OPTIONS if name not in options]:
        raise ModelError(
            f"{model_path}: no card {card_path.name} beside it, and {', '.join(missing)} not given: "
            f"write the card, or pass for example {' '.join(_OPTIONS[name] for name in missing)}"
        )
    unsaid = {"name": model_path.stem, "licence": "not stated", "source": "not stated", "dimension": 1}
    card = validated({**unsaid, **options}, "options")
    if "dimension" in options:
        return card
    if card.architecture is not None:
        return card.model_copy(update={"dimension": parse_spec(card.architecture).dimension})
    # Imported here, since it needs a large library that weights can do without.
    from vidface.backbones.onnx_model import output_dimension

    return card.model_copy(update={"dimension": output_dimension(model_path, card)})


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


def _no_architecture(path: Path) -> ModelError:
    """The error for weights of which nothing says what network they belong to."""
    from vidface.backbones.weights import held_in  # here, since it takes torch

    return ModelError(
        f"{path}: holds {held_in(path)}, but nothing says of which network: its card {path.with_suffix('.toml').name} "
        f'must name an architecture, for example architecture = "step5" (known: {", ".join(STEPS)}); export any other '
        "network to ONNX, with torch.onnx.export, which needs `pip install onnx onnxscript`: see docs/models.md"
    )


def card_spec(card: ModelCard, path: Path) -> Spec:
    """The spec that the card of the model `path` names.

    Raises:
        ModelError: it names no architecture, one that is not allowed, or one of another dimension.
    """
    if card.architecture is None:
        raise _no_architecture(path)
    try:
        spec = parse_spec(card.architecture)
    except ModelError as error:
        raise ModelError(f"{path}: its card: {error}") from None
    if spec.dimension != card.dimension:
        raise ModelError(
            f"{path}: its card says dimension {card.dimension}, its architecture {spec.dimension}"
        )
    return spec
