from __future__ import annotations

import math

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.training.losses.cosine import angle, cosines, target_cosines
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
