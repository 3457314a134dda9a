"""Equations 3 and 4: the combined margin, all of m1, m2 and m3 at once."""

from __future__ import annotations

from torch import Tensor

from vidface.training.losses.cosine import target_cosines
from vidface.training.losses.margin import margin_cosine
from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard
from vidface.training.losses.softmax import softmax_loss


@full_precision
def combined(
    cosines: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    m1: float = 1.0,
    m2: float = 0.3,
    m3: float = 0.2,
    straight_through: bool = False,
    shard: Shard | None = None,
) -> Tensor:
    """Compute L2 per sample, [N]: -log(Z1 / (Z1 + sum_{j != y} Z2)); L2 is the mean.

    Z1 = e^{s (cos(m1 theta_y + m2) - m3)} and Z2 = e^{s cos theta_j}. Equation 4 prints m3 outside the scale, where
    64 times smaller it would do nothing; equation 6 compares cos(m1 theta_y + m2) - m3 with cos theta_j, and that
    reading is used.

    Args:
        cosines: [N, C_local], from ``cosine.cosines``.
        labels: int64 [N], global.
        scale: s.
        m1, m2, m3: factor of the angle; added to the angle, radians; taken off the cosine.
        straight_through: see ``margin_cosine``.
        shard: this process's classes; None: all are here.
    """
    target = margin_cosine(
        target_cosines(cosines, labels, shard), m1, m2, m3, straight_through=straight_through
    )
    return softmax_loss(scale * target, scale * cosines, labels, shard)
