"""Training in the tests' own process: on one core, and without settings that outlive a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from drawn_faces import write_people
from forked import Forker


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny networks are slower on two threads than on one; memory is kept for real runs alone."""
    threads, repeats = torch.get_num_threads(), torch.backends.cudnn.benchmark
    monkeypatch.setattr("vidface.training.run.keep_freed_memory", lambda: None)
    monkeypatch.setattr("vidface.training.run.draw_curves", lambda *_given: None)  # seconds each
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = repeats


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawn people with 5 images each: by default 19 to train on, 11 for validation and 10 for the test."""
    return write_people(tmp_path_factory.mktemp("people") / "drawn", [5] * 40)


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with Forker(tmp_path_factory.mktemp("forked")) as started:
        yield started
