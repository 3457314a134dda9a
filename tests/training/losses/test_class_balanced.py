from __future__ import annotations

import naive_losses as naive
import pytest
import torch

from vidface.training.losses.class_balanced import class_weights

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
