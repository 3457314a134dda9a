"""``vidface merge``: what machines made with ``--shard I/N`` becomes one file."""

from __future__ import annotations

from pathlib import Path

import click

from vidface.options import FILE, json_option
from vidface.output import counted, print_json
from vidface.tables import faces_line


@click.command()
@click.argument("files", metavar="FILES...", type=FILE, nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="The features or embeddings file to write.")
@json_option
def merge(files: tuple[Path, ...], output: Path, as_json: bool) -> int:
    """Shards of features, or of embeddings -> the file that one run without --shard writes.

    FILES are all N files of `vidface extract --shard I/N`, or of `vidface cluster --shard I/N`, in any order.
    Exit code 1 where a video is not ok.
    """
    from vidface.stages.merge import merge as run
    from vidface.stages.outputs import FAULTS_FILE

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
