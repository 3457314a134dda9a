"""The benchmarks run, and what they compare agrees. Their times are not looked at."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def stages() -> list[str]:
    """The keys of STAGES in tools/bench.py."""
    for node in ast.parse((TOOLS / "bench.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STAGES":
            return list(ast.literal_eval(node.value))
    raise AssertionError("tools/bench.py has no STAGES")


def run(*command: object) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("stage", stages())
def test_a_quick_benchmark(stage: str) -> None:
    lines = run(TOOLS / "bench.py", stage, "--quick").splitlines()
    floors = [line for line in lines if " 1.000 " in line]
    assert lines[0].count("core") == 1 and floors, "the machine, and a floor in every run"


def test_the_whole_way_at_a_small_share_of_the_full_size(tmp_path: Path) -> None:
    said = run(TOOLS / "full_size.py", tmp_path / "small", "--share", "0.003")
    assert "612 videos, 18,900 frames of 256 values" in said
    assert said.splitlines()[-1] == "all agree"
