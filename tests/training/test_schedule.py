from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.training.recipe import Plateau, Stage
from vidface.training.schedule import plateau_drops, rate


def rates(steps: int, drops: int = 0, **fields: Any) -> list[float]:
    stage = Stage(name="a", epochs=1, **{"learning_rate": 0.8, **fields})
    return [rate(stage, step, steps, drops) for step in range(steps)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": "constant"}, [0.8] * 8),
        ({"schedule": "constant", "warmup": 0.5}, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]),
        ({"schedule": "step", "milestones": (0.5, 0.75)}, [0.8] * 4 + [0.08] * 2 + [0.008] * 2),
        ({"schedule": "step", "milestones": (0.5,), "warmup": 0.25}, [0.4, 0.8, 0.8, 0.8] + [0.08] * 4),
        (
            {"schedule": "cosine"},
            [0.8, 0.769551813, 0.682842712, 0.553073373, 0.4, 0.246926627, 0.117157288, 0.030448187],
        ),
        (  # the half circle over the last four steps
            {"schedule": "cosine", "warmup": 0.5},
            [0.2, 0.4, 0.6, 0.8, 0.8, 0.682842712, 0.4, 0.117157288],
        ),
        # A share that is no whole number of steps: three of them rise, the third to the top.
        ({"schedule": "constant", "warmup": 0.3}, [0.8 / 3, 1.6 / 3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
    ],
)
def test_worked_out_by_hand(fields: dict[str, Any], expected: list[float]) -> None:
    assert rates(8, **fields) == pytest.approx(expected, abs=1e-9)


def test_drops() -> None:
    plateau = Plateau(patience=1, factor=0.5, drops=3)
    assert rates(2, drops=0, schedule="constant", plateau=plateau) == [0.8, 0.8]
    assert rates(2, drops=2, schedule="constant", plateau=plateau) == pytest.approx([0.2, 0.2])


@given(
    st.integers(1, 300),
    st.floats(0, 0.99),
    st.sampled_from(
        [{"schedule": "cosine"}, {"schedule": "constant"}, {"schedule": "step", "milestones": (0.5,)}]
    ),
)
def test_rises_then_falls_and_stays_within(steps: int, warmup: float, fields: dict[str, Any]) -> None:
    found = rates(steps, warmup=warmup, **fields)
    assert all(0 < value <= 0.8 * (1 + 1e-9) for value in found)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)


def naive_plateau(rule: Plateau, measured: list[float]) -> tuple[int, bool]:
    """The rule as its docstring says it, told epoch by epoch."""
    drops, since = 0, 0  # epochs since the last better one, or since the last drop
    for epoch, value in enumerate(measured):
        if all(value > before for before in measured[:epoch]) and value > -math.inf:
            since = 0
        else:
            since += 1
        if since == rule.patience and drops < rule.drops:
            drops, since = drops + 1, 0
        elif since == rule.patience:
            return drops, True
    return drops, False


@given(
    st.lists(st.sampled_from([-math.inf, 0.0, 0.25, 0.5, 0.75, 1.0]), max_size=25),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_the_plateau_rule(measured: list[float], patience: int, drops: int) -> None:
    rule = Plateau(patience=patience, drops=drops)
    assert plateau_drops(rule, measured) == naive_plateau(rule, measured)
