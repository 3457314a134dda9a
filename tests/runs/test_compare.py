"""Comparisons of small sets: the values of `score`, ranks by a naive sort, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compared_sets import PEOPLE, ComparedSet
from scipy import stats

from vidface.errors import ManifestError, StoreError, UsageError
from vidface.manifest.manifest import write_manifest
from vidface.report.comparison.text import as_json, text
from vidface.runs.compare import compare
from vidface.runs.compare_inputs import open_compared
from vidface.runs.compare_result import verdict
from vidface.scores.metrics.bootstrap import REPLICATES, Difference
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.iqiyi import rank_gallery
from vidface.scores.score import score
from vidface.scores.scored import read_scored
from vidface.submission import write_iqiyi, write_lfrc


@pytest.fixture
def some(tmp_path: Path) -> ComparedSet:
    return ComparedSet(tmp_path)


def test_values_and_precisions_are_those_of_score(some: ComparedSet) -> None:
    paths = some.embeddings("a.h5", 1.0, failed=9), some.embeddings("b.h5", 0.6)
    targets = ["1e-1", "1e-2", "1e-3"]
    found = some.compare(*paths, targets=targets, replicates=REPLICATES)
    names = [measure.name for measure in found.measures]
    assert names == ["mAP@100", "hit@1", "hit@5", "hit@10", *(f"TPR at FPR 1e-{k}" for k in (1, 2, 3))]
    for run, path in enumerate(paths):
        wanted = score(read_scored(path, some.manifest), some.manifest, ScoreOptions(targets=targets))
        for measure in found.measures:
            if measure.name.startswith("TPR"):
                value = wanted["tpr@fpr"][measure.name.removeprefix("TPR at FPR ")]
            else:
                value = wanted[measure.name]
                ends = [measure.values[run].low, measure.values[run].high]
                assert ends == wanted["ci95"][measure.name], "the interval too, to the last bit"
            assert measure.values[run] is not None and measure.values[run].value == value
        precision = dict(zip(found.wanted.names, found.precision[run].tolist(), strict=True))
        assert precision == wanted["per_identity"]
    none, gain = found.measures[0].differences
    one, other = (value.value for value in found.measures[0].values)
    assert none is None and gain.value == pytest.approx(other - one)
    assert gain.verdict == 1 and gain.low > 0
    assert found.unusable == [9, 0]
    assert "a: 9 of 112 videos have no usable frame: never ranked, score 0 in pairs" in found.warnings


def test_the_interval_in_map_agrees_with_scipy(some: ComparedSet) -> None:
    found = some.compare(some.embeddings("a.h5", 1.2), some.embeddings("b.h5", 1.0), replicates=10_000)
    how = {"paired": True, "method": "percentile", "n_resamples": 20_000, "rng": 1}
    gained = stats.bootstrap(tuple(found.precision), lambda a, b, axis: (b - a).mean(axis=axis), **how)
    expected = gained.confidence_interval
    gain = found.measures[0].differences[1]
    width = expected.high - expected.low
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high), abs=0.04 * width)


def test_ranks_go_on_where_the_list_of_a_hundred_ends(tmp_path: Path) -> None:
    some = ComparedSet(tmp_path, distractors=260)
    rows = some.matrix(4.0, failed=40)
    path = some.embeddings("a.h5", 4.0, failed=40)
    found = some.compare(path, path, protocol="iqiyi", replicates=10)
    lists = rank_gallery(rows, some.manifest)
    ids, identities = some.manifest.video_ids, some.manifest.identities
    gallery = [v for v, split in enumerate(some.manifest.splits) if split == "val" and rows[v].any()]
    deep = 0
    for n, video in enumerate(found.wanted.videos.tolist()):
        name = found.wanted.names[found.wanted.identity[n]]
        assert name == identities[video]
        own = [
            v for v, split in enumerate(some.manifest.splits) if split == "train" and identities[v] == name
        ]
        template = sum(rows[v].astype(np.float64) for v in own)
        if not np.any(template) or not rows[video].any():
            assert found.ranks[0, n] == 0
            continue
        ranking = sorted(gallery, key=lambda v: (-float(template @ rows[v]), ids[v]))
        assert found.ranks[0, n] == ranking.index(video) + 1
        strangers = sum(identities[v] != name for v in ranking[: ranking.index(video)])
        assert found.ranks_among_strangers[0, n] == strangers + 1
        deep += found.ranks[0, n] > 100
        if found.ranks[0, n] <= 100:
            assert lists[name][found.ranks[0, n] - 1] == ids[video]
    assert deep > 3 and (found.ranks[0] == 0).any()


def test_submissions_are_compared_like_what_they_were_made_of(some: ComparedSet) -> None:
    rows = some.matrix(1.0)
    write_lfrc(some.folder / "s.bin", rows)
    write_iqiyi(some.folder / "s.txt", rank_gallery(rows, some.manifest))
    paths = some.embeddings("a.h5", 1.0), some.folder / "s.bin", some.folder / "s.txt"
    found = some.compare(*paths, targets=["1e-2"])
    assert [run.name for run in found.runs] == ["a", "s.bin", "s.txt"]
    for measure in found.measures[:4]:
        assert measure.values[0] == measure.values[1] == measure.values[2]
        assert verdict(measure.differences[1]) == verdict(measure.differences[2]) == "no difference at all"
    assert found.measures[4].values[0] == found.measures[4].values[1]
    assert found.measures[4].values[2] is None and found.measures[4].differences[2] is None
    assert found.warnings[0] == "s.txt: a ranking holds no embeddings: TPR at FPR is not compared"
    assert np.isnan(found.tpr[2]).all() and (found.tpr[0] == found.tpr[1]).all()


def test_what_changed_most_comes_first(some: ComparedSet) -> None:
    found = some.compare(some.embeddings("a.h5", 1.5), some.embeddings("b.h5", 0.5, failed=3))
    videos = found.changed_videos(1)
    last = len(found.wanted.gallery) + 1
    ranks = found.ranks_among_strangers
    ratios = [max(a, b) / min(a, b) for a, b in np.where(ranks > 0, ranks, last)[:, videos].T]
    assert ratios == sorted(ratios, reverse=True)
    assert set(videos) == set(np.flatnonzero(ranks[0] != ranks[1]).tolist())
    people = found.changed_identities(1)
    changes = np.abs(np.diff(found.precision, axis=0))[0]
    assert changes[people].tolist() == sorted(changes[changes > 0].tolist(), reverse=True)


def test_a_persons_own_videos_that_change_places_have_not_changed_their_rank(some: ComparedSet) -> None:
    found = some.compare(some.embeddings("a.h5", 1.5), some.embeddings("b.h5", 0.5))
    neighbours = np.array([[1, 2, 5], [2, 1, 5], [3, 1, 9]])
    small = replace(
        found,
        wanted=found.wanted._replace(videos=found.wanted.videos[:3], identity=np.zeros(3, np.int64)),
        ranks=neighbours,
    )
    assert small.ranks_among_strangers.tolist() == [[1, 1, 3], [1, 1, 3], [2, 1, 7]]
    assert small.changed_videos(1) == []
    assert set(small.changed_videos(2)) == {0, 2}


def test_what_does_not_say_how_it_was_made_is_not_called_the_same(some: ComparedSet) -> None:
    write_lfrc(some.folder / "m.bin", some.matrix(0.8))
    found = some.compare(some.embeddings("a.h5", 1.0), some.folder / "m.bin")
    assert found.differs == {"how it was made": ["known", "not known"]}
    assert "nothing that differs is known" not in text(found)
    alone = some.compare(some.folder / "m.bin", some.folder / "m.bin")
    assert alone.differs == {"how it was made": ["not known", "not known"]}
    known = some.compare(some.embeddings("a.h5", 1.0), some.embeddings("b.h5", 0.8))
    assert known.differs == {} and "nothing that differs is known" in text(known)


def test_several_runs_get_wider_intervals(some: ComparedSet) -> None:
    paths = [some.embeddings(f"{n}.h5", noise) for n, noise in enumerate((1.4, 1.2, 1.3))]
    two, three = some.compare(*paths[:2], replicates=2000), some.compare(*paths, replicates=2000)
    assert (two.comparisons, three.comparisons) == (1, 2)
    for measure in range(4):
        a, b = two.measures[measure].differences[1], three.measures[measure].differences[1]
        assert b.low <= a.low and b.high >= a.high
        if measure == 0:  # the others are coarse
            assert b.low < a.low and b.high > a.high
        assert two.measures[measure].values == three.measures[measure].values[:2]


def test_what_differs_is_told_from_what_is_the_same(some: ComparedSet) -> None:
    a = some.embeddings("a.h5", 1.0, fps=8.0, flip=np.True_)
    b = some.embeddings("b.h5", 1.0, fps=8.0, threshold="none", pooling="x")
    found = some.compare(a, b)
    assert found.differs == {"threshold": ["0.4", "none"]}
    assert found.same["fps"] == 8.0 and found.same["flip"] is True and found.same["pooling"] == "x"
    assert "content_sha256" not in found.same


def test_names_tell_the_runs_apart(some: ComparedSet) -> None:
    (some.folder / "x").mkdir()
    a, b = some.embeddings("a.h5", 1.0), some.embeddings("x/a.h5", 0.8)
    assert [run.name for run in some.compare(a, b).runs] == [str(a), str(b)]
    assert [run.name for run in some.compare(a, a).runs] == [f"{a} (1)", f"{a} (2)"]


def test_everything_fits_into_json(some: ComparedSet) -> None:
    found = some.compare(some.embeddings("a.h5", 1.4), some.embeddings("b.h5", 0.5, failed=2))
    value = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert value["baseline"] == "a" and [run["name"] for run in value["runs"]] == ["a", "b"]
    first = value["measures"][0]
    assert first["measure"] == "mAP@100" and first["differences"][0] is None
    assert first["differences"][1]["words"].startswith("better by ")
    assert set(value["changed_videos"]) == set(value["changed_identities"]) == {"b"}
    assert value["counts"]["gallery_identities"] == PEOPLE


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (None, "not measured for both"),
        (Difference(0.004, 0.001, 0.007, 1), "better by 0.0040, interval +0.0010 to +0.0070"),
        (Difference(-0.004, -0.007, -0.001, -1), "worse by 0.0040, interval -0.0070 to -0.0010"),
        (
            Difference(0.001, -1e-9, 0.003, 0),
            "no difference can be told: +0.0010, interval +0.0000 to +0.0030",
        ),
        (Difference(0.0, 0.0, 0.0, 0), "no difference at all"),
    ],
)
def test_verdicts(gain: Difference | None, words: str) -> None:
    assert verdict(gain) == words


def test_few_pairs_and_few_people_are_warned_about(some: ComparedSet) -> None:
    paths = some.embeddings("a.h5", 1.0), some.embeddings("b.h5", 0.7)
    found = some.compare(*paths, targets=["1e-2", "1e-3", "1e-6"])
    pairs = found.counts["impostor_pairs"]
    assert found.warnings == [
        f"TPR at FPR 1e-6 is not measured: {pairs:,} impostor pairs are fewer than 1/1e-6",
        "intervals of mAP rest on 24 identities only, and may be too narrow",
        f"TPR at FPR 1e-3 rests on the {pairs // 1000} strongest of {pairs:,} impostor pairs: fewer than 30 tell "
        "little",
    ]


def test_without_a_gallery_only_pairs_are_compared(some: ComparedSet) -> None:
    paths = some.embeddings("a.h5", 1.0), some.embeddings("b.h5", 0.7)
    found = some.compare(*paths, gallery_split="nothing", targets=["1e-2"])
    assert [measure.name for measure in found.measures] == ["TPR at FPR 1e-2"]
    assert (
        found.warnings[0] == "mAP is not compared: no video with an identity in the gallery split 'nothing'"
    )
    assert found.changed_videos(1) == found.changed_identities(1) == []
    with pytest.raises(ManifestError, match="enrolment split 'nobody'"):
        some.compare(*paths, enrolment_split="nobody", protocol="iqiyi")


def test_what_cannot_be_compared_is_refused(some: ComparedSet) -> None:
    one = some.embeddings("a.h5", 1.0)
    with pytest.raises(UsageError, match="two runs or more"):
        some.compare(one)
    short = some.embeddings("b.h5", 0.7, ids=some.manifest.video_ids[:-2])
    with pytest.raises(StoreError, match=rf"b\.h5: lacks 2 of the .* '{some.manifest.video_ids[-2]}'"):
        some.compare(one, short)
    write_lfrc(some.folder / "s.bin", some.matrix(1.0))
    with pytest.raises(UsageError, match="--manifest FILE"):
        open_compared([some.folder / "s.bin"] * 2, manifest=None, options={})


def run_folder(some: ComparedSet, name: str, noise: float, manifest: str = "set.csv", **made: object) -> Path:
    folder = some.folder / name
    folder.mkdir()
    some.embeddings("x.h5", noise, **made).rename(folder / "embeddings.h5")
    told = {"manifest": str(some.folder / manifest), "targets": ["1e-2"]}
    (folder / "run.json").write_text(json.dumps({"run": told}))
    return folder


def test_folders_know_their_manifest_and_other_sets_are_refused(some: ComparedSet, tmp_path: Path) -> None:
    a, b = run_folder(some, "A", 1.0), run_folder(some, "B", 0.8)
    runs, manifest, options = open_compared([a, b], manifest=None, options={})
    assert [run.name for run in runs] == ["A", "B"] and manifest.sha256 == some.manifest.sha256
    assert options.targets == ["1e-2"]
    assert open_compared([a, b], manifest=None, options={"targets": ["1e-3"]})[2].targets == ["1e-3"]
    truth = some.manifest
    rows = list(zip(truth.video_ids, truth.paths, truth.identities, truth.splits, strict=True))
    write_manifest(tmp_path / "fewer.csv", rows[3:])
    write_manifest(tmp_path / "turned.csv", rows[::-1])
    c, d = run_folder(some, "C", 0.8, "fewer.csv"), run_folder(some, "D", 0.8, "turned.csv")
    e = run_folder(some, "E", 1.0, manifest_sha256="f" * 64)
    for other, words in (
        (c, r"different sets, .*set\.csv and .*fewer\.csv \(3 videos are in the first alone"),
        (d, "the same video ids, but other paths"),
        (e, r"different manifests \([0-9a-f]{12}\.\.\., f{12}\.\.\.\)"),
    ):
        with pytest.raises(UsageError, match=words):
            open_compared([a, other], manifest=None, options={})
    with pytest.raises(UsageError, match=r"was not made from .*set\.csv as it is now"):
        open_compared([e, e], manifest=None, options={})
    fewer = open_compared([a, c], manifest=tmp_path / "fewer.csv", options={})
    assert len(compare(*fewer, replicates=10).manifest.video_ids) == len(truth.video_ids) - 3
