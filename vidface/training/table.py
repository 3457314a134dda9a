"""The table of a training run, like the paper's tables 3 and 4: a row a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT
from vidface.scores.text import columns, rule_line

__all__ = ["in_words", "markdown", "stage_table"]


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
