"""What names the software of a result, so that two clones of one version, or two machines, are told apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vidface
from vidface.files.software import code_sha256, software, software_text


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another place of the same code, which is taken for this package."""
    package = Path(vidface.__file__).parent
    shutil.copytree(package, tmp_path / "vidface", ignore=shutil.ignore_patterns("__pycache__"))
    here = code_sha256()
    monkeypatch.setattr(vidface, "__file__", str(tmp_path / "vidface" / "__init__.py"))
    assert code_sha256() == here
    return tmp_path / "vidface"


def test_two_clones_of_one_version(clone: Path) -> None:
    same = code_sha256()
    (clone / "__pycache__").mkdir()
    (clone / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"x")
    (clone / "notes.txt").write_text("not code")
    assert code_sha256() == same

    edited = clone / "features" / "engines" / "batches.py"
    edited.write_text(edited.read_text().replace("features + backbone", "features * 1.001 + backbone"))
    other = code_sha256()
    edited.rename(edited.with_name("moved.py"))
    assert len({same, other, code_sha256()}) == 3


def test_libraries_are_named_with_their_versions() -> None:
    import numpy as np

    named = dict(software(detection=True))
    assert named["numpy"] == np.__version__ and named["vidface"] == vidface.__version__
    assert set(named) - set(dict(software())) == {"opencv-python", "opencv-python-headless", "uniface"}
    assert f"numpy {np.__version__}" in software_text() and "missing" not in software_text()
