"""Counters of a torch network's cost that the tests keep for themselves."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def organisers_count(network: nn.Module, size: tuple[int, int] = (112, 112)) -> tuple[int, int]:
    """(FLOPs on the challenge organisers' counter, multiply-adds), counted while one image passes."""
    flops = macs = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal flops, macs
        if isinstance(module, nn.Conv2d):
            cin, (kh, kw), groups = module.in_channels, module.kernel_size, module.groups
            _, cout, height, width = out.shape
            cost = 2 * cin * kh * kw - (module.bias is None)
            flops += int(cost * height * width * cout / groups)
            macs += cin * kh * kw * height * width * cout // groups
        elif isinstance(module, nn.Linear):
            flops += (2 * module.in_features - (module.bias is None)) * module.out_features
            macs += module.in_features * module.out_features

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return flops, macs


def layers_seen(network: nn.Module, size: tuple[int, int]) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Of every layer that stores numbers: its name, its type, the shape of its output, and how many it stores."""
    seen = []

    def see(name: str, module: nn.Module, out: torch.Tensor) -> None:
        stored = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        numbers = sum(tensor.numel() for tensor in stored if tensor.is_floating_point())
        if numbers:
            seen.append((name, type(module).__name__, tuple(out.shape[1:]), numbers))

    for path, module in network.named_modules():
        module.register_forward_hook(lambda module, _, out, path=path: see(path, module, out))
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, *size))
    return seen


def stored_numbers(network: nn.Module) -> int:
    """All numbers of a network's state but the counts of batches."""
    return sum(t.numel() for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked"))


def torch_flops(network: nn.Module, image: torch.Tensor) -> int:
    """What torch itself calls FLOPs: two a multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return counter.get_total_flops()
