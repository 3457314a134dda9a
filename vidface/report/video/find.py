"""Who is on this picture? A face is compared with the mean of every track, or video, of a features file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.backbones import Backbone
from vidface.embeddings.cluster import tracks_of
from vidface.embeddings.embed import embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import pool_frames
from vidface.errors import MediaError, StoreError, UsageError, printable
from vidface.features.chunks import over_blocks, over_videos
from vidface.features.engines.batches import face_embedder
from vidface.features.options import ExtractOptions
from vidface.files.hdf5 import open_file
from vidface.files.store import FeaturesInfo, read_info, read_rows, read_timestamps
from vidface.frames.faces.align import align_faces
from vidface.frames.faces.faces import Detect
from vidface.frames.faces.link import face_weights
from vidface.frames.folder import decode_image
from vidface.frames.frame import Pixels, fit_frame

MAX_PICTURE_BYTES = 256 << 20
# Of a face that fills its picture detectors see too little; with a border of half its size around, it is found.
BORDER = 0.5


class Face(NamedTuple):
    """A face from a picture; no box and score if the picture is an aligned face."""

    pixels: Pixels  # uint8 [H, W, 3] RGB, aligned
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1 in the upright picture
    score: float | None = None  # the detector's
    faces: int = 1  # how many the detector saw in the picture


class Hit(NamedTuple):
    """A track or video and how near it is; None for what the file does not say."""

    video_id: str
    track: int | None  # None if the rows are whole videos
    cosine: float  # of the picture to the mean of the unit rows
    rows: int  # frames or faces in the mean
    first: float | None = None  # when it is first and last seen, seconds
    last: float | None = None
    best: float | None = None  # cosine and time of the row nearest to the picture
    best_at: float | None = None


class Found(NamedTuple):
    """The nearest first; ties in the file's order."""

    hits: list[Hit]  # at most as many as were asked for
    compared: int  # tracks or videos
    above: int  # how many of all are at or above the threshold
    empty: int  # how many could not be compared: no usable frame
    units: str  # ``tracks`` or ``videos``


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
        detect: from `vidface.frames.faces.detector.open_detector`; None: it is an aligned face of the network's size.
        size: (height, width) that the network takes.
        target: as `vidface.frames.faces.align.align_faces` takes it.

    Raises:
        MediaError: ``missing``, ``unreadable``, ``unreadable-image``, ``no-face`` or ``wrong-size``.
    """
    pixels = _read_picture(path)
    if detect is None:
        if pixels.shape[:2] != size:
            found, wanted = (f"{width}x{height}" for height, width in (pixels.shape[:2], size))
            words = (
                f"the picture is {found}, an aligned face {wanted}: leave --aligned out to have it aligned"
            )
            raise MediaError("wrong-size", f"{path}: {words}")
        return Face(fit_frame(pixels, size, resize=False))
    faces, border = detect(pixels), 0
    if not len(faces.boxes):
        border = round(BORDER * max(pixels.shape[:2]))
        pixels = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")
        faces = detect(pixels)
    if not len(faces.boxes):
        words = "no face was found in the picture: take another, or align it and pass --aligned"
        raise MediaError("no-face", f"{path}: {words}")
    times = np.zeros(len(faces.boxes))
    main = int(face_weights(faces.boxes, times, pixels.shape[:2], "still").argmax())
    x0, y0, x1, y1 = (float(value) for value in faces.boxes[main] - border)
    aligned = align_faces(pixels, faces.points[main : main + 1], size, target)[0]
    return Face(aligned, (x0, y0, x1, y1), float(faces.scores[main]), len(faces.boxes))


def find(face: Pixels, path: Path, backbone: Backbone, *, threshold: float, top: int) -> Found:
    """Compare a face with every track of a features file (else every video), or every row of an embeddings file.

    Args:
        face: uint8 [H, W, 3] RGB, aligned, of the network's size.
        path: features, or embeddings, whose means leave noise out already.
        backbone: the network that the file was made with.
        threshold: lowest cosine that counts as found.
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
            cosines, usable = _cosines(file["embeddings"][:], query)
            rows = file["kept"][:]
        source, by_track = info, info.attributes.get("by") == "track"
    else:
        by_track = "faces" in info.attributes
        source = _tracks_with_rows(info) if by_track else info
        parts = list(over_videos(source, _cosines_of_means, query, engine=None, label="find"))
        parts = parts or [(np.empty(0), np.empty(0, np.bool_))]  # no video has a face
        cosines, usable = (np.concatenate(column) for column in zip(*parts, strict=True))
        rows = np.diff(source.offsets)
    names = [name.rpartition("#") if by_track else (name, "", "0") for name in source.video_ids]
    if not all(track.isdecimal() for _, _, track in names):
        raise StoreError(f"{info.path}: damaged (rows are tracks, but not all ids are VIDEO#TRACK)")
    compared = int(usable.sum())
    hits = []
    for place in np.argsort(-np.where(usable, cosines, -np.inf), kind="stable")[: min(top, compared)]:
        video, _, track = names[place]
        hit = Hit(video, int(track) if by_track else None, float(cosines[place]), int(rows[place]))
        if source.attributes["kind"] == "features":
            start, stop = source.offsets[place : place + 2]
            times = read_timestamps(path, start, stop)
            unit = normalise_rows(np.array(read_rows(path, start, stop)))
            near = np.einsum("ij,j->i", unit, query, dtype=np.float64)
            best = int(np.argmax(near))
            seen = float(times.min()), float(times.max()), float(near[best]), float(times[best])
            hit = Hit(*hit[:4], *seen)
        hits.append(hit)
    above = int(np.count_nonzero(usable & (cosines >= threshold)))
    return Found(hits, compared, above, len(usable) - compared, "tracks" if by_track else "videos")


def _read_picture(path: Path) -> Pixels:
    try:
        if not path.exists():
            raise MediaError("missing", f"{path}: no such file")
        if not path.is_file():
            raise MediaError("unreadable", f"{path}: not a file")
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
        words = f"does not say what it was made with ({', '.join(unsaid)})"
        raise StoreError(f"{info.path}: {words}: extract it again")
    if made["model_sha256"] != backbone.sha256:
        name = printable(str(made["model_name"]))
        raise UsageError(
            f"{info.path}: made with {name} ({str(made['model_sha256'])[:12]}), "
            f"not with {printable(backbone.card.name)} ({backbone.sha256[:12]}): say the first one by --model"
        )


def _tracks_with_rows(info: FeaturesInfo) -> FeaturesInfo:
    tracks = tracks_of(info)
    filled = np.diff(tracks.offsets) > 0
    names = [name for name, there in zip(tracks.video_ids, filled, strict=True) if there]
    return replace(tracks, video_ids=names, offsets=np.unique(tracks.offsets))


def _cosines_of_means(
    path: Path, offsets: npt.NDArray[np.int64], query: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of a chunk of tracks: cosine of the query to each mean, and whether it has a mean."""
    means = over_blocks(path, offsets, lambda block, bounds: embed_videos(block, bounds, None)[0])
    return _cosines(np.concatenate(means), query)


def _cosines(
    rows: npt.NDArray[np.float32], query: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    return np.einsum("ij,j->i", rows, query, dtype=np.float64), np.asarray(rows.any(axis=1))
