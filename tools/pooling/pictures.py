"""Features of the study's pictures: faces, the same faces as a moving camera sees them, and what is no usable face.

Everything that a video can hold is embedded once; videos are then put together from rows of features.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vidface.backbones import load_backbone
from vidface.demo.people.noise import draw_thing, occlude
from vidface.demo.sources import drawn_faces
from vidface.frames.folder import decode_image
from vidface.training.datasets.open import open_images

SEED = 2019
VIEWS = 3  # further views of every face, as the next frames of a clip would show it
THINGS = 1500
BATCH = 32
SIZE = 112

Picture = NDArray[np.uint8]
KINDS = ("face", "view", "occluded", "blurred", "crop", "thing")


@dataclass(frozen=True)
class Features:
    """Rows of features, not normalised, and what each shows.

    Attributes:
        rows: float32 [N, D].
        kind: [N], places in `KINDS`.
        person: int [N], -1 for things.
        people: names of the people.
    """

    rows: NDArray[np.float32]
    kind: NDArray[np.int64]
    person: NDArray[np.int64]
    people: list[str]


def tar_of_faces(path: Path) -> tuple[list[str], NDArray[np.int64], Iterator[Picture]]:
    """Names of the people, the person of every picture, and the pictures, of any labelled set of aligned faces."""
    images = open_images(path)

    def pictures() -> Iterator[Picture]:
        for i in range(len(images.labels)):
            yield decode_image(images.read(i))

    return list(images.identities), np.asarray(images.labels, np.int64), pictures()


def drawn(
    people: int, pictures_each: int, population: int
) -> tuple[list[str], NDArray[np.int64], Iterator[Picture]]:
    """The same of drawn people."""
    source = drawn_faces(people, seed=population)
    names = list(source.counts)
    labels = np.repeat(np.arange(people), pictures_each)

    def pictures() -> Iterator[Picture]:
        for number, name in enumerate(names):
            for index in range(pictures_each):
                yield source.picture(
                    name, index, number * 1000 + index
                )  # every picture in a setting of its own

    return names, labels, pictures()


def embed_all(
    people: list[str],
    labels: NDArray[np.int64],
    pictures: Iterator[Picture],
    model: Path,
    cache: Path,
    say: Callable[[str], object] = print,
) -> Features:
    """Embed every picture and what is made of it, or read the cache that was made so."""
    backbone = load_backbone(model)
    key = hashlib.sha256(f"{backbone.sha256} {SEED} {VIEWS} {THINGS} {people} {labels.tolist()}".encode())
    if cache.exists():
        with np.load(cache, allow_pickle=False) as stored:
            if str(stored["key"]) == key.hexdigest():
                return Features(stored["rows"], stored["kind"], stored["person"], people)
    rows, kinds, persons = [], [], []
    todo = _all(labels, pictures)
    for number, batch in enumerate(iter(lambda: list(islice(todo, BATCH)), [])):
        rows.append(backbone.embed(np.stack([picture for _, _, picture in batch])))
        kinds += [KINDS.index(kind) for kind, _, _ in batch]
        persons += [person for _, person, _ in batch]
        if number % 200 == 0:
            say(f"{len(kinds)} pictures embedded")
    found = Features(np.concatenate(rows), np.array(kinds), np.array(persons, np.int64), people)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, key=key.hexdigest(), rows=found.rows, kind=found.kind, person=found.person)
    return found


def _all(labels: NDArray[np.int64], pictures: Iterator[Picture]) -> Iterator[tuple[str, int, Picture]]:
    for number, (label, picture) in enumerate(zip(labels.tolist(), pictures, strict=True)):
        random = np.random.default_rng([SEED, number])
        yield "face", label, picture
        for _ in range(VIEWS):
            yield "view", label, view(picture, random)
        yield "occluded", label, occlude(picture, number, seed=SEED)
        yield "blurred", label, blurred(picture, random)
        if number < THINGS:
            yield "crop", label, crop(picture, random)
    for number in range(THINGS):
        yield "thing", -1, draw_thing(number, seed=SEED)


def view(picture: Picture, random: np.random.Generator) -> Picture:
    """The face a moment later: a little turned, moved, nearer, lighter, compressed."""
    angle, scale = np.deg2rad(random.uniform(-7, 7)), random.uniform(0.93, 1.07)
    shift = random.uniform(-3.5, 3.5, 2)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([SIZE / 2, SIZE / 2])
    move = middle - turn @ middle + shift
    image = Image.fromarray(picture).transform(
        (SIZE, SIZE),
        Image.Transform.AFFINE,
        (turn[0, 0], turn[0, 1], move[0], turn[1, 0], turn[1, 1], move[1]),
        Image.Resampling.BILINEAR,
    )
    image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.2))))
    bright = np.clip(np.asarray(image) * random.uniform(0.75, 1.25), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(bright).save(file, "JPEG", quality=int(random.integers(40, 90)))
    return np.asarray(Image.open(file))


def blurred(picture: Picture, random: np.random.Generator) -> Picture:
    """A face far away or in fast motion: little is left of who it is."""
    radius = float(random.uniform(4, 7))
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def crop(picture: Picture, random: np.random.Generator) -> Picture:
    """A piece of a face that a detector took for one: a third of it, enlarged."""
    side = int(random.integers(32, 48))
    x, y = random.integers(0, SIZE - side, 2).tolist()
    image = Image.fromarray(picture).crop((x, y, x + side, y + side))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
