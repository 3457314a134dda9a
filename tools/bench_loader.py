"""Images a second from a folder, a tar and a .rec file: bytes alone, and the loader that training uses.

    python tools/bench_loader.py SOURCE [--batch 128] [--passes 2]

SOURCE is whatever `vidface dataset check` takes; the other forms are made in a temporary folder. Images are visited
in a shuffled order, as in training; only mirroring is on. The floor is decoding of bytes that are in memory, on one
core: no loader with one worker can be faster. Wall times mean nothing on a machine that does something else, so the
processor time of an image is given too, workers and the receiving process together. Files are in the page cache, as
after the first epoch of a set that fits into memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from vidface.frames.folder import decode_image
from vidface.training.data import Batches, loader
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pack import pack
from vidface.training.recipe import Augmentation

WORKERS = (0, 1, 2)


def forms(source: Path, scratch: Path) -> Iterator[tuple[str, ImageSet]]:
    """The same images as a folder, one tar file and a .rec file."""
    images = open_images(source)
    folder = scratch / "folder"
    for index, person in enumerate(images.labels.tolist()):
        content = images.read(index)
        suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
        path = folder / str(person) / f"{index}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pack(folder, scratch / "all.tar", to="tar")
    pack(folder, scratch / "all.rec", to="rec")
    for name in ("folder", "all.tar", "all.rec"):
        began = time.perf_counter()
        opened = open_images(scratch / name)
        print(f"{name}: opened in {time.perf_counter() - began:.2f} s")
        yield name, opened


def processor_seconds() -> float:
    """Of this process and of the workers that it has seen end."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def read(images: ImageSet, order: NDArray[np.int64]) -> None:
    for index in order.tolist():
        images.read(index)


def decode(contents: list[bytes]) -> None:
    for content in contents:
        decode_image(content)


def load(images: ImageSet, order: NDArray[np.int64], size: tuple[int, int], batch: int, workers: int) -> None:
    batches = Batches(
        images, order[: len(order) // batch * batch].reshape(-1, batch), size, Augmentation(), [0]
    )
    for _images, _labels, faults in loader(batches, workers=workers):
        assert not faults, faults[0]


def rates(work: object, count: int, passes: int, *args: object) -> tuple[float, float]:
    """Images a second of the best pass, and the least processor time of an image in microseconds."""
    walls, costs = [], []
    for _ in range(passes):
        began, used = time.perf_counter(), processor_seconds()
        work(*args)  # type: ignore[operator]
        walls.append(time.perf_counter() - began)
        costs.append(processor_seconds() - used)
    return count / min(walls), min(costs) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--passes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = list(forms(options.source, Path(scratch)))
        order = np.random.default_rng(0).permutation(len(made[0][1].labels))
        contents = [made[0][1].read(index) for index in order.tolist()]
        height, width, _ = decode_image(contents[0]).shape
        floor, cost = rates(decode, len(order), options.passes, contents)
        print(
            f"{len(order)} images of {height}x{width}, {sum(map(len, contents)) / len(order):,.0f} bytes each"
        )
        print(
            f"{'from':>8} {'what':>18} {'images/s':>10} {'to floor':>9} {'cpu us/image':>13} {'to floor':>9}"
        )

        def line(name: str, what: str, rate: float, used: float) -> None:
            print(
                f"{name:>8} {what:>18} {rate:10,.0f} {rate / floor:9.2f} {used:13.1f} {used / cost:9.2f}",
                flush=True,
            )

        line("memory", "decode (floor)", floor, cost)
        for name, images in made:
            line(name, "read bytes", *rates(read, len(order), options.passes, images, order))
            count = len(order) // options.batch * options.batch
            for workers in WORKERS:
                found = rates(
                    load, count, options.passes, images, order, (height, width), options.batch, workers
                )
                line(name, f"loader, {workers} workers", *found)


if __name__ == "__main__":
    main()
