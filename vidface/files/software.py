"""Which software makes a result: what decides its bytes beside the input, on this machine and on any other."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import vidface

PACKAGES = ("av", "decord2", "numba", "numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "torch")
OF_DETECTION = ("opencv-python", "opencv-python-headless", "uniface")  # matters only if faces are detected


@cache
def software(*, detection: bool = False) -> tuple[tuple[str, str], ...]:
    """(name, version) of vidface, its code, Python and the libraries; ``detection``: also of those that find faces."""
    return (
        ("vidface", vidface.__version__),
        ("vidface's code", code_sha256()[:12]),
        ("Python", ".".join(platform.python_version_tuple()[:2])),
        *((name, _version(name)) for name in PACKAGES + OF_DETECTION * detection),
    )


def software_text(*, detection: bool = False) -> str:
    """The same as one text, of what is installed."""
    return ", ".join(f"{name} {found}" for name, found in software(detection=detection) if found != "missing")


def code_sha256() -> str:
    """SHA-256 of the package's Python files, names and content: two clones of one version may differ."""
    package = Path(vidface.__file__).parent
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(package).as_posix(), path) for path in package.rglob("*.py")):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"
