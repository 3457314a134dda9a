"""What a network is worth on people it was never trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vidface.errors import MediaError, UsageError
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.folds import ten_folds
from vidface.training.data import MEAN, STD, normalised, read_face
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.pairs import open_pairs

FPR_TARGET = "1e-3"
_MAX_PAIRS = 6_000  # of balanced pairs, as LFW has
_MAX_IMAGES = 10_000  # held out: all their pairs are listed once, 50 million
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Faces:
    """Decoded faces and which of them to compare; small enough to stay in memory.

    Attributes:
        pixels: uint8 [N, H, W, 3].
        labels: int64 [N], or None where only listed pairs are compared.
        first, second: int64 [P], indices of the listed pairs' images.
        same: bool [P].
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]


def held_out(images: ImageSet, size: tuple[int, int], seed: int) -> Faces:
    """Held-out people: all pairs of their images, and a balanced list of pairs for the accuracy.

    The list has up to 3,000 pairs of one person and as many of two, drawn by the seed; pairs of both kinds take
    turns, so that the ten folds are balanced too.

    Raises:
        MediaError: an image cannot be used: a held-out set is small, so it has to be whole.
        UsageError: too many images, or too few pairs for ten folds.
    """
    if len(images.labels) > _MAX_IMAGES:
        raise UsageError(
            f"{images.source}: {len(images.labels):,} images are held out, more than {_MAX_IMAGES:,}: lower the share "
            "in [people], or images_per_person"
        )
    pixels = _decoded(images, size)
    random = np.random.default_rng([seed, 1])
    rows, columns = np.triu_indices(len(images.labels), 1)
    same = images.labels[rows] == images.labels[columns]
    genuine, impostor = (random.permutation(np.flatnonzero(which)) for which in (same, ~same))
    count = min(len(genuine), len(impostor), _MAX_PAIRS // 2)
    chosen = np.stack([genuine[:count], impostor[:count]], axis=1).ravel()
    _refuse_few(same[chosen], f"{images.source}: the held-out people", "raise their share in [people]")
    return Faces(pixels, images.labels, rows[chosen], columns[chosen], same[chosen])


def open_sets(pairs: dict[str, Path], size: tuple[int, int]) -> dict[str, Faces]:
    """The listed pairs of a recipe, such as LFW's .bin.

    Raises:
        VidfaceError: a set cannot be read, one of its images cannot be used, or its pairs are too few.
    """
    sets = {}
    for name, path in pairs.items():
        listed = open_pairs(path, None)
        if listed.problems:
            raise UsageError(f"{path}: {len(listed.problems)} problems, the first: {listed.problems[0]}")
        _refuse_few(listed.same, str(path), "choose another set")
        everything = ImageSet(
            (name,), np.zeros(len(listed.names), np.int64), listed.names, listed.read, str(path)
        )
        pixels = _decoded(everything, size)
        sets[name] = Faces(pixels, None, listed.first, listed.second, listed.same)
    return sets


def _refuse_few(same: NDArray[np.bool_], what: str, remedy: str) -> None:
    if len(same) < 10 or same.all() or not same.any():
        raise UsageError(
            f"{what}: {int(same.sum())} pairs of one person and {int((~same).sum())} of two are too few for ten folds: "
            f"{remedy}"
        )


def _decoded(images: ImageSet, size: tuple[int, int]) -> NDArray[np.uint8]:
    pixels = np.empty((len(images.labels), *size, 3), np.uint8)
    for index in range(len(pixels)):
        try:
            pixels[index] = read_face(images, index, size)
        except MediaError as error:
            raise MediaError(
                error.kind, f"{images.source}: {images.names[index]}: {error}; take it out or mend it"
            ) from error
    return pixels


def measure(
    network: nn.Module, faces: Faces, device: torch.device, *, mean: float = MEAN, std: float = STD
) -> dict[str, Any]:
    """Score a network on a set; it is left in evaluation mode.

    The network is given RGB, float32 [N, 3, H, W], (pixel - mean) / std of pixels 0..255, and gives embeddings [N,
    D] of any length. The defaults, 127.5 and 128, are what `vidface train` trains with; pass those that another
    network was trained with, as others give plausible, wrong numbers.

    Returns:
        ``accuracy`` and ``accuracy_std`` of ten folds over the listed pairs (no flip); with labels also ``tpr``,
        the TPR at FPR 1e-3 over all pairs of distinct images, None where there are too few impostor pairs.

    Raises:
        UsageError: the embeddings are not finite.
    """
    network.eval()
    with torch.inference_mode():
        parts = [
            network(normalised(torch.from_numpy(faces.pixels[at : at + _BATCH]), device, mean, std))
            .float()
            .cpu()
            for at in range(0, len(faces.pixels), _BATCH)
        ]
    unit = torch.nn.functional.normalize(torch.cat(parts)).numpy()
    if not np.isfinite(unit).all():
        raise UsageError("the network gives embeddings that are not finite: lower the learning rate")
    distances = np.square(unit[faces.first] - unit[faces.second]).sum(axis=1)
    folds = ten_folds(distances, faces.same)
    found: dict[str, Any] = {"accuracy": folds.accuracy, "accuracy_std": folds.std}
    if faces.labels is not None:
        found["tpr"] = tpr_of_all_pairs(unit, faces.labels, [FPR_TARGET]).tpr[0]
    return found
