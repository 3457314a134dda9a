"""The command line: parse, call one stage, print. Heavy libraries are imported by the command that needs them.

Results go to stdout, progress and errors to stderr. Exit codes: 0 all was well, 1 there were faults (or an error in
the data), 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

import vidface
from vidface.cli_compare import compare
from vidface.cli_dataset import dataset
from vidface.cli_features import features
from vidface.cli_inspect import find_command, inspect_command
from vidface.cli_manifest import manifest
from vidface.cli_merge import merge
from vidface.cli_models import budget, export_command
from vidface.cli_report import report
from vidface.cli_score import score, sweep
from vidface.cli_submit import submit
from vidface.cli_training import train
from vidface.cli_verify import verify
from vidface.errors import VidfaceError, visible
from vidface.options import (
    DIRECTORY,
    FILE,
    card_fields,
    detection_options,
    engine_options,
    json_option,
    model_options,
    pool_option,
    read_fps,
    read_threshold,
    shard_option,
)
from vidface.output import counted, print_json
from vidface.tables import faces_line


def main() -> None:
    """Run the command line; whatever goes wrong on purpose is one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("vidface").setLevel(logging.INFO)  # ours alone: other libraries tell how they load
    try:
        sys.exit(cli(prog_name="vidface", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VidfaceError as error:
        click.echo(f"error: {visible(str(error))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {visible(f'{where}{error.strerror or error}')}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "stopped: extract, train and run go on from what is finished when they are called again", err=True
        )
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(vidface.__version__, prog_name="vidface")
def cli() -> None:
    """Face recognition in video, from clips to a trusted score.

    manifest -> extract -> cluster -> score, sweep -> submit; every stop on the way is a file.
    """


cli.add_command(manifest)
cli.add_command(features)
cli.add_command(merge)
cli.add_command(dataset)
cli.add_command(budget)
cli.add_command(export_command)
cli.add_command(train)
cli.add_command(verify)
cli.add_command(score)
cli.add_command(sweep)
cli.add_command(report)
cli.add_command(compare)
cli.add_command(submit)
cli.add_command(inspect_command)
cli.add_command(find_command)


@cli.command()
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
    from vidface.engines import open_engine
    from vidface.engines.contract import ModelSource
    from vidface.manifest import read_manifest
    from vidface.stages.detection import choose_faces
    from vidface.stages.extract import extract as run

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


@cli.command()
@click.argument("features", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The embeddings file to write.")
@click.option(
    "--threshold",
    default="0.4",
    show_default=True,
    callback=read_threshold,
    help="Cosine that joins two frames, or none.",
)
@pool_option
@click.option(
    "--by",
    type=click.Choice(["video", "track"]),
    default="video",
    show_default=True,
    help="An embedding a video, or a track of a video (after extract --faces detect): VIDEO#TRACK.",
)
@engine_options("Threads [default: one a core]; with ray the cluster decides.")
@shard_option
@json_option
def cluster(
    features: Path,
    output: Path,
    threshold: float | None,
    pool: str,
    by: str,
    engine: str,
    workers: int | None,
    address: str | None,
    shard: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Features -> embeddings: the largest cluster of each video's frames, averaged; or all frames, weighted."""
    from vidface.engines import open_engine
    from vidface.stages.cluster import cluster as run

    with open_engine(engine, workers=workers, address=address) as where:
        result = run(features, output, threshold=threshold, pool=pool, engine=where, shard=shard, by=by)
    found = result.embeddings
    failed = found.status.count("failed")
    frames, kept = int(found.frames.sum()), int(found.kept.sum())
    if as_json:
        print_json(
            {
                "output": str(output),
                "videos": len(found.video_ids),
                "frames": frames,
                "kept": kept,
                "failed_videos": failed,
                "threshold": threshold,
                "pool": pool,
                "by": by,
                "already_done": result.already_done,
            }
        )
    else:
        done = "already there" if result.already_done else "written"
        click.echo(f"{output}: {done}: {len(found.video_ids)} {by}s, {kept} of {frames} frames kept")
        if failed:
            click.echo(f"{failed} videos have no usable frame: their rows are zero")
    return int(failed > 0)


@cli.command()
@click.argument("recipe", type=FILE)
@json_option
def run(recipe: Path, as_json: bool) -> int:
    """Run the stages that RECIPE (TOML) chains; finished ones are not run again."""
    from vidface.stages.recipe import run_recipe

    result = run_recipe(recipe, say=(lambda _line: None) if as_json else click.echo)
    if as_json:
        print_json(result)
    return int(result["faults"] > 0)


@cli.command()
@click.option(
    "-o",
    "--output",
    type=DIRECTORY,
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for all files.",
)
@click.option(
    "--faces", type=DIRECTORY, help="A folder of real people, DIR/PERSON/IMAGE, instead of drawn ones."
)
@click.option("--model", type=FILE, help="The model for --faces.")
@json_option
def demo(output: Path, faces: Path | None, model: Path | None, as_json: bool) -> int:
    """The whole way on an embedded sample: drawn people, or a folder of real ones."""
    from vidface.demo.walk import walk

    result = walk(output, faces=faces, model=model, say=(lambda _line: None) if as_json else click.echo)
    if as_json:
        print_json(result)
    return int(result["problems"] > 0)


@cli.command()
@json_option
def doctor(as_json: bool) -> int:
    """Say what this machine has, and what stands in the way."""
    from vidface.doctor import examine, report_lines

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        click.echo(report_lines(findings))
    return int(bool(findings["problems"]))
