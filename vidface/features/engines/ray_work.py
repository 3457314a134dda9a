"""What is done on a Ray cluster: decoding in tasks on its cores, the network in actors on its GPUs or beside the tasks.

A task decodes one video by the same decoding processes as the local engine, so a decoder that crashes leaves the same
fault. An actor takes the decoded videos of a chunk and fills the same batches from them. Ray does again what was lost
with a process or a node, also videos that had been decoded there.

Actors on GPUs are not yet run on a GPU.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import cycle, islice
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vidface.backbones import Backbone, load_backbone
from vidface.errors import ClusterError, UsageError, printable
from vidface.features.engines.batches import embed_chunk, face_embedder
from vidface.features.engines.contract import ExtractJob
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
from vidface.runtime import cpu_count, map_ordered

RETRIES = 20  # of work whose process or node died; bounded, since it may itself be what kills
CHUNKS_AN_ACTOR = 2  # one that it works at, one that is decoded meanwhile
LOOK_SECONDS = 1.0  # between two looks at the cluster while a result is waited for
LOOKERS = 16  # threads that look at the videos of a chunk: on a network disk each waits for answers
_ACTOR_BYTES = 1 << 20  # claimed, not held: Ray places what claims nothing anywhere, also two on one node
# What Ray says if a node cannot even take the work.
_OTHER_CODE = re.compile(
    r"failed to import on the worker|No module named '?vidface[\w.]*|Can't get attribute .*"
)


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
    decoded frames lie in Ray's object store, which spills to disk when it is full.

    Args:
        job, chunks, advance: as the contract says.
        workers: actors that hold the network; None: one a GPU if the network runs on a GPU, else one a node.
        lost: gets the address of every node that is lost meanwhile.
    """
    if not chunks:
        return
    here = home(detection=job.reading.faces is not None)
    actors = _embedders(job, workers, here)
    in_turn = cycle(actors)
    # Videos of the chunk that is waited for: as far as can be told from here, a decoded one is done.
    counted = 0

    def start(chunk: range) -> list[Any]:
        videos = [job.videos[video] for video in chunk]
        paths = [(video.path,) for video in videos]
        decoded = [
            _decode.remote(here, job.reading, video, told)
            for video, told in zip(videos, map_ordered(fingerprint, paths, workers=LOOKERS), strict=True)
        ]
        return [next(in_turn).embed_chunk.remote([video.video_id for video in videos], decoded), *decoded]

    def count(decoded: list[Any]) -> None:
        nonlocal counted
        done = min(_are_there(decoded), len(decoded) - 1)
        if done > counted:
            advance(done - counted)
            counted = done

    bound = CHUNKS_AN_ACTOR * len(actors) + -(-2 * _cores() // max(map(len, chunks)))
    try:
        with closing(_in_order(start, chunks, bound, lost, count)) as results:
            for chunk, rows in zip(chunks, results, strict=True):
                advance(len(chunk) - counted)
                counted = 0
                yield rows
    finally:
        if ray.is_initialized():  # else Ray would start again, to end what has ended with it
            for actor in actors:
                ray.kill(actor)


def map_ray(
    function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], *, lost: list[str]
) -> Iterator[Any]:
    """``function(*task)`` for every task, in order, two tasks a core of the cluster at a time.

    Results may be read-only. ``lost`` is as in `extract_chunks`.
    """
    here = home()
    return _in_order(lambda task: [_call.remote(here, function, task)], tasks, 2 * _cores(), lost)


def _in_order(
    start: Callable[[Any], list[Any]],
    tasks: Iterable[Any],
    bound: int,
    lost: list[str],
    still_waiting: Callable[[list[Any]], None] = lambda _: None,
) -> Generator[Any]:
    """The results of tasks, in order, of which at most ``bound`` are begun and not yet taken.

    ``start`` gives the reference to a task's result, and those to the work before it.
    """
    seen, upcoming = Nodes(lost), iter(tasks)
    waiting: deque[list[Any]] = deque()
    try:
        while True:
            waiting.extend(start(task) for task in islice(upcoming, bound - len(waiting)))
            if not waiting:
                seen.look()
                return
            result, *before = waiting[0]
            while not _are_there([result], LOOK_SECONDS):
                still_waiting(before)
                seen.look()
            waiting.popleft()  # first: Ray may end the process if a task is cancelled that has just failed
            yield _get(result)
    finally:  # nobody waits for these any more
        if ray.is_initialized():
            for result, *before in waiting:
                for reference in before or [result]:  # an actor's work cannot be ended so
                    ray.cancel(reference, force=True)


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

    def __init__(
        self, command: Home, options: ExtractOptions, sha256: str, device: str, track: str | None
    ) -> None:
        self._command, self._options, self._track = command, options, track
        self._wanted = sha256, device
        self._backbone: Backbone | None = None

    def embed_chunk(self, video_ids: list[str], decoded: list[Any]) -> list[VideoRows]:
        """The rows of a chunk; ``decoded`` are the references to its videos' messages."""
        with away_from(self._command):
            if self._backbone is None:
                self._backbone = _load(self._options, *self._wanted)
            return embed_chunk(
                video_ids,
                (message for reference in decoded for message in _get(reference)),
                face_embedder(self._backbone, self._options),
                dimension=self._backbone.card.dimension,
                dtype=self._options.dtype,
                batch_size=self._options.batch_size,
                advance=lambda _: None,
                track=self._track,
            )


def _load(options: ExtractOptions, sha256: str, device: str) -> Backbone:
    """The network of this node, which must be that of the machine where the command runs."""
    backbone = load_backbone(
        options.model,
        overrides=options.card(),
        device="cpu" if device.startswith("cpu") else "cuda",
        half=options.half,
        threads=cpu_count(),  # Ray tells libraries to use one
        probed=False,  # it is the same file as where the command runs, which has
    )
    if backbone.sha256 != sha256:
        raise UsageError(
            f"{options.model}: another model{ON_NODE}{node()}): all nodes must have the same model and card at the "
            "same path"
        )
    if backbone.device != device:
        raise UsageError(
            f"the network runs on {device} where the command runs, "
            f"but on {backbone.device}{ON_NODE}{node()}): use machines of one kind"
        )
    return backbone


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
        # Named one by one, so that no node has two; if one is gone another takes its actor.
        places = [
            NodeAffinitySchedulingStrategy(each["NodeID"], soft=True)
            for each in nodes()
            if each["Resources"].get("CPU", 0) >= 1
        ]
        count = workers or len(places)
    network = (
        job.options,
        job.backbone.sha256,
        job.backbone.device,
        job.reading.faces and job.reading.faces.track,
    )
    return [
        _Embedder.options(num_gpus=int(on_gpu), scheduling_strategy=place).remote(command, *network)  # type: ignore[attr-defined]
        for place in islice(cycle(places), count)
    ]


def _cores() -> int:
    """Cores of the whole cluster."""
    cores = int(sum(each["Resources"].get("CPU", 0) for each in nodes()))
    if not cores:
        raise UsageError("the Ray cluster has no core to work on: start a node with --num-cpus 1 or more")
    return cores


def _are_there(results: list[Any], seconds: float = 0) -> int:
    """How many results are there; waits so long for all of them."""
    return len(ray.wait(results, num_returns=len(results), timeout=seconds, fetch_local=False)[0])


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
