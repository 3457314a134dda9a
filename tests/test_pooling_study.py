"""The pooling study: how its videos are made, its plain rules, and that it prints its tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long

TOOLS = Path(__file__).resolve().parents[1] / "tools"
PEOPLE, PHOTOS, DIMENSION = 300, 6, 24


@pytest.fixture(scope="module")
def study() -> Iterator[object]:
    sys.path.insert(0, str(TOOLS))
    import pooling_study

    yield pooling_study
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def features(study):
    """Made-up features in the order in which pictures are embedded: a face, its views, and what spoils it."""
    from pooling.pictures import KINDS, VIEWS, Features

    random = np.random.default_rng(0)
    rows, kinds, persons = [], [], []
    for person in range(PEOPLE):
        look = random.standard_normal(DIMENSION)
        for _ in range(PHOTOS):
            face = look + 0.5 * random.standard_normal(DIMENSION)
            for kind in ("face", *["view"] * VIEWS, "occluded", "blurred", "crop"):
                blur = 0.1 if kind in ("face", "view") else 2.0
                rows.append(face + blur * random.standard_normal(DIMENSION))
                kinds.append(KINDS.index(kind))
                persons.append(person)
    for _ in range(100):
        rows.append(random.standard_normal(DIMENSION))
        kinds.append(KINDS.index("thing"))
        persons.append(-1)
    names = [f"p{person}" for person in range(PEOPLE)]
    return Features(np.array(rows, np.float32), np.array(kinds), np.array(persons), names)


def test_the_people_of_the_two_halves_are_different_and_so_are_their_things(study, features) -> None:
    from pooling.videos import MIXED, PLANS, half_of, make

    chosen = half_of(features.people, False)
    assert (chosen != half_of(features.people, True)).all() and 100 < chosen.sum() < 200
    used: dict[bool, set[int]] = {False: set(), True: set()}
    for report in (False, True):
        for plan in {**PLANS, MIXED: None}.values():
            for seed in range(2):
                videos = make(features, report, plan, seed)
                used[report] |= set(videos.rows.tolist())
                shown = features.person[videos.rows]
                assert (half_of(features.people, report)[shown[shown >= 0]]).all()
    assert not used[False] & used[True]


def test_two_videos_of_a_person_share_no_photograph_and_hold_what_the_plan_says(study, features) -> None:
    from pooling.pictures import KINDS
    from pooling.videos import PLANS, make

    per_photo = 7  # rows of one photograph
    for plan in PLANS.values():
        videos = make(features, True, plan, 3)
        shown = [videos.rows[a:b] for a, b in pairwise(videos.offsets)]
        length = plan.photos * plan.views + sum(plan.strangers) + plan.things + plan.crops
        assert {len(video) for video in shown} == {length + plan.occluded + plan.blurred}
        photos: dict[str, list[set[int]]] = {}
        for identity, video in zip(videos.identities, shown, strict=True):
            kinds = [KINDS[kind] for kind in features.kind[video]]
            assert kinds.count("thing") == plan.things and kinds.count("crop") == plan.crops
            assert kinds.count("occluded") == plan.occluded and kinds.count("blurred") == plan.blurred
            assert len(set(video.tolist())) == len(video)
            if identity:
                faces = [row for row, kind in zip(video, kinds, strict=True) if kind in ("face", "view")]
                own = [row for row in faces if features.people[features.person[row]] == identity]
                assert len(own) == plan.photos * plan.views
                photos.setdefault(identity, []).append({int(row) // per_photo for row in own})
        assert photos and all(len(both) == 2 and not both[0] & both[1] for both in photos.values())


def test_the_plain_rules_by_hand(study) -> None:
    from pooling.rules import (
        Video,
        around_medoid,
        density,
        first_power,
        geometric_median,
        heaviest,
        mean_of,
        own_threshold,
        trimmed,
    )

    angles = np.deg2rad([0, 5, 10, 90])
    video = Video((np.stack([np.cos(angles), np.sin(angles)], 1) * [[1], [1], [1], [9]]).astype(np.float32))
    assert heaviest(0.9, 1)(video).tolist() == [0, 0, 0, 1]
    assert heaviest(0.9, 0)(video).tolist() == [1, 1, 1, 0]
    assert around_medoid(0.9)(video).tolist() == [1, 1, 1, 0]
    assert own_threshold(video).tolist() == [1, 1, 1, 0]
    assert trimmed(video)[3] == 0
    assert first_power(0.9)(video).tolist() == pytest.approx([3 / 28**0.5] * 3 + [1 / 28**0.5], rel=0.2)
    np.testing.assert_allclose(density(1)(video), np.maximum(video.cosines, 0).sum(axis=0))
    weights = geometric_median(video)
    middle = weights @ video.unit / weights.sum()
    pulls = (video.unit - middle) / np.linalg.norm(video.unit - middle, axis=1, keepdims=True)
    assert np.linalg.norm(pulls.sum(axis=0)) < 0.05  # at the geometric median the unit pulls cancel out
    np.testing.assert_allclose(mean_of(video, np.float64([1, 0, 0, 0])), [1, 0], atol=1e-7)


def test_the_study_prints_the_same_tables_every_time(study, features, capsys, monkeypatch) -> None:
    kinds = {kind: study.PLANS[kind] for kind in ("clean", "few everywhere", "2 things, 2 covered")}
    monkeypatch.setattr(study, "PLANS", kinds)
    printed = []
    for _ in range(2):
        study.study(features, True, [0.4], 1)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    lines = printed[0].splitlines()
    from pooling.rules import RULES, rules_at

    for kind in (*kinds, study.MIXED):
        assert sum(line.startswith(f"| {kind} |") for line in lines) == 2  # mAP and TPR
    for rule in (*RULES, *(f"{name} at 0.4" for name in rules_at(0.4))):
        assert sum(line.startswith(f"| {rule} |") for line in lines) == 1
    clean = next(line for line in lines if line.startswith("| clean |")).split("|")
    assert float(clean[2]) > 0.9


def test_pictures_are_embedded_once_and_are_the_same_every_time(study, tmp_path: Path, monkeypatch) -> None:
    from pooling import pictures

    monkeypatch.setattr(pictures, "THINGS", 3)
    material = pictures.drawn(2, 2, 5)
    said: list[str] = []
    made = pictures.embed_all(*material, study.WEIGHTS, tmp_path / "f.npz", said.append)
    again = pictures.embed_all(*pictures.drawn(2, 2, 5), study.WEIGHTS, tmp_path / "g.npz", said.append)
    assert made.rows.tobytes() == again.rows.tobytes()
    per_photo = ["face", *["view"] * pictures.VIEWS, "occluded", "blurred", "crop"]
    kinds = [pictures.KINDS[kind] for kind in made.kind]
    assert kinds == 3 * per_photo + per_photo[:-1] + 3 * ["thing"]  # crops of the first THINGS pictures only
    assert made.person.tolist() == 14 * [0] + 13 * [1] + 3 * [-1]
    count = len(said)
    stored = pictures.embed_all(*pictures.drawn(2, 2, 5), study.WEIGHTS, tmp_path / "f.npz", said.append)
    assert len(said) == count and stored.rows.tobytes() == made.rows.tobytes()  # read back
    pictures.embed_all(*pictures.drawn(3, 2, 5), study.WEIGHTS, tmp_path / "f.npz", said.append)
    assert len(said) > count  # other people: made anew
