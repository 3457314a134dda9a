from __future__ import annotations

import math
from collections.abc import Callable

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidface.training.losses.arcface import arcface
from vidface.training.losses.combined import combined
from vidface.training.losses.cosine import cosines
from vidface.training.losses.softmax import softmax_loss
from vidface.training.losses.support_vector import support_vector

ALL = {"m1": 1.2, "m2": 0.3, "m3": 0.2}
FAR = {"m1": 3.0, "m2": 0.9, "m3": 0.1}  # beyond pi for most angles

LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], dict[str, float]]] = {
    "arcface": (arcface, {"scale": 64.0, "m1": 1.0, "m2": 0.5, "m3": 0.0}),
    "arcface 30": (
        lambda c, y: arcface(c, y, scale=30.0, margin=0.4),
        {"scale": 30.0, "m1": 1.0, "m2": 0.4, "m3": 0.0},
    ),
    "combined": (combined, {"scale": 64.0, "m1": 1.0, "m2": 0.3, "m3": 0.2}),
    "combined, all margins": (lambda c, y: combined(c, y, scale=16.0, **ALL), {"scale": 16.0, **ALL}),
    "combined, beyond pi": (lambda c, y: combined(c, y, scale=16.0, **FAR), {"scale": 16.0, **FAR}),
    "support vector": (
        lambda c, y: support_vector(c, y, scale=64.0, m1=1.0, m2=0.3, m3=0.2),
        {"scale": 64.0, "m1": 1.0, "m2": 0.3, "m3": 0.2, "t": 1.2},
    ),
    "support vector, all margins": (
        lambda c, y: support_vector(c, y, scale=16.0, **ALL, t=1.5),
        {"scale": 16.0, **ALL, "t": 1.5},
    ),
    "support vector, beyond pi": (
        lambda c, y: support_vector(c, y, scale=16.0, **FAR, t=1.1),
        {"scale": 16.0, **FAR, "t": 1.1},
    ),
}
each = pytest.mark.parametrize("name", LOSSES)


@each
@pytest.mark.parametrize("seed", range(4))
# A logit is up to 64 x 3; float32 resolves that to 2e-5, and the arc cosine adds a little.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_it_is_the_equation(name: str, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    loss, margins = LOSSES[name]
    embeddings, weights, labels = naive.problem(seed=seed, dtype=dtype)
    found = loss(cosines(embeddings, weights), labels)
    assert found.dtype == dtype
    expected = naive.classification(embeddings, weights, labels, **margins)
    assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=tolerance)


@each
@pytest.mark.parametrize("seed", range(2))
def test_its_gradient_is_true(name: str, seed: int) -> None:
    loss, _ = LOSSES[name]
    embeddings, weights, labels = naive.problem(seed=seed)
    assert torch.autograd.gradcheck(lambda e, w: loss(cosines(e, w), labels), (embeddings, weights))


@each
def test_the_float32_gradient_is_that_of_float64(name: str) -> None:
    loss, _ = LOSSES[name]
    found = {}
    for dtype in (torch.float64, torch.float32):
        embeddings, weights, labels = naive.problem(seed=3, dtype=torch.float32)
        wide = [embeddings.detach().to(dtype).requires_grad_(), weights.detach().to(dtype).requires_grad_()]
        found[dtype] = torch.autograd.grad(loss(cosines(*wide), labels).sum(), wide)
    for narrow, wide_ in zip(found[torch.float32], found[torch.float64], strict=True):
        torch.testing.assert_close(narrow.double(), wide_, rtol=1e-3, atol=2e-4)


@each
def test_support_vectors_are_there_and_are_not_all(name: str) -> None:
    """Else the tests above would say nothing about I_j."""
    margins = {key: LOSSES[name][1][key] for key in ("m1", "m2", "m3")}
    wins = []
    for seed in range(4):
        embeddings, weights, labels = naive.problem(seed=seed)
        for row, y in zip(cosines(embeddings, weights).tolist(), labels.tolist(), strict=True):
            wins += [naive.margin(row[y], **margins) < c for j, c in enumerate(row) if j != y]
    assert len(wins) / 10 < sum(wins) < len(wins)


@settings(max_examples=60)
@given(
    samples=st.integers(1, 5),
    classes=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    scale=st.floats(1, 128),
    m1=st.floats(0.8, 4),
    m2=st.floats(0, 1),
    m3=st.floats(0, 0.6),
    t=st.floats(1, 2),
)
def test_any_margins_and_shapes(
    samples: int, classes: int, seed: int, scale: float, m1: float, m2: float, m3: float, t: float
) -> None:
    embeddings, weights, labels = naive.problem(samples=samples, classes=classes, seed=seed)
    margins = {"scale": scale, "m1": m1, "m2": m2, "m3": m3}
    cosine = cosines(embeddings, weights)
    for found, expected in (
        (combined(cosine, labels, **margins), naive.classification(embeddings, weights, labels, **margins)),
        (
            support_vector(cosine, labels, **margins, t=t),
            naive.classification(embeddings, weights, labels, **margins, t=t),
        ),
    ):
        assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("straight_through", [False, True])
def test_t_of_1_is_the_combined_loss_bit_for_bit(dtype: torch.dtype, straight_through: bool) -> None:
    results = []
    for loss, t in ((combined, {}), (support_vector, {"t": 1.0}), (support_vector, {"t": 1.2})):
        embeddings, weights, labels = naive.problem(samples=40, classes=30, size=16, dtype=dtype)
        value = loss(
            cosines(embeddings, weights), labels, scale=64.0, **ALL, straight_through=straight_through, **t
        )
        results.append((value, *torch.autograd.grad(value.sum(), (embeddings, weights))))
    for a, b, other in zip(*results, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, other)


@pytest.mark.parametrize("loss", [arcface, combined, support_vector])
def test_straight_through_gradient_worked_out_by_hand(loss: Callable[..., Tensor]) -> None:
    """Two classes: with p the softmax of the own class, dL/dcos_y = -s (1 - p) times the margin's slope."""
    cosine = torch.tensor([[0.6, 0.1], [0.4, -0.2]], dtype=torch.float64, requires_grad=True)
    labels, scale, theta = torch.tensor([0, 1]), 8.0, [math.acos(0.6), math.acos(-0.2)]
    m2 = 0.5
    margins = {"margin": m2} if loss is arcface else {"m1": 1.0, "m2": m2, "m3": 0.0}
    slopes = {True: [1.0, 1.0], False: [math.sin(a + m2) / math.sin(a) for a in theta]}
    for straight_through, slope in slopes.items():
        value = loss(cosine, labels, scale=scale, **margins, straight_through=straight_through)
        (found,) = torch.autograd.grad(value.sum(), cosine)
        for i, y in enumerate(labels.tolist()):
            p = math.exp(-value[i].item())
            assert found[i, y].item() == pytest.approx(-scale * (1 - p) * slope[i], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("loss", [arcface, combined, support_vector])
def test_a_scale_of_64_with_the_worst_and_the_best_cosines_does_not_overflow(
    loss: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    axis = torch.eye(3, dtype=dtype)[0]
    embeddings = torch.stack([axis, axis]).requires_grad_()
    weights = torch.stack([axis, -axis]).requires_grad_()
    labels = torch.tensor([0, 1])  # theta of 0 with a wrong class at pi, and the other way round
    margins = {"m1": 1.0, "m2": 0.5, "m3": 0.0} if loss is arcface else {"m1": 1.0, "m2": 0.3, "m3": 0.2}
    extra = {} if loss is arcface else margins
    expected = naive.classification(
        embeddings, weights, labels, scale=64.0, t=1.2 if loss is support_vector else 1.0, **margins
    )
    assert expected[1] > 120
    found = loss(cosines(embeddings, weights), labels, scale=64.0, **extra)
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), (embeddings, weights)))


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_softmax_stands_logits_of_any_size(size: float, dtype: torch.dtype) -> None:
    target = torch.tensor([-1.0, 0.5, 1.0], dtype=dtype).mul(size).requires_grad_()
    logits = torch.tensor([[7.0, 1.0, 0.3], [0.2, 7.0, -1.0], [-1.0, 0.1, 7.0]], dtype=dtype)
    logits = logits.mul(size).requires_grad_()
    labels = torch.tensor([0, 1, 2])
    found = softmax_loss(target, logits, labels)
    expected = [
        naive.cross_entropy(target[i].item(), [z for j, z in enumerate(logits[i].tolist()) if j != i])
        for i in range(3)
    ]
    assert found.tolist() == pytest.approx(expected, rel=2e-6 if dtype == torch.float32 else 1e-12, abs=1e-30)
    gradients = torch.autograd.grad(found.sum(), (target, logits))
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[1].diagonal().tolist() == [0, 0, 0]  # the own column is the target's, not the logits'


def test_a_small_loss_keeps_its_digits() -> None:
    """1 - p would be 0 in float32; softplus is not."""
    found = softmax_loss(torch.tensor([40.0]), torch.tensor([[9.0, 0.0, 1.0]]), torch.tensor([0]))
    assert found.item() == pytest.approx(math.exp(-40) + math.exp(-39), rel=1e-5, abs=0)
    target, logits = torch.zeros(1, dtype=torch.float64), torch.tensor([[9.0, 21.0]], dtype=torch.float64)
    large = softmax_loss(target, logits, torch.tensor([0])).item()
    assert large == pytest.approx(21 + math.exp(-21), rel=0, abs=1e-13)  # not cut off to 21
