"""The options of score and sweep: one model for the command, a recipe's table and whoever scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from vidface.errors import UsageError
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.protocols.table import TABLE, load

__all__ = ["RECORDED", "ScoreOptions", "SweepOptions", "read_options"]

# What a record of a run says of how it was scored, whatever the protocol.
RECORDED = ("protocol", "enrolment_split", "gallery_split", "targets", "fpr_rule")


def _usual_targets(told: dict[str, Any]) -> list[str]:
    return list(load(told["protocol"]).targets) if "protocol" in told else []


class ScoreOptions(BaseModel, extra="forbid"):
    """How something is scored; a protocol uses some of it, see `vidface.scores.protocols.table`.

    Attributes:
        protocol: what is compared with what.
        enrolment_split: the videos that templates are made of.
        gallery_split: the videos that are searched, or searched for.
        targets: FPR or FPIR targets, as text; those of the protocol where none are said.
        fpr_rule: which point of the curve a target means, see `vidface.scores.metrics.fpr_rules`.
        pairs: the list of pairs.
        meta: the folder of the lists of IJB-B or IJB-C.
        device: where pairs are compared; the numbers do not depend on it.
        norm: keep the length of a feature when templates are pooled.
        detector_score: multiply each feature by the detector's score.
        flip_halves: a row is the embedding and after it that of the mirrored image: add the two.
    """

    protocol: str = "both"
    enrolment_split: str = "train"
    gallery_split: str = "val"
    targets: list[str] = Field(default_factory=_usual_targets)
    fpr_rule: FprRule = DEFAULT_RULE
    pairs: Path | None = None
    meta: Path | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    norm: bool = True
    detector_score: bool = True
    flip_halves: bool = False

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in TABLE:
            raise ValueError(f"no protocol {name!r}; there are {', '.join(TABLE)}")
        return name

    def record(self) -> dict[str, Any]:
        """Plain values for a record of a run: `RECORDED`, and whatever else is not as usual and sets the numbers."""
        told = self.model_dump(mode="json", exclude={"device"})
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: value for name, value in told.items() if name in RECORDED or value != usual[name]}


def read_options(told: Mapping[str, Any]) -> ScoreOptions:
    """Options as they were told; what is None is as usual.

    Raises:
        UsageError: one of them is wrong.
    """
    try:
        return ScoreOptions.model_validate({name: each for name, each in told.items() if each is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{where}: {first['msg'].removeprefix('Value error, ')}") from None


class SweepOptions(BaseModel, extra="forbid"):
    """What a sweep has beside the options of `ScoreOptions`: thresholds as text, as ``vidface sweep`` takes them."""

    thresholds: str = "none,0.2:0.6:0.05"
