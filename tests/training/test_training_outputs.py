from __future__ import annotations

import importlib.util
import json
import logging
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidface.errors import UsageError
from vidface.training.outputs import MetricsFile, draw_curves, markdown, read_metrics, stage_table


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


def write_stage(folder: Path, epochs: int, sets: tuple[str, ...] = ("people",), **parts: float) -> Path:
    folder.mkdir()
    lines: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        loss = {"epoch": epoch, "loss": 5.0 / epoch, **parts}
        lines.append({"step": 4 * epoch, **loss, "rate": 0.1, "images_per_second": 9.0})
        measured: dict[str, Any] = {name: {"accuracy": 0.9, "accuracy_std": 0.1} for name in sets}
        if "people" in measured:
            measured["people"]["tpr"] = None if epoch == 1 else 0.5
        lines.append({"step": 4 * epoch, **loss, "validation": measured})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[float], list[float]]]:
    """Every line that is drawn: its label, x and y."""
    axes = pytest.importorskip("matplotlib.axes")
    real: Callable[..., Any] = axes.Axes.plot
    lines: list[tuple[str, list[float], list[float]]] = []

    def plot(self: Any, x: Any, y: Any, *args: Any, **kwargs: Any) -> Any:
        lines.append((kwargs["label"], list(x), list(y)))
        return real(self, x, y, *args, **kwargs)

    monkeypatch.setattr(axes.Axes, "plot", plot)
    return lines


def test_all_stages_one_after_the_other(
    tmp_path: Path, drawn: list[tuple[str, list[float], list[float]]]
) -> None:
    five = ("a", "b", "c", "d", "e")
    folders = [
        write_stage(tmp_path / "1-arcface", 3),
        write_stage(tmp_path / "2-intra-inter", 2, ("people", *five), intra=1.5, inter=0.5),
        write_stage(tmp_path / "3-semi-hard", 1, triplet=0.1),
    ]
    draw_curves(folders, tmp_path, "1e-3")
    labels = [label for label, _, _ in drawn]
    for name in ("arcface", "intra-inter", "semi-hard"):
        assert name in labels
    assert {"intra, intra-inter", "inter, intra-inter", "triplet, semi-hard"} <= set(labels)
    assert {f"intra-inter, {name}" for name in five} <= set(labels), "no set is left out"
    losses = [(x, y) for label, x, y in drawn if label == "arcface"]
    assert ([4, 8, 12], [5.0, 2.5, 5.0 / 3]) in losses
    assert any(x == [16, 20] for label, x, _ in drawn if label == "intra-inter"), "they follow one another"
    assert any(x == [24] for label, x, _ in drawn if label == "semi-hard")
    ElementTree.parse(tmp_path / "curves.svg")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == [
        "curves.png",
        "curves.svg",
    ]


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.INFO, "vidface"):
        draw_curves([write_stage(tmp_path / "1-a", 1)], tmp_path, "1e-3")
    assert [record.getMessage()[:21] for record in caplog.records] == ["curves are not drawn:"]
    assert not list(tmp_path.glob("curves*"))


def test_a_stage_that_wrote_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "1-empty").mkdir()
    draw_curves([tmp_path / "1-empty", write_stage(tmp_path / "2-b", 1)], tmp_path, "1e-3")
    assert (tmp_path / "curves.svg").stat().st_size > 1000


def stage(name: str, accuracy: float, tpr: float | None, *, test: bool, lfw: bool) -> dict[str, Any]:
    validation: dict[str, Any] = {"lfw": {"accuracy": 0.99, "accuracy_std": 0.01}} if lfw else {}
    validation["people"] = {"accuracy": accuracy, "accuracy_std": 0.0123, "tpr": tpr}
    found = {"stage": name, "epochs": 12, "best_epoch": 7, "images_seen": 1234567, "validation": validation}
    return {**found, "test": {"accuracy": 0.5, "accuracy_std": 0.25, "tpr": 0.125}} if test else found


def found(*, test: bool = True, lfw: bool = False, choose: str = "tpr") -> dict[str, Any]:
    return {
        "stages": [
            stage("arcface", 0.9, None, test=test, lfw=lfw),
            stage("pk4", 0.98765, 0.25, test=test, lfw=lfw),
        ],
        "best_stage": "pk4",
        "fpr_target": "1e-3",
        "choose": choose,
        "model": "out/model.safetensors",
        "people": {"training": {"people": 3, "images": 40}, "cut": {"people": 1, "images": 2}},
    }


def cells(page: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if "|" in line
    ]


def test_a_row_a_stage() -> None:
    header, line, first, second = cells(markdown(found()))
    assert header[:4] == ["stage", "epochs", "best", "images seen"]
    assert header[4:] == [
        f"{name} {what}" for name in ("validation", "test") for what in ("accuracy", "TPR@FPR=1e-3")
    ]
    assert set(line) == {"---"}
    same = ["12", "7", "1,234,567"]
    assert first == ["arcface", *same, "0.9000 ± 0.0123", "not measured", "0.5000 ± 0.2500", "0.1250"]
    assert second == ["pk4*", *same, "0.9877 ± 0.0123", "0.2500", "0.5000 ± 0.2500", "0.1250"]


def test_other_sets_have_an_accuracy_alone() -> None:
    header, _, first, _ = cells(markdown(found(test=False, lfw=True)))
    assert header[4:] == ["lfw accuracy", "validation accuracy", "validation TPR@FPR=1e-3"]
    assert first[4:] == ["0.9900 ± 0.0100", "0.9000 ± 0.0123", "not measured"]


def test_what_is_said_below() -> None:
    page = markdown(found())
    assert "training: 3 people, 40 images; cut: 1 people, 2 images" in page
    assert "The star marks the best stage by validation TPR at FPR 1e-3." in page
    assert "by validation accuracy." in markdown(found(choose="accuracy"))
    assert "by accuracy on lfw." in markdown(found(lfw=True, choose="lfw"))


def test_as_text() -> None:
    lines = stage_table(found()).splitlines()
    assert lines[-1] == "* the best by validation TPR at FPR 1e-3: out/model.safetensors"
    assert [line.split()[0] for line in lines[:-2]] == ["stage", "arcface", "pk4*"]
    assert lines[-2] == "FPR rule at-most: the largest TPR whose FPR is at most the target"
    assert len({len(line.rstrip()) for line in lines[1:-2]} | {len(lines[0])}) == 1, "the columns are aligned"
