"""What the tests of faults share: a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import pooling_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pooling_model(tmp_path_factory.mktemp("model") / "cells.onnx")
