"""Hostile pickles given to the commands: refused in one line, exit 1, and what they carry does not run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import vidface

JPEG = b"\xff\xd8\xff\xe0"


class Payload:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_offered_as_pairs(tmp_path: Path, model: Path, protocol: int) -> None:
    marker, pairs = tmp_path / "it-ran", tmp_path / "lfw.bin"
    pairs.write_bytes(pickle.dumps(([JPEG] * 3 + [Payload(marker)], [True, False]), protocol))
    ran = vidface("verify", pairs, "--model", model, "-o", tmp_path / "verify.json", code=1)
    assert f"{pairs}: is a pickle that wants to call posix.mkdir: refused" in ran.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lfw.bin"]
    pickle.loads(pairs.read_bytes(), encoding="bytes")  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()


def test_torch_archive_offered_as_weights(tmp_path: Path, model: Path) -> None:
    marker, weights = tmp_path / "it-ran", tmp_path / "weights.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(1)}, "args": Payload(marker)}, weights)
    card = model.with_suffix(".toml").read_text().replace("dimension = 48", "dimension = 128")
    weights.with_suffix(".toml").write_text(card + 'architecture = "y1"\n')
    pairs = tmp_path / "pairs.bin"
    pairs.write_bytes(pickle.dumps(([JPEG] * 40, [True, False] * 10)))
    ran = vidface("verify", pairs, "--model", weights, code=1)
    assert f"{weights}: is a pickle that wants to call posix.mkdir: refused" in ran.error
    assert not marker.exists()
    torch.load(weights, weights_only=False)
    assert marker.exists()
