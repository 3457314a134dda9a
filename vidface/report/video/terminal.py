"""One video in a terminal: its clusters as a table, its frames in order, its cosines; pictures if they can be shown.

Nothing is said by colour alone: every cluster has a letter. Without a terminal or colours, the lines are plain text.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from vidface.embeddings.thresholds import threshold_text
from vidface.errors import printable
from vidface.files.store import FACE_COUNTS, FaceRows
from vidface.frames.frame import Pixels
from vidface.report.video.inspect import Cluster, Inspection
from vidface.report.video.pictures import BACKDROP, spread

Pictures = Mapping[int, Pixels | None]  # of rows

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Told apart also by those who do not see red and green as two; the first, of the kept cluster, is the brightest.
COLOURS = ("#5fd75f", "#ff8700", "#5fafff", "#d787ff", "#ffd75f", "#00d7d7", "#ff87af", "#afaf87")
ALONE, BEYOND = "·", "+"  # a frame that joins nothing; a cluster beyond the letters
ROWS_SHOWN = 2_000
CLUSTERS_SHOWN = 12
TRACKS_SHOWN = 20
PICTURES_A_CLUSTER = 8
# Columns of a picture with the gap beside it, and lines: a column is half as wide as a line is high.
CELLS = (11, 5)
BAR = 40  # columns of the longest bar


def show(seen: Inspection, console: Console, pictures: Pictures | None = None, image: Any = None) -> None:
    """Print everything about a video on a console, which decides about colours and width.

    ``pictures``: row -> thumbnail or None, of `examples`. ``image``: from `image_class`; None: show no picture.
    """
    for part in _parts(seen, console.width, pictures or {}, image):
        console.print(part)


def examples(seen: Inspection, width: int) -> dict[int, list[int]]:
    """Cluster label -> the rows that are shown as its pictures: evenly spread over it, as many as fit."""
    most = min(PICTURES_A_CLUSTER, max(1, (width - 4) // CELLS[0]))
    chosen = {}
    for cluster in seen.clusters[:CLUSTERS_SHOWN]:
        if len(cluster.rows) > 1 or cluster.label == 0:
            chosen[cluster.label] = spread(cluster.rows, most).tolist()
    return chosen


def letter_of(label: int, size: int) -> str:
    """The letter of a cluster: A is kept; a dot for a frame on its own, unless it is the kept one."""
    if label and size == 1:
        return ALONE
    return LETTERS[label] if label < len(LETTERS) else BEYOND


def image_class() -> Any | None:
    """The renderable of `textual_image` that this terminal can show; None if it cannot, or it is not wanted.

    The terminal answers on stdin, so both must be a terminal. ImportError if the library is missing.
    """
    if not (sys.__stdout__ and sys.__stdout__.isatty() and sys.__stdin__ and sys.__stdin__.isatty()):
        return None
    # A terminal that does not tell the size of its cells is a warning with a traceback there; the usual size will do.
    logging.getLogger("textual_image").setLevel(logging.ERROR)
    import textual_image.renderable

    return textual_image.renderable.Image


def _parts(seen: Inspection, width: int, pictures: Pictures, image: Any) -> Iterator[RenderableType]:
    attributes = seen.info.attributes
    name, what = printable(seen.video_id), seen.what
    status = printable(seen.info.status[seen.video])
    model, fps = (printable(str(attributes.get(each, "?"))) for each in ("model_name", "fps"))
    head = Text(name, style="bold")
    yield head.append(f"  {len(seen.labels)} {what}, status {status}, {model}, {fps} fps", style="not bold")
    if seen.counts:
        yield Text(_faces_words(seen.counts))
    yield Text(seen.rule)
    if not len(seen.labels):
        return
    yield Text()
    yield _cluster_table(seen, what)
    yield _small("inside: of a cluster's pairs; to video: to the video's embedding (mean cosines)")
    if seen.faces is not None and len(seen.tracks) > 1:
        yield Text()
        yield _track_table(seen, seen.faces)
        yield _small(f"score: of the detector; size: shorter side of the box; one track alone: {name}#0")
    if image is not None and pictures:
        yield from _picture_rows(seen, width, pictures, image)
    yield Text()
    yield from _strips(seen, width, what)
    yield Text()
    yield from _histogram(seen, what, min(BAR, width - 28))
    yield Text()
    yield _level_table(seen)
    yield _small("other thresholds; * this one")


def _faces_words(counts: Mapping[str, int]) -> str:
    left_out = [f"{counts[name]} {name.replace('_', ' ')}" for name in FACE_COUNTS[3:] if counts[name]]
    found = f"{counts['found']} faces found in the video's {counts['frames']} frames"
    rest = f"left out: {', '.join(left_out)}" if left_out else "none left out"
    return f"{found}, {counts['without_face']} without a face; {rest}"


def _cluster_table(seen: Inspection, what: str) -> Table:
    """One line per cluster; one for all small ones, and frames that are alone."""
    faces, total = seen.faces, len(seen.labels)
    tracks, weight = ["tracks"] * (faces is not None), ["weight"] * seen.weighted
    table = _table("cluster", what, "share", "seconds", *tracks, "inside", "to video", "norm", *weight)
    shown = [c for c in seen.clusters[:CLUSTERS_SHOWN] if c.label == 0 or len(c.rows) > 1]
    for cluster in shown:
        size = len(cluster.rows)
        words = Text.assemble((f" {letter_of(cluster.label, size)} ", _style(cluster.label, size)))
        words.append(" kept" if cluster.label == 0 and not seen.weighted else "")
        of_tracks = []
        if faces is not None:
            of_tracks = [_some([str(track) for track in np.unique(faces.tracks[cluster.rows])], 3)]
        cells = [str(size), f"{size / total:.1%}", _seconds(seen, cluster), *of_tracks, *_means(cluster)]
        table.add_row(words, *cells, *([f"{cluster.weight:.1%}"] * seen.weighted))
    if rest := seen.clusters[len(shown) :]:
        sizes = [len(cluster.rows) for cluster in rest]
        alone = sizes.count(1)
        name = f" {ALONE}  {alone} alone" if alone == len(rest) else f"    {len(rest)} more"
        to_video = np.average([cluster.to_video for cluster in rest], weights=sizes)
        norm = np.average([cluster.norm for cluster in rest], weights=sizes)
        cells = [str(sum(sizes)), f"{sum(sizes) / total:.1%}", "", *([""] * len(tracks)), ""]
        share = f"{sum(cluster.weight for cluster in rest):.1%}"
        table.add_row(name, *cells, f"{to_video:.2f}", f"{norm:.1f}", *([share] * seen.weighted))
    return table


def _track_table(seen: Inspection, faces: FaceRows) -> Table:
    table = _table("track", "faces", "seconds", "inside", "to video", "norm", "score", "size")
    for track in seen.tracks[:TRACKS_SHOWN]:
        boxes = faces.boxes[track.rows]
        size = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).mean()
        cells = [str(track.label), str(len(track.rows)), _seconds(seen, track), *_means(track)]
        table.add_row(*cells, f"{faces.scores[track.rows].mean():.2f}", f"{size:.0f}")
    if len(seen.tracks) > TRACKS_SHOWN:
        table.add_row(f"{len(seen.tracks) - TRACKS_SHOWN} more")
    return table


def _means(group: Cluster) -> list[str]:
    inside = "" if group.inside is None else f"{group.inside:.2f}"
    return [inside, f"{group.to_video:.2f}", f"{group.norm:.1f}"]


def _seconds(seen: Inspection, cluster: Cluster) -> str:
    """When the cluster is seen, as stretches without a frame of others only between them."""
    every = np.unique(seen.times)
    mine = np.flatnonzero(np.isin(every, seen.times[cluster.rows]))
    stretches = []
    for stretch in np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1):
        begin, end = (f"{every[place]:.1f}" for place in (stretch[0], stretch[-1]))
        stretches.append(begin if begin == end else f"{begin}-{end}")
    return _some(stretches, 2)


def _some(words: Sequence[str], most: int) -> str:
    more = f" +{len(words) - most}" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _picture_rows(seen: Inspection, width: int, pictures: Pictures, image: Any) -> Iterator[RenderableType]:
    """One line of faces per cluster, as one picture: terminals draw one large picture better than many."""
    for label, rows in examples(seen, width).items():
        found = [picture for row in rows if (picture := pictures.get(row)) is not None]
        size = seen.sizes[label]
        letter = letter_of(label, size)
        if not found:
            yield Text(f"{letter}: no picture can be read any more")
            continue
        side = found[0].shape[0]
        step = side * CELLS[0] // (CELLS[0] - 1)
        strip = Image.new("RGB", (step * len(found), side), BACKDROP)
        for place, picture in enumerate(found):
            strip.paste(Image.fromarray(picture), (place * step, 0))
        # Not in a table: pictures in Sixel move the cursor.
        yield Text.assemble((f" {letter} ", _style(label, size)), f" {len(rows)} of {size}")
        yield image(strip, width=CELLS[0] * len(found), height=CELLS[1])


def _strips(seen: Inspection, width: int, what: str) -> Iterator[Text]:
    """The rows in order, a letter each, the cosine to the embedding in tenths below; one block per track."""
    step = -(-len(seen.labels) // ROWS_SHOWN)
    which = f"one in {step} of {len(seen.labels)} {what}" if step > 1 else f"all {what}"
    yield Text(f"{which} in order; below: cosine to the video's embedding in tenths, - below 0")
    rows = np.arange(0, len(seen.labels), step)
    tracks = np.zeros(len(seen.labels), np.int32) if seen.faces is None else seen.faces.tracks
    margin = 9
    per_line = max(1, min(40, (width - margin) // 2))
    for mine in np.split(rows, np.flatnonzero(np.diff(tracks[rows])) + 1):
        if seen.faces is not None:
            yield Text(f"track {tracks[mine[0]]}", style="bold")
        for begin in range(0, len(mine), per_line):
            line = mine[begin : begin + per_line]
            upper = Text(f"{seen.times[line[0]]:6.1f} s ", no_wrap=True)
            lower = Text(" " * margin, no_wrap=True)
            for row in line:
                label = int(seen.labels[row])
                size = seen.sizes[label]
                upper.append(f"{letter_of(label, size)} ", style=_style(label, size))
                cosine = float(seen.cosines[row])
                lower.append("- " if cosine < 0 else f"{min(int(cosine * 10), 9)} ")
            upper.rstrip()
            lower.rstrip()
            yield upper
            yield lower


def _histogram(seen: Inspection, what: str, bar: int) -> Iterator[Text]:
    total = seen.together + seen.apart
    occupied = np.flatnonzero(total)
    of = f", of {seen.compared} {what} evenly spread" if seen.compared < len(seen.labels) else ""
    yield Text(f"pairs of {what} by cosine (█ in one cluster, ░ in two{of})")
    if not len(occupied):
        yield Text("one row has no pairs")
        return
    for place in range(occupied[-1], occupied[0] - 1, -1):
        both = int(np.ceil(bar * total[place] / total.max()))  # a bin that is not empty shows
        full = round(both * int(seen.together[place]) / int(total[place])) if total[place] else 0
        edges = f"{seen.edges[place]:5.1f} to {seen.edges[place + 1]:4.1f}"
        yield Text(f"{edges}  {'█' * full}{'░' * (both - full)} {total[place]}", no_wrap=True)


def _level_table(seen: Inspection) -> Table:
    kept = ("largest", "in A now") if seen.weighted else ("kept", "kept now, too")
    table = _table("threshold", "clusters", kept[0], "share", kept[1])
    total = len(seen.labels)
    for level in seen.levels:
        text = threshold_text(level.threshold)
        text += " *" if text == seen.threshold else ""
        share = f"{level.kept / total:.1%}"
        table.add_row(text, str(level.clusters), str(level.kept), share, str(level.same))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", overflow="ellipsis", no_wrap=name != "seconds")
    return table


def _small(words: str) -> Text:
    return Text(words, style="dim")


def _style(label: int, size: int) -> Style:
    if label and size == 1:
        return Style(dim=True)
    return Style(color="black", bgcolor=COLOURS[label % len(COLOURS)], bold=label == 0)
