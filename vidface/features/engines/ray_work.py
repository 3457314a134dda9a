"""What is done on a Ray cluster: decoding in tasks on its cores, the network in actors on its GPUs or beside the tasks.

A task decodes one video by the same decoding processes as the local engine, so a decoder that crashes leaves the same
fault. An actor takes the decoded videos of a chunk and fills the same batches from them. Ray does again what was lost
with a process or a node, also videos that had been decoded there.

Actors on GPUs are not yet run on a GPU.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import vidface
from vidface.backbones import load_backbone
from vidface.errors import UsageError, VidfaceError, printable
from vidface.features.engines.batches import embed_chunk, face_embedder
from vidface.features.engines.contract import Embed, ExtractJob
from vidface.features.engines.isolated import Decoders
from vidface.features.engines.reading import Message, ReadOptions, Video
from vidface.features.options import ExtractOptions
from vidface.files.store import VideoRows
from vidface.runtime import cpu_count

RETRIES = 20  # of work whose process or node died; bounded, since it may itself be what kills
CHUNKS_AN_ACTOR = 2  # one that it works at, one that is decoded meanwhile
_ON_NODE = " (on node "
PACKAGES = ("av", "decord2", "numba", "numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "torch")
OF_DETECTION = ("opencv-python", "opencv-python-headless", "uniface")  # matters only where faces are detected

Software = tuple[tuple[str, str], ...]


class Home(NamedTuple):
    """The machine where the command runs: its address, its folder, and what it works with."""

    node: str
    folder: Path
    software: Software


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
    job: ExtractJob, chunks: Sequence[range], advance: Callable[[int], None], *, workers: int | None
) -> Iterator[list[VideoRows]]:
    """The features of every chunk, in order; see `vidface.features.engines.contract.Engine`. Rows may be read-only.

    In flight are 2 chunks an actor, and as many more as give every core of the cluster 2 videos: that many chunks of
    decoded videos is the most that Ray's object store holds at a time.

    Args:
        job, chunks, advance: as the contract says.
        workers: actors; None: one a GPU where this machine's network is on a GPU, else one a node.
    """
    if not chunks:
        return
    home = _home()
    if job.reading.faces is not None:
        home = home._replace(software=home.software + _versions(OF_DETECTION))
    actors = _embedders(job, workers, home)
    bound = CHUNKS_AN_ACTOR * len(actors) + -(-2 * _cores() // max(map(len, chunks)))
    upcoming = iter(chunks)
    waiting: deque[_Running] = deque()
    try:
        while True:
            for chunk in islice(upcoming, bound - len(waiting)):
                waiting.append(_submit(job, chunk, actors, waiting, home))
            if not waiting:
                return
            rows: list[VideoRows] = _get(waiting[0].rows)
            advance(len(waiting.popleft().chunk))
            yield rows
    finally:
        if ray.is_initialized():  # else Ray would start again, to end what has ended with it
            for actor in actors:
                ray.kill(actor)
        _cancel(decoded for running in waiting for decoded in running.decoded)


def map_ordered(function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """``function(*task)`` for every task, in order, two tasks a core of the cluster at a time.

    Results may be read-only.
    """
    home, bound = _home(), 2 * _cores()
    upcoming = iter(tasks)
    running: deque[Any] = deque()
    try:
        while True:
            running.extend(
                _call.remote(home, function, task) for task in islice(upcoming, bound - len(running))
            )
            if not running:
                return
            yield _get(running.popleft())
    finally:
        _cancel(running)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _call(home: Home, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    with _away_from(home):
        return function(*task)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _decode(home: Home, reading: ReadOptions, video: Video, there: bool) -> list[Message]:
    """All messages of a video. ``there``: the command's machine has the file, so it must be here too."""
    with _away_from(home):
        if there and not video.path.exists():
            raise UsageError(
                f"{video.path}: not there{_ON_NODE}{_node()}): all nodes must have the videos at the same path"
            )
        return list(_decoders(reading).read(video))


@cache
def _decoders(reading: ReadOptions) -> Decoders:
    """The decoding process of this one, kept between tasks; it ends with this process, however that ends."""
    return Decoders(reading)


# Without a claim to a core: on a cluster of one core the tasks that feed it could never run.
@ray.remote(num_cpus=0, max_restarts=RETRIES, max_task_retries=RETRIES)
class _Embedder:
    """Holds the network of a job. It is loaded by the first chunk, whose error can be told; one of __init__ cannot."""

    def __init__(self, home: Home, network: Network) -> None:
        self._home, self._network = home, network
        self._embed: Embed | None = None

    def embed_chunk(self, video_ids: list[str], decoded: list[Any]) -> list[VideoRows]:
        """The rows of a chunk; ``decoded`` are the references to its videos' messages."""
        network = self._network
        with _away_from(self._home):
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
            f"{options.model}: another model{_ON_NODE}{_node()}): all nodes must have the same model and card at the "
            "same path"
        )
    if backbone.device != network.device:
        raise UsageError(
            f"the network runs on {network.device} where the command runs, "
            f"but on {backbone.device}{_ON_NODE}{_node()}): use machines of one kind"
        )
    return face_embedder(backbone, options)


def _embedders(job: ExtractJob, workers: int | None, home: Home) -> list[Any]:
    on_gpu = not job.backbone.device.startswith("cpu")
    if on_gpu:
        gpus = int(sum(node["Resources"].get("GPU", 0) for node in _nodes()))
        if not gpus:
            raise UsageError(
                f"the network runs on {job.backbone.device} here, but the Ray cluster has no GPU: say --device cpu"
            )
        count = min(workers or gpus, gpus)  # more would wait for a GPU for ever, and their chunks with them
        places: list[Any] = ["SPREAD"]
    else:
        # Named one by one: Ray does not spread what claims nothing. Where a node is gone another takes its actor.
        places = [
            NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
            for node in _nodes()
            if node["Resources"].get("CPU", 0) >= 1
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
        _Embedder.options(num_gpus=int(on_gpu), scheduling_strategy=place).remote(home, network)  # type: ignore[attr-defined]
        for place in islice(cycle(places), count)
    ]


def _submit(
    job: ExtractJob, chunk: range, actors: Sequence[Any], waiting: Iterable[_Running], home: Home
) -> _Running:
    """Set a chunk on its way, to the actor that has least to do."""
    videos = [job.videos[video] for video in chunk]
    decoded = [_decode.remote(home, job.reading, video, video.path.exists()) for video in videos]
    unfinished = Counter(
        running.actor for running in waiting if not ray.wait([running.rows], timeout=0, fetch_local=False)[0]
    )
    actor = min(range(len(actors)), key=lambda index: unfinished[index])
    rows = actors[actor].embed_chunk.remote([video.video_id for video in videos], decoded)
    return _Running(chunk, decoded, rows, actor)


def _nodes() -> list[dict[str, Any]]:
    """Every living node, as Ray describes it."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _cores() -> int:
    """Cores of the whole cluster."""
    cores = int(sum(node["Resources"].get("CPU", 0) for node in _nodes()))
    if not cores:
        raise UsageError("the Ray cluster has no core to work on: start a node with --num-cpus 1 or more")
    return cores


def _get(reference: Any) -> Any:
    """A result, or what the work has raised, as it would have raised it here."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause: BaseException = error.cause
        if isinstance(cause, RuntimeError) and "failed to import on the worker" in str(cause):
            raise UsageError(
                f"a node has no vidface that could be imported: {printable(str(error))}"
            ) from error
        raise cause from error
    except RayError as error:
        raise VidfaceError(f"Ray gave the work up: {printable(str(error))[:300]}") from error


def _cancel(references: Iterable[Any]) -> None:
    """Nobody waits for these any more."""
    if ray.is_initialized():
        for reference in references:
            ray.cancel(reference, force=True)


@contextlib.contextmanager
def _away_from(home: Home) -> Iterator[None]:
    """Work for the command on a node: with the same software only, and errors say which node it was.

    Raises:
        UsageError: this node has other software.
    """
    _arrive(home)
    try:
        yield
    except (VidfaceError, OSError) as error:
        if _node() != home.node and _ON_NODE not in str(error):
            where = f"{_ON_NODE}{_node()})"
            if isinstance(error, OSError):
                error.strerror = f"{error.strerror}{where}"
            else:
                error.args = (f"{error}{where}", *error.args[1:])
        raise


def _home() -> Home:
    return Home(_node(), Path.cwd(), _software())


def _node() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


@cache
def _software() -> Software:
    """What decides the bytes beside the input, as (name, version)."""
    return (
        ("vidface", vidface.__version__),
        ("Python", ".".join(platform.python_version_tuple()[:2])),
        *_versions(PACKAGES),
    )


def _versions(distributions: Sequence[str]) -> Software:
    return tuple((name, _version(name)) for name in distributions)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


@lru_cache(1)
def _arrive(home: Home) -> None:
    """Go where the command is, so that a path means the same here; refuse to work where results could differ.

    Raises:
        UsageError: this node has another vidface, Python or library than the machine where the command runs.
    """
    here = dict(_software() + _versions(OF_DETECTION))
    different = [
        f"{name} is {here[name]} there, {theirs} where the command runs"
        for name, theirs in home.software
        if here[name] != theirs
    ]
    if different:
        raise UsageError(f"node {_node()} has other software: {'; '.join(different)}: install the same")
    with contextlib.suppress(OSError):  # it matters to relative paths alone, and these are missed by name
        os.chdir(home.folder)
