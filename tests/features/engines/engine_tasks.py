"""What the contract test has engines do. Other processes import this module, so nothing of pytest is in it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from vidface.errors import StoreError


def slow_square(value: int, seconds: float) -> np.ndarray:
    time.sleep(seconds)
    return np.array([value, value * value])


def fail(kind: str) -> None:
    if kind == "known":
        raise StoreError("features.h5: damaged: make it again")
    raise ZeroDivisionError("a bug")


def die_once(folder: Path, value: int) -> int:
    """The first process that is given the value 3 is killed in the middle."""
    died = folder / "died"
    if value == 3 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value
