"""Which code makes a result: a digest of the sources of this package."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import vidface


@cache
def code_sha256() -> str:
    """SHA-256 of the package's Python files, names and content: two clones of one version may differ."""
    package = Path(vidface.__file__).parent
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(package).as_posix(), path) for path in package.rglob("*.py")):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
