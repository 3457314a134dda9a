"""What a training run says: metrics of a stage as JSON Lines (and for TensorBoard), curves, a table of stages."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, BinaryIO

from vidface.errors import UsageError
from vidface.files.atomic import atomic_path, write_atomic
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT
from vidface.scores.text import columns, rule_line

METRICS = "metrics.jsonl"


class MetricsFile:
    """Lines that are added as training goes on; after a kill those after the checkpoint are written again.

    ``lines`` is how many lines the checkpoint knows of; ``speaks`` is False on all ranks but the first, which write
    nothing.
    """

    def __init__(self, folder: Path, lines: int, *, tensorboard: bool, speaks: bool) -> None:
        self.lines = lines
        self._handle: BinaryIO | None = None
        self._board: Any = None
        if not speaks:
            return
        path = folder / METRICS
        kept = path.read_bytes().splitlines(keepends=True)[:lines] if path.is_file() else []
        with write_atomic(path) as whole:
            whole.writelines(kept)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UsageError(
                    "tensorboard = true, but it is not installed: pip install -e '.[train]', or take it out of the "
                    "recipe"
                ) from None
            purge = json.loads(kept[-1])["step"] + 1 if kept else None
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        self._handle = path.open("ab")

    def add(self, step: int, values: dict[str, Any]) -> None:
        """One line; `step` counts the batches of the stage."""
        self.lines += 1
        if self._handle is None:
            return
        self._handle.write(json.dumps({"step": step, **values}).encode() + b"\n")
        self._handle.flush()
        if self._board is not None:
            for name, value in _numbers(values):
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *_error: object) -> None:
        for open_one in (self._handle, self._board):
            if open_one is not None:
                open_one.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a stage's metrics; none where it has not begun."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _numbers(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "epoch":
            found.append((f"{prefix}{name}", float(value)))
    return found


log = logging.getLogger("vidface")


def draw_curves(folders: Sequence[Path], output: Path, fpr_target: str) -> None:
    """Draw loss, learning rate and validation over all batches into ``curves.svg`` and ``curves.png``.

    The folders are those of the stages, in order, each called ``<number>-<name>``.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info(
            "curves are not drawn: pip install -e '.[train]'; the numbers are in every stage's metrics.jsonl"
        )
        return
    figure = Figure(figsize=(11, 8), layout="constrained")
    loss_axes, part_axes, accuracy_axes, tpr_axes = figure.subplots(2, 2, sharex=True).ravel()
    begun = 0
    for number, folder in enumerate(folders):
        lines = read_metrics(folder)
        if not lines:
            continue
        name = folder.name.partition("-")[2]
        steps = [line for line in lines if "rate" in line]
        epochs = [line for line in lines if "validation" in line]
        curves = [(loss_axes, steps, [line["loss"] for line in steps], name, "-")]
        for style, part in zip(("-", "--", ":"), ("intra", "inter", "triplet"), strict=True):
            having = [line for line in steps if part in line]
            curves.append((part_axes, having, [line[part] for line in having], f"{part}, {name}", style))
        sets = epochs[0]["validation"] if epochs else ()
        for dataset, style in zip(sets, cycle(("o-", "s--", "^:", "v-.")), strict=False):
            shown = name if dataset == "people" else f"{name}, {dataset}"
            measured = [line["validation"][dataset] for line in epochs]
            curves.append((accuracy_axes, epochs, [found["accuracy"] for found in measured], shown, style))
            rates = [found.get("tpr") for found in measured]
            if any(rate is not None for rate in rates):
                rates = [math.nan if rate is None else rate for rate in rates]
                curves.append((tpr_axes, epochs, rates, shown, style))
        for axes, at, values, label, style in curves:
            if values:
                places = [begun + line["step"] for line in at]
                look = {"color": f"C{number % 10}", "markersize": 4, "linewidth": 1.2}
                axes.plot(places, values, style, label=label, **look)
        begun += lines[-1]["step"]
        for axes in (loss_axes, part_axes, accuracy_axes, tpr_axes):
            axes.axvline(begun, color="0.85", linewidth=0.8, zorder=0)
    loss_axes.set_ylabel("loss (mean since the epoch began)")
    part_axes.set_ylabel("added terms: intra (rad), inter (cosine), triplet")
    accuracy_axes.set_ylabel("validation accuracy, ten folds")
    tpr_axes.set_ylabel(f"validation TPR at FPR {fpr_target}")
    for axes in (accuracy_axes, tpr_axes):
        axes.set_xlabel("batches")
    for axes in (loss_axes, part_axes):
        if axes.lines and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    figure.suptitle("One colour a stage; each starts from the best weights of the one before")
    for suffix in ("svg", "png"):
        with atomic_path(output / f"curves.{suffix}") as partial:
            figure.savefig(partial, format=suffix, dpi=110)


def stage_table(found: Mapping[str, Any]) -> str:
    """The table as aligned text, with the best stage marked; ``found`` is what `train` returns."""
    rows = _rows(found)
    lines = columns(rows)
    if any("TPR" in name for name in rows[0]):
        lines += f"\n{rule_line(found)}"
    return f"{lines}\n* the best by {_by(found)}: {found['model']}"


def markdown(found: Mapping[str, Any]) -> str:
    """The same as a Markdown page."""
    header, *rows = _rows(found)
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    return (
        f"{table}\n\nAccuracy: ten folds over balanced pairs, mean and standard deviation over the folds, no flip. "
        f"TPR at FPR {found['fpr_target']}: over all pairs of distinct images, {FPR_RULE_TEXT[DEFAULT_RULE]}. "
        f"People: {in_words(found['people'], ': ')}. "
        f"The star marks the best stage by {_by(found)}.\n"
    )


def in_words(people: Mapping[str, Any], gap: str) -> str:
    """How many people and images each set has, with ``gap`` after its name."""
    return "; ".join(
        f"{name}{gap}{held['people']} people, {held['images']} images" for name, held in people.items()
    )


def _by(found: Mapping[str, Any]) -> str:
    choose = found["choose"]
    if choose == "tpr":
        return f"validation TPR at FPR {found['fpr_target']}"
    return "validation accuracy" if choose == "accuracy" else f"accuracy on {choose}"


def _rows(found: Mapping[str, Any]) -> list[list[str]]:
    stages = found["stages"]
    names = list(stages[0]["validation"])
    header = ["stage", "epochs", "best", "images seen"]
    for name in [*names, *(["test"] if "test" in stages[0] else [])]:
        shown = "validation" if name == "people" else name
        header.append(f"{shown} accuracy")
        if name in ("people", "test"):
            header.append(f"{shown} TPR@FPR={found['fpr_target']}")
    rows = [header]
    for result in stages:
        star = "*" if result["stage"] == found["best_stage"] else ""
        row = [
            result["stage"] + star,
            str(result["epochs"]),
            str(result["best_epoch"]),
            f"{result['images_seen']:,}",
        ]
        measured = [(name, result["validation"][name]) for name in names]
        measured += [("test", result["test"])] if "test" in result else []
        for name, values in measured:
            row.append(f"{values['accuracy']:.4f} ± {values['accuracy_std']:.4f}")
            if name in ("people", "test"):
                row.append("not measured" if values["tpr"] is None else f"{values['tpr']:.4f}")
        rows.append(row)
    return rows
