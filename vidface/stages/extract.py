"""Frames -> features: decoding threads feed one backbone, and batches are filled across videos.

The manifest is worked off in shards of `SHARD_VIDEOS` consecutive videos, each a file that is whole or absent, in
``<output>.parts/``. Batches never cross a shard, so a run that was killed goes on with exactly the batches that it
would have had, and ends in the same bytes. When all shards are there they are joined and removed.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import vidface
from vidface.backbones import Backbone
from vidface.errors import MediaError
from vidface.frames import ReadReport, fit_frame, read_frames
from vidface.machine import cpu_count
from vidface.manifest import Manifest
from vidface.progress import progress
from vidface.stages.outputs import (
    FAULTS_FILE,
    exclusive,
    read_faults,
    read_json,
    record_faults,
    refuse_changed,
    write_json,
)
from vidface.store import (
    Fault,
    VideoRows,
    join_shards,
    read_attributes,
    read_features,
    shard_faults,
    write_shard,
)

SHARD_VIDEOS = 64  # what a kill can cost; also the most videos a batch can be filled from
QUEUE_BLOCKS = 4  # blocks of frames a decoding thread may be ahead with, for each video
BLOCK_FRAMES = 32

Pixels = npt.NDArray[np.uint8]
Reader = Callable[[Path, ReadReport], Iterator[tuple[Pixels, float]]]


@dataclass(frozen=True)
class ExtractResult:
    """What a run of extract did: counts of videos by status, of frames, and where the files are."""

    output: Path
    videos: int
    frames: int
    status: dict[str, int]
    faults: dict[str, int]
    faults_file: Path
    resumed_videos: int
    already_done: bool


def extract(
    manifest: Manifest,
    backbone: Backbone,
    output: Path,
    *,
    decoder: str = "pyav",
    fps: float | None = 8.0,
    flip: bool = False,
    resize: bool = False,
    half: bool = False,
    dtype: str = "float32",
    batch_size: int = 32,
    workers: int | None = None,
) -> ExtractResult:
    """Extract the features of every frame of every video of a manifest into one HDF5 file.

    A video that cannot be read keeps its row with status ``failed`` and no frames; what is wrong is listed in
    ``faults.jsonl`` beside the output.

    Args:
        manifest: the videos; the order of its rows is the order of the file.
        backbone: the network, from `vidface.backbones.load_backbone`.
        output: the HDF5 file to write.
        decoder: one of `vidface.frames.DECODERS`.
        fps: frames a second taken by presentation time; None takes every frame. Folders are taken whole.
        flip: embedding(frame) + embedding(mirrored frame), unnormalised (protocol: LFRC).
        resize: resize frames of another size than the network's; otherwise such a video is a fault.
        half: what the backbone was loaded with; a part of the run's identity.
        dtype: ``float32`` or ``float16``, of the stored rows.
        batch_size: faces a call of the network.
        workers: decoding threads; None uses every core.

    Raises:
        ChangedError: the output, or unfinished work for it, was made with another model, manifest or option.
        UsageError: another run writes this output now.
    """
    identity = _identity(manifest, backbone, decoder, fps, flip, resize, half, dtype)
    parts = output.with_name(output.name + ".parts")
    with exclusive(output):
        if output.exists():
            refuse_changed(output, read_attributes(output, "features"), identity)
            shutil.rmtree(parts, ignore_errors=True)
            return _result(output, resumed=len(manifest.video_ids), already_done=True)
        parts.mkdir(exist_ok=True)
        identity_file = parts / "identity.json"
        if identity_file.exists():
            refuse_changed(parts, read_json(identity_file), identity)
        else:
            write_json(identity_file, identity)

        def reader(path: Path, report: ReadReport) -> Iterator[tuple[Pixels, float]]:
            for frame in read_frames(path, decoder=decoder, fps=fps, report=report):
                yield fit_frame(frame.pixels, backbone.card.input_size, resize=resize), frame.pts_seconds

        def embed(pixels: Pixels) -> npt.NDArray[np.float32]:
            features = backbone.embed(pixels)
            return features + backbone.embed(pixels[:, :, ::-1]) if flip else features

        resumed = extract_shards(
            manifest,
            parts,
            reader,
            embed,
            dimension=backbone.card.dimension,
            dtype=dtype,
            batch_size=batch_size,
            workers=workers or cpu_count(),
        )
        attributes = {**identity, "device": backbone.device, "program_version": vidface.__version__}
        shards = [parts / name for name, _ in _shards(len(manifest.video_ids))]
        # The features file comes last: once it is there, everything else about this run is there too.
        record_faults(output, "extract", shard_faults(shards))
        join_shards(shards, output, attributes)
        shutil.rmtree(parts)
        return _result(output, resumed=resumed, already_done=False)


def extract_shards(
    manifest: Manifest,
    parts: Path,
    reader: Reader,
    embed: Callable[[Pixels], npt.NDArray[np.float32]],
    *,
    dimension: int,
    dtype: str,
    batch_size: int,
    workers: int,
) -> int:
    """Write every shard that is not in ``parts`` yet; returns how many videos were there already.

    Memory holds one batch, the blocks that the decoding threads are ahead with, and one shard's features.
    """
    shards = _shards(len(manifest.video_ids))
    missing = [(name, videos) for name, videos in shards if not (parts / name).exists()]
    todo = [video for _, videos in missing for video in videos]
    messages = _read_ahead(todo, lambda video: _read_video(manifest, video, reader), workers)
    with progress("extract", len(todo), "videos") as advance:
        for name, videos in missing:
            rows = _embed_run(manifest, messages, videos, embed, dimension, dtype, batch_size, advance)
            write_shard(parts / name, rows, dimension, dtype)
    return len(manifest.video_ids) - len(todo)


def _shards(n_videos: int) -> list[tuple[str, range]]:
    starts = range(0, n_videos, SHARD_VIDEOS)
    return [
        (f"shard-{start // SHARD_VIDEOS:06d}.h5", range(start, min(start + SHARD_VIDEOS, n_videos)))
        for start in starts
    ]


class Block(NamedTuple):
    """Consecutive frames of one video: ``pixels`` uint8 [b, H, W, 3] and ``times`` [b], seconds."""

    pixels: Pixels
    times: list[float]


class VideoEnd(NamedTuple):
    """A video is read to its end; (kind, detail) of everything that was wrong with it."""

    faults: list[tuple[str, str]]


Message = Block | VideoEnd


def _read_video(manifest: Manifest, video: int, reader: Reader) -> Iterator[Message]:
    report = ReadReport()
    pixels: list[Pixels] = []
    times: list[float] = []
    try:
        for frame, seconds in reader(manifest.video_path(video), report):
            pixels.append(frame)
            times.append(seconds)
            if len(pixels) == BLOCK_FRAMES:
                yield Block(np.stack(pixels), times)
                pixels, times = [], []
    except MediaError as error:
        report.faults.append((error.kind, str(error)))
    if pixels:
        yield Block(np.stack(pixels), times)
    yield VideoEnd(report.faults)


def _read_ahead(
    videos: Sequence[int], read: Callable[[int], Iterator[Message]], workers: int
) -> Iterator[Message]:
    """The messages of all videos, in the order of the videos, read by threads that are ahead by a bounded number."""
    stop = threading.Event()

    def put(messages: queue.Queue[Message | BaseException], message: Message | BaseException) -> None:
        while not stop.is_set():
            try:
                messages.put(message, timeout=0.2)
                return
            except queue.Full:
                continue

    def work(video: int, messages: queue.Queue[Message | BaseException]) -> None:
        try:
            for message in read(video):
                put(messages, message)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to the consuming thread, which raises it
            put(messages, error)

    waiting: deque[queue.Queue[Message | BaseException]] = deque()
    upcoming = iter(videos)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            while True:
                # Threads take videos in order, so the first in line is always being read: no deadlock.
                for video in islice(upcoming, 2 * workers - len(waiting)):
                    waiting.append(queue.Queue(QUEUE_BLOCKS))
                    pool.submit(work, video, waiting[-1])
                if not waiting:
                    return
                messages = waiting.popleft()
                message: Message | BaseException | None = None
                while not isinstance(message, VideoEnd):
                    message = messages.get()
                    if isinstance(message, BaseException):
                        raise message
                    yield message
        finally:
            stop.set()


def _embed_run(
    manifest: Manifest,
    messages: Iterator[Message],
    videos: range,
    embed: Callable[[Pixels], npt.NDArray[np.float32]],
    dimension: int,
    dtype: str,
    batch_size: int,
    advance: Callable[[int], None],
) -> list[VideoRows]:
    """The features of one shard's videos: batches are filled across its videos, in order."""
    features = [np.empty((0, dimension), dtype)]
    times: list[list[float]] = []
    ends: list[VideoEnd] = []
    batch: Pixels | None = None
    filled = 0
    for _ in videos:
        times.append([])
        while isinstance(message := next(messages), Block):
            times[-1] += message.times
            if batch is None:
                batch = np.empty((batch_size, *message.pixels.shape[1:]), np.uint8)
            rest = message.pixels
            while len(rest):
                taken = rest[: batch_size - filled]
                batch[filled : filled + len(taken)] = taken
                filled, rest = filled + len(taken), rest[len(taken) :]
                if filled == batch_size:
                    features.append(_stored(embed(batch), dtype))
                    filled = 0
        ends.append(message)
        advance(1)
    if batch is not None and filled:
        features.append(_stored(embed(batch[:filled]), dtype))
    bounds = np.cumsum([0, *(len(seconds) for seconds in times)])
    rows = np.concatenate(features)
    return [
        _video_rows(
            manifest.video_ids[video],
            rows[bounds[i] : bounds[i + 1]],
            np.array(times[i], np.float32),
            ends[i].faults,
        )
        for i, video in enumerate(videos)
    ]


def _stored(features: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # beyond float16: becomes infinite here, and a fault below
        return features.astype(dtype)


def _video_rows(
    video_id: str,
    features: npt.NDArray[Any],
    timestamps: npt.NDArray[np.float32],
    faults: list[tuple[str, str]],
) -> VideoRows:
    """Drop what the network could not embed, and say so."""
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        detail = (
            f"{np.count_nonzero(~finite)} of {len(finite)} frames gave NaN or infinite features: left out"
        )
        faults = [*faults, ("not-finite", detail)]
    if not finite.any() and not faults:
        faults = [("no-frames", "no frame could be read")]
    status = "failed" if not finite.any() else "partial" if faults else "ok"
    listed: list[Fault] = [
        {"video": video_id, "stage": "extract", "kind": kind, "detail": detail} for kind, detail in faults
    ]
    return VideoRows(video_id, features[finite], timestamps[finite], status, listed)


def _identity(
    manifest: Manifest,
    backbone: Backbone,
    decoder: str,
    fps: float | None,
    flip: bool,
    resize: bool,
    half: bool,
    dtype: str,
) -> dict[str, Any]:
    """What makes two runs the same run. Batch size, workers and device are not part of it."""
    return {
        "manifest_sha256": manifest.sha256,
        "model_name": backbone.card.name,
        "model_sha256": backbone.sha256,
        "colour_order": backbone.card.colour_order,
        "decoder": decoder,
        "fps": "all" if fps is None else format(fps, "g"),
        "flip": flip,
        "resize": resize,
        "half": half,
        "dtype": dtype,
    }


def _result(output: Path, *, resumed: int, already_done: bool) -> ExtractResult:
    info = read_features(output)
    faults_file = output.with_name(FAULTS_FILE)
    mine = [fault for fault in read_faults(faults_file) if fault.get("output") == output.name]
    return ExtractResult(
        output=output,
        videos=len(info.video_ids),
        frames=int(info.offsets[-1]),
        status=dict(Counter(info.status)),
        faults=dict(Counter(fault["kind"] for fault in mine)),
        faults_file=faults_file,
        resumed_videos=resumed,
        already_done=already_done,
    )
