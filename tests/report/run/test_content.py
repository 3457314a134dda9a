"""What a report says, against plain numpy over the list of all pairs and all videos."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from feature_files import stored_features
from sklearn.metrics import roc_curve

from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions
from vidface.errors import UsageError
from vidface.files import store
from vidface.files.faults import record_faults
from vidface.files.json_files import write_json
from vidface.manifest.manifest import Manifest, read_manifest, write_manifest
from vidface.report.run import examples, projection
from vidface.report.run.content import Content
from vidface.report.run.gather import gather
from vidface.runs.opened import Run, open_run, run_entry
from vidface.scores.options import ScoreOptions
from vidface.scores.score import score
from vidface.scores.scored import read_scored
from vidface.scores.sweep import sweep, sweep_table

WIDTH, THRESHOLD, TARGETS = 24, 0.35, ["1e-1", "1e-2", "1e-9"]


class Videos:
    """People whose videos hold frames of others; frames of nobody; videos that failed; times out of order."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        centres = random.standard_normal((14, WIDTH))
        self.rows: list[tuple[str, str, str, str]] = []
        self.frames: dict[str, np.ndarray] = {}
        self.times: dict[str, np.ndarray] = {}
        for person in range(14):
            for take in range(4 if person < 10 else 1):
                video = f"v{random.integers(10**6):06d}"
                identity = f"p{person}" if person < 10 else ""
                split = "train" if take < 2 and person < 10 else "val"
                count = 0 if (person, take) in ((3, 2), (5, 0)) else int(random.integers(5, 14))
                frames = centres[person] + 1.0 * random.standard_normal((count, WIDTH))
                noise = random.random(count) < 0.3
                frames[noise] = centres[random.integers(14, size=count)][noise]
                frames[noise] += 0.3 * random.standard_normal((int(noise.sum()), WIDTH))
                if person == 1 and count:
                    frames[0] = 0
                self.rows.append((video, f"{video}.mp4", identity, split))
                self.frames[video] = frames.astype(np.float32)
                self.times[video] = random.permutation(count).astype(np.float32) / 8
        self.rows = [self.rows[place] for place in random.permutation(len(self.rows))]
        self.who = {video: identity for video, _, identity, _ in self.rows}


def write_run(folder: Path, videos: Videos, rows: list[tuple[str, str, str, str]]) -> Path:
    folder.mkdir()
    manifest, features = folder / "set.csv", folder / "features.h5"
    write_manifest(manifest, rows)
    stored_features(features, read_manifest(manifest), videos.frames, videos.times)
    cluster(features, folder / "embeddings.h5", ClusterOptions(threshold=THRESHOLD))
    options = ScoreOptions(targets=TARGETS)
    write_json(folder / "run.json", {"run": run_entry(folder, manifest, features, options)})
    return folder


@pytest.fixture(scope="module")
def videos() -> Videos:
    return Videos()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, videos: Videos) -> Path:
    return write_run(tmp_path_factory.mktemp("content") / "run", videos, videos.rows)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return open_run(folder)


@pytest.fixture(scope="module")
def content(run: Run) -> Content:
    return gather(run, pictures=False)


@pytest.fixture(scope="module")
def found(run: Run) -> store.Embeddings:
    return store.read_embeddings(run.embeddings)


@pytest.fixture(scope="module")
def labels(found: store.Embeddings) -> dict[str, np.ndarray]:
    """The cluster of every frame of a video."""
    own = np.split(found.labels, np.cumsum(found.frames)[:-1])
    return dict(zip(found.video_ids, own, strict=True))


@pytest.fixture(scope="module")
def embeddings(found: store.Embeddings) -> dict[str, np.ndarray]:
    return dict(zip(found.video_ids, found.embeddings.astype(np.float64), strict=True))


@pytest.fixture(scope="module")
def pairs(videos: Videos, embeddings: dict[str, np.ndarray]) -> list[tuple[float, bool, str, str]]:
    """(cosine, genuine, id, id) of all pairs."""
    who, every = videos.who, combinations(sorted(videos.who), 2)
    return [(float(embeddings[a] @ embeddings[b]), who[a] == who[b] != "", a, b) for a, b in every]


def test_the_headline_is_what_score_says(content: Content, run: Run) -> None:
    scores = score(read_scored(run.embeddings, run.manifest), run.manifest, run.options)
    said = {number.label: number for number in content.headline}
    assert list(said) == ["mAP@100", "hit@1", "hit@5", "hit@10", *(f"TPR at FPR {t}" for t in TARGETS)]
    for name in ("mAP@100", "hit@1", "hit@10"):
        assert said[name][1:4] == (scores[name], *scores["ci95"][name])
    for target in TARGETS[:2]:
        number = said[f"TPR at FPR {target}"]
        assert number[1:4] == (scores["tpr@fpr"][target], *scores["ci95"]["tpr@fpr"][target])
    last = said["TPR at FPR 1e-9"]
    assert last[1:4] == (None, None, None) and "impostor pairs are fewer than 1/1e-9" in last.note
    # said beside its number, so not once more on top
    assert not any("1e-9" in warning for warning in content.warnings)
    assert 0.2 < said["mAP@100"].value < 1  # a set without misses would test nothing


def test_counts(content: Content, videos: Videos, pairs: list) -> None:
    genuine = sum(genuine for _, genuine, _, _ in pairs)
    expected = {
        "videos": 44,
        "people (identities)": 10,
        "videos of nobody known": 4,
        "distractors among the gallery videos": 4,
        "enrolment videos (split train)": 20,
        "genuine pairs (same person)": genuine,
        "impostor pairs (different people, or somebody unknown)": len(pairs) - genuine,
        "frames": sum(map(len, videos.frames.values())),
        "videos without a usable frame": 2,
    }
    assert expected.items() <= dict(content.counts.rows).items()


def test_every_point_of_the_curve_is_on_scikit_learns(content: Content, pairs: list) -> None:
    curves = content.curves
    scores, genuine = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    fpr, tpr, thresholds = roc_curve(genuine, scores, drop_intermediate=False)
    assert (curves.genuine_pairs, curves.impostor_pairs) == (genuine.sum(), (~genuine).sum())
    assert (np.diff(curves.thresholds) < 0).all()
    for threshold, x, y in zip(curves.thresholds, curves.fpr, curves.tpr, strict=True):
        last = np.flatnonzero(thresholds >= threshold)[-1]
        assert (x, y) == (pytest.approx(fpr[last]), pytest.approx(tpr[last]))
    assert (curves.fpr[0], curves.tpr[0], curves.fpr[-1], curves.tpr[-1]) == (0, 0, 1, 1)
    for point in curves.points[:2]:
        assert point.fpr == float(point.target)
        assert point.tpr == pytest.approx(tpr[fpr <= point.fpr][-1])
        # These scores are float64, the threshold is the float32 above the last refused one.
        assert (scores[~genuine] >= point.threshold + 1e-6).mean() <= point.fpr
    assert curves.points[2] == ("1e-9", 1e-9, None, None, None, None)


def test_no_step_of_the_curve_is_left_out(content: Content) -> None:
    histogram, curves = content.histogram, content.curves
    above = np.append(np.cumsum(histogram.same[::-1])[::-1], 0) / histogram.same.sum()
    rates = np.interp(-histogram.edges, -curves.thresholds, curves.tpr)
    assert rates.tolist() == pytest.approx(above.tolist())
    assert len(curves.fpr) < len(histogram.edges)


def test_histograms_hold_every_pair(content: Content, pairs: list) -> None:
    histogram = content.histogram
    for counts, genuine in ((histogram.same, True), (histogram.different, False)):
        scores = [pair[0] for pair in pairs if pair[1] is genuine]
        assert counts.sum() == len(scores)
        coarse = counts.reshape(-1, 8).sum(axis=1)
        expected = np.histogram(np.clip(scores, -1, 1), histogram.edges[::8])[0]
        assert np.abs(coarse - expected).sum() <= 2  # scores here are float64: a rounding at an edge
    assert list(histogram.thresholds) == TARGETS[:2]


def test_pairs_at_both_ends(content: Content, videos: Videos, pairs: list) -> None:
    who = videos.who
    for listed, genuine, sign in ((content.impostors, False, -1), (content.genuine, True, 1)):
        expected = sorted((sign * round(s, 5), a, b) for s, g, a, b in pairs if g is genuine)
        assert len(listed) == 24
        assert [(sign * round(pair.cosine, 5), pair.a_id, pair.b_id) for pair in listed] == expected[:24]
        assert all((pair.a_identity, pair.b_identity) == (who[pair.a_id], who[pair.b_id]) for pair in listed)


@pytest.fixture(scope="module")
def rankings(videos: Videos, embeddings: dict[str, np.ndarray]) -> dict[str, list[tuple[float, str, bool]]]:
    """Of every person the gallery by their template, best first: cosine, id, whether it shows them."""
    gallery = [
        (v, identity) for v, _, identity, split in videos.rows if split == "val" and embeddings[v].any()
    ]
    every = {}
    for name in [f"p{person}" for person in range(10)]:
        mean = sum(
            embeddings[v] for v, _, identity, split in videos.rows if (identity, split) == (name, "train")
        )
        found = [(float(embeddings[v] @ mean / np.linalg.norm(mean)), v, who == name) for v, who in gallery]
        every[name] = sorted(found, key=lambda one: (-one[0], one[1]))
    return every


def test_the_worst_people_and_what_was_ranked_above_them(
    content: Content, videos: Videos, rankings: dict[str, list[tuple[float, str, bool]]]
) -> None:
    own = {v: identity for v, _, identity, split in videos.rows if split == "val"}
    places = {name: [k for k, one in enumerate(found, 1) if one[2]] for name, found in rankings.items()}
    ap = {name: sum(n / k for n, k in enumerate(ks, 1)) / 2 for name, ks in places.items()}  # two videos each
    worst = sorted((value, name) for name, value in ap.items() if value < 1)
    assert [people.identity for people in content.confused] == [name for _, name in worst]
    for people, (value, name) in zip(content.confused, worst, strict=True):
        assert people.ap == pytest.approx(value)
        assert len(people.ranked) == min(max(10, *places[name]), 24)
        for answer, (cosine, video, relevant) in zip(people.ranked, rankings[name], strict=False):
            assert (answer.video_id, answer.relevant) == (video, relevant)
            assert answer.cosine == pytest.approx(cosine, abs=1e-6)
        ranked = {video for _, video, _ in rankings[name]}
        assert people.missed == sorted(v for v, who in own.items() if who == name and v not in ranked)
        assert (people.enrolled, people.videos, people.found) == (2, 2, 2 - len(people.missed))
    assert any(people.missed for people in content.confused)


def test_cmc_against_whole_rankings(
    content: Content, rankings: dict[str, list[tuple[float, str, bool]]]
) -> None:
    first = [next((k for k, one in enumerate(found, 1) if one[2]), np.inf) for found in rankings.values()]
    assert content.cmc.ranks.tolist() == list(range(1, 101))
    assert content.cmc.rate.tolist() == [np.mean(np.array(first) <= k) for k in range(1, 101)]
    said = {number.label: number.value for number in content.headline}
    assert [content.cmc.rate[k - 1] for k in (1, 5, 10)] == [said[f"hit@{k}"] for k in (1, 5, 10)]


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-30)


def test_which_strips_are_shown(
    content: Content, videos: Videos, embeddings: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> None:
    plain = {v: unit(frames).sum(axis=0) for v, frames in videos.frames.items() if len(frames)}
    changed = {v: float(mean / np.linalg.norm(mean) @ embeddings[v]) for v, mean in plain.items()}
    shown: dict[str, list[str]] = {}
    for strip in content.strips:
        shown.setdefault(strip.why, []).append(strip.video_id)
    assert list(shown) == ["most changed", "most fragmented", "random"]
    most = sorted((c, v) for v, c in changed.items() if c < 1 - 1e-6)[:6]
    assert shown["most changed"] == [v for _, v in most]
    clusters = sorted(
        (-len(set(own.tolist())), (own == 0).mean(), v) for v, own in labels.items() if len(own)
    )
    split = [v for count, _, v in clusters if count < -1 and v not in shown["most changed"]]
    assert shown["most fragmented"] == split[:6]
    every = [strip.video_id for strip in content.strips]
    assert len(shown["random"]) == 6 and len(every) == len(set(every)) == 18
    assert all(len(videos.frames[video]) for video in every)


def test_strips_show_all_frames_in_the_order_of_time(
    content: Content, videos: Videos, embeddings: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> None:
    zero_rows = 0
    for strip in content.strips:
        own, times = labels[strip.video_id], videos.times[strip.video_id]
        order = np.argsort(times)
        assert strip.identity == videos.who[strip.video_id]
        expected = [(row, times[row], own[row], own[row] == 0) for row in order]
        assert [(frame.row, frame.seconds, frame.label, frame.kept) for frame in strip.frames] == expected
        assert (strip.shown_of, strip.kept) == (len(own), int((own == 0).sum()))
        assert strip.clusters == len(set(own.tolist()))
        rows = unit(videos.frames[strip.video_id])
        for frame in strip.frames:
            if not rows[frame.row].any():
                zero_rows += 1
                assert frame.cosine is None
            else:
                cosine = rows[frame.row] @ embeddings[strip.video_id]
                assert frame.cosine == pytest.approx(float(cosine), abs=1e-6)
    assert zero_rows


def test_a_long_video_is_an_even_sample(run: Run, videos: Videos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MOST_FRAMES", 4)
    video = max(videos.frames, key=lambda v: len(videos.frames[v]))
    strip = gather(run, videos=[video], pictures=False).strips[0]
    count = len(videos.frames[video])
    assert (strip.video_id, strip.why, strip.shown_of) == (video, "asked for", count)
    order = np.argsort(videos.times[video])
    assert [frame.row for frame in strip.frames] == [order[round(k * (count - 1) / 3)] for k in range(4)]


def test_asked_for_videos_come_first_once_each(run: Run, videos: Videos, content: Content) -> None:
    failed = next(video for video, frames in videos.frames.items() if not len(frames))
    asked = [content.strips[0].video_id, failed, content.strips[0].video_id]
    found = gather(run, videos=asked, pictures=False).strips
    assert [strip.video_id for strip in found[:2]] == asked[:2]
    assert (found[1].frames, found[1].shown_of) == ([], 0)
    shown = [strip.video_id for strip in found]
    assert len(shown) == len(set(shown)) == 20
    with pytest.raises(UsageError, match="--video nobody: there is no such video"):
        gather(run, videos=["nobody"], pictures=False)


def test_the_order_of_the_videos_does_not_matter(content: Content, videos: Videos, tmp_path: Path) -> None:
    other = gather(open_run(write_run(tmp_path / "run", videos, videos.rows[::-1])), pictures=False)
    for field in ("headline", "strips", "confused", "impostors", "genuine", "sweep", "warnings", "protocol"):
        assert getattr(other, field) == getattr(content, field), field
    assert (other.counts, other.fault_counts) == (content.counts, content.fault_counts)
    for name in ("same", "different"):
        assert (getattr(other.histogram, name) == getattr(content.histogram, name)).all()
    assert (other.cmc.rate == content.cmc.rate).all()


def test_a_sweep_of_the_run_and_one_made_now_are_the_same(folder: Path, run: Run, content: Content) -> None:
    assert content.sweep is None and "--thresholds" in content.missing["sweep"]
    table = sweep(run.features, run.manifest, [None, THRESHOLD, 0.9], run.options)
    write_json(folder / "sweep.json", table)
    try:
        stored = gather(open_run(folder), pictures=False)
    finally:
        (folder / "sweep.json").unlink()
    assert gather(run, thresholds=[None, THRESHOLD, 0.9], pictures=False).sweep == stored.sweep
    found = stored.sweep
    assert (found.thresholds, found.chosen) == (["none", "0.35", "0.9"], "0.35")
    assert list(found.measures) == ["mAP@100", "TPR at FPR 1e-1", "TPR at FPR 1e-2"]  # 1e-9 is never known
    said = {number.label: number.value for number in stored.headline}
    for name, values in found.measures.items():
        assert values[1] == said[name]  # the row of the chosen threshold is the run itself
    best = [name for name, (one, chosen, other) in found.measures.items() if chosen > max(one, other)]
    assert best and found.warning is not None
    assert f"threshold 0.35 is the best of this sweep by {', '.join(best)}, and" in found.warning


@pytest.mark.parametrize(
    ("values", "warned"),
    [((0.5, 0.5, 0.5), False), ((0.4, 0.5, 0.5), False), ((0.4, 0.5, 0.4), True), ((0.5, 0.4, 0.3), False)],
)
def test_a_threshold_that_ties_with_another_is_not_called_the_best(
    run: Run, values: tuple[float, ...], warned: bool
) -> None:
    table = sweep(run.features, run.manifest, [None, THRESHOLD, 0.9], run.options)
    for row, value in zip(table["rows"], values, strict=True):
        row["mAP@100"], row["tpr@fpr"] = value, dict.fromkeys(TARGETS)
    found = gather(run._replace(sweep=table), pictures=False).sweep
    assert (found.chosen, list(found.measures), found.warning is not None) == ("0.35", ["mAP@100"], warned)
    said = sweep_table(table | {"best": {"mAP@100": "0.35"}})
    assert [line.count("*") for line in said.split("\n")[1:4]] == [0, int(len(set(values)) > 1), 0]


def test_a_sweep_without_the_threshold_of_the_run(run: Run) -> None:
    others = gather(run, thresholds=[0.5], pictures=False).sweep
    assert (others.chosen, others.warning) == (None, None)


def test_stored_scores_are_taken_as_they_are(run: Run) -> None:
    scores = score(read_scored(run.embeddings, run.manifest), run.manifest, run.options)
    scores["mAP@100"] = 0.123
    said = gather(run._replace(scores=scores), pictures=False)
    assert said.headline[0].value == 0.123
    assert said.cmc is not None and said.confused


def test_faults_of_this_run_and_no_others(folder: Path, videos: Videos) -> None:
    fault = {"stage": "extract", "kind": "missing", "detail": "=1+1 <b>"}
    record_faults(folder / "features.h5", [{"video": "a", **fault}, {"video": "b", **fault}])
    record_faults(folder / "others.h5", [{"video": "c", **fault}])
    try:
        content = gather(open_run(folder), pictures=False)
    finally:
        (folder / "faults.jsonl").unlink()
    rest = ["extract", "missing", "=1+1 <b>", "features.h5"]
    assert content.faults.rows == [[video, *rest] for video in ("a", "b")]
    status = [["videos by status", "failed", 2], ["videos by status", "ok", 42]]
    assert content.fault_counts.rows == [*status, ["faults of extract", "missing", 2]]
    assert dict(content.counts.rows)["faults"] == 2


def test_what_it_was_made_with(content: Content, run: Run) -> None:
    said = dict(content.made_with.rows)
    assert (said["model name"], said["threshold"], said["flip"]) == ("<script>", "0.35", "no")
    assert said["manifest sha256 of rows"] == run.manifest.sha256
    assert said["embeddings sha256 of content"] == run.attributes["content_sha256"]
    assert not any(str(run.path) in str(value) for value in said.values())


def test_without_features_or_videos_less_is_shown_and_that_is_said(run: Run, content: Content) -> None:
    bare = gather(run._replace(features=None))
    assert {strip.why for strip in bare.strips} == {"most fragmented", "random"}
    for strip in bare.strips:
        assert all(frame.seconds is frame.cosine is frame.picture is None for frame in strip.frames)
        assert [frame.row for frame in strip.frames] == list(range(strip.shown_of))
    assert bare.impostors == content.impostors
    with pytest.raises(UsageError, match="pass --features FILE"):
        gather(run._replace(features=None), thresholds=[0.5])
    said = gather(run)  # its videos are gone
    assert said.strips == content.strips
    assert said.warnings[-1].startswith("pictures of ") and "videos shown are missing" in said.warnings[-1]


@pytest.mark.parametrize("kind", ["nobody known", "no enrolment", "one video"])
def test_parts_that_cannot_be_had_are_named(videos: Videos, tmp_path: Path, kind: str) -> None:
    rows = [(v, path, identity, split) for v, path, identity, split in videos.rows if len(videos.frames[v])]
    if kind == "one video":
        rows = rows[:1]
    else:
        known, split = (False, "") if kind == "nobody known" else (True, "test")
        rows = [(v, path, identity * known, split) for v, path, identity, _ in rows]
    content = gather(open_run(write_run(tmp_path / "run", videos, rows)), pictures=False)
    assert content.cmc is None and content.missing["cmc"].startswith("iqiyi not scored")
    assert content.confused == [] and content.missing["confused"] == content.missing["cmc"]
    if kind == "no enrolment":
        assert content.curves is not None and content.genuine and "curves" not in content.missing
    else:
        assert content.curves is None and "curves" in content.missing
        assert content.genuine == []
    assert [number.label for number in content.headline] == [f"TPR at FPR {t}" for t in TARGETS]
    assert (content.map is None) == (kind == "one video")
    assert content.strips
    json.dumps([content.headline, content.missing, content.protocol], allow_nan=False)


def test_the_map_shows_everybody_and_is_the_same_again(content: Content, run: Run, videos: Videos) -> None:
    assert sorted(content.map.video_ids) == sorted(v for v, frames in videos.frames.items() if len(frames))
    assert content.map.identities == [videos.who[video] for video in content.map.video_ids]
    assert (content.map.shown_of, content.map.note) == (42, "")
    assert np.isfinite(content.map.xy).all() and content.map.xy.shape == (42, 2)
    again = gather(run, pictures=False).map
    assert again.method == content.map.method and (again.xy == content.map.xy).all()


def test_without_the_library_the_map_is_principal_components(
    run: Run, monkeypatch: pytest.MonkeyPatch, embeddings: dict[str, np.ndarray]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openTSNE", None)
    plane = gather(run, pictures=False).map
    assert plane.method.startswith("principal components; pip install")
    rows = np.array([embeddings[video] for video in plane.video_ids])
    centred = rows - rows.mean(axis=0)
    expected = np.linalg.svd(centred)[0][:, :2] * np.linalg.svd(centred)[1][:2]
    assert np.abs(plane.xy) == pytest.approx(np.abs(expected), abs=1e-6)


def test_a_sample_for_the_map_holds_whole_people_and_those_with_several_videos_first() -> None:
    identities = [f"p{n % 10}" for n in range(40)] + [f"single{n}" for n in range(30)] + [""] * 30
    ids = [f"v{n:03d}" for n in range(100)]
    manifest = Manifest(Path("m.csv"), Path(), ids, [], identities, ["val"] * 100, "")
    usable = np.arange(100)
    for most, people, singles, strangers in ((20, 4, 0, 4), (60, 10, 8, 12)):
        chosen, note = projection.sampled_videos(usable, manifest, most)
        assert len(chosen) == most and (np.diff(chosen) > 0).all()
        counts = Counter(identities[place] for place in chosen)
        assert counts.pop("") == strangers
        assert Counter(counts.values()) == Counter({4: people, 1: singles} if singles else {4: people})
        said = f"{people + singles} people drawn at random with all their videos"
        assert note == f"{said}, and {strangers} videos of nobody known"
    assert projection.sampled_videos(usable, manifest, 100)[1] == ""


def test_where_faces_were_tracked_a_strip_goes_track_by_track(
    run: Run, videos: Videos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_faces(path: Path, start: int, stop: int) -> store.FaceRows:
        tracks = np.arange(stop - start, dtype=np.int32) % 3
        return store.FaceRows(None, None, None, None, tracks)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "read_faces", read_faces)
    for strip in gather(run, pictures=False).strips:
        expected = [(row % 3, float(time), row) for row, time in enumerate(videos.times[strip.video_id])]
        assert [(frame.track, frame.seconds, frame.row) for frame in strip.frames] == sorted(expected)
