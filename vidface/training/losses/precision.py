"""Losses are computed in float32 whatever the network computes in.

Half precision does not resolve the cosines: near 1 its steps are 5e-4 (float16) and 4e-3 (bfloat16), which are
angles of 2 to 5 degrees, and exp(64) is beyond float16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with autocast off and its float16 and bfloat16 tensors as float32; float64 stays float64."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(each.device.type for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
        plain: Callable[..., R] = function
        with torch.autocast(device_type=device, enabled=False):
            return plain(*map(_widened, args), **{name: _widened(each) for name, each in kwargs.items()})

    return wrapped


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
