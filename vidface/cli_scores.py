"""The commands that compare: score, sweep, submit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from vidface.errors import UsageError
from vidface.options import (
    FILE,
    engine_options,
    json_option,
    manifest_option,
    pool_option,
    protocol_options,
    split_options,
)
from vidface.output import print_json, print_problems


@click.command()
@click.argument("scored", type=FILE)
@manifest_option
@click.option("-o", "--output", type=FILE, help="Write scores.json.")
@protocol_options
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where pairs are compared (lfrc); the numbers are the same.",
)
@json_option
def score(scored: Path, manifest_path: Path, output: Path | None, as_json: bool, **options: Any) -> int:
    """Score embeddings, or a submission file (.txt, .bin), against the manifest."""
    from vidface.manifest import read_manifest
    from vidface.stages.outputs import write_json
    from vidface.stages.score import read_scored
    from vidface.stages.score import score as run
    from vidface.tables import score_lines

    truth = read_manifest(manifest_path)
    result = run(read_scored(scored, truth), truth, **options)
    if output:
        write_json(output, result)
    if as_json:
        print_json(result)
    else:
        click.echo(score_lines(result))
    return int(result["counts"].get("zero_embeddings", 0) > 0)


@click.command()
@click.argument("features", type=FILE)
@manifest_option
@click.option(
    "--thresholds",
    default="none,0.2:0.6:0.05",
    show_default=True,
    help="none, cosines, and ranges start:stop:step.",
)
@pool_option
@click.option("-o", "--output", type=FILE, help="Write the table as JSON.")
@protocol_options
@engine_options("Threads that cluster [default: one a core]; with ray the cluster decides.")
@json_option
def sweep(
    features: Path,
    manifest_path: Path,
    thresholds: str,
    output: Path | None,
    engine: str,
    workers: int | None,
    address: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Score many clustering thresholds in one pass over the features."""
    from vidface.engines import open_engine
    from vidface.manifest import read_manifest
    from vidface.stages.outputs import write_json
    from vidface.stages.sweep import sweep as run
    from vidface.stages.thresholds import parse_thresholds
    from vidface.tables import sweep_table

    truth = read_manifest(manifest_path)
    with open_engine(engine, workers=workers, address=address) as where:
        result = run(features, truth, parse_thresholds(thresholds), engine=where, **options)
    if output:
        write_json(output, result)
    if as_json:
        print_json(result)
    else:
        click.echo(sweep_table(result))
    return int(result["rows"][0]["counts"].get("zero_embeddings", 0) > 0)


@click.command()
@click.argument("scored", metavar="[EMBEDDINGS]", type=FILE, required=False)
@manifest_option
@click.option("--format", "form", type=click.Choice(["iqiyi", "lfrc"]), help="Which challenge file to write.")
@click.option("-o", "--output", type=FILE, help="The submission file to write.")
@click.option("--check", "checked", type=FILE, help="Check this submission file instead.")
@split_options
@json_option
def submit(
    scored: Path | None,
    manifest_path: Path,
    form: Literal["iqiyi", "lfrc"] | None,
    output: Path | None,
    checked: Path | None,
    enrolment_split: str,
    gallery_split: str,
    as_json: bool,
) -> int:
    """Write a challenge file from EMBEDDINGS, or --check one before it is sent."""
    from vidface.manifest import read_manifest
    from vidface.stages.score import read_scored, zero_embeddings
    from vidface.stages.submit import check_submission
    from vidface.stages.submit import submit as run

    if checked is None and (scored is None or form is None or output is None):
        raise UsageError("say EMBEDDINGS --format iqiyi|lfrc -o FILE to write a submission, or --check FILE")
    truth = read_manifest(manifest_path)
    if checked is not None:
        known = None if scored is None else read_scored(scored, truth)
        problems = check_submission(checked, truth, known, gallery_split=gallery_split)
        return print_problems(checked, problems, as_json)
    assert scored is not None and output is not None and form is not None
    found = read_scored(scored, truth)
    rows = run(
        found,
        truth,
        output,
        form=form,
        enrolment_split=enrolment_split,
        gallery_split=gallery_split,
    )
    unusable = 0 if found.embeddings is None else zero_embeddings(found.embeddings)
    what = "identities" if form == "iqiyi" else "videos"
    if as_json:
        print_json({"output": str(output), "format": form, "rows": rows, "zero_embeddings": unusable})
    else:
        click.echo(f"{output}: written: {rows} {what}, {output.stat().st_size:,} bytes")
        if unusable:
            how = "left out of the rankings" if form == "iqiyi" else "zero rows"
            click.echo(f"{unusable} videos have no usable frame: {how}")
    return int(unusable > 0)
