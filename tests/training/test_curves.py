from __future__ import annotations

import json
import logging
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidface.training.curves import draw_curves


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
