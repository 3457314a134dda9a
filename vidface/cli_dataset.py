"""The commands below ``vidface dataset``: check labelled images, or pack them into another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidface.options import FILE, json_option
from vidface.output import print_json

if TYPE_CHECKING:
    from vidface.datasets.statistics import LongTail

SHOWN = 20  # lines of a kind; --json has all


@click.group()
def dataset() -> None:
    """Labelled face images: a folder of people, tar shards, or .rec with .idx."""


@dataset.command("check")
@click.argument("source", type=FILE)
@click.option("--workers", type=click.IntRange(1), help="Processes [default: as there are cores].")
@json_option
def dataset_check(source: Path, workers: int | None, as_json: bool) -> int:
    """Decode every image: damage, sizes, the same picture twice, and how many images people have.

    The exit code is 1 where an image cannot be read or one picture is of several people.
    """
    import dataclasses

    from vidface.stages.dataset_check import check

    found = check(source, workers=workers)
    if as_json:
        print_json({"ok": found.ok, **dataclasses.asdict(found)})
        return int(not found.ok)
    _print_list("left out on opening", found.left_out)
    _print_list("cannot be read", [f"{one.name}: {one.detail}" for one in found.unreadable])
    _print_list(
        f"of another size than {found.size}", [f"{one.name}: {one.detail}" for one in found.other_sizes]
    )
    _print_list("pictures that are there twice, of one person", [" = ".join(g) for g in found.duplicates])
    _print_list("pictures of several people", [" = ".join(g) for g in found.duplicates_across])
    _print_list("people with one image", found.single)
    for line in _long_tail_lines(found.long_tail):
        click.echo(line)
    click.echo(
        f"{found.source}: {len(found.unreadable)} unreadable images, "
        f"{len(found.duplicates_across)} pictures of several people"
    )
    return int(not found.ok)


@dataset.command("pack")
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The file to write; with --shards a folder.")
@click.option("--to", type=click.Choice(["tar", "rec", "bin"]), required=True, help="Its form.")
@click.option("--shards", type=click.IntRange(1), help="How many tar files, in a folder.")
@click.option("--pairs", type=FILE, help="For a .bin: a CSV list first,second,same of PERSON/IMAGE names.")
@click.option(
    "--min-images", type=click.IntRange(1), default=1, show_default=True, help="People with fewer are cut."
)
@json_option
def dataset_pack(
    source: Path,
    output: Path,
    to: Literal["tar", "rec", "bin"],
    shards: int | None,
    pairs: Path | None,
    min_images: int,
    as_json: bool,
) -> int:
    """Write images as tar shards, as .rec with .idx, or pairs of them as a verification .bin."""
    from vidface.stages.dataset_pack import pack

    made = pack(source, output, to=to, shards=shards, pairs=pairs, min_images=min_images)
    size = sum(path.stat().st_size for path in made.outputs)
    if as_json:
        print_json(
            {
                "outputs": [str(path) for path in made.outputs],
                "people": made.people,
                "images": made.images,
                "pairs": made.pairs,
                "cut_people": made.cut_people,
                "cut_images": made.cut_images,
                "unusable_pairs": made.unusable_pairs,
                "problems": list(made.problems),
                "bytes": size,
            }
        )
        return int(made.unusable_pairs > 0)
    if made.unusable_pairs:
        for line in made.problems:
            click.echo(line)
        click.echo(f"{output}: not written: {made.unusable_pairs} lines of {pairs} cannot be used")
        return 1
    _print_list("met in the source and the list", made.problems)
    what = f"{made.pairs} pairs" if made.people is None else f"{made.images} images of {made.people} people"
    files = f" in {len(made.outputs)} files" if len(made.outputs) > 1 else ""
    click.echo(f"{output}: written: {what}{files}, {size:,} bytes")
    if min_images > 1:
        click.echo(
            f"cut: {made.cut_people} people with fewer than {min_images} images, {made.cut_images} images"
        )
    return 0


def _print_list(what: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"{what}: {len(lines)}")
        for line in lines[:SHOWN]:
            click.echo(f"  {line}")
        if len(lines) > SHOWN:
            click.echo(f"  ... and {len(lines) - SHOWN} more; --json lists all")


def _long_tail_lines(tail: LongTail) -> list[str]:
    return [
        f"{tail.people} people, {tail.images} images; images a person: "
        f"{tail.fewest} to {tail.most}, mean {tail.mean:.2f}, median {tail.median:g}",
        f"{'minimum':>8} {'people':>10} {'images':>12}",
        *(f"{cut.minimum:>8} {cut.people:>10} {cut.images:>12}" for cut in tail.cuts),
    ]
