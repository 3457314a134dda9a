"""What is done on a Ray cluster: decoding in tasks on its cores, the network in actors on its GPUs or beside the tasks.

A task decodes one video by the same decoding processes as the local engine, so a decoder that crashes leaves the same
fault. An actor takes the decoded videos of a chunk and fills the same batches from them. Ray does again what was lost
with a process or a node, also videos that had been decoded there.

Actors on GPUs are not yet run on a GPU.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import cycle, islice
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vidface.backbones import load_backbone
from vidface.errors import ClusterError, UsageError, printable
from vidface.features.engines.batches import embed_chunk, face_embedder
from vidface.features.engines.contract import Embed, ExtractJob
from vidface.features.engines.isolated import Decoders
from vidface.features.engines.ray_nodes import (
    ON_NODE,
    Home,
    Nodes,
    away_from,
    fingerprint,
    home,
    node,
    nodes,
    require_same,
)
from vidface.features.engines.reading import Message, ReadOptions, Video
from vidface.features.options import ExtractOptions
from vidface.files.store import VideoRows
from vidface.runtime import cpu_count

RETRIES = 20  # of work whose process or node died; bounded, since it may itself be what kills
CHUNKS_AN_ACTOR = 2  # one that it works at, one that is decoded meanwhile
LOOK_SECONDS = 1.0  # between two looks at the cluster while a result is waited for
LOOKERS = 16  # threads that look at the videos of a chunk: on a disk of the network each waits for answers
_ACTOR_BYTES = 1 << 20  # claimed, not held: Ray places what claims nothing anywhere, also two on one node
# What Ray says where a node cannot even take the work.
_OTHER_CODE = re.compile(
    r"failed to import on the worker|No module named '?vidface[\w.]*|Can't get attribute .*"
)


class Network(NamedTuple):
    """What an actor needs to know of a job: where its network is from and must be like, and what rows to make."""

    options: ExtractOptions
    sha256: str
    device: str
    dimension: int
    track: str | None


class _Running(NamedTuple):
    """A chunk on its way: its decoded videos and its rows to be, and the actor that makes them."""

    chunk: range
    decoded: list[Any]
    rows: Any
    actor: int


def extract_chunks(
    job: ExtractJob,
    chunks: Sequence[range],
    advance: Callable[[int], None],
    *,
    workers: int | None,
    lost: list[str],
) -> Iterator[list[VideoRows]]:
    """The features of every chunk, in order; see `vidface.features.engines.contract.Engine`. Rows may be read-only.

    In flight are 2 chunks an actor, and as many more as give every core of the cluster 2 videos: that many chunks of
    decoded videos is the most that Ray's object store holds at a time.

    Args:
        job, chunks, advance: as the contract says.
        workers: actors; None: one a GPU where this machine's network is on a GPU, else one a node.
        lost: gets the address of every node that is lost meanwhile.
    """
    if not chunks:
        return
    here, seen = home(detection=job.reading.faces is not None), Nodes(lost)
    actors = _embedders(job, workers, here)
    bound = CHUNKS_AN_ACTOR * len(actors) + -(-2 * _cores() // max(map(len, chunks)))
    upcoming = iter(chunks)
    waiting: deque[_Running] = deque()
    try:
        while True:
            for chunk in islice(upcoming, bound - len(waiting)):
                waiting.append(_submit(job, chunk, actors, waiting, here))
            if not waiting:
                seen.look()
                return
            done, running = 0, waiting[0]
            while done < len(running.chunk):
                there = _is_there(running.rows)
                # As far as can be told from here, a decoded video is done.
                now = len(running.chunk) if there else min(_count(running.decoded), len(running.chunk) - 1)
                if now > done:
                    advance(now - done)
                    done = now
                if not there:
                    seen.look()
            rows: list[VideoRows] = _get(running.rows)
            waiting.popleft()
            yield rows
    finally:
        if ray.is_initialized():  # else Ray would start again, to end what has ended with it
            for actor in actors:
                ray.kill(actor)
        _cancel(decoded for running in waiting for decoded in running.decoded)


def map_ordered(
    function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], *, lost: list[str]
) -> Iterator[Any]:
    """``function(*task)`` for every task, in order, two tasks a core of the cluster at a time.

    Results may be read-only. ``lost`` is as in `extract_chunks`.
    """
    here, seen, bound = home(), Nodes(lost), 2 * _cores()
    upcoming = iter(tasks)
    running: deque[Any] = deque()
    try:
        while True:
            running.extend(
                _call.remote(here, function, task) for task in islice(upcoming, bound - len(running))
            )
            if not running:
                seen.look()
                return
            while not _is_there(running[0]):
                seen.look()
            yield _get(running.popleft())
    finally:
        _cancel(running)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _call(command: Home, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    with away_from(command):
        return function(*task)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _decode(command: Home, reading: ReadOptions, video: Video, told: str) -> list[Message]:
    """All messages of a video, which is ``told`` by the `fingerprint` that it has where the command runs."""
    with away_from(command):
        require_same(video.path, told)
        return list(_decoders(reading).read(video))


@cache
def _decoders(reading: ReadOptions) -> Decoders:
    """The decoding process of this one, kept between tasks; it ends with this process, however that ends."""
    return Decoders(reading)


# Without a claim to a core: on a cluster of one core the tasks that feed it could never run.
@ray.remote(num_cpus=0, memory=_ACTOR_BYTES, max_restarts=RETRIES, max_task_retries=RETRIES)
class _Embedder:
    """Holds the network of a job. It is loaded by the first chunk, whose error can be told; one of __init__ cannot."""

    def __init__(self, command: Home, network: Network) -> None:
        self._command, self._network = command, network
        self._embed: Embed | None = None

    def embed_chunk(self, video_ids: list[str], decoded: list[Any]) -> list[VideoRows]:
        """The rows of a chunk; ``decoded`` are the references to its videos' messages."""
        network = self._network
        with away_from(self._command):
            if self._embed is None:
                self._embed = _load(network)
            return embed_chunk(
                video_ids,
                (message for reference in decoded for message in _get(reference)),
                self._embed,
                dimension=network.dimension,
                dtype=network.options.dtype,
                batch_size=network.options.batch_size,
                advance=lambda _: None,
                track=network.track,
            )


def _load(network: Network) -> Embed:
    """The network of this node, which must be that of the machine where the command runs."""
    options = network.options
    on_gpu = not network.device.startswith("cpu")
    # Ray tells libraries to use one thread.
    backbone = load_backbone(
        options.model,
        overrides=options.card(),
        device="cuda" if on_gpu else "cpu",
        half=options.half,
        threads=cpu_count(),
        probed=False,  # it is the same file as where the command runs, which has
    )
    if backbone.sha256 != network.sha256:
        raise UsageError(
            f"{options.model}: another model{ON_NODE}{node()}): all nodes must have the same model and card at the "
            "same path"
        )
    if backbone.device != network.device:
        raise UsageError(
            f"the network runs on {network.device} where the command runs, "
            f"but on {backbone.device}{ON_NODE}{node()}): use machines of one kind"
        )
    return face_embedder(backbone, options)


def _embedders(job: ExtractJob, workers: int | None, command: Home) -> list[Any]:
    on_gpu = not job.backbone.device.startswith("cpu")
    if on_gpu:
        gpus = int(sum(each["Resources"].get("GPU", 0) for each in nodes()))
        if not gpus:
            raise UsageError(
                f"the network runs on {job.backbone.device} here, but the Ray cluster has no GPU: pass --device cpu"
            )
        count = min(workers or gpus, gpus)  # more would wait for a GPU for ever, and their chunks with them
        places: list[Any] = ["SPREAD"]
    else:
        # Named one by one, so that no node has two; where one is gone another takes its actor.
        places = [
            NodeAffinitySchedulingStrategy(each["NodeID"], soft=True)
            for each in nodes()
            if each["Resources"].get("CPU", 0) >= 1
        ]
        count = workers or len(places)
    network = Network(
        options=job.options,
        sha256=job.backbone.sha256,
        device=job.backbone.device,
        dimension=job.backbone.card.dimension,
        track=job.reading.faces and job.reading.faces.track,
    )
    return [
        _Embedder.options(num_gpus=int(on_gpu), scheduling_strategy=place).remote(command, network)  # type: ignore[attr-defined]
        for place in islice(cycle(places), count)
    ]


def _submit(
    job: ExtractJob, chunk: range, actors: Sequence[Any], waiting: Iterable[_Running], command: Home
) -> _Running:
    """Set a chunk on its way, to the actor that has least to do."""
    videos = [job.videos[video] for video in chunk]
    with ThreadPoolExecutor(LOOKERS) as pool:
        told = pool.map(fingerprint, [video.path for video in videos])
        decoded = [
            _decode.remote(command, job.reading, video, its_print)
            for video, its_print in zip(videos, told, strict=True)
        ]
    unfinished = Counter(
        running.actor for running in waiting if not ray.wait([running.rows], timeout=0, fetch_local=False)[0]
    )
    actor = min(range(len(actors)), key=lambda index: unfinished[index])
    rows = actors[actor].embed_chunk.remote([video.video_id for video in videos], decoded)
    return _Running(chunk, decoded, rows, actor)


def _cores() -> int:
    """Cores of the whole cluster."""
    cores = int(sum(each["Resources"].get("CPU", 0) for each in nodes()))
    if not cores:
        raise UsageError("the Ray cluster has no core to work on: start a node with --num-cpus 1 or more")
    return cores


def _is_there(result: Any) -> bool:
    """Whether a result is there; waits a little for it."""
    return bool(ray.wait([result], timeout=LOOK_SECONDS, fetch_local=False)[0])


def _count(results: list[Any]) -> int:
    """How many results are there."""
    return len(ray.wait(results, num_returns=len(results), timeout=0, fetch_local=False)[0])


def _get(reference: Any) -> Any:
    """A result, or what the work has raised, as it would have raised it here."""
    try:
        return ray.get(reference)
    except RayError as error:
        if found := _OTHER_CODE.search(str(error)):
            raise UsageError(
                f"a node has no vidface that can be imported, or a different one ({printable(found.group())}): install "
                "the same on all"
            ) from error
        if isinstance(error, RayTaskError):
            cause: BaseException = error.cause
            raise cause from error
        raise ClusterError(f"Ray gave the work up: {printable(str(error))[:300]}") from error


def _cancel(references: Iterable[Any]) -> None:
    """Nobody waits for these any more."""
    if ray.is_initialized():
        for reference in references:
            ray.cancel(reference, force=True)
