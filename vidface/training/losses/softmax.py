"""What equations 1, 3 and 5 share: -log(e^t / (e^t + sum over the other classes of e^z))."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard, all_max, all_sum, own_column


@full_precision
def softmax_loss(target_logits: Tensor, logits: Tensor, labels: Tensor, shard: Shard | None = None) -> Tensor:
    """Compute -log(e^t / (e^t + sum_{j != y} e^{z_j})) per sample, as softplus(logsumexp_{j != y} z_j - t).

    Args:
        target_logits: [N], t, the logit of each sample's own class with its margin; the same on every process.
        logits: [N, C_local], z, of any size; what stands in the column of a sample's own class is not used.
        labels: int64 [N], global.
        shard: this process's classes; None: all are here.

    Returns:
        [N], at least 0; 0 where there is no other class.
    """
    others = _logsumexp(_without_own(logits, labels, shard), shard)
    # Softplus to the last digit: functional.softplus is the identity above 20.
    return -functional.logsigmoid(target_logits - others)


def _without_own(logits: Tensor, labels: Tensor, shard: Shard | None) -> Tensor:
    if logits.shape[1] == 0:
        return logits
    column, here = own_column(labels, logits.shape[1], shard)
    if here is None:
        return logits.scatter(1, column, -math.inf)
    return logits.scatter(1, column, logits.gather(1, column).masked_fill(here, -math.inf))


def _logsumexp(logits: Tensor, shard: Shard | None) -> Tensor:
    """[N], the logarithm of the sum of exponentials over the classes of all processes; -inf where there are none."""
    local = torch.logsumexp(logits, dim=1)
    if shard is None:
        return local
    largest = all_max(local, shard)
    none = largest == -math.inf  # then every term is 0: no logarithm of 0, which has no gradient
    total = all_sum(torch.exp(local - largest.masked_fill(none, 0.0)), shard)
    return (largest + torch.log(total.masked_fill(none, 1.0))).masked_fill(none, -math.inf)
