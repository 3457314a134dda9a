"""``vidface features``: frame features that another tool made become a features file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidface.errors import UsageError
from vidface.options import FILE, json_option, manifest_option
from vidface.output import counted, print_json

if TYPE_CHECKING:
    from vidface.stages.foreign_features import FeaturesResult


@click.group()
def features() -> None:
    """Make a features file of what another tool extracted; cluster, sweep and score go on from it."""


_OUTPUT = click.option("-o", "--output", type=FILE, required=True, help="The features file to write.")


@features.command("from-iqiyi")
@click.argument("pickles", metavar="PICKLE...", type=FILE, nargs=-1, required=True)
@manifest_option
@_OUTPUT
@click.option("--min-score", type=float, help="Leave out faces with a lower detection score [default: none].")
@click.option("--min-quality", type=float, help="Leave out faces of lower quality [default: none].")
@json_option
def features_from_iqiyi(
    pickles: tuple[Path, ...],
    manifest_path: Path,
    output: Path,
    min_score: float | None,
    min_quality: float | None,
    as_json: bool,
) -> int:
    """From the official feature pickles of iQIYI-VID 2019, which are read without running anything.

    Exit code 1 where a video of the manifest is not ok.
    """
    from vidface.manifest import read_manifest
    from vidface.stages.foreign_features import from_iqiyi

    if any(least is not None and math.isnan(least) for least in (min_score, min_quality)):
        raise UsageError("--min-score and --min-quality must be numbers")

    truth = read_manifest(manifest_path)
    result = from_iqiyi(pickles, truth, output, min_score=min_score, min_quality=min_quality)
    return _print(result, as_json)


@features.command("from-arrays")
@click.argument("array", metavar="FEATURES.npy", type=FILE)
@click.option(
    "--index", type=FILE, required=True, help="CSV: video_id, or video_id,time; a line a row, in their order."
)
@manifest_option
@_OUTPUT
@json_option
def features_from_arrays(array: Path, index: Path, manifest_path: Path, output: Path, as_json: bool) -> int:
    """From one matrix of floats, a row a frame or face, and a CSV that says of which video each row is.

    Exit code 1 where a video of the manifest is not ok.
    """
    from vidface.manifest import read_manifest
    from vidface.stages.foreign_features import from_arrays

    return _print(from_arrays(array, index, read_manifest(manifest_path), output), as_json)


def _print(result: FeaturesResult, as_json: bool) -> int:
    if as_json:
        print_json(
            {
                "output": str(result.output),
                "videos": result.videos,
                "rows": result.rows,
                "status": result.status,
                "faults": result.faults,
                "faults_file": str(result.faults_file),
                "source_rows": result.counts,
                "not_in_manifest": result.unlisted,
                "already_done": result.already_done,
            }
        )
    else:
        done = "already there" if result.already_done else "written"
        click.echo(f"{result.output}: {done}: {result.videos} videos, {result.rows} rows")
        words = {name.replace("_", " "): n for name, n in result.counts.items() if name != "read" and n}
        left_out = f"; left out: {counted(words)}" if words else ""
        click.echo(f"rows in the source: {result.counts.get('read', 0)}{left_out}")
        if result.unlisted:
            some = ", ".join(result.unlisted[:3]) + (", ..." if len(result.unlisted) > 3 else "")
            click.echo(f"left out: {len(result.unlisted)} videos that are not in the manifest: {some}")
        if result.faults:
            kinds = counted(result.faults)
            click.echo(f"videos: {counted(result.status)}; faults: {kinds}, in {result.faults_file}")
    return int(set(result.status) - {"ok"} != set())
