"""What a stage minimises: the losses and their weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, model_validator
from torch import Tensor

from vidface.training.losses.arcface import arcface
from vidface.training.losses.class_balanced import class_weights
from vidface.training.losses.combined import combined
from vidface.training.losses.cosine import cosines
from vidface.training.losses.inter import inter
from vidface.training.losses.intra import intra
from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard
from vidface.training.losses.support_vector import support_vector
from vidface.training.mining import triplet_loss

AtLeastZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Objective(BaseModel, extra="forbid", frozen=True):
    """The losses of a stage. A loss of weight 0 is not computed, so the stage is exactly the one without it.

    Attributes:
        classification: which of equations 1, 3 and 5.
        weight: of the classification loss.
        scale: s of equations 1 to 6.
        m1: factor of the angle; ArcFace has none (1).
        m2: added to the angle, radians; ArcFace's margin.
        m3: taken off the cosine; ArcFace has none (0).
        t: of equation 6, at least 1; used by ``support_vector`` alone.
        straight_through: see ``margin_cosine``.
        intra: weight of equation 7.
        inter: weight of equation 8.
        class_balanced: beta of equation 9, in [0, 1); 0: all classes count the same.
        triplet: weight of the triplet loss over semi-hard negatives.
        triplet_margin: on the cosine.
    """

    classification: Literal["arcface", "combined", "support_vector"] = "arcface"
    weight: AtLeastZero = 1.0
    scale: Above = 64.0
    m1: Above = 1.0
    m2: FiniteFloat = 0.5
    m3: FiniteFloat = 0.0
    t: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.2
    straight_through: bool = False
    intra: AtLeastZero = 0.0
    inter: AtLeastZero = 0.0
    class_balanced: Annotated[float, Field(ge=0, lt=1)] = 0.0
    triplet: AtLeastZero = 0.0
    triplet_margin: Above = 0.2

    @model_validator(mode="after")
    def _can_be_minimised(self) -> Objective:
        if self.classification == "arcface" and (self.m1 != 1 or self.m3 != 0):
            raise ValueError("arcface has the margin m2 alone: for m1 and m3 say classification = 'combined'")
        if self.class_balanced and not self.weight:
            raise ValueError("class_balanced needs a classification loss: weight is 0")
        if not (self.weight or self.intra or self.inter or self.triplet):
            raise ValueError("weight, intra, inter and triplet are all 0: nothing is left to minimise")
        return self


@full_precision
def objective(
    embeddings: Tensor,
    weights: Tensor,
    labels: Tensor,
    counts: Tensor,
    settings: Objective,
    shard: Shard | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute what a stage minimises.

    Args:
        embeddings: [N, D], any length; with a shard, those of the global batch, the same on every process.
        weights: [C_local, D], any length.
        labels: int64 [N], global.
        counts: int64 [C], images of every class, also of those elsewhere; same device as ``labels``.
        settings: the losses and their weights.
        shard: this process's classes; None: all are here. For its gradients see ``shard.py``.

    Returns:
        The weighted sum, a scalar, and the parts that went into it before their weights, scalars without a graph:
        the classification loss under its name, ``class_balanced`` (the same, weighted by class), ``intra``,
        ``inter`` and ``triplet``. Parts of weight 0 are absent.
    """
    parts: dict[str, Tensor] = {}
    terms: list[Tensor] = []
    if settings.weight or settings.intra:
        angles = cosines(embeddings, weights)
    if settings.weight:
        losses = _classification(angles, labels, settings, shard)
        parts[settings.classification] = losses.mean()
        minimised = parts[settings.classification]
        if settings.class_balanced:
            minimised = (class_weights(counts[labels], settings.class_balanced) * losses).mean()
            parts["class_balanced"] = minimised
        terms.append(settings.weight * minimised)
    if settings.intra:
        parts["intra"] = intra(angles, labels, shard=shard).mean()
        terms.append(settings.intra * parts["intra"])
    if settings.inter:
        parts["inter"] = inter(weights, shard=shard)
        terms.append(settings.inter * parts["inter"])
    if settings.triplet:
        parts["triplet"] = triplet_loss(embeddings, labels, margin=settings.triplet_margin)
        terms.append(settings.triplet * parts["triplet"])
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total, {name: part.detach() for name, part in parts.items()}


def _classification(cosines: Tensor, labels: Tensor, settings: Objective, shard: Shard | None) -> Tensor:
    common: dict[str, Any] = {
        "scale": settings.scale,
        "straight_through": settings.straight_through,
        "shard": shard,
    }
    if settings.classification == "arcface":
        return arcface(cosines, labels, margin=settings.m2, **common)
    common |= {"m1": settings.m1, "m2": settings.m2, "m3": settings.m3}
    if settings.classification == "support_vector":
        return support_vector(cosines, labels, t=settings.t, **common)
    return combined(cosines, labels, **common)
