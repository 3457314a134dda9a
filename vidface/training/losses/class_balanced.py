"""Equation 9: weights that make rare classes count more."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(counts: Tensor, beta: float) -> Tensor:
    """Compute (1 - beta) / (1 - beta^n) for classes of n samples (int, any shape); beta is in [0, 1).

    Equation 9 multiplies it with log(softmax) and has lost the minus sign of a cross-entropy; here it multiplies the
    loss -log(softmax). (1 - beta^n) / (1 - beta) is the "effective number" of samples (Cui et al. 2019): 1 for one
    sample, growing to 1 / (1 - beta). The weights are not scaled to a mean of 1, nor does the paper.

    Returns:
        float32, same shape, in (0, 1]; 0 for a class without samples. With beta = 0 all others are exactly 1.

    Raises:
        ValueError: ``beta`` is not in [0, 1).
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, not {beta}")
    n = counts.to(torch.float64)
    log_beta = torch.log1p(torch.tensor(beta - 1.0, dtype=torch.float64))  # exact near 1; -inf for 0
    powers = torch.expm1(n.clamp(min=1) * log_beta.to(n.device))
    return torch.where(n > 0, (beta - 1.0) / powers, 0.0).float()
