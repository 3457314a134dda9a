from __future__ import annotations

import naive_losses as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidface.training.mining import semi_hard_triplets, triplet_loss


def mined(similarity: Tensor, labels: Tensor, margin: float) -> list[tuple[int, ...]]:
    found = semi_hard_triplets(similarity, labels, margin)
    assert all(each.dtype == torch.int64 for each in found)
    return list(zip(*(each.tolist() for each in found), strict=True))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Few identities and few values, so that ties and negatives exactly at the margin are common."""
    count = draw(st.integers(1, 9))
    labels = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    steps = draw(st.lists(st.integers(-4, 4), min_size=count * count, max_size=count * count))
    return torch.tensor(steps, dtype=torch.float64).reshape(count, count) / 4, torch.tensor(
        labels, dtype=torch.int64
    )


@settings(max_examples=300)
@given(batch=batches(), margin=st.sampled_from([0.25, 0.3, 0.5, 1.0, 2.5]))
def test_semi_hard_is_the_triple_loop(batch: tuple[Tensor, Tensor], margin: float) -> None:
    similarity, labels = batch
    assert mined(similarity, labels, margin) == naive.triplets(similarity, labels, margin)


def test_worked_out_by_hand() -> None:
    #                      anchor, positive, then negatives: too close, semi-hard, harder, as hard, too far
    row = torch.tensor([1.0, 0.6, 0.7, 0.45, 0.5, 0.5, 0.4])
    similarity = torch.full((7, 7), -1.0)
    similarity[0] = row
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    assert mined(similarity, labels, 0.2) == [(0, 1, 4)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_triplet_loss_is_the_mean_over_the_triplets(
    seed: int, dtype: torch.dtype, tolerance: float
) -> None:
    embeddings, _, labels = naive.problem(samples=16, seed=seed, dtype=dtype)
    found = triplet_loss(embeddings, labels, margin=0.4)
    assert found.dtype == dtype
    assert 0 < found.item() < 0.4
    assert found.item() == pytest.approx(naive.triplet_loss(embeddings, labels, 0.4), abs=tolerance)


def test_its_gradient_is_true() -> None:
    embeddings, _, labels = naive.problem(samples=10)
    assert triplet_loss(embeddings, labels, margin=0.5) > 0
    assert torch.autograd.gradcheck(lambda e: triplet_loss(e, labels, margin=0.5), (embeddings,))


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 1]])
def test_without_a_semi_hard_negative_it_is_0_with_a_gradient_of_0(labels: list[int]) -> None:
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]], requires_grad=True)
    found = triplet_loss(embeddings, torch.tensor(labels), margin=0.2)
    assert found.item() == 0
    (gradient,) = torch.autograd.grad(found, embeddings)
    assert gradient.tolist() == [[0, 0]] * 4
