"""The iqiyi protocol against a naive computation that shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest
from plain_scores import retrieval
from small_sets import manifest_of, random_set

from vidface.errors import ManifestError
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.challenges import measures
from vidface.scores.protocols.iqiyi import rank_gallery, score_rankings
from vidface.scores.protocols.open_set_numbers import open_set_numbers


@pytest.mark.parametrize(("people", "per_person", "distractors"), [(7, 3, 20), (3, 130, 60), (1, 1, 0)])
def test_equals_a_naive_computation(people: int, per_person: int, distractors: int) -> None:
    manifest, embeddings = random_set(people, people, per_person, distractors)
    scores = score_rankings(rank_gallery(embeddings, manifest), manifest)
    rows = list(zip(manifest.video_ids, manifest.identities, manifest.splits, strict=True))
    for name, value in retrieval(rows, embeddings).items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name


def test_more_than_a_hundred_relevant_videos_are_all_in_the_denominator() -> None:
    rows = [("t", "p", "train"), *((f"v{i:03d}", "p", "val") for i in range(150))]
    embeddings = np.tile(np.eye(1, 8, dtype=np.float32), (len(rows), 1))
    manifest = manifest_of(rows)
    rankings = rank_gallery(embeddings, manifest)
    assert rankings["p"] == [f"v{i:03d}" for i in range(100)]  # all tie: by id
    assert score_rankings(rankings, manifest)["mAP@100"] == pytest.approx(100 / 150)


def test_a_distractor_stays_in_the_gallery_and_costs_rank() -> None:
    rows = [("t", "p", "train"), ("near", "", "val"), ("own", "p", "val")]
    embeddings = np.array([[1, 0], [1, 0], [0.6, 0.8]], np.float32)
    scores = score_rankings(rank_gallery(embeddings, manifest_of(rows)), manifest_of(rows))
    assert scores["mAP@100"] == 0.5
    assert (scores["hit@1"], scores["hit@5"]) == (0.0, 1.0)
    assert scores["counts"]["distractors"] == 1


def test_any_one_video_of_an_identity_is_a_hit_while_each_is_a_search_of_its_own_in_an_open_set() -> None:
    """Two numbers for the same embeddings have two names: one of p's two videos is nearer to q."""
    rows = [("tp", "p", "train"), ("tq", "q", "train")]
    rows += [("p1", "p", "val"), ("p2", "p", "val"), ("q1", "q", "val")]
    embeddings = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8], [0, 1]], np.float32)
    manifest = manifest_of(rows)
    iqiyi = score_rankings(rank_gallery(embeddings, manifest), manifest)
    openset, _ = open_set_numbers(embeddings, manifest, ScoreOptions(protocol="openset", targets=["0.5"]))
    assert iqiyi["hit@1"] == 1.0  # both of two identities
    assert openset["rank1"] == 2 / 3  # two of three videos
    assert not {"rank1", "rank5", "rank10"} & set(iqiyi) and not {"hit@1", "hit@5", "hit@10"} & set(openset)


def test_score_files_of_before_hits_had_their_name_are_still_shown() -> None:
    names = ("rank1", "rank5", "rank10")
    scores = {"mAP@100": 0.5, **dict.fromkeys(names, 1.0), "tpr@fpr": None}
    scores["ci95"] = {key: [0.4, 1.0] for key in ("mAP@100", *names)}
    found = {each.label: (each.value, each.interval) for each in measures(scores)}
    assert found == {"mAP@100": (0.5, [0.4, 1.0]), **{f"hit@{k}": (1.0, [0.4, 1.0]) for k in (1, 5, 10)}}


def test_an_identity_without_enrolment_scores_zero_and_is_named() -> None:
    rows = [("t", "p", "train"), ("own", "p", "val"), ("lost", "q", "val")]
    manifest = manifest_of(rows)
    embeddings = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    scores = score_rankings(rank_gallery(embeddings, manifest), manifest)
    assert scores["mAP@100"] == 0.5
    assert scores["per_identity"] == {"p": 1.0, "q": 0.0}
    assert "q" in scores["warnings"][0]


def test_repeated_videos_of_a_ranking_count_once() -> None:
    rows = [("t", "p", "train"), ("a", "p", "val"), ("b", "p", "val"), ("x", "", "val")]
    scores = score_rankings({"p": ["a", "a", "x", "b"]}, manifest_of(rows))
    assert scores["mAP@100"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_video_without_usable_frames_is_never_ranked_but_counted_as_missed() -> None:
    rows = [("t", "p", "train"), ("a", "p", "val"), ("failed", "p", "val")]
    embeddings = np.array([[1, 0], [-1, 0], [0, 0]], np.float32)
    rankings = rank_gallery(embeddings, manifest_of(rows))
    assert rankings == {"p": ["a"]}
    assert score_rankings(rankings, manifest_of(rows))["mAP@100"] == 0.5


@pytest.mark.parametrize(("enrolment", "gallery"), [("nobody", "val"), ("train", "nothing")])
def test_an_empty_split_is_an_error_that_lists_the_splits(enrolment: str, gallery: str) -> None:
    manifest = manifest_of([("t", "p", "train"), ("a", "p", "val")])
    with pytest.raises(ManifestError, match="'train' \\(1\\), 'val' \\(1\\)"):
        rank_gallery(np.eye(2, dtype=np.float32), manifest, enrolment_split=enrolment, gallery_split=gallery)
