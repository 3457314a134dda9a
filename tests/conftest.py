"""How all tests run, and fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from processes import python_path

# One thread of BLAS a test process, and of what it starts: the tests of pytest-xdist share the cores.
# The libraries read this when they load, which is later: nothing here imports numpy.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# What the tests start runs the vidface of this checkout, wherever it works, not the one that is installed.
os.environ["PYTHONPATH"] = python_path(*filter(None, [os.environ.get("PYTHONPATH")]))

# The one profile. A busy machine makes no test fail: no deadline, no look at how fast examples are made. A fixture that
# lives as long as its test is fine where examples overwrite what they share. CI takes the same examples every time.
settings.register_profile(
    "vidface",
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[
        *(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture),
    ],
)
settings.load_profile("vidface")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real faces, clips and models: ``$VIDFACE_SHARED_DATA``, else ``shared/data`` beside the checkout; else skip."""
    candidates = [os.environ.get("VIDFACE_SHARED_DATA"), ROOT.parent / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "SHA256SUMS").is_file():
            return Path(candidate)
    pytest.skip(
        "no real faces here: set VIDFACE_SHARED_DATA to the folder that holds lfw/, models/ and clips/"
    )
