"""The command that tells whether one run is better than another: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidface.options import DIRECTORY, FILE, json_option
from vidface.output import print_json


@click.command()
@click.argument("runs", metavar="A B [C ...]", type=FILE, nargs=-1, required=True)
@click.option("--manifest", "manifest_path", type=FILE, help="Who is where [default: as the folders say].")
@click.option(
    "-o", "--output", type=DIRECTORY, help="Write a page, Markdown, LaTeX and CSV into this folder."
)
@click.option(
    "--protocol", type=click.Choice(["both", "iqiyi", "lfrc"]), help="[default: as the first that says it]"
)
@click.option(
    "--enrolment-split",
    help="Of the templates' videos (iqiyi) [default: as the first that says it].",
)
@click.option("--gallery-split", help="Of the searched videos (iqiyi) [default: as the first that says it].")
@click.option(
    "--targets", help="FPR targets (lfrc), such as 1e-3,1e-4 [default: as the first that says them]."
)
@json_option
def compare(
    runs: tuple[Path, ...],
    manifest_path: Path | None,
    output: Path | None,
    targets: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Tell whether B, C ... are better than A, on the same set.

    Each is the output folder of a recipe, an embeddings file, or a submission file (.txt, .bin).
    """
    from vidface.protocols.lfrc import check_targets
    from vidface.report.compare_text import as_json as as_object
    from vidface.report.compare_text import text
    from vidface.stages.compare import compare as run
    from vidface.stages.compared import open_compared

    listed = None if targets is None else [target.strip() for target in targets.split(",")]
    check_targets(listed or [])
    if output is not None:
        from vidface.report.compare_page import check_output, write_comparison

        check_output(output)
    found = run(*open_compared(runs, manifest=manifest_path, options={**options, "targets": listed}))
    if output is not None:
        write_comparison(found, output)
    if as_json:
        print_json(as_object(found))
    else:
        click.echo(text(found))
        if output is not None:
            click.echo(f"written: {output / 'index.html'}, compare.md, compare.tex and CSV files beside it")
    return int(any(found.unusable))
