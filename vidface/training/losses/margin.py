"""The margin on the cosine of a sample with its own class (inside equations 1 and 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vidface.training.losses.cosine import inside
from vidface.training.losses.precision import full_precision


@full_precision
def margin_cosine(
    cosine: Tensor, m1: float = 1.0, m2: float = 0.0, m3: float = 0.0, *, straight_through: bool = False
) -> Tensor:
    """Compute cos(m1 * theta + m2) - m3 from cos(theta), of any shape; m1 is above 0, m2 in radians.

    Beyond pi the printed formula rises again and would reward an angle for being wrong. It is continued downwards
    as SphereFace does (Liu et al. 2017, their psi): with phi = m1 * theta + m2 and k = floor(phi / pi) it is
    (-1)^k cos(phi) - 2k. That is the print wherever phi is in [0, pi], has no jump, and never rises.

    The gradient is the true one. At theta of exactly 0 or pi, where it may be infinite, it is that of the number next
    to 1 or -1; the value is exact there too. ``straight_through`` gives the margin's value but a gradient of 1 with
    respect to the cosine, as public implementations do that write the margin into the logits without a graph.
    """
    if straight_through:
        return cosine + (_falling(cosine.detach().clamp(-1, 1), m1, m2) - m3 - cosine).detach()
    near = _falling(inside(cosine), m1, m2)
    exact = _falling(cosine.detach().clamp(-1, 1), m1, m2)
    return near + (exact - near).detach() - m3


def _falling(cosine: Tensor, m1: float, m2: float) -> Tensor:
    """cos(m1 * theta + m2), continued beyond [0, pi] without ever rising."""
    phi = m1 * torch.acos(cosine) + m2
    k = torch.floor(phi.detach() / math.pi)
    sign = 1 - 2 * torch.remainder(k, 2)
    return sign * torch.cos(phi) - 2 * k
