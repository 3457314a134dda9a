"""The network that is trained: its input, its moving average, and its classifier's first weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MEAN", "STD", "first_classifier", "normalised", "update_average"]

MEAN, STD = 127.5, 128.0  # of pixels 0..255, as the challenge has it


def normalised(images: Tensor, device: torch.device, mean: float = MEAN, std: float = STD) -> Tensor:
    """uint8 RGB [N, H, W, 3] to what the network takes: float32 [N, 3, H, W], (x - mean) / std, channels last."""
    moved = images.to(device, non_blocking=True)
    # [N, H, W, 3] seen as [N, 3, H, W] is channels_last already: nothing is copied.
    return (moved.permute(0, 3, 1, 2).float() - mean) / std


def first_classifier(classes: int, dimension: int, seed: int) -> Tensor:
    """float32 [C, D]: class weights in random directions, decided by the seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, dimension, generator=generator) * 0.01


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average towards a network: average <- decay * average + (1 - decay) * network.

    Running means and variances are averaged as well; counters are copied.
    """
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)
