"""Equation 1: ArcFace, the additive angular margin."""

from __future__ import annotations

from torch import Tensor

from vidface.training.losses.combined import combined
from vidface.training.losses.shard import Shard

__all__ = ["arcface"]


def arcface(
    cosines: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    straight_through: bool = False,
    shard: Shard | None = None,
) -> Tensor:
    """Compute L1 per sample: -log(e^{s cos(theta_y + m)} / (e^{s cos(theta_y + m)} + sum_{j != y} e^{s cos theta_j})).

    It is equation 3 with m1 = 1 and m3 = 0. Where theta_y + m is beyond pi, see ``margin_cosine``.

    Args:
        cosines: [N, C_local], from ``cosine.cosines``.
        labels: int64 [N], global.
        scale: s.
        margin: m, radians.
        straight_through: see ``margin_cosine``.
        shard: this process's classes; None: all are here.

    Returns:
        [N]; L1 is the mean.
    """
    return combined(
        cosines,
        labels,
        scale=scale,
        m1=1.0,
        m2=margin,
        m3=0.0,
        straight_through=straight_through,
        shard=shard,
    )
