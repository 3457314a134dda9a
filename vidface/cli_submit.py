"""``vidface submit``: the challenges' files, written and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from vidface.errors import UsageError
from vidface.options import (
    FILE,
    json_option,
    manifest_option,
    normalise_option,
    spare_inputs,
    split_options,
)
from vidface.output import print_json, print_problems


@click.command()
@click.argument("scored", metavar="[EMBEDDINGS]", type=FILE, required=False)
@manifest_option
@click.option("--format", "form", type=click.Choice(["iqiyi", "lfrc"]), help="Which challenge file to write.")
@click.option("-o", "--output", type=FILE, help="The submission file to write.")
@click.option("--check", "checked", type=FILE, help="Check this submission file instead.")
@split_options
@normalise_option
@json_option
def submit(
    scored: Path | None,
    manifest_path: Path,
    form: Literal["iqiyi", "lfrc"] | None,
    output: Path | None,
    checked: Path | None,
    enrolment_split: str,
    gallery_split: str,
    normalise: bool,
    as_json: bool,
) -> int:
    """Write a challenge file from EMBEDDINGS, or --check one before it is sent."""
    from vidface.manifest import read_manifest
    from vidface.stages.score import read_scored, zero_embeddings
    from vidface.stages.submit import check_submission
    from vidface.stages.submit import submit as run

    if checked is None and (scored is None or form is None or output is None):
        raise UsageError("say EMBEDDINGS --format iqiyi|lfrc -o FILE to write a submission, or --check FILE")
    spare_inputs(output, [scored, manifest_path])
    truth = read_manifest(manifest_path)
    if checked is not None:
        known = None if scored is None else read_scored(scored, truth, normalise=normalise)
        problems = check_submission(checked, truth, known, gallery_split=gallery_split)
        return print_problems(checked, problems, as_json)
    assert scored is not None and output is not None and form is not None
    found = read_scored(scored, truth, normalise=normalise)
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
