"""A recipe (TOML) chains the stages; what is finished is not run again, and never mixed with something else.

Paths in a recipe are relative to it. Its output folder gets ``features.h5``, ``embeddings.h5``, ``scores.json``,
``sweep.json``, ``submission.txt`` and ``submission.bin``, and ``run.json`` with what the last three kinds were made
from and ``run``, all that a report needs to know; the HDF5 files hold it themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions, RecipeClusterOptions
from vidface.embeddings.thresholds import parse_thresholds
from vidface.errors import UsageError, by_cost
from vidface.features.detection import choose_faces
from vidface.features.engines import Engine, open_engine
from vidface.features.extract import extract
from vidface.features.options import EngineOptions, ExtractOptions, RecipeExtractOptions
from vidface.files.atomic import sha256_file
from vidface.files.json_files import read_json, write_json
from vidface.files.stage_output import is_same
from vidface.files.toml import listed, read_told
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runs.opened import list_inputs, run_entry
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.options import RECORDED, RecipeScoreOptions, ScoreOptions, SweepOptions
from vidface.scores.protocols.lfrc import check_targets
from vidface.scores.protocols.table import TABLE, load, misplaced_file
from vidface.scores.score import score
from vidface.scores.scored import read_scored
from vidface.scores.submit import check_submission, submit
from vidface.scores.sweep import sweep, sweep_table
from vidface.scores.text import counted, faces_line

Say = Callable[[str], object]
SUBMISSIONS = {"iqiyi": "submission.txt", "lfrc": "submission.bin"}


class SubmitStep(BaseModel, extra="forbid"):
    formats: list[Literal["iqiyi", "lfrc"]] = ["iqiyi", "lfrc"]


class Recipe(BaseModel, extra="forbid"):
    """A whole recipe, from ``[extract]`` or ``features``, a file; stages without a table are left out, except cluster.

    ``[sweep]`` scores by the options of ``[score]``, ``[submit]`` ranks its splits. ``root``: where the manifest's
    paths start, if not in its own folder.
    """

    manifest: Path
    output: Path
    root: Path | None = None
    features: Path | None = None
    engine: EngineOptions = Field(default_factory=EngineOptions)
    extract: RecipeExtractOptions | None = None
    cluster: RecipeClusterOptions = Field(default_factory=RecipeClusterOptions)
    score: RecipeScoreOptions | None = None
    sweep: SweepOptions | None = None
    submit: SubmitStep | None = None

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if (self.features is None) == (self.extract is None):
            raise ValueError("say either [extract] or features, a file that was extracted before")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; its paths become absolute.

    UsageError if it is not there, not TOML, or a field is unknown, missing or of the wrong kind; all are named.
    """
    content = read_told(path, "recipe")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc']))}: ".removeprefix(": ")
            + e["msg"].lower().removeprefix("value error, ")
            for e in error.errors()
        ]
        raise UsageError(f"{path}: {listed(wrong)}") from None
    # Said by the same functions as on the command line, and before hours of work.
    try:
        parse_thresholds(str(recipe.cluster.threshold))
        if recipe.score is not None:
            check_targets(recipe.score.targets)
            _check_score(recipe.score)
        if recipe.sweep is not None:
            parse_thresholds(recipe.sweep.thresholds)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    base = path.resolve().parent
    for table in (recipe, recipe.extract, recipe.score):
        for name, value in dict(table or {}).items():
            if isinstance(value, Path):
                setattr(table, name, base / value)
    return recipe


def _check_score(options: RecipeScoreOptions) -> None:
    """Check what the protocol needs and uses; splits, targets and rule may always be there: other stages use them."""
    protocol, uses = options.protocol, TABLE[options.protocol].uses
    file = misplaced_file(protocol, pairs=options.pairs)
    if file is not None and options.pairs is None:
        raise UsageError(f"score.{file}: the protocol {protocol} needs it")
    unused = {*options.model_fields_set} - {*RECORDED, "pairs", *uses}
    if file is not None or unused:
        name = file or min(unused)
        raise UsageError(f"score.{name}: the protocol {protocol} does not use it: leave it out")


def run_recipe(path: Path, say: Say, *, overwrite: bool = False, root: Path | None = None) -> dict[str, Any]:
    """Run a recipe's stages in their order.

    Args:
        path: the recipe.
        say: gets a line, or a table, per stage.
        overwrite: make again what was made otherwise.
        root: where the manifest's paths start, in place of the recipe's ``root``.

    Returns:
        ``output``; ``ran`` and ``already_done``, lists of stages; ``files``; ``scores``, the score object or None;
        ``warnings``, those of the scores, else those of the embeddings and the manifest;
        ``status``, videos by status; ``faults``, how many videos are not ``ok`` plus problems of the submissions.

    Raises:
        UsageError: the recipe is wrong, or it changed and would mix with what is there (ChangedError).
        VidfaceError: as the stages raise.
    """
    recipe = read_recipe(path)
    if root is not None:
        recipe = recipe.model_copy(update={"root": root.resolve()})
    manifest = read_manifest(recipe.manifest, root=recipe.root, media=recipe.extract is not None)
    with _engine(recipe, None):  # a Ray of our own starts once, and the engines of the stages find it
        return _run_stages(recipe, manifest, say, overwrite)


def _run_stages(recipe: Recipe, manifest: Manifest, say: Say, overwrite: bool) -> dict[str, Any]:
    folder = recipe.output
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, bool] = {}
    once = partial(_once, folder, overwrite=overwrite)

    features = recipe.features or folder / "features.h5"
    if recipe.extract is not None:
        step = ExtractOptions(**dict(recipe.extract))
        with _engine(recipe, recipe.extract.workers) as engine:
            faces = choose_faces(step)
            backbone = step.load()
            extracted = extract(
                manifest, backbone, features, step, engine=engine, faces=faces, overwrite=overwrite
            )
        done["extract"] = extracted.already_done
        rows = "frames" if extracted.faces is None else "faces"
        say(f"extract: {extracted.videos} videos, {extracted.frames} {rows}{_again(extracted.already_done)}")
        if extracted.faces is not None:
            say(faces_line(extracted.faces, extracted.frames))
        for warning in extracted.warnings:
            say(f"warning: {warning}")

    embeddings = folder / "embeddings.h5"
    with _engine(recipe, recipe.cluster.workers) as engine:
        told = ClusterOptions(**dict(recipe.cluster))
        clustered = cluster(features, embeddings, told, engine=engine, overwrite=overwrite)
    done["cluster"] = clustered.already_done
    found = clustered.embeddings
    say(f"cluster: {int(found.kept.sum())} of {int(found.frames.sum())} frames kept{_again(done['cluster'])}")

    options = ScoreOptions(**dict(recipe.score or {}))
    splits = {"enrolment_split": options.enrolment_split, "gallery_split": options.gallery_split}
    how = {**options.record(), **list_inputs(options, manifest)}
    inputs = {"embeddings": found.attributes["content_sha256"], "manifest": manifest.sha256}
    scores = None
    scored = read_scored(embeddings, manifest)
    _describe(folder, run_entry(folder, recipe.manifest, features, options, root=recipe.root))
    if recipe.score is not None:
        file = folder / "scores.json"
        done["score"] = once(
            "score", {**inputs, **how}, file, lambda: write_json(file, score(scored, manifest, options))
        )
        scores = read_json(file)
        say(f"score{_again(done['score'])}:\n{load(options.protocol).lines(scores)}")
    if recipe.sweep is not None:
        file = folder / "sweep.json"
        thresholds, pool = recipe.sweep.thresholds, recipe.cluster.pool
        key = {"features": found.attributes["features_sha256"], "manifest": manifest.sha256, **how}
        key |= {"thresholds": thresholds, **({} if pool == "largest" else {"pool": pool})}

        def write_sweep() -> None:
            with _engine(recipe, recipe.cluster.workers) as engine:
                cosines = parse_thresholds(thresholds)
                write_json(file, sweep(features, manifest, cosines, options, pool=pool, engine=engine))

        done["sweep"] = once("sweep", key, file, write_sweep)
        say(f"sweep{_again(done['sweep'])}:\n{sweep_table(read_json(file))}")
    warnings = by_cost([*scored.warnings, *manifest.warnings]) if scores is None else scores["warnings"]
    if recipe.score is None and recipe.sweep is None:  # else they stand below the numbers
        for warning in warnings:
            say(f"warning: {warning}")
    problems = 0
    for form in recipe.submit.formats if recipe.submit else ():
        name, file = f"submit {form}", folder / SUBMISSIONS[form]
        write = partial(submit, scored, manifest, file, form=form, **splits)
        done[name] = once(name, {**inputs, **splits}, file, write)
        listed = check_submission(file, manifest, scored, gallery_split=splits["gallery_split"])
        problems += len(listed)
        verdict = counted(len(listed), "problem") if listed else "no problems"
        say(f"{name}: {file.name}{_again(done[name])}, check: {verdict}")
        for problem in listed[:10]:
            say(f"  line {problem.line}: {problem.message}")
    return {
        "output": str(folder),
        "ran": [stage for stage, already in done.items() if not already],
        "already_done": [stage for stage, already in done.items() if already],
        "files": sorted(file.name for file in folder.iterdir() if not file.name.startswith(".")),
        "scores": scores,
        "warnings": warnings,
        "status": dict(Counter(found.status)),
        "faults": sum(status != "ok" for status in found.status) + problems,
    }


def _engine(recipe: Recipe, workers: int | None) -> AbstractContextManager[Engine]:
    return open_engine(recipe.engine.name, workers=workers, address=recipe.engine.address)


def _again(already_done: bool) -> str:
    return " (already done)" if already_done else ""


def _state(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    return read_json(file) if file.exists() else {}


def _describe(folder: Path, run: dict[str, Any]) -> None:
    """Say in ``run.json`` which manifest, features and options are this folder's, so that the folder is enough."""
    state = _state(folder)
    if state.get("run") != run:
        write_json(folder / "run.json", {**state, "run": run})


def _once(
    folder: Path,
    stage: str,
    key: dict[str, Any],
    output: Path,
    work: Callable[[], object],
    *,
    overwrite: bool,
) -> bool:
    """Do a stage unless ``run.json`` says its output was made from the same; returns whether it was done already.

    Raises ChangedError if the output was made from something else, unless ``overwrite``.
    """
    state = _state(folder)
    before = state.get(stage)
    if before is not None and output.exists():
        # The rule was not said before there were others.
        made_from = {"fpr_rule": DEFAULT_RULE, **before["made_from"]}
        same = is_same(output, made_from, key, overwrite=overwrite)
        if same and {output.name: sha256_file(output)} == before["outputs"]:
            return True
    work()
    state[stage] = {"made_from": key, "outputs": {output.name: sha256_file(output)}}
    write_json(folder / "run.json", state)
    return False
