"""What the tests of faults share: a small model, and runs of extract over good and bad videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command_line import (
    Ran,
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    read_lines,
    vidface,
    write_manifest,
    write_video,
)

GOOD = ("good-1", "good-2")  # the bad video stands between them
GOOD_FRAMES = 5


class Found(NamedTuple):
    """What extract left about one bad video between two good ones."""

    ran: Ran
    status: str
    features: np.ndarray
    faults: list[dict[str, str]]

    @property
    def kinds(self) -> set[str]:
        return {fault["kind"] for fault in self.faults}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pooling_model(tmp_path_factory.mktemp("model") / "cells.onnx")


@pytest.fixture
def good_videos(tmp_path: Path) -> list[tuple[str, str]]:
    """Two whole clips in tmp_path/set, as (id, path) for a manifest there."""
    for person, name in enumerate(GOOD):
        write_video(tmp_path / "set" / f"{name}.mp4", frames_of(person, GOOD_FRAMES))
    return [(name, f"{name}.mp4") for name in GOOD]


@pytest.fixture
def extract_beside_good(tmp_path: Path, model: Path, good_videos: list[tuple[str, str]]) -> Any:
    """Extract a bad video between two good ones; what must hold for every fault is checked here."""

    def run(bad_path: str, *options: object, model: Path = model) -> Found:
        rows = [good_videos[0], ("bad", bad_path), good_videos[1]]
        manifest = write_manifest(tmp_path / "set" / "manifest.csv", rows)
        output = tmp_path / "features.h5"
        ran = vidface("extract", manifest, "-o", output, "--model", model, *options, "--json", code=1)
        assert ran.err == ""
        ids, status, features = read_features(output)
        assert ids == ["good-1", "bad", "good-2"]
        assert [status[0], status[2]] == ["ok", "ok"]
        for person, row in enumerate((0, 2)):
            assert np.allclose(features[row], cells_of(frames_of(person, GOOD_FRAMES)), atol=1e-5)
        faults = read_lines(tmp_path / "faults.jsonl")
        assert faults, "a fault that is not listed"
        for fault in faults:
            assert {"video", "stage", "kind", "detail"} <= set(fault)
            assert (fault["video"], fault["stage"]) == ("bad", "extract")
            assert fault["detail"] and "\n" not in fault["detail"]
        counted = ran.json
        assert counted["status"] == {"ok": 2, status[1]: 1}
        assert sum(counted["faults"].values()) == len(faults)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["faults.jsonl", "features.h5", "set"]
        return Found(ran, status[1], features[1], faults)

    return run
