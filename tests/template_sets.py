"""Small sets in the exact format of IJB-B and IJB-C, and their definition in plain numpy, apart from the program."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from sklearn.metrics import roc_curve

BLUR = 11
GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}


class TemplateSet(NamedTuple):
    """The lists of a set as arrays, an entry an image or a template, and the folder they were written to."""

    meta: Path
    kind: str
    images: list[str]
    templates: np.ndarray
    media: np.ndarray
    scores: np.ndarray
    points: np.ndarray
    pairs: list[tuple[int, int, int]]
    galleries: list[dict[int, int]]  # template -> subject
    probes: dict[int, int]


def write_lists(found: TemplateSet) -> TemplateSet:
    """Write all lists as the public evaluation code reads them."""
    meta, kind = found.meta, found.kind
    meta.mkdir(parents=True, exist_ok=True)
    rows = list(zip(found.images, found.templates.tolist(), found.media.tolist(), strict=True))
    (meta / f"{kind}_face_tid_mid.txt").write_text("".join(f"{a} {b} {c}\n" for a, b, c in rows))
    lines = [
        " ".join([image, *(f"{x:.3f}" for x in points.reshape(-1)), f"{score:.3f}"])
        for image, points, score in zip(found.images, found.points, found.scores, strict=True)
    ]
    (meta / f"{kind}_name_5pts_score.txt").write_text("\n".join(lines) + "\n")
    (meta / f"{kind}_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {c}\n" for a, b, c in found.pairs)
    )
    for name, part in zip(
        (*(f"gallery_{one}" for one in GALLERIES[kind]), "probe_mixed"),
        (*found.galleries, found.probes),
        strict=True,
    ):
        # A line a face, as the official lists have it: what follows the first two columns is not used.
        text = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n"
        for template, subject in part.items():
            faces = [row[0] for row in rows if row[1] == template]
            text += "".join(f"{template},{subject},img/{face}\n" for face in faces)
        (meta / f"{kind}_1N_{name}.csv").write_text(text)
    return found


def arrange(meta: Path, kind: str, people: Sequence[int], random: np.random.Generator) -> TemplateSet:
    """Templates of images of these people: half of each one's images are enrolled, the others make two probes.

    Media, of one image or several, are numbered from 1 in every template, so templates share numbers. Template numbers
    have gaps, and the images stand in no order.
    """
    who = np.asarray(people)
    names = sorted(set(people))
    templates, media = np.zeros(len(who), np.int64), np.zeros(len(who), np.int64)
    galleries: list[dict[int, int]] = [{}, {}]
    probes: dict[int, int] = {}
    for place, person in enumerate(names):
        mine = np.flatnonzero(who == person)
        enrolled, rest = mine[: len(mine) // 2], mine[len(mine) // 2 :]
        for number, part in enumerate((enrolled, rest[: len(rest) // 2], rest[len(rest) // 2 :])):
            template = 7 + 3 * (len(names) * number + place)
            templates[part] = template
            media[part] = 1 + np.sort(random.integers(0, 2, len(part))) * (len(part) > 1)
            (galleries[place % 2] if number == 0 else probes)[template] = 1000 + person
    pairs = [
        (one, other, int(subject == probes[other]))
        for part in galleries
        for one, subject in part.items()
        for other in probes
    ]
    order = random.permutation(len(who))
    return TemplateSet(
        meta,
        kind,
        [f"{i + 1}.jpg" for i in range(len(who))],
        templates[order],
        media[order],
        np.round(random.uniform(0.3, 1, len(who)), 3),
        np.round(random.uniform(20, 90, (len(who), 5, 2)), 3),
        pairs,
        galleries,
        probes,
    )._replace(images=[f"{i + 1}.jpg" for i in order.tolist()])


def drawn_features(found: TemplateSet, random: np.random.Generator, dimension: int = 16) -> np.ndarray:
    """float32 [N, D], a row an image in the list's order: of its person, blurred, and of very different lengths."""
    subject = found.probes | {t: s for part in found.galleries for t, s in part.items()}
    base = {person: random.standard_normal(dimension) for person in sorted(set(subject.values()))}
    rows = np.array([base[subject[template]] for template in found.templates.tolist()])
    rows += 1.3 * random.standard_normal(rows.shape)
    return (rows * random.uniform(0.2, 5, (len(rows), 1))).astype(np.float32)


def pooled(
    found: TemplateSet, features: np.ndarray, *, norm: bool, detector_score: bool
) -> dict[int, np.ndarray]:
    """Template -> its unit feature, by the definition, one template and one medium at a time."""
    rows = features.astype(np.float64)
    if not norm:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if detector_score:
        rows = rows * found.scores[:, None]
    result = {}
    for template in sorted(set(found.templates.tolist())):
        mine = found.templates == template
        total = np.zeros(rows.shape[1])
        for medium in sorted(set(found.media[mine].tolist())):
            total += rows[mine & (found.media == medium)].mean(axis=0)
        result[template] = total / np.linalg.norm(total)
    return result


def pair_scores(made: TemplateSet, unit: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([unit[a] @ unit[b] for a, b, _ in made.pairs])
    return scores, np.array([label == 1 for _, _, label in made.pairs])


def at_most(scores: np.ndarray, same: np.ndarray, target: float) -> float:
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    return float(tpr[fpr <= target + 1e-12].max())


def searches(
    unit: dict[int, np.ndarray], gallery: dict[int, int], probes: dict[int, int]
) -> tuple[list[tuple[float, int]], list[float]]:
    """Of every mated search the mate's score and rank, of every non-mated one the best score."""
    mated, others = [], []
    for probe, subject in probes.items():
        scores = {of: unit[probe] @ unit[template] for template, of in gallery.items()}
        if subject in scores:
            above = sum(score >= scores[subject] for of, score in scores.items() if of != subject)
            mated.append((scores[subject], 1 + above))
        else:
            others.append(max(scores.values()))
    return mated, others


def tpir(mated: list[tuple[float, int]], others: list[float], target: float) -> float:
    best = 0.0
    for threshold in [*others, *(score for score, _ in mated)]:
        if sum(score >= threshold for score in others) / len(others) <= target:
            best = max(best, sum(s >= threshold and rank == 1 for s, rank in mated) / len(mated))
    return best


def real_crops(
    shared_data: Path, images: Path, people: int, each: int
) -> tuple[list[int], np.ndarray, list[str]]:
    """Loose crops of real photographs, written as 1.jpg, 2.jpg, ...; of every three, two are blurred.

    Returns who is in each, its five points in its own pixels, float64 [N, 5, 2], and the photograph's name.
    """
    table = (shared_data / "lfw" / "landmarks.tsv").read_text().splitlines()[1:]
    points_of = {
        name: np.array([float(x) for x in points.split(",")]).reshape(5, 2)
        for name, _, points in (line.split("\t") for line in table)
    }
    images.mkdir(parents=True)
    who: list[int] = []
    points: list[np.ndarray] = []
    names: list[str] = []
    numbers: dict[str, int] = {}
    with tarfile.open(shared_data / "lfw" / "photos.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            name = "/".join(member.name.split("/")[-2:])
            if not member.isfile() or name not in points_of:
                continue
            person = name.split("/")[0]
            number = numbers.setdefault(person, len(numbers))
            if number >= people or who.count(number) >= each:
                continue
            photo = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")  # type: ignore[union-attr]
            left, top = (
                20 + 3 * len(who) % 7,
                15,
            )  # a loose crop: its own origin, so that points in the photo are wrong
            crop = photo.crop((left, top, 235, 240))
            if len(who) % 3:  # else everybody would be recognised
                crop = crop.resize((crop.width // BLUR, crop.height // BLUR)).resize(crop.size)
            crop.save(images / f"{len(who) + 1}.jpg", quality=97)
            points.append(points_of[name] - [left, top])
            who.append(number)
            names.append(name)
    return who, np.array(points), names
