from __future__ import annotations

import math
from typing import Any

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from vidface.training.losses.class_balanced import class_weights
from vidface.training.losses.cosine import angle, cosines, target_cosines
from vidface.training.losses.inter import inter
from vidface.training.losses.intra import intra
from vidface.training.losses.margin import margin_cosine

MARGINS = [
    (1.0, 0.0, 0.0),
    (1.0, 0.5, 0.0),
    (1.0, 0.0, 0.35),
    (1.35, 0.0, 0.0),
    (1.1, 0.3, 0.2),
    (4.0, 0.5, 0.1),
]
m1s = st.floats(0.5, 6)
m2s = st.floats(0, 2)


def test_cosines_are_those_of_the_vectors_whatever_their_lengths() -> None:
    embeddings, weights, labels = naive.problem()
    expected = [[naive.cosine(x, w) for w in naive.vectors(weights)] for x in naive.vectors(embeddings)]
    found = cosines(embeddings, weights)
    assert found.tolist() == [pytest.approx(row, abs=1e-14) for row in expected]
    own = [row[y] for row, y in zip(expected, labels.tolist(), strict=True)]
    assert target_cosines(found, labels).tolist() == pytest.approx(own, abs=1e-14)
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        target_cosines(found, torch.full_like(labels, 5))


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_margin_is_the_formula(
    margins: tuple[float, float, float], dtype: torch.dtype, tolerance: float
) -> None:
    cosine = torch.linspace(-1, 1, 41, dtype=torch.float64).to(dtype)
    expected = [naive.margin(c, *margins) for c in cosine.tolist()]
    assert margin_cosine(cosine, *margins).tolist() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("margins", MARGINS)
def test_its_gradient_is_the_derivative_worked_out_by_hand(margins: tuple[float, float, float]) -> None:
    m1, m2, _ = margins
    theta = torch.linspace(0.1, 3.0, 30, dtype=torch.float64)
    cosine = theta.cos().requires_grad_()
    (found,) = torch.autograd.grad(margin_cosine(cosine, *margins).sum(), cosine)
    for angle_, slope in zip(theta.tolist(), found.tolist(), strict=True):
        # d/dcos of (-1)^k cos(m1 theta + m2): |sin| whatever k is, for the continuation only ever falls.
        assert slope == pytest.approx(m1 * abs(math.sin(m1 * angle_ + m2)) / math.sin(angle_), rel=1e-9)
    assert torch.autograd.gradcheck(lambda c: margin_cosine(c, *margins), (cosine,))


@settings(max_examples=60)
@given(m1=m1s, m2=m2s, m3=st.floats(0, 1), straight_through=st.booleans())
def test_it_never_rises_and_never_jumps(m1: float, m2: float, m3: float, straight_through: bool) -> None:
    theta = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    value = margin_cosine(theta.cos(), m1, m2, m3, straight_through=straight_through)
    steps = value.diff()
    assert steps.max() <= 1e-12
    assert steps.min() >= -m1 * math.pi / 4000 * 1.001  # the slope in theta is at most m1


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("straight_through", [False, True])
def test_at_theta_0_and_pi_values_are_right_and_gradients_finite(
    margins: tuple[float, float, float], dtype: torch.dtype, straight_through: bool
) -> None:
    cosine = torch.tensor([1.0, -1.0], dtype=dtype, requires_grad=True)
    value = margin_cosine(cosine, *margins, straight_through=straight_through)
    assert value.tolist() == pytest.approx([naive.margin(c, *margins) for c in (1.0, -1.0)], abs=2e-6)
    (slope,) = torch.autograd.grad(value.sum(), cosine)
    assert slope.isfinite().all()
    assert (slope >= 0).all()
    if margins[:2] == (1.0, 0.0):  # no margin on the angle: a slope of 1 everywhere, not 0 and not infinite
        assert slope.tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
    if margins[1] and dtype in (torch.float32, torch.float64):
        assert slope[0] > 0  # a sample at its class still feels the margin


def test_what_rounding_carried_beyond_1_counts_as_1() -> None:
    cosine = torch.tensor([1.0000002, -1.0000002], requires_grad=True)
    for function in (angle, lambda c: margin_cosine(c, 1.1, 0.3, 0.2)):
        edge = function(torch.tensor([1.0, -1.0]))
        value = function(cosine)
        assert value.tolist() == pytest.approx(edge.tolist(), abs=1e-6)
        (slope,) = torch.autograd.grad(value.sum(), cosine)
        assert slope.isfinite().all()
        assert (slope != 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_angles_are_exact_at_both_ends_and_their_gradients_finite(dtype: torch.dtype) -> None:
    cosine = torch.tensor([1.0, 0.5, 0.0, -1.0], dtype=dtype, requires_grad=True)
    found = angle(cosine)
    assert found[0] == 0
    assert found.tolist() == pytest.approx([0, math.pi / 3, math.pi / 2, math.pi], abs=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), cosine)
    assert slope.isfinite().all()
    assert slope[1:3].tolist() == pytest.approx([-1 / math.sqrt(0.75), -1], rel=1e-6)
    assert (slope < -1000)[[0, 3]].all()


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


COUNTS = [0, 1, 2, 3, 10, 100, 500]


@pytest.mark.parametrize(
    "beta", [0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 - 1e-8, 1 - 1e-12, 1 - 2**-53, 5e-324, 1e-20]
)
def test_weights_are_exact_also_for_beta_near_1(beta: float) -> None:
    found = class_weights(torch.tensor(COUNTS), beta)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([naive.class_weight(n, beta) for n in COUNTS], rel=1e-7)
    assert found[0] == 0
    assert found[1] == 1


def test_beta_0_changes_nothing() -> None:
    assert class_weights(torch.tensor([3, 1, 0, 7, 10**9]), 0.0).tolist() == [1, 1, 0, 1, 1]


def test_a_very_large_class_has_the_limit() -> None:
    assert class_weights(torch.tensor([10**9]), 0.999).item() == pytest.approx(0.001)


@pytest.mark.parametrize("beta", [-0.1, 1.0, 1.5, float("nan")])
def test_a_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be at least 0 and below 1"):
        class_weights(torch.tensor([1]), beta)
