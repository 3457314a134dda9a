"""Run the real commands in this process: a command takes milliseconds then, and whatever escapes it fails the test."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from command_line import Ran

from vidface.commands.main import main


def run_here(*arguments: object, code: int | None = None) -> Ran:
    """Run one command as `command_line.vidface` does; an exception that is no exit of the command goes through."""
    out, err = io.StringIO(), io.StringIO()
    words = ["vidface", *map(str, arguments)]
    with patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            found = 0
        except SystemExit as stop:
            found = stop.code if isinstance(stop.code, int) else 1
    ran = Ran(found, out.getvalue(), err.getvalue())
    assert code is None or ran.code == code, f"exit code {ran.code}, not {code}:\n{ran.err}\n{ran.out}"
    return ran
