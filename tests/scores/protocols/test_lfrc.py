"""The lfrc protocol against scikit-learn over the whole list of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from small_sets import manifest_of, random_set

from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.lfrc import score_all_pairs


def test_equals_scikit_learn_over_all_pairs() -> None:
    manifest, embeddings = random_set(5, 12, 6, 40)
    scores = score_all_pairs(embeddings, manifest, ScoreOptions(protocol="lfrc"))
    first, second = np.triu_indices(len(embeddings), 1)
    cosine = np.sum(embeddings[first].astype(np.float64) * embeddings[second], axis=1)
    names = np.array(manifest.identities)
    same = (names[first] == names[second]) & (names[first] != "")
    fpr, tpr, _ = roc_curve(same, cosine, drop_intermediate=False)
    assert scores["counts"]["genuine_pairs"] == same.sum()
    assert scores["counts"]["impostor_pairs"] == (~same).sum()
    measured = 0
    for target, value in scores["tpr@fpr"].items():
        if value is None:
            assert float(target) * (~same).sum() < 1
            continue
        measured += 1
        assert value == pytest.approx(tpr[fpr <= float(target)].max(), abs=1e-12)
        low, high = scores["ci95"]["tpr@fpr"][target]
        assert low <= value <= high
    assert measured >= 2
    assert any("1e-6" in warning for warning in scores["warnings"])


def test_videos_without_identity_are_impostors_to_each_other() -> None:
    manifest = manifest_of([("a", "", "val"), ("b", "", "val"), ("c", "p", "val"), ("d", "p", "train")])
    options = ScoreOptions(protocol="lfrc", targets=["1e-1"])
    scores = score_all_pairs(np.ones((4, 4), np.float32) / 2, manifest, options)
    assert (scores["counts"]["genuine_pairs"], scores["counts"]["impostor_pairs"]) == (1, 5)
