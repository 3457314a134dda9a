"""The commands that draw pages: report (one run) and compare (is one run better than another)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vidface.commands.options import DIRECTORY, FILE, Command, json_option, read_targets, root_option
from vidface.commands.output import print_json, print_warnings
from vidface.errors import UsageError
from vidface.scores.metrics.fpr_rules import FPR_RULES
from vidface.scores.protocols.table import OF_EMBEDDINGS, used_by


def _scored_as(before: str) -> Callable[[Command], Command]:
    """How it is scored, by a protocol of embeddings; what is not said is as before."""
    default = f"[default: as {before}]"
    who = used_by("enrolment_split")

    def decorate(command: Command) -> Command:
        for option in reversed(
            [
                click.option("--protocol", type=click.Choice(OF_EMBEDDINGS), help=default),
                click.option(
                    "--enrolment-split", help=f"Videos that templates are made of ({who}) {default}."
                ),
                click.option("--gallery-split", help=f"Videos that are searched ({who}) {default}."),
                click.option(
                    "--targets", callback=read_targets, help=f"FPR targets, such as 1e-3,1e-4 {default}."
                ),
                click.option("--pairs", type=FILE, help=f"The list of pairs ({used_by('pairs')}) {default}."),
            ]
        ):
            command = option(command)
        return command

    return decorate


@click.command()
@click.argument("run", type=FILE)
@click.option("-o", "--output", type=DIRECTORY, required=True, help="Folder for the page, figures and CSV.")
@click.option(
    "--manifest",
    "manifest_path",
    type=FILE,
    help="Manifest of the videos and their identities [default: as RUN says].",
)
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
@click.option(
    "--fpr-rule",
    type=click.Choice(FPR_RULES),
    help="How to choose the operating point for an FPR target [default: as RUN was scored].",
)
@json_option
def report(
    run: Path,
    output: Path,
    manifest_path: Path | None,
    root: Path | None,
    features: Path | None,
    thresholds: str | None,
    videos: tuple[str, ...],
    no_pictures: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Show a run as one HTML page, with its figures and the data of all it shows.

    RUN is the output folder of a recipe, or an embeddings file.
    """
    check_output(output)
    from vidface.embeddings.thresholds import parse_thresholds
    from vidface.report.drawing.figures_drawing import new_figure
    from vidface.report.drawing.html import environment
    from vidface.report.run.gather import gather
    from vidface.report.run.page import write_report
    from vidface.runs.opened import open_run

    environment()  # both say how they are installed, and that before minutes of work
    with new_figure():
        pass
    opened = open_run(
        run,
        manifest=manifest_path,
        root=root,
        features=features,
        options=options,
        media=not no_pictures,
    )
    content = gather(
        opened,
        thresholds=None if thresholds is None else parse_thresholds(thresholds),
        videos=videos,
        pictures=not no_pictures,
    )
    files = write_report(content, output)
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print_json(
            {
                "output": str(output),
                "page": str(files[0]),
                "page_bytes": files[0].stat().st_size,
                "files": [str(file.relative_to(output)) for file in files],
                "fpr_rule": opened.options.fpr_rule,
                "headline": {number.label: number.value for number in content.headline},
                "warnings": content.warnings,
                "missing": content.missing,
                "faults": len(content.faults.rows),
            }
        )
    else:
        page = files[0].stat().st_size
        click.echo(
            f"{files[0]}: written: {page / 1e6:.1f} MB; with {len(files) - 1} files beside it {size / 1e6:.1f} MB"
        )
        print_warnings(content.warnings)
    return 0


def check_output(output: Path) -> None:
    """Refuse a folder that holds something else than an earlier report, before any work is done.

    Raises:
        UsageError: it does.
    """
    # A run that was killed at its beginning leaves empty folders, and files with a dot.
    held = (path for path in output.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not (output / "data" / "headline.csv").is_file() and any(held):
        raise UsageError(f"{output}: holds something else than a report; choose another folder")


@click.command()
@click.argument("runs", metavar="A B [C ...]", type=FILE, nargs=-1, required=True)
@click.option(
    "--manifest",
    "manifest_path",
    type=FILE,
    help="Manifest of the videos and their identities [default: as the folders say].",
)
@click.option("-o", "--output", type=DIRECTORY, help="Write a page, Markdown and CSV into this folder.")
@_scored_as("the first that says it")
@json_option
def compare(
    runs: tuple[Path, ...],
    manifest_path: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
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
