"""Equation 1: ArcFace, the additive angular margin."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vidface.training.losses.combined import combined


def arcface(cosines: Tensor, labels: Tensor, *, margin: float = 0.5, **settings: Any) -> Tensor:
    """Compute L1 per sample: -log(e^{s cos(theta_y + m)} / (e^{s cos(theta_y + m)} + sum_{j != y} e^{s cos theta_j})).

    It is ``combined`` with m1 = 1, m2 = ``margin`` (radians) and m3 = 0, and takes its other settings; L1 is the mean.
    Where theta_y + m is beyond pi, see ``margin_cosine``.
    """
    return combined(cosines, labels, m1=1.0, m2=margin, m3=0.0, **settings)
