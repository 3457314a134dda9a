"""The commands that draw pages: report (one run) and compare (is one run better than another)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vidface.commands.options import (
    DIRECTORY,
    FILE,
    Command,
    fpr_rule_option,
    json_option,
    manifest_option,
    output_option,
    reading,
    root_option,
)
from vidface.commands.output import print_json, print_warnings
from vidface.errors import UsageError
from vidface.scores.protocols.table import OF_EMBEDDINGS, used_by


def _scored_as(before: str) -> Callable[[Command], Command]:
    """How it is scored, by a protocol of embeddings; what is not said is as before."""
    default = f"[default: as {before}]"
    who = used_by("enrolment_split")
    targets = f"FPR targets, such as 1e-3,1e-4 {default}."

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--pairs", type=FILE, help=f"The list of pairs ({used_by('pairs')}) {default}."),
            click.option("--targets", callback=reading("targets"), help=targets),
            click.option("--gallery-split", help=f"Videos that are searched ({who}) {default}."),
            click.option("--enrolment-split", help=f"Videos that templates are made of ({who}) {default}."),
            click.option("--protocol", type=click.Choice(OF_EMBEDDINGS), help=default),
        ):
            command = option(command)
        return command

    return decorate


@click.command()
@click.argument("run", type=FILE)
@output_option("Folder for the page, figures and CSV.", kind=DIRECTORY)
@manifest_option(" [default: as RUN says]", required=False)
@root_option
@click.option(
    "--features", type=FILE, help="Features that the embeddings were made from [default: as RUN says]."
)
@click.option(
    "--thresholds", help="Sweep these now: none, cosines, ranges [default: the sweep that RUN has]."
)
@click.option("--video", "videos", multiple=True, metavar="ID", help="Show this video's frames; repeatable.")
@click.option("--no-pictures", is_flag=True, help="No faces in the page, to pass it on.")
@_scored_as("RUN was scored")
@fpr_rule_option(None, " [default: as RUN was scored]")
@json_option
def report(
    run: Path,
    output: Path,
    thresholds: str | None,
    videos: tuple[str, ...],
    no_pictures: bool,
    as_json: bool,
    **told: Any,
) -> int:
    """Show a run as one HTML page, with its figures and the data of all it shows.

    RUN is the output folder of a recipe, or an embeddings file.
    """
    _check_output(output)
    from vidface.embeddings.thresholds import parse_thresholds
    from vidface.report.drawing.figures_drawing import new_figure
    from vidface.report.drawing.html import environment
    from vidface.report.run.gather import gather
    from vidface.report.run.page import write_report
    from vidface.runs.opened import open_run

    environment()  # both say how they are installed, and that before minutes of work
    with new_figure():
        pass
    pictures = not no_pictures
    opened = open_run(
        run,
        manifest=told.pop("manifest_path"),
        root=told.pop("root"),
        features=told.pop("features"),
        options=told,
        media=pictures,
    )
    cosines = None if thresholds is None else parse_thresholds(thresholds)
    content = gather(opened, thresholds=cosines, videos=videos, pictures=pictures)
    files = write_report(content, output)
    page = files[0].stat().st_size
    if as_json:
        print_json(
            {
                "output": output,
                "page": files[0],
                "page_bytes": page,
                "files": [file.relative_to(output) for file in files],
                "fpr_rule": opened.options.fpr_rule,
                "headline": {number.label: number.value for number in content.headline},
                "warnings": content.warnings,
                "missing": content.missing,
                "faults": len(content.faults.rows),
            }
        )
        return 0
    size = sum(file.stat().st_size for file in files)
    beside = f"{len(files) - 1} files beside it {size / 1e6:.1f} MB"
    click.echo(f"{files[0]}: written: {page / 1e6:.1f} MB; with {beside}")
    print_warnings(content.warnings)
    return 0


def _check_output(output: Path) -> None:
    """Refuse a folder that holds something else than an earlier report, before any work is done."""
    # A run that was killed at its beginning leaves empty folders, and files with a dot.
    held = (path for path in output.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not (output / "data" / "headline.csv").is_file() and any(held):
        raise UsageError(f"{output}: holds something else than a report; choose another folder")


@click.command()
@click.argument("runs", metavar="A B [C ...]", type=FILE, nargs=-1, required=True)
@manifest_option(" [default: as the folders say]", required=False)
@output_option("Write a page, Markdown and CSV into this folder.", required=False, kind=DIRECTORY)
@_scored_as("the first that says it")
@json_option
def compare(
    runs: tuple[Path, ...], manifest_path: Path | None, output: Path | None, as_json: bool, **options: Any
) -> int:
    """Tell whether B, C ... are better than A, on the same set.

    Each is the output folder of a recipe, an embeddings file, or a submission file (.txt, .bin).
    """
    from vidface.report.comparison.text import as_json as as_object
    from vidface.report.comparison.text import text
    from vidface.runs.compare import compare as run
    from vidface.runs.compare_inputs import open_compared

    if output is not None:
        from vidface.report.comparison.page import check_output, write_comparison

        check_output(output)
    found = run(*open_compared(runs, manifest=manifest_path, options=options))
    if output is not None:
        write_comparison(found, output)
    if as_json:
        print_json(as_object(found))
    else:
        click.echo(text(found))
        if output is not None:
            click.echo(f"written: {output / 'index.html'}, compare.md and CSV files beside it")
    return int(any(found.unusable))
