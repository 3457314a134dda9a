"""Batches of training images, read, decoded and changed by worker processes while the network computes.

A batch is made whole by one worker, from a seed of its own, so that neither the number of workers nor a resumed run
changes a pixel. Measured by ``tools/bench_loader.py``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vidface.errors import MediaError, StoreError
from vidface.frames.folder import decode_image
from vidface.training.datasets.images import ImageSet
from vidface.training.recipe import Augmentation

MEAN, STD = 127.5, 128.0  # of pixels 0..255, as the challenge has it
Fault = tuple[str, str]
Pixels = NDArray[np.uint8]
_SHIFT = 6  # pixels of 112


def read_face(images: ImageSet, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One image, uint8 [H, W, 3] RGB.

    Raises:
        MediaError: it cannot be read (``unreadable-image``) or is not of this size (``wrong-size``).
    """
    try:
        pixels = decode_image(images.read(index))
    except (OSError, SyntaxError, ValueError, EOFError, StoreError) as error:
        raise MediaError("unreadable-image", " ".join(str(error).split()) or "it is damaged") from error
    if pixels.shape[:2] != size:
        raise MediaError("wrong-size", f"it is {pixels.shape[0]}x{pixels.shape[1]}, not {size[0]}x{size[1]}")
    return pixels


@dataclass(frozen=True, eq=False)
class Batches(Dataset[tuple[NDArray[np.uint8], NDArray[np.int64], list[Fault]]]):
    """The batches of one epoch, each an item: (images uint8 [B, H, W, 3], labels int64 [B], faults).

    An image that cannot be used is listed as (name, what is wrong), and the next usable one of the batch is taken a
    second time in its place, so that the batch keeps its size. Where none can be used the batch is empty: an error
    raised here would lose its kind on the way out of a worker process.

    Attributes:
        batches: int64 [steps, B], indices of images.
        size: (height, width) that every image must have.
        how: augmentation.
        seed: with the number of the batch it decides all changes.
    """

    images: ImageSet
    batches: NDArray[np.int64]
    size: tuple[int, int]
    how: Augmentation
    seed: list[int]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[Fault]]:
        random = np.random.default_rng([*self.seed, step])
        chosen = self.batches[step]
        out = np.empty((len(chosen), *self.size, 3), np.uint8)
        faults: list[Fault] = []
        usable: list[int] = []
        for row, index in enumerate(chosen):
            luck = np.random.default_rng(random.integers(2**63))
            try:
                out[row] = augment(read_face(self.images, int(index), self.size), self.how, luck)
                usable.append(row)
            except MediaError as error:
                faults.append((self.images.names[index], f"{error.kind}: {error}"))
        if not usable:
            return out[:0], np.empty(0, np.int64), faults
        labels = self.images.labels[chosen]
        for row in set(range(len(chosen))) - set(usable):
            other = next((candidate for candidate in usable if candidate > row), usable[0])
            out[row], labels[row] = out[other], labels[other]
        return out, labels, faults


def loader(
    batches: Batches, *, first: int = 0, workers: int = 0, pin: bool = False
) -> Iterator[tuple[Tensor, Tensor, list[Fault]]]:
    """The batches from number `first` on: (images uint8 [B, H, W, 3], labels int64 [B], faults).

    ``workers`` is a number of processes, 0: this one; ``pin`` puts the images into page-locked memory, for a GPU.

    Raises:
        MediaError: no image of a batch can be used.
    """
    made: Any = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, len(batches)),
        num_workers=workers,
        pin_memory=pin,
        collate_fn=_as_tensors,  # type: ignore[arg-type]  # of one item where batch_size is None
        prefetch_factor=4 if workers else None,
    )
    for inputs, labels, faults in made:
        if not len(labels):
            name, detail = faults[0]
            raise MediaError(
                "unreadable-image",
                f"{batches.images.source}: no image of a whole batch can be used; the first is {name}: {detail}",
            )
        yield inputs, labels, faults


def _as_tensors(
    batch: tuple[NDArray[np.uint8], NDArray[np.int64], list[Fault]],
) -> tuple[Tensor, Tensor, list[Fault]]:
    images, labels, faults = batch
    return torch.from_numpy(images), torch.from_numpy(labels), faults


def normalised(images: Tensor, device: torch.device, mean: float = MEAN, std: float = STD) -> Tensor:
    """uint8 RGB [N, H, W, 3] to what the network takes: float32 [N, 3, H, W], (x - mean) / std, channels last."""
    moved = images.to(device, non_blocking=True)
    # [N, H, W, 3] seen as [N, 3, H, W] is channels_last already: nothing is copied.
    return (moved.permute(0, 3, 1, 2).float() - mean) / std


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
