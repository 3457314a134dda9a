"""What `doctor --model` and `budget` say of a model before any work with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import pooling_model, vidface
from onnx import helper

from vidface.commands import doctor

CARD_TRIED = {
    *("model", "refused", "device", "colour_order", "input_type", "layout", "batch", "why_batch"),
    *("outputs", "output", "dimension", "pixels", "inside", "repeats", "alone", "norms", "warnings"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return pooling_model(tmp_path / "cells.onnx")


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was looked over already, which takes seconds."""
    monkeypatch.setattr(doctor, "examine", lambda: {"problems": []})
    monkeypatch.setattr(doctor, "report_lines", lambda found: "\n".join(found["problems"]) or "no problems")


def random_noise(path: Path) -> None:
    """Have the model add noise to what it gives, as dropout that is alive does."""
    made = onnx.load(path)
    last = made.graph.node[-1]
    result = last.output[0]
    last.output[0] = "before"
    noise = helper.make_node("RandomNormalLike", ["before"], ["noise"], name="noise", scale=100.0)
    made.graph.node.append(noise)
    made.graph.node.append(helper.make_node("Add", ["before", "noise"], [result]))
    path.write_bytes(made.SerializeToString())


@pytest.mark.usefixtures("healthy")
def test_doctor_tries_a_model(model: Path) -> None:
    found: dict[str, Any] = vidface("doctor", "--model", model, "--json").json["model"]
    assert set(found) == CARD_TRIED and found["refused"] is None
    assert (found["input_type"], found["layout"]) == ("float32", "NCHW")
    assert (found["batch"], found["repeats"]) == (None, 0)
    text = vidface("doctor", "--model", model).out
    assert "float32, NCHW, any batch" in text and "no test can tell" in text and "no problems" in text
    random_noise(model)
    ran = vidface("doctor", "--model", model, code=1)
    assert "cannot be used: gives a different embedding each time it runs" in ran.out
    assert len(vidface("doctor", "--model", model, "--json", code=1).json["problems"]) == 1


def test_budget_tries_a_file_with_its_card_and_judges_as_before(model: Path) -> None:
    found = vidface("budget", model, "--json", code=0).json
    assert set(found["tried"]) == CARD_TRIED
    assert vidface("budget", model.with_suffix(".toml"), "--json", code=0).json["tried"] == found["tried"]
    random_noise(model)
    ran = vidface("budget", model, "--limits", "none", code=0)
    assert "cannot be used: gives a different embedding" in ran.out
    assert "(its graph has noise (RandomNormalLike))" in ran.out
    assert vidface("budget", "y1", "--json", code=0).json["tried"] is None
    model.with_suffix(".toml").unlink()
    assert vidface("budget", model, "--limits", "none", "--json", code=0).json["tried"] is None


def test_lengths_are_those_of_the_output(model: Path) -> None:
    """The pooling model gives the means of cells: no embedding can be longer than that of white cells is."""
    low, high = vidface("budget", model, "--json", code=0).json["tried"]["norms"]
    assert 0 < low <= high
    assert np.isfinite(high)
