"""The commands that look closely: inspect, find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.commands.options import FILE, NEW_FILE, json_option, root_option, stage_command
from vidface.commands.output import print_json, print_warnings
from vidface.errors import StoreError, UsageError, printable

if TYPE_CHECKING:
    from vidface.embeddings.options import PoolingOptions
    from vidface.manifest.manifest import Manifest
    from vidface.report.video.find import Face, Found
    from vidface.report.video.inspect import Cluster, Inspection
    from vidface.report.video.options import FindOptions
    from vidface.runs.opened import Run

PICTURE_SCORE = 0.5  # of the detector: who names a picture says that there is a face


@stage_command("inspect", pooling="vidface.embeddings.options:PoolingOptions")
@click.argument("features", type=FILE)
@click.argument("video")
@click.option("--embeddings", type=FILE, help="Take the clusters of this embeddings file instead.")
@click.option("--manifest", type=FILE, help="Where the videos lie: needed to show pictures of them.")
@root_option
@click.option(
    "--sheet", type=NEW_FILE, help="Write a contact sheet (.png): frames, boxes, tracks, what is kept."
)
@json_option
def inspect_command(
    features: Path,
    video: str,
    pooling: PoolingOptions,
    embeddings: Path | None,
    sheet: Path | None,
    as_json: bool,
    **where: Any,
) -> int:
    """Show one VIDEO's clusters: which frames are kept, which are noise, and why.

    FEATURES is a features file, or the folder of a run, which says its embeddings and manifest as well. VIDEO is an id;
    where faces were detected also ID#TRACK.
    """
    from vidface.manifest.manifest import read_manifest
    from vidface.report.video.inspect import inspect
    from vidface.runs.opened import open_run

    default = click.core.ParameterSource.DEFAULT
    source = click.get_current_context().get_parameter_source
    told = any(source(name) is not default for name in ("threshold", "pool"))
    if embeddings is not None and told:
        raise UsageError("--embeddings says how it was made: leave --threshold and --pool out")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"{sheet}: a contact sheet is a .png file")
    manifest: Manifest | None = None
    if features.is_dir():
        run = open_run(features, **where)
        features, manifest = _features_of(run), run.manifest
        embeddings = embeddings or (None if told else run.embeddings)
    elif where["manifest"] is not None:
        manifest = read_manifest(where["manifest"], root=where["root"])
    if sheet is not None and manifest is None:
        raise UsageError("--sheet needs --manifest: it says where the videos lie")
    seen = inspect(features, video, threshold=pooling.cosine(), pool=pooling.pool, embeddings=embeddings)
    notes = [] if sheet is None or manifest is None else _write_sheet(manifest, seen, sheet)
    if as_json:
        print_json({**_as_json(seen), "sheet": sheet, "notes": notes})
        return 0
    notes += _show(manifest, seen)
    if sheet is not None:
        click.echo(f"{sheet}: written")
    for note in notes:
        click.echo(f"note: {note}", err=True)
    return 0


def _features_of(run: Run) -> Path:
    if run.features is None:
        raise StoreError("; ".join(run.notes))
    return run.features


def _show(manifest: Manifest | None, seen: Inspection) -> list[str]:
    """Print the video; returns what has to be said beside it."""
    from rich.console import Console

    from vidface.report.video.pictures import open_pictures
    from vidface.report.video.terminal import examples, image_class, show

    console = Console(markup=False, emoji=False, highlight=False)
    plain = not console.is_terminal or console.is_dumb_terminal or console.no_color
    image, notes = None, []
    if manifest is not None and not plain:
        try:
            image = image_class()
        except ImportError:
            notes = ["pictures in the terminal need the extra vidface[report]"]
    if image is None or manifest is None:
        show(seen, console)
        return notes
    rows = sorted({row for chosen in examples(seen, console.width).values() for row in chosen})
    with open_pictures(manifest, seen.info) as pictures:
        found = pictures.thumbnails(seen.video, [row + seen.first for row in rows], size=80)
        show(seen, console, dict(zip(rows, found, strict=True)), image)
        return [f"pictures are missing: {reason}" for reason in pictures.missing.values()]


def _write_sheet(manifest: Manifest, seen: Inspection, path: Path) -> list[str]:
    from vidface.report.video.pictures import open_pictures
    from vidface.report.video.sheet import write_sheet

    with open_pictures(manifest, seen.info) as pictures:
        write_sheet(path, seen, pictures)
        return [f"{path}: pictures are missing: {reason}" for reason in pictures.missing.values()]


def _as_json(seen: Inspection) -> dict[str, Any]:
    def group(cluster: Cluster, name: str) -> dict[str, Any]:
        return {
            name: cluster.label,
            "size": len(cluster.rows),
            "first_seconds": float(seen.times[cluster.rows].min()),
            "last_seconds": float(seen.times[cluster.rows].max()),
            "cosine_inside": cluster.inside,
            "cosine_to_video": cluster.to_video,
            "norm": cluster.norm,
            "weight": cluster.weight,
        }

    columns = {
        "seconds": "times",
        "cluster": "labels",
        "cosine": "cosines",
        "norm": "norms",
        "weight": "weights",
    }
    rows = {name: getattr(seen, attribute).tolist() for name, attribute in columns.items()}
    if seen.faces is not None:
        rows |= {name: getattr(seen.faces, name).tolist() for name in ("tracks", "scores", "boxes")}
    return {
        "video": seen.video_id,
        "status": seen.info.status[seen.video],
        "threshold": seen.threshold,
        "pool": seen.pool,
        "pooling": seen.pooling,
        "kept": int(seen.kept.sum()),
        "why": seen.why,
        "faces": seen.counts,
        "clusters": [group(cluster, "label") for cluster in seen.clusters],
        "tracks": [group(track, "track") for track in seen.tracks],
        "thresholds": [level._asdict() for level in seen.levels],
        "pairs": {
            "edges": seen.edges.tolist(),
            "together": seen.together.tolist(),
            "apart": seen.apart.tolist(),
            "rows": seen.compared,
        },
        "rows": rows,
    }


@stage_command("find", options="vidface.report.video.options:FindOptions")
@click.argument("picture", type=FILE)
@click.argument("searched", metavar="FEATURES", type=FILE)
@json_option
def find_command(picture: Path, searched: Path, options: FindOptions, as_json: bool) -> int:
    """Find the person of PICTURE: which videos, or tracks, of FEATURES show the face.

    FEATURES is a features file, the folder of a run, or an embeddings file (there noise is left out of the means).
    """
    from vidface.frames.faces.detector import open_detector
    from vidface.report.video.find import face_of_picture, find
    from vidface.runs.opened import open_run

    searched = _features_of(open_run(searched, media=False)) if searched.is_dir() else searched
    detect = None
    if not options.aligned:
        detect = open_detector(options.detector_weights, options.detector, min_score=PICTURE_SCORE)
    backbone = options.load()
    card = backbone.card
    face = face_of_picture(picture, detect=detect, size=card.input_size, target=card.template)
    found = find(face.pixels, searched, backbone, threshold=options.threshold, top=options.top)
    if as_json:
        print_json(
            {
                "picture": picture,
                "box": face.box,
                "score": face.score,
                "faces": face.faces,
                "threshold": options.threshold,
                "units": found.units,
                "compared": found.compared,
                "above": found.above,
                "empty": found.empty,
                "hits": [hit._asdict() for hit in found.hits],
                "warnings": backbone.warnings,
            }
        )
    else:
        print_warnings(backbone.warnings, err=True)
        click.echo("\n".join(_find_lines(picture, face, found, options.threshold)))
    return 0


def _find_lines(picture: Path, face: Face, found: Found, threshold: float) -> list[str]:
    """The hits as a table, with a line between those that count as found and the others."""
    from vidface.scores.text import columns

    lines = []
    if face.box is not None:
        x0, y0, x1, y1 = (round(value) for value in face.box)
        seen = "one face" if face.faces == 1 else f"{face.faces} faces, a large one near the middle is taken"
        lines.append(f"{printable(str(picture))}: {seen}: {x0},{y0} to {x1},{y1}, score {face.score:.2f}")
    some = f"{found.above} of {found.compared} {found.units}" if found.above else "nobody"
    lines.append(
        f"at or above {threshold:g}: {some}{'' if found.above else f' of {found.compared} {found.units}'}"
    )
    if found.empty:
        lines.append(f"not compared: {found.empty} {found.units} without a usable frame")
    if not found.hits:
        return lines
    rows = [["  " + found.units.removesuffix("s"), "cosine", "rows"]]
    if found.hits[0].best is not None:
        rows[0] += ["seconds", "nearest row", "at"]
    for hit in found.hits:
        name = printable(hit.video_id) + ("" if hit.track is None else f"#{hit.track}")
        mark = "* " if hit.cosine >= threshold else "  "
        rows.append([mark + name, f"{hit.cosine:.4f}", str(hit.rows)])
        if hit.best is not None:
            rows[-1] += [f"{hit.first:.1f}-{hit.last:.1f}", f"{hit.best:.4f}", f"{hit.best_at:.1f} s"]
    return [*lines, "", columns(rows)]
