"""Pack a set of labelled images into tar shards, .rec and .idx files, or a .bin file of pairs."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vidface.errors import UsageError
from vidface.files.locks import exclusive, scratch_folder
from vidface.runtime import progress
from vidface.training.datasets.images import cut_long_tail
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pairs import PairSet, open_pairs, write_bin
from vidface.training.datasets.rec import write_rec
from vidface.training.datasets.tar import write_tar


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        outputs: the files, in order; none where listed pairs cannot be used.
        people, images: how many are in them; people are None for pairs, and an image counts once for each of its pairs.
        pairs: how many, in a .bin file.
        cut_people, cut_images: left out by the minimum of images a person.
        unusable_pairs: how many lines of the list are no pair of images of the source.
        problems: what was met and left out when the source was opened, and what is wrong in the list, a line each.
    """

    outputs: list[Path]
    people: int | None
    images: int
    pairs: int = 0
    cut_people: int = 0
    cut_images: int = 0
    unusable_pairs: int = 0
    problems: tuple[str, ...] = ()


def pack(
    source: Path,
    output: Path,
    *,
    to: Literal["tar", "rec", "bin"],
    shards: int | None = None,
    pairs: Path | None = None,
    min_images: int = 1,
) -> Packed:
    """Write a set in another form, whole or not at all; the same images give the same bytes.

    Args:
        source: whatever `open_images` opens.
        output: a .tar file, or with ``shards`` a folder for them; a .rec file, whose .idx goes beside it; or a
            .bin file.
        to: which form.
        shards: how many tar files of about as many images each.
        pairs: for a .bin file, the list of pairs, of any format that `open_pairs` reads. Nothing is written while a
            line of it cannot be used.
        min_images: people with fewer are left out.

    Raises:
        UsageError: options contradict each other, the output exists, or the source is nothing to open.
        ManifestError: the list of pairs cannot be read.
        StoreError: the source is damaged, or the output cannot be written.
        MediaError: an image cannot be read.
    """
    if (pairs is None) == (to == "bin"):
        raise UsageError("a .bin file is made from a list of pairs: pass --to bin and --pairs FILE together")
    if shards is not None and to != "tar":
        raise UsageError("--shards is for --to tar")
    if min_images > 1 and to == "bin":
        raise UsageError("--min-images is not for --to bin: the list says which images are taken")
    if not output.name:  # the folder "."
        raise UsageError(f"{output}: exists; remove it or name another output")
    index = output.with_suffix(".idx")
    # A run killed between the names of its two files leaves the first, and the second under its partial name.
    killed = any(output.parent.glob(f".{glob.escape(output.name)}.*.partial"))
    with exclusive(output), exclusive(index) if to == "rec" else nullcontext():
        if to == "rec" and killed and not output.exists():
            index.unlink(missing_ok=True)
        for path in (output, index) if to == "rec" else (output,):
            if path.exists():
                raise UsageError(f"{path}: exists; remove it or name another output")
        if pairs is not None:
            return _pack_pairs(open_pairs(pairs, source), output)
        return _pack_images(source, output, to, shards, min_images)


def _pack_images(
    source: Path, output: Path, to: Literal["tar", "rec", "bin"], shards: int | None, min_images: int
) -> Packed:
    whole = open_images(source)
    images = cut_long_tail(whole, min_images)
    total = len(images.labels)
    if not total:
        raise UsageError(f"{source}: nobody has {min_images} images or more; lower --min-images")
    if shards is not None and shards > total:
        raise UsageError(f"--shards is {shards}, more than the {total} images")
    made = [output]
    with progress("pack", total, "images") as advance:
        if to == "rec":
            write_rec(output, images, advance)
            made = [output, output.with_suffix(".idx")]
        elif shards is None:
            write_tar(output, images, range(total), advance)
        else:
            made = [output / f"{output.name}-{number:05d}.tar" for number in range(shards)]
            with scratch_folder(output, output.name) as scratch:
                folder = scratch / output.name
                folder.mkdir()
                for number, shard in enumerate(made):
                    places = range(number * total // shards, (number + 1) * total // shards)
                    write_tar(folder / shard.name, images, places, advance)
                folder.rename(output)
    return Packed(
        outputs=made,
        people=len(images.identities),
        images=total,
        cut_people=len(whole.identities) - len(images.identities),
        cut_images=len(whole.labels) - total,
        problems=whole.problems,
    )


def _pack_pairs(pairs: PairSet, output: Path) -> Packed:
    if pairs.left_out:
        return Packed([], None, 0, unusable_pairs=pairs.left_out, problems=pairs.problems)
    total = 2 * len(pairs.same)
    with progress("pack", total, "images") as advance:
        # Folds of a .bin file are cut in its order, so those of the list come one after the other.
        order = np.arange(len(pairs.same)) if pairs.folds is None else np.argsort(pairs.folds, kind="stable")

        def contents() -> Iterator[bytes]:
            for pair in zip(pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True):
                for place in pair:
                    yield pairs.read(place)
                    advance(1)

        write_bin(output, contents(), pairs.same[order].tolist())
    return Packed([output], None, total, pairs=len(pairs.same), problems=pairs.problems)
