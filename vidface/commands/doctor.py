"""What this machine has and what stands in the way of a run, with a small self-test.

Tested in ``tests/commands/test_doctor.py``, which takes things away and looks for the sentence that says so.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import vidface
from vidface.errors import VidfaceError
from vidface.runtime import cpu_count

LOW_DISK_BYTES = 1 << 30

# Distributions that install the same module, so the one installed later has overwritten files of the other:
# the one to keep, the one to go.
SAME_MODULE = (("decord2", "decord"), ("faiss-gpu", "faiss-cpu"), ("onnxruntime-gpu", "onnxruntime"))

# What the extras of pyproject.toml bring, but for those that developers take.
EXTRAS = {
    "detect": ("opencv-python-headless",),
    "uniface": ("uniface",),
    "report": ("jinja2", "matplotlib", "textual-image"),
    "map": ("openTSNE",),
    "train": ("matplotlib", "tensorboard"),
    "ray": ("ray",),
}
# Distributions that bring the same module, and do as well.
AS_GOOD = {
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
}

# Greys of the self-test's frames: far enough apart that no loss in encoding can swap them.
GREYS = (40, 128, 216)

# Where the memory limit of a container is stated, by version of the kernel's control groups.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def examine() -> dict[str, Any]:
    """Look over the machine and try what breaks most often; takes a few seconds, most of them to import torch.

    A clip in a temporary folder is read with every decoder; the demo's network runs on one black image on the CPU.

    Returns:
        A dict that JSON can hold: ``version``, ``python``, ``platform``, ``cores``, ``memory_bytes`` (None if unknown),
        ``free_disk_bytes`` (of the current folder), ``libraries`` (name to version, None if missing), ``extras`` (name
        to distribution to version, None if missing, which is no problem), ``decoders`` (name to "ok" or what went
        wrong), ``confined_by`` (of ``limits``, ``landlock`` and ``seccomp``, what decoding processes are held by),
        ``demo_network`` ("ok", "not shipped" or what went wrong), ``blas`` (numpy, scipy and faiss to the kind of
        processor that its OpenBLAS multiplies for, if known), ``gpu`` (``torch``: names of the GPUs; ``onnxruntime``:
        its providers; ``faiss``: number of GPUs; None if the library cannot be imported), ``hints`` and ``problems``
        (sentences that say what to do; only problems stand in the way).
    """
    problems: list[str] = []
    libraries = _libraries(problems)
    _check_same_module(libraries, problems)
    free = shutil.disk_usage(Path.cwd()).free
    if free < LOW_DISK_BYTES:
        problems.append(f"only {_size(free)} are free in this folder: make room, or work in another one")
    blas, blas_hints = _blas()  # before faiss is loaded otherwise
    gpu = _gpu(problems)
    extras = _extras()
    return {
        "version": vidface.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cpu_count(),
        "memory_bytes": _memory_bytes(),
        "free_disk_bytes": free,
        "libraries": libraries,
        "decoders": _try_decoders(problems),
        "confined_by": _confined_by(),
        "demo_network": _try_demo_network(problems),
        "blas": blas,
        "gpu": gpu,
        "extras": extras,
        "hints": blas_hints + _hints(gpu) + _opencv_hints(extras["detect"]),
        "problems": problems,
    }


def report_lines(findings: dict[str, Any]) -> str:
    """Lay out what `examine` found for people: aligned lines, then the problems or "no problems"."""
    memory, gpu = findings["memory_bytes"], findings["gpu"]
    rows = [
        ("vidface", findings["version"]),
        ("python", f"{findings['python']} on {findings['platform']}"),
        ("cores", str(findings["cores"])),
        ("memory", "not known" if memory is None else _size(memory)),
        ("free disk here", _size(findings["free_disk_bytes"])),
        *((name, version or "missing") for name, version in findings["libraries"].items()),
        *((f"decoder {name}", state) for name, state in findings["decoders"].items()),
        ("decoders confined by", ", ".join(findings["confined_by"]) or "nothing: they may do what you may"),
        ("demo network", findings["demo_network"]),
        (
            "BLAS kernels",
            ", ".join(f"{name} {kind}" for name, kind in findings["blas"].items()) or "not known",
        ),
        ("GPU for torch", _listed(gpu["torch"])),
        ("GPU for faiss", "not known" if gpu["faiss"] is None else str(gpu["faiss"] or "none")),
        ("onnxruntime runs on", _listed(gpu["onnxruntime"])),
        *((f"extra {name}", _extra_text(name, parts)) for name, parts in findings["extras"].items()),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"hint: {hint}" for hint in findings["hints"]]
    problems = findings["problems"]
    lines.append("")
    lines += [f"problem: {problem}" for problem in problems] or ["no problems"]
    return "\n".join(lines)


def _libraries(problems: list[str]) -> dict[str, str | None]:
    """Versions of what vidface requires, and of the distributions that may stand in for them."""
    try:
        requirements = importlib.metadata.requires("vidface") or []
    except importlib.metadata.PackageNotFoundError:
        problems.append("vidface itself is not installed: run `pip install -e .` in its folder")
        requirements = []
    normal = [text for text in requirements if "extra ==" not in text]
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in normal]
    libraries = {name: _version(name) for name in names}
    instead = {b: a for a, b in SAME_MODULE}
    for name in names:
        if libraries[name] is None and _version(instead.get(name, name)) is None:
            problems.append(f"{name} is not installed: run `pip install {name}`")
    for name in (name for pair in SAME_MODULE for name in pair):
        if name not in libraries and (version := _version(name)) is not None:
            libraries[name] = version
    return dict(sorted(libraries.items()))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_same_module(libraries: dict[str, str | None], problems: list[str]) -> None:
    for keep, drop in SAME_MODULE:
        if libraries.get(keep) and libraries.get(drop):
            # Removing only one of them would take the shared files away from the other.
            problems.append(
                f"{keep} and {drop} are both installed and overwrite each other: run "
                f"`pip uninstall -y {keep} {drop}`, then `pip install --no-deps {keep}`"
            )


def _memory_bytes() -> int | None:
    """Memory this process may use: the machine's, or less if a container limits it."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for path in MEMORY_LIMITS:
        try:
            memory = min(memory, int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return memory


def _try_decoders(problems: list[str]) -> dict[str, str]:
    try:
        import numpy as np

        from vidface.frames import DECODERS, ReadReport, read_frames
        from vidface.frames.write import write_clip
    except (ImportError, OSError) as error:
        problems.append(f"no video can be read: {error}: install the missing library")
        return {}

    states = {}
    with tempfile.TemporaryDirectory(prefix="vidface-") as folder:
        clip = Path(folder) / "greys.mp4"
        try:
            write_clip(clip, np.stack([np.full((64, 64, 3), grey, np.uint8) for grey in GREYS]))
        except VidfaceError as error:
            problems.append(f"no clip can be written: {error}; check the temporary folder and PyAV")
            return {}
        for decoder in DECODERS:
            try:
                frames = [
                    frame.pixels.mean() for frame in read_frames(clip, decoder=decoder, report=ReadReport())
                ]
                right = len(frames) == len(GREYS) and np.allclose(frames, GREYS, atol=10)
                states[decoder] = "ok" if right else "gives wrong frames"
            except (VidfaceError, ImportError, OSError, RuntimeError) as error:
                states[decoder] = _one_line(error)
            if states[decoder] != "ok":
                problems.append(
                    f"the decoder {decoder} does not work: {states[decoder]}; install its library again, "
                    f"or choose another with --decoder"
                )
    return states


def _confined_by() -> list[str]:
    """What holds decoding processes here; with a library missing there are none, which is said elsewhere."""
    try:
        from vidface.features.engines.confine import measures
    except (ImportError, OSError):
        return []
    return measures()


def _try_demo_network(problems: list[str]) -> str:
    weights = sorted((Path(vidface.__file__).parent / "demo" / "weights").glob("*.safetensors"))
    if not weights:
        return "not shipped"
    try:
        import numpy as np

        from vidface.backbones import load_backbone

        for path in weights:
            backbone = load_backbone(path, device="cpu")
            embedding = backbone.embed(np.zeros((1, *backbone.card.input_size, 3), np.uint8))
            if embedding.shape != (1, backbone.card.dimension) or not np.isfinite(embedding).all():
                raise VidfaceError(f"{path.name} gives no embedding of a black image")
    except (VidfaceError, ImportError, OSError, RuntimeError) as error:
        problems.append(f"the demo's network does not run: {_one_line(error)}; install vidface again")
        return _one_line(error)
    return "ok"


def _blas() -> tuple[dict[str, str], list[str]]:
    """What the libraries multiply with, and hints; one that cannot be imported is said elsewhere."""
    try:
        import scipy.linalg.cython_blas  # noqa: F401  # loads its OpenBLAS

        from vidface.scores.search.faiss_search import blas_kernels, faiss_is_right

        right, kinds = faiss_is_right(), blas_kernels()
    except (ImportError, AttributeError, OSError, RuntimeError):
        return {}, []
    hints = []
    if kinds.get("faiss", kinds.get("numpy")) != kinds.get("numpy"):
        hints.append(
            f"faiss multiplies with kernels for {kinds['faiss']}, numpy with those for {kinds.get('numpy')}: vidface "
            "asked faiss for numpy's kind, which it does not have; searches may take several times as long, their "
            "results are the same: try another version of faiss-cpu"
        )
    if not right:
        hints.append(
            "faiss multiplies wrongly on this processor: vidface searches without it, which takes about 3 times as "
            "long; the results are the same: try another version of faiss-cpu"
        )
    return kinds, hints


def _gpu(problems: list[str]) -> dict[str, Any]:
    """What each library sees of a GPU; one that cannot be imported is a problem."""
    found: dict[str, Any] = {"torch": None, "onnxruntime": None, "faiss": None}
    for name in found:
        try:
            library = importlib.import_module(name)
            if name == "torch":
                count = library.cuda.device_count() if library.cuda.is_available() else 0
                found[name] = [library.cuda.get_device_name(index) for index in range(count)]
            elif name == "onnxruntime":
                found[name] = list(library.get_available_providers())
            else:
                found[name] = int(library.get_num_gpus())
        except (ImportError, AttributeError, OSError, RuntimeError) as error:
            # AttributeError: a module whose files two distributions overwrote, or half uninstalled.
            problems.append(f"{name} does not work: {_one_line(error)}; install it again")
    return found


def _extras() -> dict[str, dict[str, str | None]]:
    """Versions of what the extras bring, under the name of the distribution that is there."""
    found: dict[str, dict[str, str | None]] = {}
    for extra, names in EXTRAS.items():
        found[extra] = {}
        for name in names:
            there = next((n for n in (name, *AS_GOOD.get(name, ())) if _version(n) is not None), name)
            found[extra][there] = _version(there)
    return found


def _extra_text(name: str, parts: dict[str, str | None]) -> str:
    if all(version is None for version in parts.values()):
        return f"not installed (pip install -e '.[{name}]')"
    return ", ".join(f"{part} {version or 'missing'}" for part, version in parts.items())


def _hints(gpu: dict[str, Any]) -> list[str]:
    if not gpu["torch"]:
        return []
    hints = []
    if gpu["onnxruntime"] is not None and "CUDAExecutionProvider" not in gpu["onnxruntime"]:
        hints.append("onnxruntime does not use the GPU: put onnxruntime-gpu in the place of onnxruntime")
    if gpu["faiss"] == 0:
        hints.append("faiss does not use the GPU: put faiss-gpu in the place of faiss-cpu")
    return hints


def _opencv_hints(detect: dict[str, str | None]) -> list[str]:
    """The build of OpenCV with windows is often there, and cannot be imported: servers lack its libraries."""
    name, version = next(iter(detect.items()))
    if version is None:
        return []
    try:
        importlib.import_module("cv2")
    except (ImportError, OSError) as error:
        instead = "" if name.endswith("headless") else ": put opencv-python-headless in its place"
        return [f"{name} does not work: {_one_line(error)}{instead}"]
    return []


def _listed(names: list[str] | None) -> str:
    return "not known" if names is None else ", ".join(names) or "none"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
