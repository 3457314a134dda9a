"""Virtual videos: lists of rows of features, of one person and of what comes between.

People are split once, by a hash of their names: videos for choosing a rule are made of one half, those that are
reported of the other; strangers are of the same half as the people among whom they walk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from pooling.pictures import KINDS, VIEWS, Features

DISTRACTORS = 60
MOST_PHOTOS = 6  # two videos of three photographs: people with as many have an identity
EVERYWHERE = 12  # people who turn up in video after video, where they do


@dataclass(frozen=True)
class Plan:
    """What a video of a kind holds.

    Attributes:
        photos: photographs of the person; two videos of a person share none.
        views: frames from each of them: the photograph and moved versions of it, by lot, 4 at most.
        strangers: how many frames each stranger stays, one entry a stranger; views of one photograph of his.
        everywhere: strangers are the same few in all videos, in place of ever new ones.
        things, crops: frames that are no face.
        occluded, blurred: frames of the person that show little of him.
    """

    photos: int = 3
    views: int = 1
    strangers: tuple[int, ...] = ()
    everywhere: bool = False
    things: int = 0
    crops: int = 0
    occluded: int = 0
    blurred: int = 0


PLANS = {
    "one frame": Plan(1),
    "clean": Plan(),
    "clean, a clip": Plan(views=4),
    "7 strangers": Plan(strangers=(1,) * 7),
    "12 strangers": Plan(strangers=(1,) * 12),
    "5 strangers, a thing, a covered face": Plan(strangers=(1,) * 5, things=1, occluded=1),
    "6 strangers, one for 2 frames": Plan(strangers=(2, 1, 1, 1, 1, 1)),
    "4 strangers in runs of 4, a clip": Plan(views=3, strangers=(4, 4, 4, 4)),
    "few everywhere": Plan(strangers=(1,) * 6, everywhere=True),
    "few everywhere, runs of 2": Plan(strangers=(2, 2, 2), everywhere=True),
    "few everywhere, runs of 4, a clip": Plan(views=3, strangers=(4, 4, 4), everywhere=True),
    "2 things, 2 covered": Plan(things=2, occluded=2),
    "3 things, 2 covered, 2 blurred": Plan(things=3, occluded=2, blurred=2),
    "junk of all kinds, a clip": Plan(views=2, things=3, crops=3, occluded=3, blurred=3),
    "a stranger stays longer": Plan(strangers=(4,)),
}
MIXED = "mixed: every video another"


@dataclass(frozen=True)
class Videos:
    """rows int64 [F] into the features, offsets int64 [V+1], identities [V] ("" a distractor), splits [V]."""

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    identities: list[str]
    splits: list[str]


def half_of(people: Sequence[str], report: bool) -> NDArray[np.bool_]:
    """Which people are of the half that is reported, or of the half that rules are chosen on."""
    return np.array(
        [(blake2b(name.encode(), digest_size=2).digest()[0] % 2 == 1) == report for name in people]
    )


def random_plan(random: np.random.Generator) -> Plan:
    """A video as it comes: few or many frames, clean or not, noise of some kinds."""
    views = int(random.integers(1, 5))
    frames = 3 * views
    noise = round(2.5 * frames * random.beta(1.2, 1.2))  # from nothing to two and a half times the person
    runs: list[int] = []
    rest = noise
    things = crops = occluded = blurred = 0
    while rest > 0:
        run = min(rest, int(random.integers(1, 5)))
        kind = random.random()
        if kind < 0.6:
            runs.append(run)
        elif kind < 0.7:
            things += run
        elif kind < 0.8:
            crops += run
        elif kind < 0.9:
            occluded += run
        else:
            blurred += run
        rest -= run
    return Plan(3, views, tuple(runs), bool(random.random() < 0.3), things, crops, occluded, blurred)


def make(features: Features, report: bool, plan: Plan | None, seed: int) -> Videos:
    """Two videos of everybody who has photographs for them, and distractors.

    Args:
        features: of all pictures.
        report: the half of the people.
        plan: what every video holds; None: every video has a plan of its own, by lot.
        seed: decides everything.
    """
    random = np.random.default_rng([seed, report])
    half = half_of(features.people, report)
    at: dict[str, dict[int, NDArray[np.int64]]] = {}
    for number, name in enumerate(KINDS):
        places = np.flatnonzero(features.kind == number)
        owners = features.person[places]
        at[name] = {int(p): places[owners == p] for p in np.unique(owners)}
    faces = at["face"]
    # The views of a face follow it.
    able = [p for p in faces if half[p] and len(faces[p]) >= MOST_PHOTOS]
    others = [p for p in faces if half[p] and len(faces[p]) < MOST_PHOTOS]
    if len(others) < 3 * len(able):  # drawn people all have the same number of pictures
        shuffled = random.permutation(able + others).tolist()
        able, others = shuffled[: len(shuffled) // 3], shuffled[len(shuffled) // 3 :]
    photos = 3 if plan is None else plan.photos
    by_lot = random.permutation(others).tolist()
    extras = [p for p in by_lot if len(faces[p]) >= photos][:DISTRACTORS]
    passers = deque(p for p in by_lot if p not in set(extras))
    regulars = sorted(passers, key=lambda p: -len(faces[p]))[:EVERYWHERE]
    crops = np.concatenate([rows for p, rows in at["crop"].items() if half[p]])
    things = at["thing"][-1]
    things = things[(np.arange(len(things)) % 2 == 1) == report]

    def frames(person: int, mine: NDArray[np.int64], p: Plan) -> list[int]:
        rows = [int(face) + view for face in mine for view in random.permutation(1 + VIEWS)[: p.views]]
        known = cycle(random.permutation(regulars).tolist())
        for stay in p.strangers:
            if p.everywhere:
                who = next(known)
            else:
                who = passers.popleft()
                passers.append(who)
            face = int(random.choice(faces[who]))
            rows += [face + view for view in random.permutation(1 + VIEWS)[:stay]]
        rows += random.choice(things, p.things, replace=False).tolist()
        rows += random.choice(crops, p.crops, replace=False).tolist()
        own = {kind: at[kind][person] for kind in ("occluded", "blurred")}
        for kind, count in (("occluded", p.occluded), ("blurred", p.blurred)):
            rows += random.choice(own[kind], count, replace=count > len(own[kind])).tolist()
        return random.permutation(rows).tolist()

    videos: list[list[int]] = []
    identities: list[str] = []
    splits: list[str] = []
    for person in able:
        mine = random.permutation(faces[person])
        for take, split in enumerate(("train", "val")):
            p = plan or random_plan(random)
            videos.append(frames(person, mine[take * photos : (take + 1) * photos], p))
            identities.append(features.people[person])
            splits.append(split)
    for person in extras:
        videos.append(frames(person, random.permutation(faces[person])[:photos], plan or random_plan(random)))
        identities.append("")
        splits.append("val")
    offsets = np.concatenate([[0], np.cumsum([len(video) for video in videos])])
    return Videos(np.concatenate(videos).astype(np.int64), offsets.astype(np.int64), identities, splits)
