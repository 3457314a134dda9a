"""Which point of a ROC curve "TPR at FPR 1e-4" is: three rules, of which toolkits take one without saying so.

The curve has a point for every number of impostors that some threshold accepts; where impostors tie, no threshold
accepts some of them only. Let a be the largest such number that is at most the target, b the next one.

- ``at-most``: the point of a, with the largest TPR there. It never accepts more than it says.
- ``nearest``: of a and b the one whose FPR is nearer to the target; of two equally near ones b. It may accept more than
  it says.
- ``interpolated``: on the straight line from a's point to b's, at the target itself. No threshold has that TPR.

Under each of them a target below one impostor has no value.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

__all__ = ["DEFAULT_RULE", "FPR_RULES", "FPR_RULE_TEXT", "FprRule", "share_of_next", "takes_next"]

FprRule = Literal["at-most", "nearest", "interpolated"]
FPR_RULES: tuple[FprRule, ...] = get_args(FprRule)
DEFAULT_RULE: FprRule = "at-most"
FPR_RULE_TEXT: dict[FprRule, str] = {
    "at-most": "at-most: the largest TPR whose FPR is at most the target",
    "nearest": "nearest: the TPR whose FPR is nearest to the target, also beyond it",
    "interpolated": "interpolated: the TPR on the straight line between the FPR below and above the target",
}


def takes_next(allowed: Fraction, below: int, above: int) -> bool:
    """Whether ``nearest`` takes the point of ``above`` accepted impostors rather than that of ``below``.

    Args:
        allowed: target * impostors.
        below: accepted impostors of the last point that is within the target.
        above: those of the next point.
    """
    return above - allowed <= allowed - below


def share_of_next(allowed: Fraction, below: int, above: int) -> float:
    """How far ``interpolated`` goes from the point of ``below`` to that of ``above``: 0 or more, less than 1."""
    return float((allowed - below) / (above - below))
