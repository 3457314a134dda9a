"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real faces, clips and models; the test is skipped where there is none.

    Looked for in ``$VIDFACE_SHARED_DATA``, then in ``shared/data`` beside the checkout.
    """
    candidates = [os.environ.get("VIDFACE_SHARED_DATA"), ROOT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "SHA256SUMS").is_file():
            return Path(candidate)
    pytest.skip(
        "no real faces here: set VIDFACE_SHARED_DATA to the folder that holds lfw/, models/ and clips/"
    )
