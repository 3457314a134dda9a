from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from vidface.errors import UsageError
from vidface.training.metrics_file import MetricsFile, read_metrics


def opened(folder: Path, lines: int = 0, *, tensorboard: bool = False, speaks: bool = True) -> MetricsFile:
    return MetricsFile(folder, lines, tensorboard=tensorboard, speaks=speaks)


def test_a_line_is_there_as_soon_as_it_is_added(tmp_path: Path) -> None:
    with opened(tmp_path) as metrics:
        assert read_metrics(tmp_path) == []
        metrics.add(20, {"epoch": 1, "loss": 0.1})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 20, "epoch": 1, "loss": 0.1}\n'
        metrics.add(40, {"epoch": 1, "validation": {"people": {"tpr": None}}})
        assert metrics.lines == 2
    assert read_metrics(tmp_path)[1] == {"step": 40, "epoch": 1, "validation": {"people": {"tpr": None}}}


@pytest.mark.parametrize("cut", ["", '{"step": 4, "ep'])
def test_lines_after_the_checkpoint_are_written_again(tmp_path: Path, cut: str) -> None:
    with opened(tmp_path) as metrics:
        for step in (1, 2, 3):
            metrics.add(step, {"loss": step / 3})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(cut)  # the line that was being written
    with opened(tmp_path, 2) as metrics:
        assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
        metrics.add(3, {"loss": 9.0})
        assert metrics.lines == 3
    assert [line["loss"] for line in read_metrics(tmp_path)] == [1 / 3, 2 / 3, 9.0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_other_processes_count_and_are_silent(tmp_path: Path) -> None:
    with opened(tmp_path, 5, speaks=False) as metrics:
        metrics.add(1, {"loss": 1.0})
        assert metrics.lines == 6
    assert list(tmp_path.iterdir()) == []


def test_not_begun(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as raised:
        opened(tmp_path, tensorboard=True)
    assert str(raised.value).startswith(
        "tensorboard = true, but it is not installed: pip install -e '.[train]'"
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_after_a_kill(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with opened(tmp_path, tensorboard=True) as metrics:
        for step in (1, 2, 3):
            metrics.add(
                step,
                {"epoch": 1, "loss": 1.0 * step, "validation": {"people": {"tpr": None, "accuracy": 0.5}}},
            )
    with opened(tmp_path, 1, tensorboard=True) as metrics:
        for step in (2, 3):
            metrics.add(step, {"epoch": 1, "loss": 10.0 * step})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "validation/people/accuracy"}
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 20.0), (3, 30.0)]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["loss"] == 1.0
