"""The commands behind the embeddings: score, sweep and submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from vidface.commands.options import (
    ENGINE,
    FILE,
    NEW_FILE,
    json_option,
    manifest_option,
    normalise_option,
    output_option,
    stage_command,
)
from vidface.commands.output import lost_nodes, print_json, print_problems, print_warnings
from vidface.errors import UsageError, by_cost
from vidface.files.atomic import spare_inputs
from vidface.scores.protocols.table import AIMS, SPLITS, TABLE, TEMPLATES, check_files, load, used_by

if TYPE_CHECKING:
    from vidface.embeddings.options import SweepPoolOptions
    from vidface.features.options import EngineOptions
    from vidface.scores.options import RecipeScoreOptions, ScoreOptions, SplitOptions, SweepOptions


@stage_command(options="vidface.scores.options:ScoreOptions")
@click.argument("scored", type=FILE)
@manifest_option(f" (all but {used_by('meta')})", required=False)
@output_option("Write scores.json.", required=False)
@click.option(
    "--det", type=NEW_FILE, help=f"Write the DET curve: .csv, or drawn as .svg or .png ({used_by('det')})."
)
@normalise_option
@json_option
def score(
    scored: Path,
    manifest_path: Path | None,
    output: Path | None,
    options: ScoreOptions,
    det: Path | None,
    normalise: bool,
    as_json: bool,
) -> int:
    """Score embeddings, a submission file (.txt, .bin) or features of another tool (.npy)."""
    from vidface.files.json_files import write_json
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.score import score_file

    entry, protocol = TABLE[options.protocol], options.protocol
    check_files(protocol, manifest=manifest_path, pairs=options.pairs, meta=options.meta)
    _check_used(protocol, "det", *SPLITS, *AIMS, "device")
    if det is not None and det.suffix.lower() not in (".csv", ".svg", ".png"):
        raise UsageError(f"--det {det}: name a .csv file, or .svg or .png for a figure")
    for written in (output, det):
        spare_inputs(written, [scored, manifest_path, options.pairs])
    changed = options.model_dump(include=set(TEMPLATES), exclude_defaults=True)
    if changed and not set(TEMPLATES) & set(entry.uses):
        raise UsageError(f"--norm, --detector-score and --flip-halves are not used by --protocol {protocol}")
    if normalise and "manifest" not in entry.needs:
        raise UsageError(f"--protocol {protocol} does not use --normalise: pass --no-norm")
    truth = None if manifest_path is None else read_manifest(manifest_path, media=False)
    result, curve = score_file(scored, truth, options, normalise=normalise)
    if output:
        write_json(output, result)
    if det:  # after the scores, which are there even if it cannot be had
        from vidface.report.drawing.figures_curves import write_open_set_curve

        write_open_set_curve(det, curve, result)
    if as_json:
        print_json(result)
    else:
        click.echo(load(protocol).lines(result))
    counts = result["counts"]
    return int(counts.get("zero_embeddings", 0) > 0 or counts.get("left_out", 0) > 0)


def _check_used(protocol: str, *names: str) -> None:
    """Refuse the first of these options that was passed and that the protocol does not use."""
    context = click.get_current_context()
    for name in names:
        said = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if said and name not in TABLE[protocol].uses:
            raise UsageError(f"--protocol {protocol} does not use --{name.replace('_', '-')}: leave it out")


@stage_command(
    sweep_options="vidface.scores.options:SweepOptions",
    told="vidface.scores.options:RecipeScoreOptions",
    pooling="vidface.embeddings.options:SweepPoolOptions",
    engine=ENGINE,
)
@click.argument("features", type=FILE)
@manifest_option()
@output_option("Write the table as JSON.", required=False)
@json_option
def sweep(
    features: Path,
    manifest_path: Path,
    sweep_options: SweepOptions,
    told: RecipeScoreOptions,
    pooling: SweepPoolOptions,
    engine: EngineOptions,
    output: Path | None,
    as_json: bool,
) -> int:
    """Score many clustering thresholds in one pass over the features."""
    from vidface.embeddings.thresholds import parse_thresholds
    from vidface.features.engines import open_engine
    from vidface.files.json_files import write_json
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.options import read_options
    from vidface.scores.sweep import sweep as run
    from vidface.scores.sweep import sweep_table

    check_files(told.protocol, pairs=told.pairs)
    _check_used(told.protocol, "device")
    spare_inputs(output, [features, manifest_path, told.pairs])
    cosines = parse_thresholds(sweep_options.thresholds)
    options = read_options(dict(told))
    truth = read_manifest(manifest_path, media=False)
    with open_engine(engine.name, workers=pooling.workers, address=engine.address) as where:
        result = run(features, truth, cosines, options, pool=pooling.pool, engine=where)
    if output:
        write_json(output, result)
    if as_json:
        print_json(result | lost_nodes(where))
    else:
        click.echo(sweep_table(result))
    return int(result["rows"][0]["counts"].get("zero_embeddings", 0) > 0)


@stage_command(splits="vidface.scores.options:SplitOptions")
@click.argument("scored", metavar="[EMBEDDINGS]", type=FILE, required=False)
@manifest_option()
@click.option("--format", "form", type=click.Choice(["iqiyi", "lfrc"]), help="Which challenge file to write.")
@output_option("The submission file to write.", required=False)
@click.option("--check", "checked", type=FILE, help="Check this submission file instead.")
@normalise_option
@json_option
def submit(
    scored: Path | None,
    manifest_path: Path,
    form: Literal["iqiyi", "lfrc"] | None,
    output: Path | None,
    checked: Path | None,
    splits: SplitOptions,
    normalise: bool,
    as_json: bool,
) -> int:
    """Write a challenge file from EMBEDDINGS, or --check one before it is sent."""
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.scored import read_scored, zero_embeddings
    from vidface.scores.submit import check_submission
    from vidface.scores.submit import submit as run

    if checked is None and (scored is None or form is None or output is None):
        raise UsageError("say EMBEDDINGS --format iqiyi|lfrc -o FILE to write a submission, or --check FILE")
    spare_inputs(output, [scored, manifest_path])
    truth = read_manifest(manifest_path, media=False)
    if checked is not None:
        known = None if scored is None else read_scored(scored, truth, normalise=normalise)
        problems = check_submission(checked, truth, known, gallery_split=splits.gallery_split)
        return print_problems(checked, problems, as_json)
    assert scored is not None and output is not None and form is not None
    found = read_scored(scored, truth, normalise=normalise)
    rows = run(found, truth, output, form=form, **splits.model_dump())
    unusable = 0 if found.embeddings is None else zero_embeddings(found.embeddings)
    what = "identities" if form == "iqiyi" else "videos"
    warnings = by_cost([*found.warnings, *truth.warnings])
    if as_json:
        told = {"output": output, "format": form, "rows": rows}
        print_json({**told, "zero_embeddings": unusable, "warnings": warnings})
    else:
        click.echo(f"{output}: written: {rows} {what}, {output.stat().st_size:,} bytes")
        if unusable:
            how = "left out of the rankings" if form == "iqiyi" else "zero rows"
            click.echo(f"{unusable} videos have no usable frame: {how}")
        print_warnings(warnings)
    return int(unusable > 0)
