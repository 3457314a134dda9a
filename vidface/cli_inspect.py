"""The commands that look closely: inspect, find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.errors import UsageError
from vidface.options import FILE, json_option, read_threshold
from vidface.output import print_json

if TYPE_CHECKING:
    from vidface.stages.inspect import Inspection


@click.command("inspect")
@click.argument("features", type=FILE)
@click.argument("video")
@click.option(
    "--threshold",
    callback=read_threshold,
    default="0.4",
    show_default=True,
    help="Cosine that joins two frames, or none.",
)
@click.option("--embeddings", type=FILE, help="Take the clusters of this embeddings file instead.")
@click.option(
    "--manifest", "manifest_path", type=FILE, help="Where the videos lie: needed to show pictures of them."
)
@click.option("--sheet", type=FILE, help="Write a contact sheet (.png): frames, boxes, tracks, what is kept.")
@json_option
@click.pass_context
def inspect_command(
    context: click.Context,
    features: Path,
    video: str,
    threshold: float | None,
    embeddings: Path | None,
    manifest_path: Path | None,
    sheet: Path | None,
    as_json: bool,
) -> int:
    """Show one VIDEO's clusters: which frames are kept, which are noise, and why.

    VIDEO is an id of the features file; of one with detected faces also ID#TRACK.
    """
    from vidface.manifest import read_manifest
    from vidface.stages.inspect import inspect

    told = context.get_parameter_source("threshold") is not click.core.ParameterSource.DEFAULT
    if embeddings is not None and told:
        raise UsageError("--embeddings says the threshold already: leave --threshold out")
    if sheet is not None and manifest_path is None:
        raise UsageError("--sheet needs --manifest: it says where the videos lie")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"{sheet}: a contact sheet is a .png file")
    manifest = None if manifest_path is None else read_manifest(manifest_path)
    seen = inspect(features, video, threshold=threshold, embeddings=embeddings)
    notes = [] if sheet is None else _write_sheet(manifest, seen, sheet)
    if as_json:
        print_json({**_as_json(seen), "sheet": None if sheet is None else str(sheet), "notes": notes})
        return 0
    notes += _show(manifest, seen)
    if sheet is not None:
        click.echo(f"{sheet}: written")
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return 0


def _show(manifest: Any, seen: Inspection) -> list[str]:
    """Print the video; returns what has to be said beside it."""
    from rich.console import Console

    from vidface.report.pictures import open_pictures
    from vidface.report.terminal import examples, image_class, show

    console = Console(markup=False, emoji=False, highlight=False)
    if manifest is None or not console.is_terminal or console.is_dumb_terminal or console.no_color:
        show(seen, console)
        return []
    try:
        image = image_class()
    except ImportError:
        show(seen, console)
        return ["pictures in the terminal need the extra vidface[report]"]
    if image is None:
        show(seen, console)
        return []
    rows = sorted({row for chosen in examples(seen, console.width).values() for row in chosen})
    with open_pictures(manifest, seen.info) as pictures:
        found = pictures.thumbnails(seen.video, [row + seen.first for row in rows], size=80)
        show(seen, console, dict(zip(rows, found, strict=True)), image)
        return [f"pictures are missing: {reason}" for reason in pictures.missing.values()]


def _write_sheet(manifest: Any, seen: Inspection, path: Path) -> list[str]:
    """Write the contact sheet; returns what has to be said beside it."""
    from vidface.report.pictures import open_pictures
    from vidface.report.sheet import write_sheet

    with open_pictures(manifest, seen.info) as pictures:
        write_sheet(path, seen, pictures)
        return [f"{path}: pictures are missing: {reason}" for reason in pictures.missing.values()]


def _as_json(seen: Inspection) -> dict[str, Any]:
    clusters = [
        {
            "label": cluster.label,
            "size": len(cluster.rows),
            "first_seconds": float(seen.times[cluster.rows].min()),
            "last_seconds": float(seen.times[cluster.rows].max()),
            "cosine_inside": cluster.inside,
            "cosine_to_video": cluster.to_video,
            "norm": cluster.norm,
        }
        for cluster in seen.clusters
    ]
    rows = {
        "seconds": [float(value) for value in seen.times],
        "cluster": [int(value) for value in seen.labels],
        "cosine": [float(value) for value in seen.cosines],
        "norm": [float(value) for value in seen.norms],
    }
    if seen.faces is not None:
        rows |= {name: getattr(seen.faces, name).tolist() for name in ("tracks", "scores", "boxes")}
    return {
        "video": seen.video_id,
        "status": seen.info.status[seen.video],
        "threshold": seen.threshold,
        "pooling": seen.pooling,
        "kept": sum(int(label == 0) for label in seen.labels),
        "why": seen.why,
        "clusters": clusters,
        "thresholds": [
            {"threshold": level.threshold, "clusters": level.clusters, "kept": level.kept, "same": level.same}
            for level in seen.levels
        ],
        "pairs": {
            "edges": seen.edges.tolist(),
            "together": seen.together.tolist(),
            "apart": seen.apart.tolist(),
            "rows": seen.compared,
        },
        "rows": rows,
    }
