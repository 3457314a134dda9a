"""Extract, from clips to the features file, beside its two halves alone and beside a plain loop.

Two floors: all frames decoded and nothing else, and the network alone on frames that lie ready, each with all the
threads asked for. Extract cannot be faster than the slower of the two, and where cores are shared by both, not faster
than their whole work spread over the cores. With a heavy network the network decides, with a light one decoding does.
"""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import av
import h5py
import numpy as np
import torch

from benchmarks.common import best_seconds, installed, print_table
from vidface.backbones import Backbone, load_backbone
from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import STEPS
from vidface.backbones.torch_model import load_network
from vidface.backbones.weights import save_weights
from vidface.features.engines import open_engine
from vidface.features.extract import extract
from vidface.features.options import ExtractOptions
from vidface.frames.write import write_clip
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runtime import cpu_count

SIDE = 112
LIGHT = Path(__file__).resolve().parents[2] / "vidface" / "demo" / "weights" / "drawn.safetensors"
CARD = """name = "step5, random weights"
input_size = [112, 112]
colour_order = "rgb"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]
dimension = 282
licence = "CC0"
source = "a benchmark"
architecture = "step5"
"""


class Clips(NamedTuple):
    """Clips in a folder, their manifest, and how many frames they have."""

    manifest: Manifest
    paths: list[Path]
    frames: int


def bench(quick: bool, threads: int) -> None:
    """Print a table for a heavy and for a light network; quick: for the light one."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        weights = root / "step5.safetensors"
        save_weights(random_network(), weights)
        weights.with_suffix(".toml").write_text(CARD)
        models = {"step5": weights, "light": LIGHT}
        for name, videos in ({"light": 4} if quick else {"step5": 32, "light": 128}).items():
            clips = draw_clips(root / name, videos)
            _network(name, models[name], clips, root / "out", threads, 1 if quick else 2)


def _network(name: str, model: Path, clips: Clips, out: Path, threads: int, repeats: int) -> None:
    backbone = load_backbone(model, device="cpu", threads=threads)
    torch.set_num_threads(threads)
    eager, _ = load_network(model, backbone.card)
    options = ExtractOptions(model=model, device="cpu")

    def ours(workers: int) -> dict[str, np.ndarray]:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        with open_engine(workers=workers) as engine:
            extract(clips.manifest, backbone, out / "f.h5", options, engine=engine)
        return read_rows(out / "f.h5")

    processes = f"vidface extract, {threads} decoding process(es)"
    in_threads = "vidface extract --workers 0"  # as many threads as there are cores
    plain, opencv = (f"plain loop: {name}, torch eager (a quarter, scaled)" for name in ("PyAV", "OpenCV"))
    floors = (f"decoding alone, {threads} process(es)", f"network alone, {threads} thread(s)")
    some = clips.paths[: len(clips.paths) // 4]
    ready = np.concatenate([pyav_frames(path) for path in clips.paths])
    assert len(ready) == clips.frames
    methods: dict[str, Callable[[], Any]] = {
        floors[1]: lambda: [backbone.embed(ready[i : i + 32]) for i in range(0, len(ready), 32)],
        processes: lambda: ours(threads),
        in_threads: lambda: ours(0),
        plain: lambda: plain_loop(some, pyav_frames, eager, backbone),
    }
    notes = {floors[0]: "bare PyAV to RGB, not kept", floors[1]: "as vidface runs it, batches of 32"}
    if installed("cv2"):
        methods[opencv] = lambda: plain_loop(some, opencv_frames, eager, backbone)
    else:
        notes[opencv] = "absent: pip install -e '.[bench]'"
    answers: dict[str, Any] = {}

    def keep(method: str) -> None:
        answers[method] = methods[method]()

    with decoding_processes(threads) as decode_all:
        turns = {floors[0]: lambda: decode_all(clips.paths)}
        seconds = best_seconds(
            {**turns, **{name: partial(keep, name) for name in methods}}, repeats, pause=0.5
        )
    for method in (plain, opencv):
        if method in seconds:
            seconds[method] *= clips.frames / sum(map(len, answers[method].values()))
    peaks = {method: peak_of_all(methods[method]) for method in (processes, in_threads, plain)}
    rows = answers[processes]
    same = all(np.array_equal(rows[video], other) for video, other in answers[in_threads].items())
    rows = {path.stem: rows[path.stem] for path in some}
    difference = largest_difference(rows, answers[plain])
    assert same, "processes and threads gave different features"
    assert difference < 1e-4, f"extract and a plain loop differ by {difference}"
    notes[processes] = f"as the plain loop to {difference:.0e}; with the start of the processes"
    notes[in_threads] = f"bit-equal to processes; {cpu_count()} threads decode"
    if opencv in methods:
        cosine = smallest_cosine(rows, answers[opencv])
        notes[opencv] = f"cosine with ours at least {cosine:.4f}"
    slower = max(floors, key=seconds.__getitem__)
    both = f"both floors' work, over {cpu_count()} cores"
    used = threads / cpu_count()
    seconds[both] = max(seconds[slower], used * (seconds[floors[0]] + seconds[floors[1]]))
    notes[both] = "the best there can be; not measured, worked out"
    title = f"extract, {name} network: {len(clips.paths)} clips of {SIDE}x{SIDE}, {clips.frames} frames"
    order = [*floors, both, *methods]
    seconds = {method: seconds[method] for method in dict.fromkeys(order)}
    print_table(title, seconds, floor=slower, count=clips.frames, unit="frames", peaks=peaks, notes=notes)
    print(f"{processes}: {seconds[processes] / seconds[both]:.3f} of the best there can be")
    print(f"processes against threads: {seconds[processes] / seconds[in_threads]:.3f}")


def random_network() -> torch.nn.Module:
    """The paper's step5 with random weights, normalised for noise: otherwise its activations grow without bounds."""
    torch.manual_seed(0)
    network = build(STEPS["step5"])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network(torch.nn.functional.interpolate(torch.randn(32, 3, 14, 14), scale_factor=8, mode="bilinear"))
    return network


def draw_clips(folder: Path, count: int) -> Clips:
    """Clips of smooth pictures that drift, with noise; lengths log-normal with a mean of 31 frames."""
    folder.mkdir()
    random = np.random.default_rng(0)
    lengths = np.maximum(random.lognormal(np.log(31) - 0.125, 0.5, count).round().astype(int), 1)
    paths, lines = [], ["video_id,path,identity,split"]
    for clip, length in enumerate(lengths):
        large = np.kron(random.integers(30, 226, (10, 10, 3)), np.ones((16, 16, 1))).astype(np.float32)
        for axis in (0, 1):
            large = np.mean([np.roll(large, step, axis) for step in range(-8, 9)], axis=0)
        steps = np.clip(np.cumsum(random.integers(-2, 3, (length, 2)), axis=0) + 24, 0, 48)
        frames = np.array([large[y : y + SIDE, x : x + SIDE] for y, x in steps])
        frames += random.normal(0, 4, frames.shape)
        paths.append(folder / f"{clip:04d}.mp4")
        write_clip(paths[-1], np.clip(frames, 0, 255).astype(np.uint8))
        lines.append(f"{clip:04d},{clip:04d}.mp4,,val")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return Clips(read_manifest(folder / "manifest.csv"), paths, int(lengths.sum()))


def pyav_frames(path: Path) -> np.ndarray:
    """All frames of a clip, uint8 RGB [N, H, W, 3]."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def opencv_frames(path: Path) -> np.ndarray:
    import cv2

    frames = []
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while (got := video.read())[0]:
        frames.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB))
    video.release()
    return np.stack(frames)


def plain_loop(
    paths: list[Path], read: Callable[[Path], np.ndarray], network: torch.nn.Module, backbone: Backbone
) -> dict[str, np.ndarray]:
    """What is written first: a video is read, is one batch, and then comes the next."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.card.mean, backbone.card.std))
    rows = {}
    with torch.inference_mode():
        for path in paths:
            faces = torch.from_numpy(read(path)).permute(0, 3, 1, 2).float()
            rows[path.stem] = network((faces - mean) / std).numpy()
    return rows


def _decode(path: Path) -> int:
    return len(pyav_frames(path))


@contextmanager
def decoding_processes(count: int) -> Iterator[Callable[[list[Path]], int]]:
    """A function that decodes all clips in so many processes, which are started already."""
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        pool.map(str, range(100 * count), 1)  # all have started
        yield lambda paths: sum(pool.imap_unordered(_decode, paths, 4))


def read_rows(path: Path) -> dict[str, np.ndarray]:
    """The features of every video of a file."""
    with h5py.File(path) as file:
        offsets, rows = file["offsets"][:], file["features"][:]
        return {
            name.decode(): rows[offsets[i] : offsets[i + 1]] for i, name in enumerate(file["video_ids"][:])
        }


def largest_difference(rows: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """The largest difference of two features, as a share of the largest feature."""
    assert list(rows) == list(others)
    largest = max(float(np.abs(row).max()) for row in rows.values())
    return max(float(np.abs(rows[name] - others[name]).max()) for name in rows) / largest


def smallest_cosine(rows: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    one, other = (np.concatenate(list(some.values())) for some in (rows, others))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / norms).min())


def peak_of_all(work: Callable[[], Any]) -> float:
    """How much memory work takes at most, in this process and all that it starts, beside what there is before; MB.

    What processes share is counted once. It is looked at 20 times a second.
    """
    done = threading.Event()
    peak = before = _shared_bytes()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, _shared_bytes())

    watcher = threading.Thread(target=look)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (peak - before) / 1e6


def _shared_bytes() -> int:
    """Proportional memory of this process and of all that descend from it."""
    total = 0
    waiting = ["self"]
    while waiting:
        process = Path("/proc") / waiting.pop()
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
            total += next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            for task in (process / "task").iterdir():
                waiting += (task / "children").read_text().split()
        except OSError:
            continue  # it has just ended
    return total
