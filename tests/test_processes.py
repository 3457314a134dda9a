"""What the tests start runs the code that they lie beside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from processes import ROOT, python_path


def test_processes_run_the_checkout_of_the_tests(tmp_path: Path) -> None:
    """From a folder elsewhere, with and without a folder of the test's own before it."""
    (tmp_path / "sitecustomize.py").write_text("print('first')")
    for env, before in ((None, []), (os.environ | {"PYTHONPATH": python_path(tmp_path)}, ["first"])):
        words = [sys.executable, "-c", "import vidface; print(vidface.__file__)"]
        ran = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert ran.stdout.split() == [*before, str(ROOT / "vidface" / "__init__.py")]
