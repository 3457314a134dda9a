"""A comparison for a terminal, as Markdown, and as JSON; each form escapes names and attributes, which are foreign."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import vidface
from vidface.errors import printable
from vidface.files.locks import short
from vidface.runs.compare_result import SHOWN, Comparison, Value, verdict
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.protocols import iqiyi, lfrc
from vidface.scores.text import columns, number

Escape = Callable[[str], str]


def text(found: Comparison) -> str:
    """The comparison for a terminal: what differs, the table with one verdict per line, warnings, how it was done."""
    rows = _table_rows(found, printable)
    verdicts = [row.pop() for row in rows]
    lines = [
        columns(_made_with_rows(found, printable)),
        "",
        columns(rows, verdicts),
        "",
        *(f"warning: {printable(warning)}" for warning in found.warnings),
        *([""] if found.warnings else []),
        method(found),
    ]
    return "\n".join(lines)


def markdown(found: Comparison) -> str:
    base = escape_markdown(found.runs[0].name)
    others = ", ".join(escape_markdown(run.name) for run in found.runs[1:])
    parts = [
        f"# {others} against {base}",
        _markdown_table(_table_rows(found, escape_markdown), "llrll"),
        "\n".join(f"- Warning: {escape_markdown(warning)}" for warning in found.warnings),
        "## What was compared",
        _markdown_table(_made_with_rows(found, escape_markdown), "l" * (len(found.runs) + 1)),
        method(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table_rows(found: Comparison, escape: Escape) -> list[list[str]]:
    """The head, then a row for every measure and run: both names, value, 95 % interval, verdict against the first."""
    rows = [["measure", "run", "value", "95 % interval", f"against {found.runs[0].name}"]]
    for measure in found.measures:
        for at, (run, value) in enumerate(zip(found.runs, measure.values, strict=True)):
            rows.append(["" if at else measure.name, run.name, *value_texts(value), measure.words(at)])
    return [list(map(escape, row)) for row in rows]


def _made_with_rows(found: Comparison, escape: Escape) -> list[list[str]]:
    """The head, then a row for everything in which the runs were made differently."""
    rows = [["made with", *(run.name for run in found.runs)]]
    rows += [[name, *map(made_with_text, values)] for name, values in found.differs.items()]
    if not found.differs:
        rows.append(["nothing that differs is known", *[""] * len(found.runs)])
    return [list(map(escape, row)) for row in rows]


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as one JSON object; its keys are documented in ``docs/compare.md``."""
    ids, names = found.manifest.video_ids, found.wanted.names
    among = found.ranks_among_strangers
    others = range(1, len(found.runs))
    return {
        "runs": [
            {
                "name": run.name,
                "path": str(run.path),
                "scored": run.scored.name,
                "zero_embeddings": unusable,
                "made_with": run.made_with,
            }
            for run, unusable in zip(found.runs, found.unusable, strict=True)
        ],
        "baseline": found.runs[0].name,
        "differs": found.differs,
        "measures": [
            {
                "measure": measure.name,
                "values": [None if value is None else value._asdict() for value in measure.values],
                "failed": measure.beside,
                "differences": [
                    None if gain is None else {**gain._asdict(), "words": verdict(gain)}
                    for gain in measure.differences
                ],
            }
            for measure in found.measures
        ],
        "intervals": {
            "level": 0.95,
            "comparisons": found.comparisons,
            "replicates": found.replicates,
            "seed": 0,
        },
        "changed_identities": {
            found.runs[run].name: [
                {"identity": names[i], "ap": found.precision[[0, run], i].tolist()}
                for i in found.changed_identities(run)[:SHOWN]
            ]
            for run in others
        },
        "changed_videos": {
            found.runs[run].name: [
                {
                    "video": ids[int(found.wanted.videos[n])],
                    "identity": names[int(found.wanted.identity[n])],
                    "rank": [rank or None for rank in found.ranks[[0, run], n].tolist()],
                    "rank_among_strangers": [rank or None for rank in among[[0, run], n].tolist()],
                }
                for n in found.changed_videos(run)[:SHOWN]
            ]
            for run in others
        },
        "options": found.options,
        "definitions": found.definitions
        or {"iqiyi": iqiyi.DEFINITION, "lfrc": lfrc.definition().partition("; intervals")[0]},
        "fpr_rule": DEFAULT_RULE,
        "counts": found.counts,
        "warnings": found.warnings,
        "inputs": {"manifest_sha256": found.manifest.sha256, "program_version": vidface.__version__},
    }


def method(found: Comparison) -> str:
    """How the intervals were made, in words."""
    rule = "" if found.fpr_rule is None else f"{found.fpr_rule}. "
    last = "Measures are not corrected for one another: choose yours before you look."
    if not found.replicates:
        return (
            f"Each run is scored by the protocol {found.options['protocol']}, as vidface score does; an interval is "
            f"that of its run alone. No interval of a difference is given for this protocol. {rule}{last}"
        )
    several = ""
    if found.comparisons > 1:
        several = (
            f"With {found.comparisons} runs compared with one, each interval of a difference has the level "
            f"{1 - 0.05 / found.comparisons:.2%}, so that all of a measure hold together in 95 of 100 sets "
            "(Bonferroni). "
        )
    return (
        f"Intervals are 95 % percentiles of {found.replicates:,} sets whose identities were drawn again, with all "
        "their videos, the same ones for every run (paired bootstrap); for TPR at FPR the threshold is found again in "
        f"each. {rule}A difference is called better or worse where its whole interval lies on one side of 0. "
        f"{several}{last}"
    )


def value_texts(value: Value | None) -> tuple[str, str]:
    """``0.9796`` and ``0.9603 to 0.9950``."""
    if value is None:
        return number(None), ""
    ends = "" if value.low is None or value.high is None else f"{value.low:.4f} to {value.high:.4f}"
    return number(value.value), ends


def made_with_text(value: Any) -> str:
    """An attribute, short; a question mark if unknown."""
    return "?" if value is None else short(value)


def escape_markdown(words: str) -> str:
    """Foreign text within a line of Markdown: nothing in it is a mark, a link or a tag."""
    return re.sub(r"([\\`*_{}\[\]()<>#!|&~@$]|:(?=//)|(?i:(?<=\bwww))\.)", r"\\\1", printable(words))


def _markdown_table(rows: list[list[str]], alignment: str) -> str:
    head, *body = rows
    lines = [head, [{"l": "---", "r": "---:"}[side] for side in alignment], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
