from __future__ import annotations

import math
from typing import Any

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from vidface.training.losses.cosine import cosines
from vidface.training.losses.inter import inter
from vidface.training.losses.intra import intra

types = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])


@pytest.mark.parametrize("seed", range(3))
@types
def test_intra_is_the_angle_to_the_own_class(seed: int, dtype: torch.dtype, tolerance: float) -> None:
    embeddings, weights, labels = naive.problem(seed=seed, dtype=dtype)
    found = intra(cosines(embeddings, weights), labels)
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx(naive.intra(embeddings, weights, labels), abs=tolerance)


def test_the_gradient_of_intra_is_true() -> None:
    embeddings, weights, labels = naive.problem()
    assert torch.autograd.gradcheck(lambda e, w: intra(cosines(e, w), labels), (embeddings, weights))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_intra_at_0_and_pi(dtype: torch.dtype) -> None:
    weights = torch.eye(4, dtype=dtype).requires_grad_()
    embeddings = torch.stack([3 * torch.eye(4)[0], -2 * torch.eye(4)[1]]).to(dtype).requires_grad_()
    found = intra(cosines(embeddings, weights), torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([0, math.pi], abs=1e-6)
    for gradient in torch.autograd.grad(found.sum(), (embeddings, weights)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
@types
def test_inter_is_the_mean_of_the_largest_cosines(seed: int, dtype: torch.dtype, tolerance: float) -> None:
    _, weights, _ = naive.problem(classes=9, seed=seed, dtype=dtype)
    found = inter(weights)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(naive.inter(weights), abs=tolerance)


@settings(max_examples=60)
@given(classes=st.integers(2, 9), block=st.integers(1, 10), seed=st.integers(0, 10_000))
def test_inter_does_not_depend_on_the_block(classes: int, block: int, seed: int) -> None:
    _, weights, _ = naive.problem(classes=classes, seed=seed)
    assert inter(weights, block=block).item() == pytest.approx(naive.inter(weights), abs=1e-10)


@pytest.mark.parametrize("block", [1, 2, 3, 4096])
def test_the_gradient_of_inter_is_true(block: int) -> None:
    _, weights, _ = naive.problem(classes=7)
    assert torch.autograd.gradcheck(lambda w: inter(w, block=block), (weights,))


def test_one_class_has_no_other() -> None:
    weights = torch.randn(1, 4, requires_grad=True)
    found = inter(weights)
    assert found.item() == 0
    (gradient,) = torch.autograd.grad(found, weights)
    assert gradient.tolist() == [[0, 0, 0, 0]]


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, torch.Tensor):
                self.numbers = max(self.numbers, made.numel())
        return out


def test_memory_is_that_of_the_weights_and_a_block_not_of_all_pairs() -> None:
    _, weights, _ = naive.problem(classes=200, size=3)
    with _Largest() as largest:
        inter(weights, block=16).backward()
    assert largest.numbers == 200 * 3
