"""The commands that make a features file: extract, features (what another tool extracted) and merge (shares of it)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.commands.options import (
    FILE,
    card_fields,
    detection_options,
    engine_options,
    json_option,
    manifest_option,
    model_options,
    read_fps,
    shard_option,
)
from vidface.commands.output import counted, print_json
from vidface.errors import UsageError
from vidface.scores.text import faces_line

if TYPE_CHECKING:
    from vidface.features.foreign.write import FeaturesResult


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The features file to write.")
@model_options
@click.option("--decoder", type=click.Choice(["pyav", "decord"]), default="pyav", show_default=True)
@click.option(
    "--fps",
    default="8",
    show_default=True,
    callback=read_fps,
    help="Frames a second by presentation time, or all.",
)
@click.option(
    "--folder-frames",
    type=click.IntRange(1),
    metavar="N",
    help="Of a folder of frames at most N, evenly spaced [default: all].",
)
@detection_options
@click.option("--flip", is_flag=True, help="Add the mirrored frame's embedding.")
@click.option("--resize", is_flag=True, help="Resize frames of another size (the challenge forbids it).")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of the stored features.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--decoder-timeout",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a video up whose decoder gives no frame for so long; raise it where the disk is slow.",
)
@shard_option
@engine_options(
    "Decoding processes; 0: threads of this process [default: one a core]. ray: actors, 1 or more.", least=0
)
@json_option
def extract(
    manifest_path: Path,
    output: Path,
    model: Path,
    device: str,
    half: bool,
    input_size: tuple[int, int] | None,
    colour_order: str | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    engine: str,
    workers: int | None,
    address: str | None,
    faces: str,
    detector: str | None,
    detector_weights: Path | None,
    track: str | None,
    min_score: float | None,
    min_face: float | None,
    min_sharpness: float | None,
    max_yaw: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Frames -> features, of every video in MANIFEST."""
    from vidface.backbones import load_backbone
    from vidface.features.detection import choose_faces
    from vidface.features.engines import open_engine
    from vidface.features.engines.contract import ModelSource
    from vidface.features.extract import extract as run
    from vidface.manifest.manifest import read_manifest

    overrides = card_fields(input_size=input_size, colour_order=colour_order, mean=mean, std=std)
    videos = read_manifest(manifest_path)
    found = choose_faces(
        faces,
        detector=detector,
        detector_weights=detector_weights,
        track=track,
        min_score=min_score,
        min_face=min_face,
        min_sharpness=min_sharpness,
        max_yaw=max_yaw,
        resize=options["resize"],
    )
    backbone = load_backbone(model, overrides=overrides, device=device, half=half)
    source = ModelSource(model, overrides, device, half)
    with open_engine(engine, workers=workers, address=address) as where:
        result = run(videos, backbone, output, engine=where, model=source, faces=found, **options)
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
                **({} if result.faces is None else {"faces": result.faces}),
            }
        )
    else:
        gone_on = f", {result.resumed_videos} of them from before" if result.resumed_videos else ""
        done = "already there" if result.already_done else "written"
        rows = "frames" if result.faces is None else "faces"
        click.echo(f"{output}: {done}: {result.videos} videos{gone_on}, {result.frames} {rows}")
        if result.faces is not None:
            click.echo(faces_line(result.faces, result.frames))
        if result.faults:
            click.echo(
                f"videos: {counted(result.status)}; faults: {counted(result.faults)}, in {result.faults_file}"
            )
    return int(set(result.status) - {"ok"} != set())


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
    from vidface.features.foreign.write import from_iqiyi
    from vidface.manifest.manifest import read_manifest

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
    from vidface.features.foreign.write import from_arrays
    from vidface.manifest.manifest import read_manifest

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


@click.command()
@click.argument("files", metavar="FILES...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The features or embeddings file to write.")
@json_option
def merge(files: tuple[Path, ...], output: Path, as_json: bool) -> int:
    """Shards of features, or of embeddings -> the file that one run without --shard writes.

    FILES are all N files of `vidface extract --shard I/N`, or of `vidface cluster --shard I/N`, in any order.
    Exit code 1 where a video is not ok.
    """
    from vidface.files.faults import FAULTS_FILE
    from vidface.files.merge import merge as run

    result = run(files, output)
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
            listed = f"; faults: {counted(result.faults)}, in {output.with_name(FAULTS_FILE)}"
            click.echo(f"videos: {counted(result.status)}{listed if result.faults else ''}")
    return int(set(result.status) - {"ok"} != set())
