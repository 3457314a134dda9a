"""The learning rate: a function of how much of a stage is done, and the rule for plateaus."""

from __future__ import annotations

import math

from vidface.training.recipe import Plateau, Stage

__all__ = ["plateau_drops", "rate"]


def rate(stage: Stage, step: int, steps: int, drops: int = 0) -> float:
    """The learning rate of step 0 .. steps - 1 of a stage, once the plateau rule has lowered it `drops` times."""
    done = step / steps
    if done < stage.warmup:
        return stage.learning_rate * (step + 1) / math.ceil(stage.warmup * steps)
    if stage.schedule == "cosine":
        rest = (done - stage.warmup) / (1 - stage.warmup)
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))
    if stage.schedule == "step":
        return float(stage.learning_rate * 0.1 ** sum(done >= milestone for milestone in stage.milestones))
    return stage.learning_rate * (stage.plateau.factor if stage.plateau else 1.0) ** drops


def plateau_drops(rule: Plateau, measured: list[float]) -> tuple[int, bool]:
    """How often the rate has been lowered after these epochs, and whether the stage is over.

    It is over once `patience` epochs after the last drop brought nothing better; of what was measured, higher is
    better.
    """
    best, waited, drops = -math.inf, 0, 0
    for value in measured:
        if value > best:
            best, waited = value, 0
            continue
        waited += 1
        if waited == rule.patience:
            if drops == rule.drops:
                return drops, True
            drops, waited = drops + 1, 0
    return drops, False
