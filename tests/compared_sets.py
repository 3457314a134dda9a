"""A small set of videos with several embeddings files, to be compared; without networks and clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidface.files.store import EmbeddingRows, FeaturesInfo, write_embeddings
from vidface.manifest.manifest import read_manifest, write_manifest
from vidface.runs.compare import compare
from vidface.runs.compare_inputs import open_compared
from vidface.runs.compare_result import Comparison

PEOPLE, DISTRACTORS = 24, 15


class ComparedSet:
    """A manifest, and embeddings of it that are the noisier the larger their number."""

    def __init__(self, folder: Path, distractors: int = DISTRACTORS, prefix: str = "") -> None:
        self.folder = folder
        random = np.random.default_rng(7)
        rows = [
            (
                prefix + f"v{person:02d}-{take}",
                f"{person}/{take}.mp4",
                prefix + f"p{person:02d}",
                "train" if take < 2 else "val",
            )
            for person in range(PEOPLE)
            for take in range(2 + random.integers(1, 4))
        ]
        rows += [(prefix + f"d{number}", f"d{number}.mp4", "", "val") for number in range(distractors)]
        rows = [rows[at] for at in random.permutation(len(rows))]
        write_manifest(folder / "set.csv", rows)
        self.manifest = read_manifest(folder / "set.csv")
        names = sorted(set(self.manifest.identities))
        base = random.normal(size=(len(names), 16))[[names.index(name) for name in self.manifest.identities]]
        base[np.array(self.manifest.identities) == ""] = random.normal(size=(distractors, 16))
        self.base = base

    def matrix(self, noise: float, failed: int = 0) -> np.ndarray:
        random = np.random.default_rng(int(100 * noise))
        rows = self.base + noise * random.normal(size=self.base.shape)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        rows[random.permutation(len(rows))[:failed]] = 0
        return rows

    def embeddings(
        self, name: str, noise: float, *, failed: int = 0, ids: list[str] | None = None, **made: object
    ) -> Path:
        rows = self.matrix(noise, failed)
        ids = self.manifest.video_ids if ids is None else ids
        path = self.folder / name
        source = FeaturesInfo(path, ids, np.arange(len(ids) + 1), ["ok"] * len(ids), {"dimension": 16})
        run = EmbeddingRows(rows[: len(ids)], np.ones(len(ids), np.int64), np.zeros(len(ids), np.int32))
        made = {"model_name": "m", "threshold": "0.4", "manifest_sha256": self.manifest.sha256, **made}
        write_embeddings(path, source, [run], made)
        return path

    def compare(self, *paths: Path, replicates: int = 200, **options: object) -> Comparison:
        opened = open_compared(paths, manifest=self.folder / "set.csv", options=options)
        return compare(*opened, replicates=replicates)
