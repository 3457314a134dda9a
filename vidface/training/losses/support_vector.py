"""Equations 5 and 6: the support-vector guided softmax on the combined margin."""

from __future__ import annotations

from torch import Tensor

from vidface.training.losses.cosine import target_cosines
from vidface.training.losses.margin import margin_cosine
from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard
from vidface.training.losses.softmax import softmax_loss


@full_precision
def support_vector(
    cosines: Tensor,
    labels: Tensor,
    *,
    scale: float = 64.0,
    m1: float = 1.0,
    m2: float = 0.3,
    m3: float = 0.2,
    t: float = 1.2,
    straight_through: bool = False,
    shard: Shard | None = None,
) -> Tensor:
    """Compute L3 per sample, [N]: -log(Z1 / (Z1 + sum_{j != y} Z3)); L3 is the mean.

    Z1 is that of ``combined``, whose arguments these are, and Z3 = e^{s (t - 1) (cos theta_j + 1) I_j} e^{s cos
    theta_j}. I_j is 1 for a class whose cosine beats the own class's with its margin, cos(m1 theta_y + m2) - m3 <
    cos theta_j, else 0. I_j is a constant for the gradient, as it is almost everywhere; its factor is not. t, at
    least 1, says how much more the classes count that win: with t = 1 this is ``combined``.
    """
    target = margin_cosine(
        target_cosines(cosines, labels, shard), m1, m2, m3, straight_through=straight_through
    )
    wins = cosines > target[:, None]
    guided = cosines + (t - 1) * (cosines + 1) * wins
    return softmax_loss(scale * target, scale * guided, labels, shard)
