"""Stages killed at moments that are drawn, on real clips: the next run ends in the bytes of one left alone.

A handful of kills; ``tools/kill_runs.py`` makes as many as one likes, of all stages.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest
from command_line import pooling_model

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from kill_runs import Kill, Stage, contents, kill_and_compare, material, run_alone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify tells of the moments of files")
SEED = 11


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, Stage]:
    root = tmp_path_factory.mktemp("killed")
    (root / "clips").mkdir()
    for clip in sorted((shared_data / "clips").glob("grid_*.mpg")):
        shutil.copyfile(clip, root / "clips" / clip.name)
    model = pooling_model(root / "cells.onnx")
    return {stage.name: stage for stage in material(root / "clips", model, root, None, pieces=72)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("run", None),
        ("merge", "appears .faults.jsonl.N.partial"),
        ("score", "appears .scores.json.N.partial"),
        ("pack rec", "renamed to r.idx"),
    ],
)
def test_killed_and_run_again(stages: dict[str, Stage], name: str, moment: str | None) -> None:
    alone, chance = run_alone(stages[name]), random.Random(SEED)
    assert moment is None or moment in alone.moments
    kills: list[Kill] = []
    while not kills:  # a quick one may end before it is hit
        kills = kill_and_compare(stages[name], alone, chance, moment)
    assert all(kill.differs is None for kill in kills), kills


def test_the_comparison_sees_a_byte_and_a_file(tmp_path: Path) -> None:
    """What would make every kill look equal is looked for here."""
    (tmp_path / "a").write_bytes(b"1")
    before = contents(tmp_path)
    (tmp_path / "a").write_bytes(b"2")
    assert contents(tmp_path) != before
    (tmp_path / "a").write_bytes(b"1")
    assert contents(tmp_path) == before
    (tmp_path / ".a.lock").touch()
    assert contents(tmp_path) != before
