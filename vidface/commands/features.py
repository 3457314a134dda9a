"""The commands that make a features file: extract, features (what another tool extracted) and merge (shares of it)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidface.commands.options import (
    FILE,
    NEW_FILE,
    StageCommand,
    json_option,
    manifest_option,
    overwrite_option,
    root_option,
)
from vidface.commands.output import by_kind, lost_nodes, print_json, print_warnings
from vidface.errors import UsageError, first_few
from vidface.scores.text import faces_line

if TYPE_CHECKING:
    from vidface.features.foreign.write import FeaturesResult
    from vidface.features.options import EngineOptions, ExtractOptions


@click.command(
    cls=StageCommand,
    models={
        "options": "vidface.features.options:ExtractOptions",
        "engine": "vidface.features.options:EngineOptions",
    },
)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("-o", "--output", type=NEW_FILE, required=True, help="The features file to write.")
@root_option
@overwrite_option
@json_option
def extract(
    manifest_path: Path,
    output: Path,
    root: Path | None,
    options: ExtractOptions,
    engine: EngineOptions,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Frames -> features, of every video in MANIFEST."""
    from vidface.features.detection import choose_faces
    from vidface.features.engines import open_engine
    from vidface.features.extract import extract as run
    from vidface.manifest.manifest import read_manifest

    videos = read_manifest(manifest_path, root=root)
    faces = choose_faces(options)
    backbone = options.load()
    with open_engine(engine.name, workers=options.workers, address=engine.address) as where:
        result = run(videos, backbone, output, options, engine=where, faces=faces, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "output": str(result.output),
                "videos": result.videos,
                "frames": result.frames,
                "status": result.status,
                "faults": result.faults,
                "faults_file": str(result.faults_file),
                "resumed_videos": result.resumed_videos,
                "already_done": result.already_done,
                "device": backbone.device,
                "warnings": result.warnings,
                **({} if result.faces is None else {"faces": result.faces, "template": result.template}),
                **lost_nodes(where),
            }
        )
    else:
        print_warnings(result.warnings, err=True)
        gone_on = f", {result.resumed_videos} of them from before" if result.resumed_videos else ""
        done = "already there" if result.already_done else "written"
        rows = "frames" if result.faces is None else "faces"
        click.echo(f"{output}: {done}: {result.videos} videos{gone_on}, {result.frames} {rows}")
        if result.faces is not None:
            click.echo(faces_line(result.faces, result.frames))
            if result.template is not None:
                height, width = backbone.card.input_size
                eyes = " and ".join(f"({x:.2f}, {y:.2f})" for x, y in result.template[:2])
                click.echo(f"aligned: {height}x{width} pixels (height x width), eyes at {eyes}")
        if result.faults:
            click.echo(
                f"videos: {by_kind(result.status)}; faults: {by_kind(result.faults)}, in {result.faults_file}"
            )
            if result.faults.get("missing") == result.videos:
                click.echo(
                    "no video is there: name the folder that the manifest's paths start from with --root"
                )
            elif result.already_done:
                click.echo(f"these videos are not read again: delete {output} first, if they are mended")
    return int(set(result.status) - {"ok"} != set())


@click.group()
def features() -> None:
    """Make a features file of what another tool extracted; cluster, sweep and score go on from it."""


_OUTPUT = click.option("-o", "--output", type=NEW_FILE, required=True, help="The features file to write.")


@features.command("from-iqiyi")
@click.argument("pickles", metavar="PICKLE...", type=FILE, nargs=-1, required=True)
@manifest_option
@_OUTPUT
@click.option("--min-score", type=float, help="Leave out faces with a lower detection score [default: none].")
@click.option("--min-quality", type=float, help="Leave out faces of lower quality [default: none].")
@overwrite_option
@json_option
def features_from_iqiyi(
    pickles: tuple[Path, ...],
    manifest_path: Path,
    output: Path,
    min_score: float | None,
    min_quality: float | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """From the official feature pickles of iQIYI-VID 2019, which are read without running anything.

    Exit code 1 where a video of the manifest is not ok.
    """
    from vidface.features.foreign.write import from_iqiyi
    from vidface.manifest.manifest import read_manifest

    if any(least is not None and math.isnan(least) for least in (min_score, min_quality)):
        raise UsageError("--min-score and --min-quality must be numbers")

    truth = read_manifest(manifest_path, media=False)
    limits = {"min_score": min_score, "min_quality": min_quality}
    result = from_iqiyi(pickles, truth, output, **limits, overwrite=overwrite)
    return _print(result, as_json)


@features.command("from-arrays")
@click.argument("array", metavar="FEATURES.npy", type=FILE)
@click.option(
    "--index", type=FILE, required=True, help="CSV: video_id, or video_id,time; a line a row, in their order."
)
@manifest_option
@_OUTPUT
@overwrite_option
@json_option
def features_from_arrays(
    array: Path, index: Path, manifest_path: Path, output: Path, overwrite: bool, as_json: bool
) -> int:
    """From one matrix of floats, a row a frame or face, and a CSV that says of which video each row is.

    Exit code 1 where a video of the manifest is not ok.
    """
    from vidface.features.foreign.write import from_arrays
    from vidface.manifest.manifest import read_manifest

    manifest = read_manifest(manifest_path, media=False)
    return _print(from_arrays(array, index, manifest, output, overwrite=overwrite), as_json)


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
                "warnings": result.warnings,
            }
        )
    else:
        done = "already there" if result.already_done else "written"
        click.echo(f"{result.output}: {done}: {result.videos} videos, {result.rows} rows")
        words = {name.replace("_", " "): n for name, n in result.counts.items() if name != "read" and n}
        left_out = f"; left out: {by_kind(words)}" if words else ""
        click.echo(f"rows in the source: {result.counts.get('read', 0)}{left_out}")
        if result.unlisted:
            names = first_few(result.unlisted)
            click.echo(f"left out: {len(result.unlisted)} videos that are not in the manifest: {names}")
        if result.faults:
            kinds = by_kind(result.faults)
            click.echo(f"videos: {by_kind(result.status)}; faults: {kinds}, in {result.faults_file}")
        print_warnings(result.warnings)
    return int(set(result.status) - {"ok"} != set())


@click.command()
@click.argument("files", metavar="FILES...", type=FILE, nargs=-1, required=True)
@click.option(
    "-o", "--output", type=NEW_FILE, required=True, help="The features or embeddings file to write."
)
@overwrite_option
@json_option
def merge(files: tuple[Path, ...], output: Path, overwrite: bool, as_json: bool) -> int:
    """Shards of features, or of embeddings -> the file that one run without --shard writes.

    FILES are all N files of `vidface extract --shard I/N`, or of `vidface cluster --shard I/N`, in any order.
    Exit code 1 where a video is not ok.
    """
    from vidface.files.faults import FAULTS_FILE
    from vidface.runs.merge import merge as run

    result = run(files, output, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "output": str(output),
                "kind": result.kind,
                "shards": result.shards,
                "videos": result.videos,
                "frames": result.frames,
                "status": result.status,
                "faults": result.faults,
                "already_done": result.already_done,
                **({} if result.faces is None else {"faces": result.faces}),
            }
        )
    else:
        done = "already there" if result.already_done else "written"
        rows = "frames" if result.faces is None else "faces"
        click.echo(
            f"{output}: {done}: {result.kind} of {result.shards} shards: "
            f"{result.videos} videos, {result.frames} {rows}"
        )
        if result.faces is not None:
            click.echo(faces_line(result.faces, result.frames))
        if set(result.status) - {"ok"}:
            listed = f"; faults: {by_kind(result.faults)}, in {output.with_name(FAULTS_FILE)}"
            click.echo(f"videos: {by_kind(result.status)}{listed if result.faults else ''}")
    return int(set(result.status) - {"ok"} != set())
