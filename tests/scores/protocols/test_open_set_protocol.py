"""The open-set protocol against a naive computation that shares nothing with it."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from small_sets import manifest_of

from vidface.manifest.manifest import Manifest
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.open_set_numbers import STEPS, open_set_numbers

TARGETS = ["0.2", "0.1", "0.05", "1e-4"]


def mixed_set(
    seed: int, enrolled: int = 8, strangers: int = 7, unknown: int = 20
) -> tuple[Manifest, np.ndarray]:
    """Enrolled people, some never searched for, people who are not enrolled, unknown videos and those of no split."""
    random = np.random.default_rng(seed)
    rows, vectors = [], []

    def add(name: str, identity: str, split: str, vector: np.ndarray) -> None:
        rows.append((name, identity, split))
        vectors.append(vector / np.linalg.norm(vector))

    for person in range(enrolled + strangers):
        centre = random.normal(size=12)
        for take in range(5):
            split = "enrol" if take < 2 and person < enrolled else "find"
            if person == 0 and split == "find":
                split = "elsewhere"
            add(f"v{person}_{take}", f"p{person}", split, centre + random.normal(size=12))
    for number in range(unknown):
        add(f"u{number}", "", "find" if number % 5 else "enrol", random.normal(size=12))
    embeddings = np.array(vectors, np.float32)
    embeddings[random.random(len(rows)) < 0.08] = 0
    order = random.permutation(len(rows))
    return manifest_of([rows[i] for i in order]), embeddings[order]


def options_of(targets: list[str] = TARGETS, **options: Any) -> ScoreOptions:
    usual = {"enrolment_split": "enrol", "gallery_split": "find"}
    return ScoreOptions(protocol="openset", targets=targets, **(usual | options))


def scored(
    manifest: Manifest, embeddings: np.ndarray, targets: list[str] = TARGETS, **options: Any
) -> dict[str, Any]:
    return open_set_numbers(embeddings, manifest, options_of(targets, **options))[0]


def matrix(manifest: Manifest, embeddings: np.ndarray) -> tuple[list[str], list[int], np.ndarray]:
    """Enrolled names, searched videos, and float64 scores [searches, identities]."""
    rows = list(zip(manifest.identities, manifest.splits, strict=True))
    names = sorted({who for who, split in rows if split == "enrol" and who})
    searched = [i for i, (_, split) in enumerate(rows) if split == "find"]
    wide = embeddings.astype(np.float64)
    templates = []
    for name in names:
        mean = np.zeros(wide.shape[1])
        for i, row in enumerate(rows):
            mean += wide[i] if row == (name, "enrol") else 0
        templates.append(mean / (np.linalg.norm(mean) or 1))
    return names, searched, np.array([[wide[i] @ template for template in templates] for i in searched])


@pytest.mark.parametrize("seed", range(4))
def test_equals_a_naive_computation(seed: int) -> None:
    manifest, embeddings = mixed_set(seed)
    result = scored(manifest, embeddings)
    names, searched, scores = matrix(manifest, embeddings)
    others, mates = [], []
    for i, line in zip(searched, scores, strict=True):
        who = manifest.identities[i]
        if who in names:
            own = line[names.index(who)]
            rest = np.delete(line, names.index(who))
            mates.append((own, 1 + int((rest >= own - 1e-9).sum())))
        else:
            others.append(line.max())
    others.sort(reverse=True)
    for target in TARGETS:
        allowed = int(Fraction(target) * len(others))
        if allowed < 1:
            assert result["fnir@fpir"][target] is result["ci95"]["fnir@fpir"][target] is None
            continue
        misses = sum(not (rank == 1 and own > others[allowed] + 1e-9) for own, rank in mates)
        assert result["fnir@fpir"][target] == pytest.approx(misses / len(mates))
        assert result["tpir@fpir"][target] == pytest.approx(1 - misses / len(mates))
        assert result["fpir_reached"][target] == pytest.approx(allowed / len(others))
        low, high = result["ci95"]["fnir@fpir"][target]
        assert 0 <= low <= misses / len(mates) <= high <= 1 and high - low > 0.02
        low, high = result["ci95"]["fpir_reached"][target]
        assert low <= allowed / len(others) <= high
    for k in (1, 5, 10):
        assert result[f"rank{k}"] == pytest.approx(np.mean([rank <= k for _, rank in mates]))
    strangers = [manifest.identities[i] for i in searched if manifest.identities[i] not in names]
    assert result["counts"] == {
        "enrolled_identities": 8,
        "enrolment_videos": 16,
        "searches": len(searched),
        "mated_searches": len(mates),
        "identities_searched_for": 7,  # of one person all other videos are in no split that counts
        "non_mated_searches": len(others),
        "identities_not_enrolled": 7,
        "searches_without_identity": strangers.count(""),
        "searches_without_usable_frame": int((~embeddings[searched].any(axis=1)).sum()),
        "enrolled_without_usable_video": int((~scores.any(axis=0)).sum()),
        "enrolment_videos_without_identity": 4,
        "videos_of_other_splits": 3,
    }
    assert len(mates) == 21 and len(others) == 7 * 5 + 16
    assert any("1e-4" in warning for warning in result["warnings"])


def test_intervals_draw_people_with_all_their_searches() -> None:
    """6 strangers of 30 equal videos each, 2 of them accepted; 5 people of 20, of whom one is always missed."""
    axes = np.eye(12, dtype=np.float32)
    rows, vectors = [], []
    for person in range(5):
        rows.append((f"e{person}", f"p{person}", "enrol"))
        vectors.append(axes[person])
        rows += [(f"m{person}_{take}", f"p{person}", "find") for take in range(20)]
        vectors += [axes[person] if person else axes[1]] * 20
    for person in range(6):
        rows += [(f"s{person}_{take}", f"s{person}", "find") for take in range(30)]
        vectors += [axes[person % 5] if person < 2 else axes[6 + person]] * 30
    result = scored(manifest_of(rows), np.array(vectors), ["0.4"])
    assert (result["fnir@fpir"]["0.4"], result["fpir_reached"]["0.4"]) == (0.2, 1 / 3)
    # Of 5 people drawn 0 to 3 are the one who is missed in 99 of 100 draws; of 6 strangers 0 to 4 are accepted.
    assert result["ci95"]["fnir@fpir"]["0.4"] == pytest.approx([0, 0.6])
    assert result["ci95"]["tpir@fpir"]["0.4"] == pytest.approx([0.4, 1])
    assert result["ci95"]["rank1"] == pytest.approx([0.4, 1])
    assert result["ci95"]["fpir_reached"]["0.4"] == pytest.approx([0, 2 / 3], abs=0.17)
    low, high = result["ci95"]["fpir_reached"]["0.4"]
    assert high - low > 0.5  # were every search drawn by itself: 0.14


def test_thresholds_of_identities_are_chosen_on_half_of_the_people() -> None:
    manifest, embeddings = mixed_set(2)
    result = scored(manifest, embeddings, ["0.1"])
    names, searched, scores = matrix(manifest, embeddings)
    who = [manifest.identities[i] for i in searched]

    def chosen(i: int) -> bool:
        name = manifest.identities[i]
        text = f"identity {name}" if name else f"video {manifest.video_ids[i]}"
        return hashlib.sha256(text.encode()).hexdigest()[0] < "8"

    half = np.array([chosen(i) for i in searched])
    assert 0.3 < half.mean() < 0.7
    for name in names:
        of_others = np.array([person != name for person in who])
        line = scores[:, names.index(name)]
        pool = np.sort(line[half & of_others])[::-1]
        allowed = int(Fraction("0.1") * len(pool))
        level = pool[allowed] + 1e-9
        found = result["per_identity"][name]
        assert found["threshold"]["0.1"] == pytest.approx(pool[allowed], abs=1e-6)
        assert found["missed"]["0.1"] == (line[~of_others] <= level).sum()
        assert found["searches"] == (~of_others).sum()
        assert found["accepted_others"]["0.1"] == (line[~half & of_others] > level).sum()
        assert found["searches_of_others"] == (~half & of_others).sum()
    told = list(result["per_identity"].values())
    own = result["identity_thresholds"]["0.1"]["own"]
    missed = [row["missed"]["0.1"] / row["searches"] for row in told if row["searches"]]
    assert len(missed) == 7 and own["missed"] == pytest.approx(np.mean(missed))
    accepted = [row["accepted_others"]["0.1"] / row["searches_of_others"] for row in told]
    assert own["accepted_others"] == pytest.approx(np.mean(accepted))
    assert own["accepted_others_worst"] == pytest.approx(max(accepted))
    # One for all: of all pairs of an identity and a search of somebody else in the half.
    pairs = [
        scores[s, i]
        for i, name in enumerate(names)
        for s in range(len(searched))
        if half[s] and who[s] != name
    ]
    level = sorted(pairs, reverse=True)[int(Fraction("0.1") * len(pairs))]
    one = result["identity_thresholds"]["0.1"]["one"]
    assert one["threshold"] == pytest.approx(level, abs=1e-6)


def test_videos_without_frames_stay_in_both_denominators() -> None:
    manifest, embeddings = mixed_set(3)
    searched = [i for i, split in enumerate(manifest.splits) if split == "find"]
    before = scored(manifest, embeddings)["counts"]
    rows = zip(manifest.identities, manifest.splits, strict=True)
    known = {who for who, split in rows if split == "enrol" and who}
    for i in searched:
        if manifest.identities[i] in known:
            embeddings[i] = 0
    result = scored(manifest, embeddings)
    for name in ("mated_searches", "non_mated_searches", "searches"):
        assert result["counts"][name] == before[name]
    # All tie with everybody at 0, which is no identification.
    assert result["fnir@fpir"]["0.2"] == 1.0 and result["rank1"] == 0.0


def test_the_curve_in_the_result_is_made_of_its_corners() -> None:
    random = np.random.default_rng(0)
    rows = [(f"e{n}", f"p{n}", "enrol") for n in range(40)]
    rows += [(f"m{n}", f"p{n % 40}", "find") for n in range(300)]
    rows += [(f"u{n}", "", "find") for n in range(900)]
    vectors = random.normal(size=(len(rows), 8))
    vectors[40:340] += 0.8 * vectors[[n % 40 for n in range(300)]]
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    result, curve = open_set_numbers(embeddings, manifest_of(rows), options_of(["0.1"]))
    told = result["det"]
    assert curve is not None and told["corners"] == 901 and 100 < len(told["fpir"]) <= STEPS
    assert told["fpir"][0] == 0 and told["fpir"][-1] == 1
    assert all(np.diff(told["fpir"]) > 0) and all(np.diff(told["fnir"]) <= 0)
    for fpir, fnir, level in zip(told["fpir"], told["fnir"], told["threshold"], strict=True):
        assert fnir == curve.fnir[curve.fpir == fpir].min()
        at = curve.threshold == (np.inf if level is None else level)
        assert (curve.fpir[at], curve.fnir[at]) == (fpir, fnir)
    at = curve.threshold == result["threshold@fpir"]["0.1"]
    assert curve.fnir[at] == result["fnir@fpir"]["0.1"]


def test_between_thresholds_there_are_no_intervals() -> None:
    manifest, embeddings = mixed_set(0)
    exact, between = (
        scored(manifest, embeddings, ["0.15"], fpr_rule=rule) for rule in ("at-most", "interpolated")
    )
    assert between["threshold@fpir"]["0.15"] is between["ci95"]["fnir@fpir"]["0.15"] is None
    assert between["fpir_reached"]["0.15"] == 0.15
    assert between["fnir@fpir"]["0.15"] <= exact["fnir@fpir"]["0.15"]
