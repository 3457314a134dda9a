"""The commands up to the embeddings: extract, features (what another tool extracted), merge (shares) and cluster."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidface.commands.options import (
    ENGINE,
    FILE,
    json_option,
    manifest_option,
    output_option,
    overwrite_option,
    root_option,
    stage_command,
)
from vidface.commands.output import (
    any_failed,
    by_kind,
    fields_of,
    lost_nodes,
    print_done,
    print_json,
    print_videos,
    print_warnings,
)
from vidface.errors import UsageError, first_few
from vidface.scores.text import faces_line

if TYPE_CHECKING:
    from vidface.embeddings.options import ClusterOptions
    from vidface.features.foreign.write import FeaturesResult
    from vidface.features.options import EngineOptions, ExtractOptions

_OUTPUT = output_option("The features file to write.")


@stage_command(options="vidface.features.options:ExtractOptions", engine=ENGINE)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@_OUTPUT
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
        of_faces = ("faces", "template") if result.faces is None else ()
        told = {name: value for name, value in fields_of(result).items() if name not in of_faces}
        print_json({**told, "device": backbone.device, **lost_nodes(where)})
        return any_failed(result.status)
    print_warnings(result.warnings, err=True)
    gone_on = f", {result.resumed_videos} of them from before" if result.resumed_videos else ""
    rows = "frames" if result.faces is None else "faces"
    print_done(result, f"{result.videos} videos{gone_on}, {result.frames} {rows}")
    if result.faces is not None:
        click.echo(faces_line(result.faces, result.frames))
    if result.template is not None:
        height, width = backbone.card.input_size
        eyes = " and ".join(f"({x:.2f}, {y:.2f})" for x, y in result.template[:2])
        click.echo(f"aligned: {height}x{width} pixels (height x width), eyes at {eyes}")
    if result.faults:
        print_videos(result, result.faults_file)
        if result.faults.get("missing") == result.videos:
            click.echo("no video is there: name the folder that the manifest's paths start from with --root")
        elif result.already_done:
            click.echo(f"these videos are not read again: delete {output} first, if they are mended")
    return any_failed(result.status)


@click.group()
def features() -> None:
    """Make a features file of what another tool extracted; cluster, sweep and score go on from it."""


@features.command("from-iqiyi")
@click.argument("pickles", metavar="PICKLE...", type=FILE, nargs=-1, required=True)
@manifest_option()
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
    return _print(from_iqiyi(pickles, truth, output, **limits, overwrite=overwrite), as_json)


@features.command("from-arrays")
@click.argument("array", metavar="FEATURES.npy", type=FILE)
@click.option(
    "--index", type=FILE, required=True, help="CSV: video_id, or video_id,time; a line a row, in their order."
)
@manifest_option()
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
        names = {"counts": "source_rows", "unlisted": "not_in_manifest"}
        print_json({names.get(name, name): value for name, value in fields_of(result).items()})
        return any_failed(result.status)
    print_done(result, f"{result.videos} videos, {result.rows} rows")
    words = {name.replace("_", " "): n for name, n in result.counts.items() if name != "read" and n}
    left_out = f"; left out: {by_kind(words)}" if words else ""
    click.echo(f"rows in the source: {result.counts.get('read', 0)}{left_out}")
    if result.unlisted:
        names_of = first_few(result.unlisted)
        click.echo(f"left out: {len(result.unlisted)} videos that are not in the manifest: {names_of}")
    if result.faults:
        print_videos(result, result.faults_file)
    print_warnings(result.warnings)
    return any_failed(result.status)


@click.command()
@click.argument("files", metavar="FILES...", type=FILE, nargs=-1, required=True)
@output_option("The features or embeddings file to write.")
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
        print_json({name: value for name, value in fields_of(result).items() if name != "faces" or value})
        return any_failed(result.status)
    rows = "frames" if result.faces is None else "faces"
    print_done(
        result, f"{result.kind} of {result.shards} shards: {result.videos} videos, {result.frames} {rows}"
    )
    if result.faces is not None:
        click.echo(faces_line(result.faces, result.frames))
    if any_failed(result.status):
        print_videos(result, output.with_name(FAULTS_FILE))
    return any_failed(result.status)


@stage_command(options="vidface.embeddings.options:ClusterOptions", engine=ENGINE)
@click.argument("features_path", metavar="FEATURES", type=FILE)
@output_option("The embeddings file to write.")
@overwrite_option
@json_option
def cluster(
    features_path: Path,
    output: Path,
    options: ClusterOptions,
    engine: EngineOptions,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Features -> embeddings: the largest cluster of each video's frames, averaged; or all frames, weighted."""
    from vidface.embeddings.cluster import cluster as run
    from vidface.features.engines import open_engine

    with open_engine(engine.name, workers=options.workers, address=engine.address) as where:
        result = run(features_path, output, options, engine=where, overwrite=overwrite)
    found = result.embeddings
    failed = found.status.count("failed")
    frames, kept = int(found.frames.sum()), int(found.kept.sum())
    if as_json:
        print_json(
            {
                "output": output,
                "videos": len(found.video_ids),
                "frames": frames,
                "kept": kept,
                "failed_videos": failed,
                "threshold": options.cosine(),
                "pool": options.pool,
                "by": options.by,
                "already_done": result.already_done,
                **lost_nodes(where),
            }
        )
    else:
        what = f"{len(found.video_ids)} {options.by}s, {kept} of {frames} frames kept"
        click.echo(f"{output}: {'already there' if result.already_done else 'written'}: {what}")
        if failed:
            click.echo(f"{failed} videos have no usable frame: their rows are zero")
    return int(failed > 0)
