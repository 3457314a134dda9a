"""``vidface cluster``: features become embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidface.commands.options import FILE, StageCommand, json_option, output_option, overwrite_option
from vidface.commands.output import lost_nodes, print_json

if TYPE_CHECKING:
    from vidface.embeddings.options import ClusterOptions
    from vidface.features.options import EngineOptions


@click.command(
    cls=StageCommand,
    models={
        "options": "vidface.embeddings.options:ClusterOptions",
        "engine": "vidface.features.options:EngineOptions",
    },
)
@click.argument("features", type=FILE)
@output_option("The embeddings file to write.")
@overwrite_option
@json_option
def cluster(
    features: Path,
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
        result = run(features, output, options, engine=where, overwrite=overwrite)
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
        done = "already there" if result.already_done else "written"
        click.echo(f"{output}: {done}: {len(found.video_ids)} {options.by}s, {kept} of {frames} frames kept")
        if failed:
            click.echo(f"{failed} videos have no usable frame: their rows are zero")
    return int(failed > 0)
