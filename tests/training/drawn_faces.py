"""Small pictures of drawn people, and recipes that train on them in seconds. Nothing of vidface is imported here."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, CELLS = 32, 4
NETWORK = {"stem": 8, "blocks": [[16, 8, 1, 2], [16, 8, 1, 2]], "head": 16, "dimension": 16}

# All kinds of stages, one after the other, as the paper adds its losses.
SEVEN = """
[[stage]]
name = "arcface"
epochs = 2
batch_size = 20
learning_rate = 0.05
loss = { scale = 16.0, m2 = 0.2 }
[[stage]]
name = "combined"
epochs = 1
loss = { classification = "combined", m1 = 1.05, m3 = 0.1 }
[[stage]]
name = "svgs"
loss = { classification = "support_vector" }
[[stage]]
name = "intra-inter"
loss = { intra = 0.5, inter = 0.5 }
[[stage]]
name = "class-balanced"
loss = { class_balanced = 0.9 }
[[stage]]
name = "pk4"
images_per_identity = 4
[[stage]]
name = "semi-hard"
optimiser = "adamw"
learning_rate = 1e-3
loss = { triplet = 1.0 }
"""

# What a killed run has to bring back: momentum, moments, the moving average, the place in an epoch, PK decks.
FRAGILE = """
[[stage]]
name = "first"
epochs = 2
batch_size = 20
learning_rate = 0.05
ema = 0.8
loss = { scale = 16.0, m2 = 0.2 }
augmentation = { shift = 0.5, erase = 0.5 }
[[stage]]
name = "second"
epochs = 2
images_per_identity = 4
optimiser = "adamw"
learning_rate = 1e-3
schedule = "constant"
ema = 0.0
loss = { classification = "support_vector", m3 = 0.1, triplet = 1.0, inter = 0.2 }
"""


def face(person: int, take: int, side: int = SIDE) -> np.ndarray:
    """uint8 [side, side, 3]: flat cells that belong to the person, a little different in every take."""
    base = np.random.default_rng([7, person]).uniform(30, 225, (CELLS, CELLS, 3))
    cells = base + np.random.default_rng([8, person, take]).normal(0, 12, base.shape)
    flat = np.clip(np.rint(cells), 0, 255).astype(np.uint8)
    return np.repeat(np.repeat(flat, side // CELLS, axis=0), side // CELLS, axis=1)


def write_people(root: Path, counts: Sequence[int], side: int = SIDE) -> Path:
    """ROOT/p00/0.png ...: as many images of each person as `counts` says."""
    for person, count in enumerate(counts):
        folder = root / f"p{person:02d}"
        folder.mkdir(parents=True)
        for take in range(count):
            Image.fromarray(face(person, take, side)).save(folder / f"{take}.png", compress_level=1)
    return root


def write_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for image in sorted(folder.rglob("*.png")):
            archive.add(image, image.relative_to(folder))
    return path


def place_of(name: str, seed: int = 1) -> float:
    """The number in [0, 1) that decides who is held out, worked out anew."""
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:14], 16) / 16**14


def write_recipe(path: Path, data: Path, stages: str, *, output: str = "out", **fields: Any) -> Path:
    """A recipe for the tiny network; what is in `fields` replaces its tables and values."""
    people = {"min_images": 2, "validation": 0.25, "test": 0.25}
    given: dict[str, Any] = {
        "data": str(data),
        "output": output,
        "input_size": [SIDE, SIDE],
        "seed": 1,
        **fields,
    }
    tables = {"architecture": NETWORK, "people": people, "pairs": {}}
    tables = {name: given.pop(name, table) for name, table in tables.items()}
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        else:
            lines.insert(0, f"{name} = {json.dumps(table)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n" + stages)
    return path


def without_progress(text: str) -> str:
    """What a run says on stderr, but for how far it is, which it says every ten seconds."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if not re.fullmatch(r"[\w+-]+: \d+ of \d+ images, .* s left\n", line)
    )


def contents(folder: Path) -> dict[str, Any]:
    """All that decides a result: the bytes of weights and checkpoints, and the metrics without their clock."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".safetensors", ".toml"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]
        elif path.name == "stage.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "model"}
    return found
