"""What unusable videos cost a number: the value over the trials that could succeed, by loops over all of them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from small_sets import random_set

from vidface.scores.metrics.listed_pairs import auc
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.iqiyi import rank_gallery
from vidface.scores.protocols.protocol import rate_without
from vidface.scores.score import score
from vidface.scores.scored import Scored


def made(seed: int):
    """A set with a tenth of the videos, one person's enrolment and another one's gallery videos unusable."""
    manifest, embeddings = random_set(seed, people=14, per_person=3, distractors=20)
    rng = np.random.default_rng(seed)
    embeddings[rng.random(len(embeddings)) < 0.1] = 0
    for row, (who, split) in enumerate(zip(manifest.identities, manifest.splits, strict=True)):
        if (who, split) in {("p1", "train"), ("p2", "val")}:
            embeddings[row] = 0
    return manifest, embeddings, embeddings.any(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_rankings(seed: int) -> None:
    manifest, embeddings, usable = made(seed)
    found = score(Scored({}, embeddings), manifest, ScoreOptions(protocol="iqiyi"))
    rankings = rank_gallery(embeddings, manifest)
    rows = list(zip(manifest.video_ids, manifest.identities, manifest.splits, usable.tolist(), strict=True))
    values, failed, of = [], 0, 0
    for person in sorted({who for _, who, split, _ in rows if who and split == "val"}):
        wanted = {video for video, who, split, there in rows if who == person and split == "val" and there}
        of += 1
        if not wanted or not any(
            who == person and split == "train" and there for _, who, split, there in rows
        ):
            failed += 1
            continue
        hits, precisions = 0, []
        for rank, video in enumerate(rankings[person][:100], 1):
            if video in wanted:
                hits += 1
                precisions.append(hits / rank)
        values.append(sum(precisions) / len(wanted))
    entry = found["failed"]["mAP@100"]
    assert failed >= 2 and (entry["failed"], entry["of"]) == (failed, of)
    assert entry["without"] == pytest.approx(np.mean(values))
    assert entry["without"] > found["mAP@100"]
    assert {"hit@1", "hit@5", "hit@10"} < found["failed"].keys()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("targets", [["1e-1", "1e-2"], ["0.9"]], ids=["positive", "below 0"])
def test_all_pairs(seed: int, targets: list[str]) -> None:
    manifest, embeddings, usable = made(seed)
    found = score(Scored({}, embeddings), manifest, ScoreOptions(protocol="lfrc", targets=targets))
    people = manifest.identities
    genuine = [(a, b) for a, b in combinations(range(len(people)), 2) if people[a] and people[a] == people[b]]
    rest = [(a, b) for a, b in genuine if usable[a] and usable[b]]
    for target in targets:
        at = found["threshold@fpr"][target]
        assert (at < 0) == (target == "0.9")
        entry = found["failed"][f"TPR at FPR {target}"]
        assert (entry["failed"], entry["of"]) == (len(genuine) - len(rest), len(genuine))
        accepted = [float(embeddings[a] @ embeddings[b]) >= at for a, b in rest]
        assert entry["without"] == pytest.approx(np.mean(accepted))


@pytest.mark.parametrize("seed", range(4))
def test_open_set(seed: int) -> None:
    manifest, embeddings, _usable = made(seed)
    found = score(Scored({}, embeddings), manifest, ScoreOptions(protocol="openset", targets=["1e-1"]))
    rows = list(zip(embeddings.astype(np.float64), manifest.identities, manifest.splits, strict=True))
    templates = {}
    for person in sorted({who for _, who, split in rows if who and split == "train"}):
        mean = np.sum([vector for vector, who, split in rows if who == person and split == "train"], axis=0)
        templates[person] = mean / (np.linalg.norm(mean) or 1)
    ranks, accepted, mated = [], [], 0
    for vector, who, split in rows:
        if split != "val" or who not in templates:
            continue
        mated += 1
        if not (vector.any() and templates[who].any()):
            continue
        cosines = {person: float(vector @ template) for person, template in templates.items()}
        ranks.append(sum(cosines[person] >= cosines[who] for person in cosines))
        accepted.append(ranks[-1] == 1 and cosines[who] >= found["threshold@fpir"]["1e-1"] - 1e-6)
    entry = found["failed"]["rank5 of mated searches"]
    assert (entry["failed"], entry["of"]) == (mated - len(ranks), mated) and entry["failed"] > 2
    assert entry["without"] == pytest.approx(np.mean(np.array(ranks) <= 5))
    assert found["failed"]["FNIR at FPIR 1e-1"]["without"] == pytest.approx(1 - np.mean(accepted))


def test_listed_pairs(tmp_path: Path) -> None:
    manifest, embeddings, usable = made(0)
    pairs = list(combinations(range(0, len(embeddings), 2), 2))
    same = np.array([manifest.identities[a] == manifest.identities[b] != "" for a, b in pairs])
    lines = [
        f"{manifest.video_ids[a]},{manifest.video_ids[b]},{int(one)}"
        for (a, b), one in zip(pairs, same, strict=True)
    ]
    file = tmp_path / "pairs.csv"
    file.write_text("\n".join(["first,second,same", *lines, "gone,v0_0,0", "gone,v0_1,1"]) + "\n")
    options = ScoreOptions(protocol="folds", pairs=file, targets=["1e-1"])
    found = score(Scored({}, embeddings), manifest, options)
    rest = np.array([usable[a] and usable[b] for a, b in pairs])
    cosines = np.array([float(embeddings[a] @ embeddings[b]) for a, b in pairs])
    entry = found["failed"]["AUC"]
    assert (entry["failed"], entry["of"]) == (int((~rest).sum()), len(pairs))
    assert entry["without"] == pytest.approx(auc(cosines[rest], same[rest]), abs=1e-6)
    entry = found["failed"]["TPR at FPR 1e-1"]
    assert (entry["failed"], entry["of"]) == (int((same & ~rest).sum()), int(same.sum()))
    accepted = cosines[rest & same] >= found["threshold@fpr"]["1e-1"]
    assert entry["without"] == pytest.approx(np.mean(accepted))
    entry = found["failed"]["accuracy by folds"]
    assert f", 2 of {len(pairs) + 2} listed ones are left out" in entry["why"]
    assert entry["without"] > found["accuracy"], "pairs of 0 are taken for those of two people"


def test_a_rate_over_what_is_left() -> None:
    assert rate_without(0.5, 0.3, 10, 2) == pytest.approx(5 / 8)
    assert rate_without(0.5, -0.1, 10, 2) == pytest.approx(3 / 8), "what scores 0 is accepted there"
    assert rate_without(0.0, None, 10, 2) == 0, "nothing is accepted"
    for value, threshold, lost in ((None, 0.3, 2), (0.5, None, 2), (0.5, 0.3, 10)):
        assert rate_without(value, threshold, 10, lost) is None
