"""Changes to training images: mirroring, and stronger ones by option. All randomness comes from the generator given."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidface.training.recipe import Augmentation

__all__ = ["augment"]

Pixels = NDArray[np.uint8]

_SHIFT = 6  # pixels of 112


def augment(image: Pixels, how: Augmentation, random: np.random.Generator) -> Pixels:
    """One image, uint8 [H, W, 3], changed as the dice fall; it is not changed itself.

    ``random`` is used as often whatever falls, so that one option does not change the luck of another.
    """
    dice = random.random(7)
    details = np.random.default_rng(random.integers(2**63))
    if dice[0] < how.flip:
        # As whole pixels of three bytes: twice as fast as byte by byte.
        image = np.ascontiguousarray(np.ascontiguousarray(image).view("V3")[:, ::-1]).view(np.uint8)
    if dice[1] < how.shift:
        image = _shifted(image, details)
    if dice[2] < how.light:
        image = _relit(image, details)
    if dice[3] < how.grey:
        grey = image @ np.array([0.299, 0.587, 0.114])
        image = np.repeat(np.rint(grey).astype(np.uint8)[:, :, None], 3, axis=2)
    if dice[4] < how.blur:
        image = _blurred(image, details)
    if dice[5] < how.jpeg:
        image = _compressed(image, details)
    if dice[6] < how.erase:
        image = _erased(image, details)
    return np.ascontiguousarray(image)


def _shifted(image: Pixels, random: np.random.Generator) -> Pixels:
    height, width, _ = image.shape
    down, right = random.integers(-_SHIFT, _SHIFT + 1, 2)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    shifted: Pixels = image[rows[:, None], columns]
    return shifted


def _relit(image: Pixels, random: np.random.Generator) -> Pixels:
    gain = random.uniform(0.7, 1.3) * random.uniform(0.9, 1.1, 3)
    offset = random.uniform(-25, 25)
    middle = image.mean()
    relit: Pixels = np.clip(np.rint((image - middle) * gain + middle + offset), 0, 255).astype(np.uint8)
    return relit


def _blurred(image: Pixels, random: np.random.Generator) -> Pixels:
    height, width, _ = image.shape
    share = random.uniform(0.25, 0.75)
    small = Image.fromarray(np.ascontiguousarray(image)).resize(
        (max(1, round(width * share)), max(1, round(height * share))), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def _compressed(image: Pixels, random: np.random.Generator) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=int(random.integers(30, 90)))
    return np.asarray(Image.open(buffer).convert("RGB"))


def _erased(image: Pixels, random: np.random.Generator) -> Pixels:
    height, width, _ = image.shape
    rows, columns = random.integers(height // 8, height // 2), random.integers(width // 8, width // 2)
    top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
    erased = image.copy()
    erased[top : top + rows, left : left + columns] = random.integers(0, 256, (rows, columns, 3))
    return erased
