"""A contact sheet of one video: its frames in order, with boxes, points and tracks if faces were detected.

Nothing is said by colour alone: tracks have numbers, clusters have letters, and what is dropped is crossed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vidface.errors import printable
from vidface.files.atomic import write_atomic
from vidface.files.store import FaceRows
from vidface.frames.frame import Pixels
from vidface.report.video.inspect import Inspection
from vidface.report.video.pictures import Pictures, fit_square, spread
from vidface.report.video.terminal import COLOURS, letter_of

WIDTH = 1320
MARGIN = 12
FRAME_WIDTH = 316
FACE = 72
GAP = 8
LINE = 18  # height of a line of text
FRAMES_SHOWN = 40  # whole frames, if faces were detected
FACES_SHOWN = 240  # of a video of aligned faces
TRACKS_SHOWN = 24

PAPER, INK, FAINT = (24, 24, 27), (238, 238, 238), (150, 150, 158)
KEPT, DROPPED = "#5fd75f", "#ff5f5f"


_Tile = tuple[Image.Image, str]  # a picture and its caption
_Section = tuple[str, Sequence[_Tile]]  # a heading, and tiles of one width in as many lines as they take
_Corners = tuple[float, float, float, float]


def write_sheet(path: Path, seen: Inspection, pictures: Pictures) -> None:
    """Write `contact_sheet` as PNG, whole or not at all; StoreError if it cannot be written."""
    sheet = Image.fromarray(contact_sheet(seen, pictures))
    with write_atomic(path) as file:
        sheet.save(file, "PNG")


def contact_sheet(seen: Inspection, pictures: Pictures) -> Pixels:
    """Draw the contact sheet of a video: uint8 [H, 1320, 3] RGB.

    Aligned faces: in order (at most `FACES_SHOWN`, evenly spread, which is said), each with its cluster, its cosine to
    the video's embedding and its time. Detected faces: whole frames (`FRAMES_SHOWN`) with every face's box, points,
    track number and score, then a line of aligned faces per track. What cannot be read is a grey tile that says so.
    """
    if seen.faces is None:
        chosen = spread(np.arange(len(seen.labels)), FACES_SHOWN)
        found = pictures.thumbnails(seen.video, [seen.first + row for row in chosen], FACE)
        tiles = [_face_tile(seen, row, picture) for row, picture in zip(chosen, found, strict=True)]
        sections: list[_Section] = [(f"{_of(len(chosen), len(seen.labels), 'frames')}, in order", tiles)]
    else:
        sections = _detected(seen, seen.faces, pictures)
    head = [
        f"{printable(seen.video_id)}: {len(seen.labels)} {seen.what}",
        seen.rule,
        "below a face: its cluster, cosine to the video's embedding, seconds; "
        f"green frame: {'at least an equal share of the weight' if seen.weighted else 'kept'}, red and crossed: not",
    ]
    return np.array(_compose(head, sections))


def _detected(seen: Inspection, found: FaceRows, pictures: Pictures) -> list[_Section]:
    """Whole frames with faces, then the faces of every track; the video is read once for both."""
    times = np.unique(seen.times)
    shown = spread(np.arange(len(times)), FRAMES_SHOWN)
    on_frames = np.flatnonzero(np.isin(seen.times, times[shown]))
    per_line = (WIDTH - 2 * MARGIN + GAP) // (FACE + GAP)
    lines = [(track, spread(track.rows, per_line)) for track in seen.tracks[:TRACKS_SHOWN]]
    wanted = {*on_frames.tolist(), *(row for _, rows in lines for row in rows.tolist())}
    frames: dict[np.float32, Image.Image] = {}
    faces: dict[int, Pixels] = {}
    for shot in pictures.shots(seen.video, sorted(row + seen.first for row in wanted)):
        here = [row - seen.first for row in shot.rows]
        aligned = pictures.aligned(seen.video, shot.pixels, found.points[here])
        faces |= {row: fit_square(face, FACE) for row, face in zip(here, aligned, strict=False)}
        if np.isin(np.float32(shot.seconds), times[shown]):
            frames[np.float32(shot.seconds)] = _draw_faces(seen, found, shot.pixels, here)
    height = max((frame.height for frame in frames.values()), default=FRAME_WIDTH * 9 // 16)
    blank = _blank(FRAME_WIDTH, height)
    tiles = [(frames.get(seconds, blank), f"{seconds:.2f} s") for seconds in times[shown]]
    heading = f"{_of(len(tiles), len(times), 'frames with faces')}; box, points, track number, "
    sections: list[_Section] = [(heading + "detector's score; thick box: as a green frame below", tiles)]
    for track, rows in lines:
        first, last = (f"{seen.times[row]:.1f}" for row in track.rows[[0, -1]])
        when = f"{first} s" if first == last else f"{first} to {last} s"
        heading = f"track {track.label}{'' if track.label else ' (main)'}, {when}: "
        heading += f"{_of(len(rows), len(track.rows), 'faces')}; "
        heading += f"mean cosine to the video's embedding {track.to_video:.2f}"
        sections.append((heading, [_face_tile(seen, row, faces.get(row)) for row in rows.tolist()]))
    if len(seen.tracks) > TRACKS_SHOWN:
        sections.append((f"and {len(seen.tracks) - TRACKS_SHOWN} more tracks", []))
    return sections


def _draw_faces(seen: Inspection, found: FaceRows, pixels: Pixels, rows: Sequence[int]) -> Image.Image:
    scale = FRAME_WIDTH / pixels.shape[1]
    size = (FRAME_WIDTH, max(1, round(pixels.shape[0] * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    colours = [COLOURS[int(found.tracks[row]) % len(COLOURS)] for row in rows]
    for row, colour in zip(rows, colours, strict=True):
        x0, y0, x1, y1 = (float(value) for value in found.boxes[row] * scale)
        corners = (x0, y0, max(x1, x0), max(y1, y0))
        draw.rectangle(corners, outline=colour, width=3 if seen.kept[row] else 1)
        for x, y in found.points[row] * scale:
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    taken: list[_Corners] = []  # by labels
    for row, colour in zip(rows, colours, strict=True):
        text = f"{found.tracks[row]}  {found.scores[row]:.2f}"
        width = draw.textlength(text, font=font) + 4
        place = _room(found.boxes[row] * scale, (width, 15), picture.size, taken)
        taken.append((*place, place[0] + width, place[1] + 15))
        draw.rectangle(taken[-1], fill=colour)
        draw.text((place[0] + 2, place[1]), text, fill="black", font=font)
    return picture


def _room(
    box: npt.NDArray[np.float32],
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: Sequence[_Corners],
) -> tuple[float, float]:
    """Where a label goes: above its box, below it, or beside it, the first place that is in the picture and free."""
    (x0, y0, x1, y1), (width, height) = (float(value) for value in box), size
    places = [(x0, y0 - height), (x0, y1), (x1 + 1, y0), (x0 - width - 1, y0), (x1 + 1, y1 - height)]
    inside = [(x, y) for x, y in places if 0 <= x <= picture[0] - width and 0 <= y <= picture[1] - height]
    for x, y in inside:
        if not any(x < r and left < x + width and y < b and t < y + height for left, t, r, b in taken):
            return x, y
    x, y = (inside or places)[0]
    return min(max(x, 0), picture[0] - width), min(max(y, 0), picture[1] - height)


def _face_tile(seen: Inspection, row: int, face: Pixels | None) -> _Tile:
    """A face with a green frame if it is kept, else a red one with a cross in its corner."""
    label = int(seen.labels[row])
    letter = letter_of(label, seen.sizes[label])
    caption = f"{letter}  {seen.cosines[row]:.2f}   {seen.times[row]:.1f} s"
    if face is None:
        return _blank(FACE, FACE), caption
    picture = Image.fromarray(face)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, FACE - 1, FACE - 1), outline=KEPT if seen.kept[row] else DROPPED, width=3)
    if not seen.kept[row]:
        begin, end = FACE - 16, FACE - 5
        draw.rectangle((begin - 4, 0, FACE - 1, end - begin + 8), fill=DROPPED)
        draw.line((begin, 4, end, 4 + end - begin), fill="black", width=3)
        draw.line((begin, 4 + end - begin, end, 4), fill="black", width=3)
    return picture, caption


def _blank(width: int, height: int) -> Image.Image:
    picture = Image.new("RGB", (width, height), (70, 70, 74))
    draw = ImageDraw.Draw(picture)
    draw.text((width / 2, height / 2), "no picture", fill=INK, font=ImageFont.load_default(11), anchor="mm")
    return picture


def _compose(head: Sequence[str], sections: Sequence[_Section]) -> Image.Image:
    pictures: list[tuple[Image.Image, tuple[int, int]]] = []
    texts: list[tuple[tuple[int, int], str, tuple[int, int, int], int]] = []  # place, words, colour, size
    for at, words in enumerate(head):
        texts.append(((MARGIN, MARGIN + at * LINE), words, FAINT if at else INK, 13 if at else 15))
    top = MARGIN + LINE * len(head)
    for heading, tiles in sections:
        texts.append(((MARGIN, top + GAP), heading, INK, 13))
        top += GAP + LINE + 4
        width = max((picture.width for picture, _ in tiles), default=WIDTH)
        height = max((picture.height for picture, _ in tiles), default=0) + LINE + 2
        columns = max(1, (WIDTH - 2 * MARGIN + GAP) // (width + GAP))
        for place, (picture, caption) in enumerate(tiles):
            line, column = divmod(place, columns)
            x, y = MARGIN + column * (width + GAP), top + line * height
            pictures.append((picture, (x, y)))
            texts.append(((x, y + picture.height + 1), caption, FAINT, 11))
        top += -(-len(tiles) // columns) * height
    sheet = Image.new("RGB", (WIDTH, top + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for picture, corner in pictures:
        sheet.paste(picture, corner)
    for corner, words, colour, size in texts:
        draw.text(corner, words, fill=colour, font=ImageFont.load_default(size))
    return sheet


def _of(shown: int, total: int, what: str) -> str:
    if total == 1:
        return f"1 {what.removesuffix('s')}"
    return f"all {total} {what}" if shown == total else f"{shown} of {total} {what}, evenly spread"
