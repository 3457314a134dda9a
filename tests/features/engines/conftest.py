"""One Ray for all tests of engines: it takes seconds to start."""

from __future__ import annotations

import importlib.util
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_killer import SITECUSTOMIZE
from made_up_detector import SITECUSTOMIZE as MADE_UP_DETECTOR
from processes import python_path

from vidface.features.engines import Engine, open_engine


@pytest.fixture(scope="session")
def processes_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes of the engines find the modules of these tests, what kills a decoder, and a made-up detector."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE + MADE_UP_DETECTOR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.setenv("PYTHONPATH", python_path(folder, Path(__file__).parent))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray makes a file in the home folder else
        yield


@pytest.fixture(scope="module")
def ray_engine(processes_of_tests: None) -> Iterator[Engine]:
    """An engine on a Ray of this machine with two cores."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")
    with open_engine("ray") as engine:
        yield engine


@pytest.fixture(params=["local-0", "local-1", "local-2", "ray"])
def engine(request: pytest.FixtureRequest, processes_of_tests: None) -> Engine:
    """Every engine, the local one with so many workers."""
    name, _, workers = request.param.partition("-")
    if name == "ray":
        return request.getfixturevalue("ray_engine")  # type: ignore[no-any-return]
    with open_engine(name, workers=int(workers)) as engine:
        return engine
