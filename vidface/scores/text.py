"""What is shown in lines of text, said in one place: columns, numbers, intervals, counts, why there is no number."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT


def columns(rows: Sequence[Sequence[str]], beside: Sequence[str] = ()) -> str:
    """Align the cells of all rows: the first column to the left, the others to the right; words ``beside`` follow."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    words = itertools.zip_longest(lines, beside[: len(lines)], fillvalue="")
    return "\n".join(f"{line}  {said}".rstrip() for line, said in words)


def number(value: float | None) -> str:
    """Four places; - for None."""
    return "-" if value is None else f"{value:.4f}"


def rate(value: float | None) -> str:
    """Three digits, however small; - for None."""
    return "-" if value is None else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference with its sign and four places; never ``-0.0000``."""
    return f"{round(value, 4) + 0.0:+.4f}"


def counted(count: int, noun: str) -> str:
    """``1 pair``, ``18,145 pairs``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def too_few(rate: str, targets: Sequence[str], count: int, things: str) -> list[str]:
    """One sentence, or none without targets: there are fewer of the things than one at the targets."""
    if not targets:
        return []
    *others, last = dict.fromkeys(targets)
    names = f"{', '.join(others)} and {last}" if others else last
    return [f"{rate} {names} is not measured: {count:,} {things} are fewer than 1/{targets[0]}"]


def interval(bounds: Sequence[float] | None) -> str:
    """Both ends; - for None."""
    return "-" if bounds is None else f"{bounds[0]:.4f} .. {bounds[1]:.4f}"


def tpr_label(target: str, rule: str = DEFAULT_RULE) -> str:
    """``TPR at FPR 1e-4``; with the rule unless it is the default."""
    return f"TPR at FPR {target}" + ("" if rule == DEFAULT_RULE else f" ({rule})")


def rule_line(result: Mapping[str, Any]) -> str:
    """Which rule the TPR at FPR of a result follows; by ``nearest`` also the FPR that it really has."""
    rule = result.get("fpr_rule", DEFAULT_RULE)  # files from before there were rules follow that one
    words = f"FPR rule {FPR_RULE_TEXT[rule]}"
    reached = {target: fpr for target, fpr in (result.get("fpr_reached") or {}).items() if fpr is not None}
    if rule == "nearest" and reached:
        words += f"; reached: {', '.join(f'{fpr:.3g} for {target}' for target, fpr in reached.items())}"
    return words


def counts_line(counts: Mapping[str, Any]) -> str:
    """What numbers rest on: ``191 identities, 18,145 genuine pairs``; what is told elsewhere is left out."""
    told = ("status", "zero_embeddings")
    return ", ".join(
        f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if name not in told
    )


def faces_line(counts: Mapping[str, int], kept: int) -> str:
    """What became of the faces that were found, from `vidface.files.faces.FaceCounts`: those left out by reason."""
    from vidface.files.faces import FILTERED  # with numpy, which the command line does without

    reasons = {
        **FILTERED,
        "not_finite": "without usable features",
        "other_track": "of others than the main person",
    }
    parts = [f"{counts['found']} found", f"{kept} kept"]
    parts += [f"{counts[name]} {reason}" for name, reason in reasons.items() if counts[name]]
    return f"faces: {', '.join(parts)}; {counts['without_face']} of {counts['frames']} frames show none"
