"""The digest of the package's own code, which tells two clones of one version apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidface
from vidface.files.code import code_sha256


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another place of the same code, which is taken for this package."""
    package = Path(vidface.__file__).parent
    shutil.copytree(package, tmp_path / "vidface", ignore=shutil.ignore_patterns("__pycache__"))
    here = code_sha256()
    monkeypatch.setattr(vidface, "__file__", str(tmp_path / "vidface" / "__init__.py"))
    code_sha256.cache_clear()
    assert code_sha256() == here
    yield tmp_path / "vidface"
    code_sha256.cache_clear()


def test_two_clones_of_one_version(clone: Path) -> None:
    def now() -> str:
        code_sha256.cache_clear()
        return code_sha256()

    same = now()
    (clone / "__pycache__").mkdir()
    (clone / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"x")
    (clone / "notes.txt").write_text("not code")
    assert now() == same

    edited = clone / "features" / "engines" / "batches.py"
    edited.write_text(edited.read_text().replace("features + backbone", "features * 1.001 + backbone"))
    other = now()
    edited.rename(edited.with_name("moved.py"))
    assert len({same, other, now()}) == 3
