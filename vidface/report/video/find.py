"""Who is on this picture? A face is compared with the mean of every track, or video, of a features file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.backbones import Backbone
from vidface.embeddings.embed import embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import pool_frames
from vidface.errors import MediaError, StoreError, UsageError, printable
from vidface.features.chunks import over_videos, video_blocks
from vidface.features.engines.batches import face_embedder
from vidface.features.options import ExtractOptions
from vidface.files.hdf5 import open_file
from vidface.files.store import FeaturesInfo, offsets_of, read_info, read_rows, read_timestamps
from vidface.frames.faces.align import align_faces
from vidface.frames.faces.faces import Detect, Faces
from vidface.frames.faces.link import face_weights
from vidface.frames.folder import decode_image
from vidface.frames.frame import Pixels, fit_frame

__all__ = ["Face", "Found", "Hit", "face_of_picture", "find"]

MAX_PICTURE_BYTES = 256 << 20
# Of a face that fills its picture detectors see too little; with a border of half its size around, it is found.
BORDER = 0.5


@dataclass(frozen=True)
class Face:
    """A face from a picture.

    Attributes:
        pixels: uint8 [H, W, 3] RGB, aligned.
        box: x0, y0, x1, y1 in pixels of the upright picture; None where it was aligned already.
        score: the detector's.
        faces: how many the detector saw in the picture.
    """

    pixels: Pixels
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    faces: int = 1


@dataclass(frozen=True)
class Hit:
    """A track or video and how near it is.

    Attributes:
        video_id: of the video.
        track: number of the track; None where the rows are whole videos.
        cosine: of the picture to the mean of the unit rows.
        rows: frames or faces in the mean.
        first, last: when the track is first and last seen, seconds; None where the file does not say it.
        best, best_at: cosine and time of the row nearest to the picture; None likewise.
    """

    video_id: str
    track: int | None
    cosine: float
    rows: int
    first: float | None = None
    last: float | None = None
    best: float | None = None
    best_at: float | None = None


@dataclass(frozen=True)
class Found:
    """The nearest first; ties in the file's order.

    Attributes:
        hits: at most as many as were asked for.
        compared: tracks or videos.
        above: how many of all are at or above the threshold.
        empty: how many could not be compared: no usable frame.
        units: what was compared, ``tracks`` or ``videos``.
    """

    hits: list[Hit]
    compared: int
    above: int
    empty: int
    units: str


def face_of_picture(
    path: Path,
    *,
    detect: Detect | None,
    size: tuple[int, int] = (112, 112),
    target: npt.ArrayLike | None = None,
) -> Face:
    """Read a JPEG or PNG picture and take its main face: a large one near the middle.

    Args:
        path: the picture.
        detect: from `vidface.frames.faces.detector.open_detector`; None: the picture is an aligned face of the
            network's size.
        size: (height, width) that the network takes.
        target: as `vidface.frames.faces.align.align_faces` takes it.

    Raises:
        MediaError: ``missing``, ``unreadable``, ``unreadable-image``, ``no-face`` or ``wrong-size``.
    """
    pixels = _read_picture(path)
    if detect is None:
        if pixels.shape[:2] != size:
            found, wanted = (f"{width}x{height}" for height, width in (pixels.shape[:2], size))
            raise MediaError(
                "wrong-size",
                f"{path}: the picture is {found}, an aligned face {wanted}: leave --aligned out to have it aligned",
            )
        return Face(fit_frame(pixels, size, resize=False))
    faces = detect(pixels)
    if not len(faces.boxes):
        border = round(BORDER * max(pixels.shape[:2]))
        pixels = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")
        faces = detect(pixels)
        shown = Faces(faces.boxes - border, faces.points, faces.scores)
    else:
        shown = faces
    if not len(faces.boxes):
        raise MediaError(
            "no-face",
            f"{path}: no face was found in the picture: take another, or align it and pass --aligned",
        )
    times = np.zeros(len(faces.boxes))
    main = int(face_weights(faces.boxes, times, pixels.shape[:2], "still").argmax())
    x0, y0, x1, y1 = (float(value) for value in shown.boxes[main])
    aligned = align_faces(pixels, faces.points[main : main + 1], size, target)[0]
    return Face(aligned, (x0, y0, x1, y1), float(faces.scores[main]), len(faces.boxes))


def find(face: Pixels, path: Path, backbone: Backbone, *, threshold: float, top: int) -> Found:
    """Compare a face with every track of a features file (with every video, where it has no tracks).

    Of an embeddings file its rows are compared: there noise was left out of the means already.

    Args:
        face: uint8 [H, W, 3] RGB, aligned, of the network's size.
        path: features or embeddings.
        backbone: the network that the file was made with.
        threshold: cosine from which on somebody counts as found.
        top: how many are listed.

    Raises:
        UsageError: the file was made with another network, or the face gives no embedding.
        StoreError: the file is missing or damaged, or does not say which network it was made with.
    """
    info = read_info(path, "features", "embeddings")
    _refuse_other_model(info, backbone)
    embed = face_embedder(backbone, ExtractOptions.of_file(info.attributes))
    query = pool_frames(normalise_rows(embed(face[np.newaxis])), [True])
    if not query.any():
        raise UsageError("the network gives no embedding of this face")
    if info.attributes["kind"] == "embeddings":
        with open_file(path, "embeddings") as file:
            embeddings, rows = file["embeddings"][:], file["kept"][:]
        by_track = info.attributes.get("by") == "track"
        names, numbers = _rows_of_tracks(info) if by_track else (info.video_ids, None)
        cosines = np.einsum("ij,j->i", embeddings, query, dtype=np.float64)
        return _nearest(cosines, embeddings.any(axis=1), rows, names, numbers, threshold, top)
    tracks, bounds = _units(info)
    names = [info.video_ids[video] for video, _ in tracks]
    source = replace(info, video_ids=names, offsets=bounds)
    parts = list(over_videos(source, _cosines, query, engine=None, label="find"))
    cosines, usable = (np.concatenate(column) for column in zip(*parts, strict=True))
    numbers = [track or 0 for _, track in tracks] if "faces" in info.attributes else None
    found = _nearest(cosines, usable, np.diff(bounds), names, numbers, threshold, top)
    places = {(name, track): i for i, (name, (_, track)) in enumerate(zip(names, tracks, strict=True))}
    hits = []
    for hit in found.hits:
        start, stop = bounds[(place := places[hit.video_id, hit.track]) : place + 2]
        times = read_timestamps(path, start, stop)
        unit = normalise_rows(np.array(read_rows(path, start, stop)))
        near = np.einsum("ij,j->i", unit, query, dtype=np.float64)
        best = int(np.argmax(near))
        first, last = float(times.min()), float(times.max())
        hits.append(replace(hit, first=first, last=last, best=float(near[best]), best_at=float(times[best])))
    return replace(found, hits=hits)


def _read_picture(path: Path) -> Pixels:
    """The pixels of a picture, upright."""
    try:
        if not path.is_file():
            kind = "unreadable" if path.exists() else "missing"
            raise MediaError(kind, f"{path}: {'not a file' if path.exists() else 'no such file'}")
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise MediaError("unreadable", f"{path}: more than {MAX_PICTURE_BYTES >> 20} MB is no picture")
        content = path.read_bytes()
    except OSError as error:
        raise MediaError("unreadable", f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return decode_image(content)
    except MediaError as error:
        raise MediaError(error.kind, f"{path}: {error}") from None


def _refuse_other_model(info: FeaturesInfo, backbone: Backbone) -> None:
    """Cosines of two networks' features mean nothing."""
    made = info.attributes
    if unsaid := [name for name in ("model_sha256", "model_name", "flip") if name not in made]:
        raise StoreError(
            f"{info.path}: does not say what it was made with ({', '.join(unsaid)}): extract it again"
        )
    if made["model_sha256"] != backbone.sha256:
        name = printable(str(made["model_name"]))
        raise UsageError(
            f"{info.path}: made with {name} ({str(made['model_sha256'])[:12]}), "
            f"not with {printable(backbone.card.name)} ({backbone.sha256[:12]}): say the first one by --model"
        )


def _units(info: FeaturesInfo) -> tuple[list[tuple[int, int | None]], npt.NDArray[np.int64]]:
    """(place of the video, track) of all that is compared, and where the rows of each begin and end."""
    if "faces" not in info.attributes:
        return [(video, None) for video in range(len(info.video_ids))], info.offsets
    with open_file(info.path, "features") as file:
        tracks = file["tracks"][:]
    video_of = np.repeat(np.arange(len(info.video_ids)), np.diff(info.offsets))
    starts = np.flatnonzero(
        np.diff(tracks, prepend=-1).astype(bool) | np.diff(video_of, prepend=-1).astype(bool)
    )
    units: list[tuple[int, int | None]] = [(int(video_of[row]), int(tracks[row])) for row in starts]
    return units, offsets_of(np.diff([*starts, len(tracks)]))


def _rows_of_tracks(info: FeaturesInfo) -> tuple[list[str], list[int]]:
    """Video and track of every row of an embeddings file by track, whose ids are ``VIDEO#TRACK``."""
    parts = [name.rpartition("#") for name in info.video_ids]
    if not all(track.isdecimal() for _, _, track in parts):
        raise StoreError(f"{info.path}: damaged (rows are tracks, but not all ids are VIDEO#TRACK)")
    return [video for video, _, _ in parts], [int(track) for _, _, track in parts]


def _cosines(
    path: Path, offsets: npt.NDArray[np.int64], query: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of a chunk of tracks: cosine of the query to each mean, and whether it has a mean."""
    means = [embed_videos(block, bounds, None)[0] for block, bounds in video_blocks(path, offsets)]
    rows = np.concatenate(means)
    cosines: npt.NDArray[np.float64] = np.einsum("ij,j->i", rows, query, dtype=np.float64)
    return cosines, np.asarray(rows.any(axis=1))


def _nearest(
    cosines: npt.NDArray[Any],
    usable: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    names: list[str],
    tracks: list[int] | None,
    threshold: float,
    top: int,
) -> Found:
    order = np.argsort(-np.where(usable, cosines, -np.inf), kind="stable")[: min(top, int(usable.sum()))]
    hits = [
        Hit(names[i], None if tracks is None else tracks[i], float(cosines[i]), int(rows[i])) for i in order
    ]
    above = int(np.count_nonzero(usable & (cosines >= threshold)))
    units = "videos" if tracks is None else "tracks"
    return Found(hits, int(usable.sum()), above, int(np.count_nonzero(~usable)), units)
