"""What commands print: one JSON object for scripts, or lines for people."""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.errors import first_few, visible
from vidface.scores.text import counted

if TYPE_CHECKING:
    from vidface.features.engines import Engine
    from vidface.manifest.against import Compared
    from vidface.manifest.manifest import Problem
    from vidface.manifest.sources import Converted

# What ASCII has for the letters that we print ourselves, each as wide as the letter where columns depend on it.
_STAND_INS = {"█": "#", "░": "-", "·": ".", "–": "-", "±": "+-"}


def stand_in_for_letters() -> None:
    """Let stdout and stderr print what their encoding lacks: bars as ASCII, other letters as escapes."""

    def stand_in(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError), "it is of writing alone"
        letters = error.object[error.start : error.end]
        known = (_STAND_INS.get(x) or x.encode("ascii", "backslashreplace").decode() for x in letters)
        return "".join(known), error.end

    codecs.register_error("vidface", stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="vidface")


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line; NaN is an error, not a token. If stdout is not UTF-8, it is ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    in_ascii = codecs.lookup(encoding).name != "utf-8"
    click.echo(json.dumps(value, ensure_ascii=in_ascii, allow_nan=False, default=_path))


def _path(value: object) -> str:
    if not isinstance(value, Path):
        raise TypeError(f"no {type(value).__name__} in JSON")
    return str(value)


def fields_of(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = vars(result) if hasattr(result, "__dict__") else result._asdict()
    return found


def print_done(result: Any, what: str) -> None:
    click.echo(f"{result.output}: {'already there' if result.already_done else 'written'}: {what}")


def print_videos(result: Any, faults_file: Path) -> None:
    listed = f"; faults: {by_kind(result.faults)}, in {faults_file}" if result.faults else ""
    click.echo(f"videos: {by_kind(result.status)}{listed}")


def any_failed(status: Mapping[str, int]) -> int:
    return int(set(status) - {"ok"} != set())


def lost_nodes(engine: Engine) -> dict[str, Any]:
    """The key for machines that were lost on the way; none if all stayed."""
    return {"lost_nodes": list(engine.lost)} if engine.lost else {}


def print_warnings(warnings: Sequence[str], *, err: bool = False) -> None:
    for warning in warnings:
        click.echo(visible(f"warning: {warning}"), err=err)


def print_made(output: Path, made: Converted, as_json: bool) -> int:
    """Say what a converter wrote, and all that it left out, by reason."""
    root: Path | None = click.get_current_context().params.get("root")
    if root is not None and root.resolve() != output.parent.resolve():
        made.notes.append(
            f"paths start at {root}: pass --root {shlex.quote(str(root))} to extract, report, inspect and "
            "manifest check, or write it as root into a recipe"
        )
    if as_json:
        print_json({"output": output, **dataclasses.asdict(made)})
        return 0
    splits = ", ".join(f"{n} {split or 'without split'}" for split, n in made.splits.items())
    click.echo(f"{output}: written: {made.rows} videos ({splits}), {made.identities} identities")
    if made.missing:
        click.echo(f"missing: the media of {made.missing} videos; extract will list them as faults")
    for reason, names in made.ignored.items():
        click.echo(f"left out: {len(names)} {reason}: {first_few(names)}")
    for note in made.notes:
        click.echo(f"note: {note}")
    return 0


def print_problems(path: Path, problems: Sequence[Problem], as_json: bool) -> int:
    """List the problems of a file, each with its line, then the warnings; returns the exit code, 1 for problems."""
    wrong = [problem for problem in problems if not problem.warning]
    odd = [problem for problem in problems if problem.warning]
    if as_json:
        warnings = [problem.message for problem in odd]
        print_json({"file": path, "ok": not wrong, "problems": _as_dicts(wrong), "warnings": warnings})
    else:
        for problem in wrong:
            click.echo(f"{path}:{problem.line}: {problem.kind}: {problem.message}")
        for problem in odd:
            click.echo(f"warning: {path}:{problem.line}: {problem.message}")
        more = f", {counted(len(odd), 'warning')}" if odd else ""
        click.echo(f"{path}: {len(wrong) or 'no'} problem{'s' * (len(wrong) != 1)}{more}")
    return int(bool(wrong))


def print_compared(path: Path, found: Compared, as_json: bool) -> int:
    """Say how a manifest and a known set differ, one line per difference; returns the exit code."""
    differences = {"missing": found.missing, "extra": found.extra, "differs": found.differs}
    if as_json:
        counts = [{**count._asdict(), "agrees": count.agrees} for count in found.counts]
        against = {"set": found.known, "rows": found.rows, "counts": counts, **differences}
        warnings = [odd.message for odd in found.warnings]
        told = {"file": path, "ok": found.agrees, "problems": _as_dicts(found.problems)}
        print_json({**told, "warnings": warnings, "against": against})
    elif found.problems:
        print_problems(path, [*found.problems, *found.warnings], as_json)
        click.echo(f"{path}: not compared with {found.known} until that is fixed")
    else:
        agreeing = [count.text(found.rows) for count in found.counts if count.agrees]
        for kind, lines in {"agrees": agreeing, **differences}.items():
            for line in lines:
                click.echo(visible(f"{kind}: {line}"))
        for odd in found.warnings:
            click.echo(f"warning: {path}:{odd.line}: {odd.message}")
        total = sum(map(len, differences.values()))
        verdict = f"{counted(total, 'difference')} from" if total else "agrees with"
        click.echo(f"{path}: {verdict} {found.known}; media were not looked for")
    return int(not found.agrees)


def _as_dicts(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [{"line": p.line, "kind": p.kind, "message": p.message} for p in problems]


def by_kind(counts: Mapping[str, int]) -> str:
    """Counts as text: ``2 failed, 7 ok``."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
