"""Make a benchmark of video clips with noise frames from people, drawn or photographed.

Every video shows one person, interrupted by the three kinds of noise that tracked faces really have: another person
who passes through, things that are not a face, and a face behind something. ``truth.csv`` says what every frame
shows, so that a clustering can be judged frame by frame.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidface.demo.people.drawing import Frame
from vidface.demo.people.noise import draw_thing, occlude
from vidface.demo.sources import FaceSource, faces_from_folder
from vidface.errors import StoreError, UsageError
from vidface.files.atomic import write_atomic
from vidface.frames.write import write_clip
from vidface.manifest.manifest import write_manifest
from vidface.runtime import in_processes

__all__ = ["FPS", "NOISE_SHARES", "Plan", "faces_from_folder", "make_benchmark"]

FPS = 8.0
"""Frames a second of the clips: all of them are sampled by the usual 8 fps."""

NOISE_SHARES = {"other": 0.5, "not-a-face": 0.25, "occluded": 0.25}
"""The kinds of noise and how much of it each makes up, rounded in favour of ``other``."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large a benchmark is.

    Attributes:
        identities: people with an identity, drawn by lot.
        videos_per_identity: at least two.
        frames_per_video: frames that show the person.
        noise_frames: further frames, in the shares of `NOISE_SHARES`, at random places.
        distractors: videos of people without identity.
        seed: decides everything, whatever the order in which the file system lists the pictures.
    """

    identities: int
    videos_per_identity: int
    frames_per_video: int
    noise_frames: int
    distractors: int
    seed: int


class _Shot(NamedTuple):
    """One frame to come: its kind, and whose picture it is (nobody's if it is not a face)."""

    kind: str
    person: str = ""
    picture: int = 0


class _Video(NamedTuple):
    number: int
    video_id: str
    identity: str
    split: str
    shots: tuple[_Shot, ...]


def make_benchmark(
    output: Path, faces: FaceSource, plan: Plan, *, lossless: bool = False, workers: int = 1
) -> Path:
    """Write ``videos/``, ``manifest.csv`` and ``truth.csv`` (video_id, frame, kind, person) into a folder.

    An identity's first video is of the split ``train``, the others of ``val``; distractors are people without identity
    in ``val``. A picture is used once in the whole benchmark, and whoever appears as "other" has no video of his own.
    Frames of kind "occluded" cover pictures that the person has left over, else a stranger. Videos of the same names
    and the two tables are replaced. ``lossless`` clips give back the very pixels; the files do not depend on the number
    of ``workers``, processes that draw and encode. Returns the path of the manifest.

    Raises:
        UsageError: the plan makes no sense, or more people or pictures are asked for than there are.
        MediaError: a picture cannot be used.
        StoreError: a file cannot be written.
    """
    videos = _cast(faces, plan)
    places = [f"videos/{video.video_id}.mp4" for video in videos]
    manifest, truth = output / "manifest.csv", output / "truth.csv"
    try:
        (output / "videos").mkdir(parents=True, exist_ok=True)
        for table in (manifest, truth):  # an old manifest must not describe new videos
            table.unlink(missing_ok=True)
        tasks = (
            (output / place, video, faces, plan.seed, lossless)
            for place, video in zip(places, videos, strict=True)
        )
        list(in_processes(_write, tasks, workers=workers))
        with write_atomic(truth) as file:
            file.write(_truth(videos))
    except OSError as error:
        raise StoreError(f"{output}: the benchmark cannot be written: {error.strerror}") from error
    rows = [(v.video_id, place, v.identity, v.split) for v, place in zip(videos, places, strict=True)]
    write_manifest(manifest, rows)
    return manifest


def _write(path: Path, video: _Video, faces: FaceSource, seed: int, lossless: bool) -> None:
    write_clip(path, _frames(video, faces, seed), fps=FPS, lossless=lossless)


def _lot(names: list[str], seed: int, what: str) -> list[str]:
    """Shuffle names by a hash of each, so that one person more or less leaves the others in their order."""
    return sorted(names, key=lambda name: (blake2b(f"{seed}/{what}/{name}".encode()).digest(), name))


def _cast(faces: FaceSource, plan: Plan) -> list[_Video]:
    """Who is in which video, and what its frames show."""
    if plan.identities < 1 or plan.frames_per_video < 1 or plan.noise_frames < 0 or plan.distractors < 0:
        raise UsageError("a benchmark needs identities and frames, and no negative numbers")
    if plan.videos_per_identity < 2:
        raise UsageError(
            "of the videos per identity at least one must be for enrolment and one for the gallery"
        )
    occluded = int(plan.noise_frames * NOISE_SHARES["occluded"])
    things = int(plan.noise_frames * NOISE_SHARES["not-a-face"])
    others = plan.noise_frames - occluded - things
    needed = max(faces.min_images, plan.frames_per_video * plan.videos_per_identity)
    able = [name for name, n in faces.counts.items() if n >= needed]
    chosen = _lot(able, plan.seed, "identity")[: plan.identities]
    if len(chosen) < plan.identities:
        raise UsageError(
            f"{plan.identities} identities asked for, but only {len(chosen)} people have the {needed} pictures "
            "that an identity needs"
        )
    rest = [name for name in _lot(list(faces.counts), plan.seed, "rest") if name not in set(chosen)]
    extras = [name for name in rest if faces.counts[name] >= plan.frames_per_video][: plan.distractors]
    if len(extras) < plan.distractors:
        raise UsageError(
            f"{plan.distractors} distractors asked for, but only {len(extras)} people are left for them"
        )
    others_left = [name for name in rest if name not in set(extras)]
    passers = _Passers(faces, others_left, max(1, plan.frames_per_video // 2))

    cast = [
        (name, name, f"id{place:04d}_v{take + 1}", "val" if take else "train")
        for place, name in enumerate(chosen)
        for take in range(plan.videos_per_identity)
    ] + [(name, "", f"distractor{place:04d}", "val") for place, name in enumerate(extras)]
    left = {name: _shuffled(faces, name, plan.seed) for name, *_ in cast}
    # First everybody's own frames, so that covered ones only take pictures that are left over.
    own = [
        [_Shot("person", name, left[name].pop()) for _ in range(plan.frames_per_video)] for name, *_ in cast
    ]
    videos = []
    for number, (name, identity, video_id, split) in enumerate(cast):
        rng = np.random.default_rng([plan.seed, number, 7])
        runs = passers.runs(rng, others)
        hidden = [_Shot("occluded", name, left[name].pop()) for _ in range(min(occluded, len(left[name])))]
        strangers = passers.runs(rng, occluded - len(hidden))
        hidden += [_Shot("occluded", shot.person, shot.picture) for run in strangers for shot in run]
        single = hidden + [_Shot("not-a-face")] * things
        shots = tuple(_interrupt(own[number], [*runs, *([shot] for shot in single)], rng))
        videos.append(_Video(number, video_id, identity, split, shots))
    return videos


def _shuffled(faces: FaceSource, name: str, seed: int) -> list[int]:
    key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    return [int(i) for i in np.random.default_rng([seed, key, 8]).permutation(faces.counts[name])]


class _Passers:
    """People who pass through others' videos, for at most ``stay`` frames, fewer than their owner; no picture twice."""

    def __init__(self, faces: FaceSource, names: list[str], stay: int) -> None:
        # Those with many pictures first: they can stay for several frames. Whoever has pictures left queues
        # up again, so that nobody comes back before all others were there.
        self._queue = deque((name, 0) for name in sorted(names, key=lambda name: -faces.counts[name]))
        self._counts = faces.counts
        self._stay = stay

    def runs(self, rng: np.random.Generator, frames: int) -> list[list[_Shot]]:
        """Runs of consecutive frames of one person, or of two; more and shorter ones if they cannot stay."""
        first = frames if rng.random() < 0.5 else -(-frames // 2)
        runs = []
        for wanted in (first, frames - first):
            while wanted > 0:
                run = self._take(min(wanted, self._stay))
                runs.append(run)
                wanted -= len(run)
        return runs

    def _take(self, wanted: int) -> list[_Shot]:
        if not self._queue:
            raise UsageError("not enough other people for the noise: ask for fewer videos or noise frames")
        name, begin = self._queue.popleft()
        end = min(begin + wanted, self._counts[name])
        if end < self._counts[name]:
            self._queue.append((name, end))
        return [_Shot("other", name, index) for index in range(begin, end)]


def _interrupt(shots: list[_Shot], blocks: list[list[_Shot]], rng: np.random.Generator) -> Iterator[_Shot]:
    places = rng.integers(0, len(shots) + 1, len(blocks)).tolist()
    for place in range(len(shots) + 1):
        for block, at in zip(blocks, places, strict=True):
            if at == place:
                yield from block
        if place < len(shots):
            yield shots[place]


def _frames(video: _Video, faces: FaceSource, seed: int) -> Iterator[Frame]:
    for position, shot in enumerate(video.shots):
        drawing = video.number * 10_000 + position
        if shot.kind == "not-a-face":
            yield draw_thing(drawing, seed=seed)
        else:
            frame = faces.picture(shot.person, shot.picture, video.number)
            yield occlude(frame, drawing, seed=seed) if shot.kind == "occluded" else frame


def _truth(videos: list[_Video]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video_id", "frame", "kind", "person"))
    for video in videos:
        for position, shot in enumerate(video.shots):
            table.writerow((video.video_id, position, shot.kind, shot.person))
    return text.getvalue().encode()
