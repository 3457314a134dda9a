"""Equation 7: the angle between a sample and its class."""

from __future__ import annotations

from torch import Tensor

from vidface.training.losses.cosine import angle, target_cosines
from vidface.training.losses.shard import Shard


def intra(cosines: Tensor, labels: Tensor, *, shard: Shard | None = None) -> Tensor:
    """Compute the angle of every sample with its own class's weight, [N], radians, from cosines [N, C_local].

    L_Intra is the mean. Gradients are finite at 0 and pi, see ``angle``.
    """
    return angle(target_cosines(cosines, labels, shard))
