"""The curves of a training run, stage after stage, from their metrics files."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from vidface.files.atomic import atomic_path
from vidface.training.metrics_file import read_metrics

__all__ = ["draw_curves"]

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
