"""A small set with everything in it, taken the whole way once: drawn cells, a small model, a failed video."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from command_line import Small, frames_of, pooling_model, vidface, write_folder, write_manifest


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """12 people with 2 enrolment and 3 gallery videos, 6 distractors, one failed video; noisy enough for misses."""
    root = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(4)
    rows = []
    for person in range(18):
        for take in range(5 if person < 12 else 1):
            name = f"{person:02d}-{take}"
            frames = frames_of(person, 4, spread=60.0, seed=take)
            frames[random.integers(4)] = frames_of(1000 + 10 * person + take, 1)[0]
            if name != "05-3":
                write_folder(root / "videos" / name, frames)
            identity = f"person{person:02d}" if person < 12 else ""
            rows.append(
                (f"v{name}", f"videos/{name}", identity, "train" if person < 12 and take < 2 else "val")
            )
    manifest = write_manifest(root / "manifest.csv", rows)
    model = pooling_model(root / "cells.onnx")
    features, embeddings = root / "features.h5", root / "embeddings.h5"
    vidface("extract", manifest, "-o", features, "--model", model, code=1)
    vidface("cluster", features, "-o", embeddings, "--threshold", 0.3, code=1)
    return Small(manifest, model, features, embeddings)


@pytest.fixture(scope="session")
def photographs(shared_data: Path) -> dict[str, dict[str, bytes]]:
    """Aligned faces of LFW: person -> name of the file -> its bytes, both in text order."""
    people: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as archive:
        for member in archive:
            if file := archive.extractfile(member):
                place = Path(member.name)
                people[place.parent.name][place.name] = file.read()
    return dict(people)
