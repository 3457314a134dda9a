"""``vidface cluster``: features become embeddings."""

from __future__ import annotations

from pathlib import Path

import click

from vidface.commands.options import (
    FILE,
    engine_options,
    json_option,
    pool_option,
    read_threshold,
    shard_option,
)
from vidface.commands.output import print_json


@click.command()
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
    from vidface.embeddings.cluster import cluster as run
    from vidface.features.engines import open_engine

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
