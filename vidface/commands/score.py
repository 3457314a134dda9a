"""The commands behind the embeddings: score (each protocol calls one function), sweep and submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from vidface.commands.options import (
    DIRECTORY,
    FILE,
    engine_options,
    fpr_rule_option,
    json_option,
    manifest_option,
    normalise_option,
    pool_option,
    read_targets,
    spare_inputs,
    split_options,
    template_options,
)
from vidface.commands.output import print_json, print_problems
from vidface.errors import UsageError

if TYPE_CHECKING:
    from vidface.scores.metrics.fpr_rules import FprRule

CHALLENGES = ("both", "iqiyi", "lfrc")
PROTOCOLS = (*CHALLENGES, "trillionpairs", "pairs", "folds", "ytf", "ijbb", "ijbc", "openset")
# The files that a protocol needs; the manifest alone where it is not named.
NEEDS = {
    **dict.fromkeys(("pairs", "folds", "ytf"), ("manifest", "pairs")),
    **dict.fromkeys(("ijbb", "ijbc"), ("meta",)),
}
# Options with a usual value, and the protocols that use them.
USED_BY = {
    **dict.fromkeys(("enrolment_split", "gallery_split"), ("both", "iqiyi", "openset")),
    **dict.fromkeys(("targets", "fpr_rule"), tuple(name for name in PROTOCOLS if name != "iqiyi")),
    "device": ("both", "lfrc", "trillionpairs"),
}


@click.command()
@click.argument("scored", type=FILE)
@click.option("--manifest", "manifest_path", type=FILE, help="Who is where (all but ijbb, ijbc).")
@click.option("-o", "--output", type=FILE, help="Write scores.json.")
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="both",
    show_default=True,
    help="What is compared with what; both: iqiyi and lfrc. docs/protocols/ has a page for each.",
)
@split_options
@click.option(
    "--targets",
    callback=read_targets,
    help="FPR targets, such as 1e-3,1e-4 [default: those of the protocol].",
)
@fpr_rule_option
@click.option("--pairs", type=FILE, help="The list of pairs (pairs, folds, ytf).")
@click.option("--meta", type=DIRECTORY, help="The folder of the set's own lists (ijbb, ijbc).")
@click.option("--det", type=FILE, help="Write the DET curve: .csv, or drawn as .svg or .png (openset).")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where all pairs are compared (lfrc, trillionpairs); the numbers are the same.",
)
@template_options
@normalise_option
@json_option
def score(
    scored: Path,
    manifest_path: Path | None,
    output: Path | None,
    protocol: str,
    enrolment_split: str,
    gallery_split: str,
    targets: list[str] | None,
    fpr_rule: FprRule,
    pairs: Path | None,
    meta: Path | None,
    det: Path | None,
    device: str,
    norm: bool,
    detector_score: bool,
    flip_halves: bool,
    normalise: bool,
    as_json: bool,
) -> int:
    """Score embeddings, a submission file (.txt, .bin) or features of another tool (.npy)."""
    from vidface.files.json_files import write_json
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.score import score as run
    from vidface.scores.scored import read_scored
    from vidface.scores.tables import score_lines

    _check_belongs(protocol, manifest=manifest_path, pairs=pairs, meta=meta)
    _check_det(protocol, det)
    _check_used(protocol)
    for written in (output, det):
        spare_inputs(written, [scored, manifest_path, pairs])
    if protocol not in ("ijbb", "ijbc") and (flip_halves or not (norm and detector_score)):
        raise UsageError(f"--norm, --detector-score and --flip-halves are not used by --protocol {protocol}")
    aims: dict[str, Any] = {"fpr_rule": fpr_rule} | ({} if targets is None else {"targets": targets})
    splits: dict[str, Any] = {"enrolment_split": enrolment_split, "gallery_split": gallery_split}
    curve = None
    if protocol in ("ijbb", "ijbc"):
        from vidface.scores.protocols.ijb import score_templates

        assert meta is not None
        if normalise:
            raise UsageError(f"--protocol {protocol} does not use --normalise: say --no-norm")
        aims |= {"norm": norm, "detector_score": detector_score, "flip_halves": flip_halves}
        result = score_templates(scored, "ijbb" if protocol == "ijbb" else "ijbc", meta, **aims)
    else:
        assert manifest_path is not None
        truth = read_manifest(manifest_path)
        found = read_scored(scored, truth, normalise=normalise)
        if protocol in CHALLENGES:
            result = run(found, truth, protocol=protocol, device=device, **splits, **aims)  # type: ignore[arg-type]
        elif protocol == "openset":
            from vidface.scores.protocols.open_set import score_open_set

            result, curve = score_open_set(found, truth, **splits, **aims)
        elif protocol == "trillionpairs":
            from vidface.scores.protocols.image_track import score_image_track

            result = score_image_track(found, truth, device=device, **aims)
        else:
            from vidface.scores.protocols.listed import score_listed

            assert pairs is not None
            result = score_listed(found, truth, pairs, protocol, **aims)  # type: ignore[arg-type]
    if output:
        write_json(output, result)
    if det:  # after the scores, which are there also where it cannot be had
        from vidface.report.drawing.open_set_curve import write_curve

        write_curve(det, curve, result)
    if as_json:
        print_json(result)
    else:
        click.echo(score_lines(result))
    counts = result["counts"]
    return int(counts.get("zero_embeddings", 0) > 0 or counts.get("left_out", 0) > 0)


def _check_belongs(protocol: str, **paths: Path | None) -> None:
    """Look whether the files that a protocol needs are said, and no others.

    Raises:
        UsageError: naming the first that is not.
    """
    needs = NEEDS.get(protocol, ("manifest",))
    for name, path in paths.items():
        if name in needs and path is None:
            raise UsageError(f"--protocol {protocol} needs --{name}")
        if name not in needs and path is not None:
            raise UsageError(f"--protocol {protocol} does not use --{name}: leave it out")


def _check_used(protocol: str) -> None:
    """Look whether the protocol uses every option that was said.

    Raises:
        UsageError: naming the first that it does not use.
    """
    context = click.get_current_context()
    for name, protocols in USED_BY.items():
        if protocol not in protocols and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--protocol {protocol} does not use --{name.replace('_', '-')}: leave it out")


def _check_det(protocol: str, path: Path | None) -> None:
    """Look whether a DET curve can be had and written, before any work is done.

    Raises:
        UsageError: it cannot.
    """
    if path is not None and protocol != "openset":
        raise UsageError(f"--protocol {protocol} does not use --det: leave it out")
    if path is not None and path.suffix.lower() not in (".csv", ".svg", ".png"):
        raise UsageError(f"--det {path}: name a .csv file, or .svg or .png for a figure")


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
@click.option("--protocol", type=click.Choice(CHALLENGES), default="both", show_default=True)
@split_options
@click.option(
    "--targets",
    default="1e-2,1e-3,1e-4,1e-5,1e-6",
    show_default=True,
    callback=read_targets,
    help="FPR targets (lfrc).",
)
@fpr_rule_option
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
    from vidface.embeddings.thresholds import parse_thresholds
    from vidface.features.engines import open_engine
    from vidface.files.json_files import write_json
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.sweep import sweep as run
    from vidface.scores.tables import sweep_table

    spare_inputs(output, [features, manifest_path])
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
    from vidface.manifest.manifest import read_manifest
    from vidface.scores.scored import read_scored, zero_embeddings
    from vidface.scores.submit import check_submission
    from vidface.scores.submit import submit as run

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
