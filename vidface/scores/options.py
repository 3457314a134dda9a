"""The options of score and sweep: one model for the command, a recipe's table and whoever scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from vidface.errors import UsageError
from vidface.files.options import Options, extra_of, option
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.protocols.table import OF_EMBEDDINGS, TABLE, check_embeddings, load, used_by

__all__ = ["RECORDED", "RecipeScoreOptions", "ScoreOptions", "SplitOptions", "SweepOptions", "read_options"]

# What a record of a run says of how it was scored, whatever the protocol.
RECORDED = ("protocol", "enrolment_split", "gallery_split", "targets", "fpr_rule")


def _usual_targets(told: dict[str, Any]) -> list[str]:
    return list(load(told["protocol"]).targets) if "protocol" in told else []


def _helped(text: str, file_or_option: str) -> str:
    return f"{text} ({used_by(file_or_option)})."


_ENROLMENT = option("train", _helped("Videos that templates are made of", "enrolment_split"))
_GALLERY = option("val", _helped("Videos that are searched", "gallery_split"))


class SplitOptions(Options):
    """What a submission is ranked by; in a recipe the splits of ``[score]``."""

    enrolment_split: str = _ENROLMENT
    gallery_split: str = _GALLERY


class RecipeScoreOptions(Options):
    """How embeddings are scored, ``[score]`` of a recipe; `vidface.scores.protocols.table`: what a protocol uses."""

    protocol: str = option(
        "both",
        "What is compared with what; both: iqiyi and lfrc. docs/protocols/ has a page for each.",
        choices=OF_EMBEDDINGS,
    )
    enrolment_split: str = _ENROLMENT
    gallery_split: str = _GALLERY
    targets: list[str] = option(
        _usual_targets, "FPR targets, such as 1e-3,1e-4 [default: those of the protocol].", reads="targets"
    )
    fpr_rule: FprRule = option(
        DEFAULT_RULE, "How to choose the operating point for an FPR target; it is printed with the numbers."
    )
    pairs: Path | None = option(None, _helped("The list of pairs", "pairs"))
    device: Literal["cpu", "cuda"] = option(
        "cpu", f"Where all pairs are compared ({used_by('device')}); the numbers are the same."
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        choices = extra_of(cls, "protocol")["choices"]
        if name in TABLE and name not in choices:
            check_embeddings(name)
        if name not in choices:
            raise ValueError(f"no protocol {name!r}; there are {', '.join(choices)}")
        return name

    def record(self) -> dict[str, Any]:
        """Plain values for a record of a run: `RECORDED`, and whatever else is not as usual and sets the numbers."""
        told = self.model_dump(mode="json", exclude={"device"})
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: value for name, value in told.items() if name in RECORDED or value != usual[name]}


class ScoreOptions(RecipeScoreOptions):
    """How something is scored: embeddings, or features of images."""

    protocol: str = option("both", RecipeScoreOptions.model_fields["protocol"].description, choices=TABLE)
    meta: Path | None = option(
        None, _helped("The folder of the set's own lists", "meta"), metavar="DIRECTORY", reads="folder"
    )
    norm: bool = option(True, _helped("Keep the features' norms, or L2-normalise each", "norm"))
    detector_score: bool = option(True, _helped("Multiply each feature by its detector's score", "norm"))
    flip_halves: bool = option(
        False, _helped("A row is an embedding and then the mirrored image's: add the two", "norm")
    )


def read_options(told: Mapping[str, Any]) -> ScoreOptions:
    """Options as given, defaults for None; a `UsageError` if one of them is wrong."""
    try:
        return ScoreOptions.model_validate({name: each for name, each in told.items() if each is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{where}: {first['msg'].removeprefix('Value error, ')}") from None


class SweepOptions(Options):
    """What a sweep takes beside `RecipeScoreOptions`: ``[sweep]`` of a recipe."""

    thresholds: str = option("none,0.2:0.6:0.05", "none, cosines, and ranges start:stop:step.")
