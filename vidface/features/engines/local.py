"""The engine of this machine: decoding processes feed the network of this process; computations run in threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice

from vidface.features.engines.batches import embed_chunk, face_embedder
from vidface.features.engines.contract import Engine, ExtractJob
from vidface.features.engines.isolated import Decoders
from vidface.features.engines.reading import Message, Read, Video, VideoEnd, read_video
from vidface.files.store import VideoRows
from vidface.runtime import WAKE_SECONDS, cpu_count, map_ordered

QUEUE_BLOCKS = 4  # blocks of frames that reading may be ahead with, for each video


def local_engine(workers: int | None = None) -> Engine:
    """The engine of this machine; see `vidface.features.engines.open_engine`."""
    return Engine(
        partial(extract_chunks, workers=cpu_count() if workers is None else workers),
        partial(map_ordered, workers=workers or cpu_count()),
    )


def extract_chunks(
    job: ExtractJob, chunks: Sequence[range], advance: Callable[[int], None], *, workers: int
) -> Iterator[list[VideoRows]]:
    """The features of every chunk, in order; see `vidface.features.engines.contract.Engine`.

    With 0 ``workers`` videos are decoded in threads of this process, as many as there are cores.

    Memory holds, beside the network, one chunk's features, one batch, and of each of 2 x workers videos at most
    `QUEUE_BLOCKS` blocks of frames, with another block and a pipe in each worker's hands: 17 MB a worker at 112x112.
    """
    embed = face_embedder(job.backbone, job.options)
    with Decoders(job.reading) as decoders:
        read: Read = decoders.read if workers else partial(read_video, reading=job.reading)
        videos = [job.videos[video] for chunk in chunks for video in chunk]
        with closing(read_ahead(videos, read, workers or cpu_count(), decoders.stop)) as messages:
            for chunk in chunks:
                yield embed_chunk(
                    [job.videos[video].video_id for video in chunk],
                    messages,
                    embed,
                    dimension=job.backbone.card.dimension,
                    dtype=job.options.dtype,
                    batch_size=job.options.batch_size,
                    advance=advance,
                    track=job.reading.faces and job.reading.faces.track,
                )


def read_ahead(
    videos: Sequence[Video], read: Read, threads: int, on_stop: Callable[[], None] = lambda: None
) -> Generator[Message]:
    """The messages of all videos, in the order of the videos, read by threads that are ahead by a bounded number.

    ``on_stop`` is called when the caller takes no more: it ends whatever a `read` may be waiting for.
    """
    stop = threading.Event()

    def put(messages: queue.Queue[Message | BaseException], message: Message | BaseException) -> None:
        while not stop.is_set():
            try:
                messages.put(message, timeout=WAKE_SECONDS)
                return
            except queue.Full:
                continue

    def work(video: Video, messages: queue.Queue[Message | BaseException]) -> None:
        try:
            for message in read(video):
                put(messages, message)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to the consuming thread, which raises it
            put(messages, error)

    waiting: deque[queue.Queue[Message | BaseException]] = deque()
    upcoming = iter(videos)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            while True:
                # Threads take videos in order, so the first in line is always being read: no deadlock.
                for video in islice(upcoming, 2 * threads - len(waiting)):
                    waiting.append(queue.Queue(QUEUE_BLOCKS))
                    pool.submit(work, video, waiting[-1])
                if not waiting:
                    return
                messages = waiting.popleft()
                message: Message | BaseException | None = None
                while not isinstance(message, VideoEnd):
                    try:
                        message = messages.get(timeout=WAKE_SECONDS)
                    except queue.Empty:
                        continue
                    if isinstance(message, BaseException):
                        raise message
                    yield message
        finally:
            stop.set()
            on_stop()
            pool.shutdown(cancel_futures=True)
