from __future__ import annotations

import math

import naive_losses as naive
import pytest
import torch
from torch import Tensor

from vidface.training.losses import objective as module
from vidface.training.losses.arcface import arcface
from vidface.training.losses.combined import combined
from vidface.training.losses.cosine import cosines
from vidface.training.losses.objective import Objective, objective
from vidface.training.losses.support_vector import support_vector

MARGINS = {"m1": 1.1, "m2": 0.3, "m3": 0.2}
FULL = Objective(
    classification="support_vector",
    weight=0.7,
    scale=16.0,
    **MARGINS,
    t=1.3,
    intra=0.3,
    inter=0.2,
    class_balanced=0.9,
    triplet=0.5,
    triplet_margin=0.6,
)
STAGES = [
    Objective(),
    Objective(classification="combined", m2=0.3, m3=0.2),
    Objective(classification="support_vector", m2=0.3, m3=0.2),
    Objective(classification="support_vector", m2=0.3, m3=0.2, intra=0.1, inter=0.1),
    Objective(classification="support_vector", m2=0.3, m3=0.2, intra=0.1, inter=0.1, class_balanced=0.9),
    Objective(
        classification="support_vector", m2=0.3, m3=0.2, intra=0.1, inter=0.1, class_balanced=0.9, triplet=0.3
    ),
]


def counted(labels: Tensor, classes: int = 5) -> Tensor:
    """Images per class: a class of the batch has more elsewhere, the last has none at all."""
    counts = torch.bincount(labels, minlength=classes) * torch.arange(1, classes + 1)
    assert counts[-1] == 0
    return counts


def expected_parts(embeddings: Tensor, weights: Tensor, labels: Tensor, s: Objective) -> dict[str, float]:
    t = s.t if s.classification == "support_vector" else 1.0
    losses = naive.classification(embeddings, weights, labels, scale=s.scale, m1=s.m1, m2=s.m2, m3=s.m3, t=t)
    parts = {s.classification: math.fsum(losses) / len(losses)}
    if s.class_balanced:
        counts = counted(labels, len(weights)).tolist()
        balance = [naive.class_weight(counts[y], s.class_balanced) for y in labels.tolist()]
        parts["class_balanced"] = math.fsum(map(math.prod, zip(balance, losses, strict=True))) / len(losses)
    if s.intra:
        parts["intra"] = math.fsum(naive.intra(embeddings, weights, labels)) / len(labels)
    if s.inter:
        parts["inter"] = naive.inter(weights)
    if s.triplet:
        parts["triplet"] = naive.triplet_loss(embeddings, labels, s.triplet_margin)
    return parts


@pytest.mark.parametrize("settings", [*STAGES, FULL], ids=range(7))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_every_stage_is_the_weighted_sum_of_its_parts(
    settings: Objective, dtype: torch.dtype, tolerance: float
) -> None:
    relative = max(tolerance / 100, 1e-7 if settings.class_balanced else 0)  # class weights are float32
    embeddings, weights, labels = naive.problem(samples=12, dtype=dtype)
    total, parts = objective(embeddings, weights, labels, counted(labels), settings)
    expected = expected_parts(embeddings, weights, labels, settings)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        expected, rel=relative, abs=tolerance
    )
    assert not any(part.requires_grad for part in parts.values())
    main = expected.get("class_balanced", expected[settings.classification])
    by_hand = settings.weight * main + sum(
        getattr(settings, name) * expected.get(name, 0.0) for name in ("intra", "inter", "triplet")
    )
    assert total.dtype == dtype
    assert total.shape == ()
    assert total.item() == pytest.approx(by_hand, rel=relative, abs=tolerance)
    if settings.triplet:
        assert expected["triplet"] > 0  # there is something to mine


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("classification", ["arcface", "combined", "support_vector"])
def test_weight_0_is_the_stage_before_bit_for_bit(
    classification: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def direct(e: Tensor, w: Tensor) -> Tensor:
        if classification == "arcface":
            return arcface(cosines(e, w), labels).mean()
        if classification == "combined":
            return combined(cosines(e, w), labels, **MARGINS).mean()
        return support_vector(cosines(e, w), labels, scale=64.0, **MARGINS).mean()

    embeddings, weights, labels = naive.problem(samples=40, classes=30, size=16, dtype=dtype)
    margins = {} if classification == "arcface" else MARGINS
    settings = Objective(
        classification=classification, **margins, intra=0.0, inter=0.0, class_balanced=0.0, triplet=0.0
    )
    for name in ("intra", "inter", "class_weights", "triplet_loss"):
        monkeypatch.setattr(module, name, None)  # not even called
    counts = torch.full((30,), 9)
    total, parts = objective(embeddings, weights, labels, counts, settings)
    before = direct(embeddings, weights)
    assert list(parts) == [classification]
    assert torch.equal(total, before)
    for found, expected in zip(
        torch.autograd.grad(total, (embeddings, weights)),
        torch.autograd.grad(before, (embeddings, weights)),
        strict=True,
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["intra", "inter", "class_balanced", "triplet"])
def test_each_part_at_weight_0_leaves_the_others_bit_for_bit(name: str) -> None:
    embeddings, weights, labels = naive.problem(samples=12, dtype=torch.float32)
    counts = counted(labels)
    _, with_it = objective(embeddings, weights, labels, counts, FULL)
    _, without = objective(embeddings, weights, labels, counts, FULL.model_copy(update={name: 0.0}))
    assert set(with_it) - set(without) == {name}
    for part, value in without.items():
        assert torch.equal(value, with_it[part])


def test_straight_through_reaches_the_loss() -> None:
    embeddings, weights, labels = naive.problem()
    for classification in ("arcface", "combined", "support_vector"):
        found = {}
        for straight_through in (False, True):
            settings = Objective(classification=classification, m2=0.3, straight_through=straight_through)
            total, _ = objective(embeddings, weights, labels, counted(labels), settings)
            found[straight_through] = total, torch.autograd.grad(total, embeddings)[0]
        assert found[True][0].item() == pytest.approx(found[False][0].item(), rel=1e-12)
        assert not torch.allclose(found[True][1], found[False][1], rtol=1e-3)


@pytest.mark.parametrize("settings", [*STAGES, FULL], ids=range(7))
@pytest.mark.parametrize("autocast", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_changes_the_inputs_and_nothing_else(
    settings: Objective, autocast: torch.dtype, dtype: torch.dtype
) -> None:
    """Half inputs, and autocast around: the same bits as their float32 copies without autocast."""
    embeddings, weights, labels = naive.problem(samples=12, dtype=dtype)
    counts = counted(labels)
    wide = [each.detach().float().requires_grad_() for each in (embeddings, weights)]
    with torch.autocast("cpu", dtype=autocast):
        total, parts = objective(embeddings, weights, labels, counts, settings)
    plain, plain_parts = objective(*wide, labels, counts, settings)
    assert total.dtype == torch.float32
    assert torch.equal(total, plain)
    assert parts == plain_parts
    for found, expected in zip(
        torch.autograd.grad(total, (embeddings, weights)), torch.autograd.grad(plain, wide), strict=True
    ):
        assert found.dtype == dtype
        assert torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("settings", [*STAGES, FULL], ids=range(7))
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_theta_of_0_and_pi_under_autocast(settings: Objective, dtype: torch.dtype) -> None:
    """Images exactly at their class, exactly opposite, twice the same image, two classes the same or opposite."""
    axes = torch.eye(4)
    embeddings = torch.stack([axes[0], -axes[0], axes[1], 2 * axes[1], axes[2], -axes[3]]).to(dtype)
    weights = torch.stack([axes[0], axes[1], -axes[0], axes[1], axes[3]]).to(dtype)
    embeddings.requires_grad_()
    weights.requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 3, 4])
    with torch.autocast("cpu", dtype=torch.float16):
        total, parts = objective(embeddings, weights, labels, torch.tensor([2, 2, 0, 1, 1]), settings)
    assert total.isfinite()
    assert all(part.isfinite() for part in parts.values())
    for gradient in torch.autograd.grad(total, (embeddings, weights)):
        assert gradient.isfinite().all()


def test_without_a_classification_loss_the_others_stand_alone() -> None:
    embeddings, weights, labels = naive.problem(samples=12)
    settings = Objective(weight=0.0, intra=0.5, inter=0.25, triplet=1.0)
    total, parts = objective(embeddings, weights, labels, counted(labels), settings)
    assert list(parts) == ["intra", "inter", "triplet"]
    by_hand = (
        0.5 * math.fsum(naive.intra(embeddings, weights, labels)) / 12
        + 0.25 * naive.inter(weights)
        + naive.triplet_loss(embeddings, labels, 0.2)
    )
    assert total.item() == pytest.approx(by_hand, abs=1e-10)
