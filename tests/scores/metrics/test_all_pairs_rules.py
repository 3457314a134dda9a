"""The three rules over all pairs: against scikit-learn's whole curve over every pair, with ties and distractors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from exact_rows import completed, scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.scores.metrics import all_pairs as verification
from vidface.scores.metrics.all_pairs import VerificationResult, tpr_of_all_pairs
from vidface.scores.metrics.fpr_rules import FPR_RULES, FprRule
from vidface.scores.pairs import impostors as impostors_module

TARGETS = ["0.5", "1/3", "0.123", "1e-1", "3e-2", "1e-2", "1e-3"]


def quantised(
    seed: int, videos: int, people: int, others: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows whose products are exact in any order, with many ties; distractors of unit length; who is who."""
    random = np.random.default_rng(seed)
    centres = random.integers(-2, 3, (people, 16))
    who = random.integers(0, people, videos)
    rows = centres[who] + random.integers(-1, 2, (videos, 16))
    rows[random.random(videos) < 0.05] = 0
    who[random.random(videos) < 0.2] = -1
    far = np.zeros((others, 16 + videos))
    far[:, :4] = random.choice([-0.5, 0.5], (others, 4))
    return completed(rows / 64), who, far.astype(np.float16) if others else None


def every_pair(rows: np.ndarray, who: np.ndarray, far: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(score, genuine) of every pair."""
    upper = np.triu_indices(len(rows), 1)
    genuine = ((who[:, None] == who) & (who >= 0))[upper]
    distant = np.empty(0, np.float32) if far is None else scores_of(rows, far.astype(np.float32)).ravel()
    return np.append(scores_of(rows, rows)[upper], distant), np.append(genuine, np.zeros(len(distant), bool))


def by_the_curve(
    scores: np.ndarray, genuine: np.ndarray, target: str, rule: FprRule
) -> tuple[float, float] | tuple[None, None]:
    """(TPR, FPR reached) read off scikit-learn's curve, whose points are counted in whole pairs."""
    total, aim = int((~genuine).sum()), Fraction(target)
    if not genuine.any() or aim * total < 1:
        return None, None
    fpr, tpr, _ = roc_curve(genuine, scores, drop_intermediate=False)
    accepted = np.rint(fpr * total).astype(int).tolist()
    if rule == "nearest":
        # The reference's way: turned round, the first with the least distance.
        turned = [(abs(count - aim * total), -place) for place, count in enumerate(accepted)]
        place = -min(turned)[1]
        return float(tpr[place]), accepted[place] / total
    place = max(i for i, count in enumerate(accepted) if count <= aim * total)
    if rule == "at-most":
        return float(tpr[place]), accepted[place] / total
    low, high = accepted[place], accepted[place + 1]
    share = (aim * total - low) / (high - low)
    return float(tpr[place] + float(share) * (tpr[place + 1] - tpr[place])), float(aim)


def check(result: VerificationResult, scores: np.ndarray, genuine: np.ndarray, rule: FprRule) -> None:
    assert result.impostor_pairs == (~genuine).sum()
    for t, target in enumerate(result.targets):
        tpr, fpr = by_the_curve(scores, genuine, target, rule)
        if tpr is None:
            assert result.tpr[t] is result.fpr[t] is result.threshold[t] is None
            continue
        assert result.tpr[t] == pytest.approx(tpr, abs=1e-12)
        assert result.fpr[t] == pytest.approx(fpr, abs=1e-12)
        assert result.hits_by_identity[t].sum() == pytest.approx(tpr * genuine.sum(), abs=1e-6)
        if rule == "interpolated":
            assert result.threshold[t] is None
        else:
            accepted = scores >= np.float32(result.threshold[t])
            assert accepted[genuine].mean() == result.tpr[t]
            assert accepted[~genuine].mean() == pytest.approx(result.fpr[t], abs=1e-15)
            lower = np.nextafter(np.float32(result.threshold[t]), np.float32(-np.inf))
            if np.isfinite(lower):  # the smallest threshold: one step lower accepts one more impostor
                assert (scores[~genuine] >= lower).sum() > accepted[~genuine].sum()


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(0, 45),
    st.integers(1, 9),
    st.sampled_from([0, 0, 25]),
    st.sampled_from([3, 16, 768]),
    st.integers(1, 3),
    st.sampled_from(FPR_RULES),
    st.booleans(),
)
def test_equals_the_curve_of_every_pair(
    seed: int, videos: int, people: int, others: int, block: int, workers: int, rule: FprRule, sampled: bool
) -> None:
    rows, who, far = quantised(seed, videos, people, others)
    with pytest.MonkeyPatch.context() as patch:
        if sampled:  # as with billions of pairs: brackets from a small sample, of which some are wrong
            patch.setattr(impostors_module, "FEW", 0)
            patch.setattr(impostors_module, "SAMPLE", 20)
            patch.setattr(impostors_module, "DEVIATIONS", 0.5)
        result = tpr_of_all_pairs(
            rows, who, TARGETS, rule=rule, distractors=far, block=block, workers=workers
        )
    check(result, *every_pair(rows, who, far), rule)


@pytest.mark.parametrize("rule", FPR_RULES)
def test_torch_gives_the_same(rule: FprRule) -> None:
    rows, who, far = quantised(3, 120, 12, 30)
    here = tpr_of_all_pairs(rows, who, TARGETS, rule=rule, distractors=far)
    there = tpr_of_all_pairs(rows, who, TARGETS, rule=rule, distractors=far, device="cpu:0")
    assert (there.tpr, there.fpr, there.threshold) == (here.tpr, here.fpr, here.threshold)
    assert there.hits_by_identity.tobytes() == here.hits_by_identity.tobytes()
    check(there, *every_pair(rows, who, far), rule)


@pytest.mark.parametrize(("distinct", "passes"), [(True, 1), (False, 2)])
def test_nearest_takes_a_second_pass_for_ties_only(
    monkeypatch: pytest.MonkeyPatch, distinct: bool, passes: int
) -> None:
    """20 impostors. Distinct: 1.6 of them are allowed, 2 are nearer. Else: 3.9, and after 2 come three that tie."""
    length = np.array([1.0, 0.9, 0.8, 0.7, 0.6]) if distinct else np.array([1.0, 0.5, 0.5, 0.25, 0.25])
    rows = completed(np.concatenate([length, np.zeros(2)])[:, None])
    who = np.array([0, 1, 2, 3, 4, 9, 9])
    counted = []
    scan = verification.scan_blocks

    def counting(*arguments: object, **options: object) -> object:
        counted.append(1)
        return scan(*arguments, **options)

    monkeypatch.setattr(verification, "scan_blocks", counting)
    target = "8/100" if distinct else "39/200"
    result = tpr_of_all_pairs(rows, who, [target], rule="nearest")
    assert result.impostor_pairs == 20
    assert result.fpr == [0.1 if distinct else 0.25]
    assert len(counted) == passes
    counted.clear()
    tpr_of_all_pairs(rows, who, [target])
    assert len(counted) == 1
