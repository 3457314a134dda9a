"""Batch normalisations folded into the layers before them, for inference."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


def fold(network: nn.Module) -> nn.Module:
    """The network for inference, every batch normalisation folded into the layer before it.

    The result agrees with the network in ``eval()`` to rounding. The network itself is used up.
    """
    network.eval()
    for parent in list(network.modules()):
        if isinstance(parent, nn.Sequential) and len(parent) > 1:
            conv, bn = parent[0], parent[1]
            if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                parent[0], parent[1] = fuse_conv_bn_eval(conv, bn), nn.Identity()
    fc, bn = network.get_submodule("fc"), network.get_submodule("bn")
    if isinstance(fc, nn.Linear) and isinstance(bn, nn.BatchNorm1d):
        network.set_submodule("fc", fuse_linear_bn_eval(fc, bn))
        network.set_submodule("bn", nn.Identity())
    return network
