"""Equation 2: cosines of embeddings with class weights, both made unit length; and angles from cosines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard, all_sum, own_column


@full_precision
def cosines(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Compute cos(theta_j) = W_j^T x_i / (|W_j| |x_i|), equation 2.

    ``embeddings`` [N, D] and ``weights`` [C, D] (of a sharded classifier: this process's own classes), of any
    length, give [N, C] in float32 (float64 from float64). Rounding may carry one a hair beyond 1.
    """
    return functional.normalize(embeddings, dim=1) @ functional.normalize(weights, dim=1).T


@full_precision
def target_cosines(cosines: Tensor, labels: Tensor, shard: Shard | None = None) -> Tensor:
    """Pick every sample's cosine, of [N, C_local], with its own class, wherever that lives.

    [N], the same on every process. Without a shard a label that is no class is an error of torch's; with one it is
    not noticed (that would cost a wait per step) and its cosine is 0.
    """
    if cosines.shape[1] == 0:
        return all_sum(cosines.sum(dim=1), shard)  # zeros, but in the graph: backward must meet the others
    column, here = own_column(labels, cosines.shape[1], shard)
    own = cosines.gather(1, column)
    if here is not None:
        own = own.where(here, 0.0)
    return all_sum(own.squeeze(1), shard)


def inside(cosine: Tensor) -> Tensor:
    """Bring cosines strictly between -1 and 1, the gradient going through unchanged.

    Only 1, -1 and what rounding carried beyond them move, to the number next to 1 (0.99999994 in float32). There the
    slope of the arc cosine is infinite; next to it, it is about 2900. A plain ``clamp`` would give these samples no
    gradient at all.
    """
    edge = 1 - torch.finfo(cosine.dtype).eps / 2
    return cosine + (cosine.clamp(-edge, edge) - cosine).detach()


@full_precision
def angle(cosine: Tensor) -> Tensor:
    """Compute arc cosines in radians: exact values in [0, pi], finite gradients also at both ends."""
    near = torch.acos(inside(cosine))
    return near + (torch.acos(cosine.clamp(-1, 1)) - near).detach()
