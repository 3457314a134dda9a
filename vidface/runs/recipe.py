"""A recipe (TOML) chains the stages; what is finished is not run again, and never mixed with something else.

Paths in a recipe are relative to the recipe. All files go to its output folder: ``features.h5``, ``embeddings.h5``,
``scores.json``, ``sweep.json``, ``submission.txt`` and ``submission.bin``. ``run.json`` there holds what the last
three kinds were made from, and ``run``, all that a report needs to know; the HDF5 files hold it themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from vidface.backbones import load_backbone
from vidface.embeddings.cluster import cluster
from vidface.embeddings.thresholds import parse_thresholds
from vidface.errors import UsageError
from vidface.features.detection import choose_faces
from vidface.features.engines import Engine, open_engine
from vidface.features.engines.contract import ModelSource
from vidface.features.extract import FILTERS, ExtractResult, extract
from vidface.files.atomic import sha256_file
from vidface.files.json_files import read_json, write_json
from vidface.files.locks import refuse_changed
from vidface.files.toml import listed, read_toml
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runs.opened import run_entry
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.protocols.lfrc import TARGETS, check_targets
from vidface.scores.score import score
from vidface.scores.scored import read_scored
from vidface.scores.submit import check_submission, submit
from vidface.scores.sweep import sweep
from vidface.scores.tables import score_lines, sweep_table
from vidface.scores.text import faces_line

Say = Callable[[str], object]
SUBMISSIONS = {"iqiyi": "submission.txt", "lfrc": "submission.bin"}


class EngineChoice(BaseModel, extra="forbid"):
    """Where extract, cluster and sweep run: ``--engine`` and ``--address``."""

    name: Literal["local", "ray"] = "local"
    address: str | None = None


class ExtractStep(BaseModel, extra="forbid"):
    """Options of ``vidface extract``."""

    model: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    half: bool = False
    decoder: Literal["pyav", "decord"] = "pyav"
    fps: float | Literal["all"] = 8.0
    folder_frames: int | None = Field(None, ge=1)
    flip: bool = False
    resize: bool = False
    dtype: Literal["float32", "float16"] = "float32"
    batch_size: int = Field(32, ge=1)
    decoder_timeout: float = Field(120.0, gt=0)
    workers: int | None = Field(None, ge=0)
    faces: Literal["aligned", "detect"] = "aligned"
    detector: str | None = None
    detector_weights: Path | None = None
    track: Literal["main", "all"] | None = None
    min_score: float | None = Field(None, ge=0, le=1)
    min_face: float | None = Field(None, ge=0)
    min_sharpness: float | None = Field(None, ge=0)
    max_yaw: float | None = Field(None, ge=0, le=90)


class ClusterStep(BaseModel, extra="forbid"):
    """Options of ``vidface cluster``."""

    threshold: float | Literal["none"] = 0.4
    pool: Literal["largest", "size", "size-norm"] = "largest"
    workers: int | None = Field(None, ge=1)


class ScoreStep(BaseModel, extra="forbid"):
    """Options of ``vidface score``, and of the splits that ``submit`` ranks."""

    protocol: Literal["both", "iqiyi", "lfrc"] = "both"
    enrolment_split: str = "train"
    gallery_split: str = "val"
    targets: list[str] = list(TARGETS)
    fpr_rule: FprRule = DEFAULT_RULE


class SweepStep(BaseModel, extra="forbid"):
    """Options of ``vidface sweep``; protocol, splits, targets and rule are those of ``[score]``."""

    thresholds: str = "none,0.2:0.6:0.05"


class SubmitStep(BaseModel, extra="forbid"):
    """Which challenge files to write."""

    formats: list[Literal["iqiyi", "lfrc"]] = ["iqiyi", "lfrc"]


class Recipe(BaseModel, extra="forbid"):
    """A whole recipe; a stage without its table is left out, but for cluster.

    It begins with ``[extract]``, or with ``features``, a file that was extracted before.
    """

    manifest: Path
    output: Path
    features: Path | None = None
    engine: EngineChoice = Field(default_factory=EngineChoice)
    extract: ExtractStep | None = None
    cluster: ClusterStep = Field(default_factory=lambda: ClusterStep.model_validate({}))
    score: ScoreStep | None = None
    sweep: SweepStep | None = None
    submit: SubmitStep | None = None

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if (self.features is None) == (self.extract is None):
            raise ValueError("say either [extract] or features, a file that was extracted before")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; its paths become absolute.

    Raises:
        UsageError: not there, not TOML, or a field is unknown, missing or of the wrong kind; all are named.
    """
    try:
        content = read_toml(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: no such recipe") from None
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
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
    parse_thresholds(str(recipe.cluster.threshold))
    if recipe.score is not None:
        check_targets(recipe.score.targets)
    if recipe.sweep is not None:
        parse_thresholds(recipe.sweep.thresholds)
    base = path.resolve().parent
    recipe.manifest, recipe.output = base / recipe.manifest, base / recipe.output
    if recipe.extract is not None:
        recipe.extract.model = base / recipe.extract.model
        if recipe.extract.detector_weights is not None:
            recipe.extract.detector_weights = base / recipe.extract.detector_weights
    if recipe.features is not None:
        recipe.features = base / recipe.features
    return recipe


def run_recipe(path: Path, say: Say) -> dict[str, Any]:
    """Run a recipe's stages in their order.

    Args:
        path: the recipe.
        say: is told a line, or a table, a stage.

    Returns:
        ``output``; ``ran`` and ``already_done``, lists of stages; ``files``; ``scores``, the score object or None;
        ``status``, videos by status; ``faults``, how many videos are not ``ok`` plus problems of the submissions.

    Raises:
        UsageError: the recipe is wrong, or it changed and would mix with what is there (ChangedError).
        VidfaceError: as the stages raise.
    """
    recipe = read_recipe(path)
    manifest = read_manifest(recipe.manifest)
    with _engine(recipe, None):  # a Ray of our own starts once, and the engines of the stages find it
        return _run_stages(recipe, manifest, say)


def _run_stages(recipe: Recipe, manifest: Manifest, say: Say) -> dict[str, Any]:
    folder = recipe.output
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, bool] = {}

    features = recipe.features or folder / "features.h5"
    if recipe.extract is not None:
        with _engine(recipe, recipe.extract.workers) as engine:
            extracted = _extract(recipe.extract, manifest, features, engine)
        done["extract"] = extracted.already_done
        rows = "frames" if extracted.faces is None else "faces"
        say(f"extract: {extracted.videos} videos, {extracted.frames} {rows}{_again(extracted.already_done)}")
        if extracted.faces is not None:
            say(faces_line(extracted.faces, extracted.frames))

    threshold = None if recipe.cluster.threshold == "none" else recipe.cluster.threshold
    embeddings = folder / "embeddings.h5"
    with _engine(recipe, recipe.cluster.workers) as engine:
        clustered = cluster(
            features, embeddings, threshold=threshold, pool=recipe.cluster.pool, engine=engine
        )
    done["cluster"] = clustered.already_done
    found = clustered.embeddings
    say(f"cluster: {int(found.kept.sum())} of {int(found.frames.sum())} frames kept{_again(done['cluster'])}")

    options = (recipe.score or ScoreStep()).model_dump()
    splits = {name: options[name] for name in ("enrolment_split", "gallery_split")}
    inputs = {"embeddings": found.attributes["content_sha256"], "manifest": manifest.sha256}
    scores = None
    scored = read_scored(embeddings, manifest)
    _describe(folder, run_entry(folder, recipe.manifest, features, options))
    if recipe.score is not None:
        scores_file = folder / "scores.json"

        def write_scores() -> None:
            write_json(scores_file, score(scored, manifest, **options))

        done["score"] = _once(folder, "score", {**inputs, **options}, [scores_file], write_scores)
        scores = read_json(scores_file)
        say(f"score{_again(done['score'])}:\n{score_lines(scores)}")
    if recipe.sweep is not None:
        sweep_file = folder / "sweep.json"
        thresholds, pool = recipe.sweep.thresholds, recipe.cluster.pool
        rule = {} if pool == "largest" else {"pool": pool}

        def write_sweep() -> None:
            with _engine(recipe, recipe.cluster.workers) as engine:
                table = sweep(
                    features, manifest, parse_thresholds(thresholds), pool=pool, engine=engine, **options
                )
            write_json(sweep_file, table)

        key = {"features": found.attributes["features_sha256"], "manifest": manifest.sha256, **options}
        key = {**key, "thresholds": thresholds, **rule}
        done["sweep"] = _once(folder, "sweep", key, [sweep_file], write_sweep)
        say(f"sweep{_again(done['sweep'])}:\n{sweep_table(read_json(sweep_file))}")
    problems = 0
    for form in recipe.submit.formats if recipe.submit else ():
        file = folder / SUBMISSIONS[form]

        def write_submission() -> None:
            submit(scored, manifest, file, form=form, **splits)  # noqa: B023 - called in this turn of the loop

        name = f"submit {form}"
        done[name] = _once(folder, name, {**inputs, **splits}, [file], write_submission)
        listed = check_submission(file, manifest, scored, gallery_split=splits["gallery_split"])
        problems += len(listed)
        say(f"{name}: {file.name}{_again(done[name])}, check: {len(listed) or 'no'} problems")
        for problem in listed[:10]:
            say(f"  line {problem.line}: {problem.message}")
    return {
        "output": str(folder),
        "ran": [stage for stage, already in done.items() if not already],
        "already_done": [stage for stage, already in done.items() if already],
        "files": sorted(file.name for file in folder.iterdir() if not file.name.startswith(".")),
        "scores": scores,
        "status": dict(Counter(found.status)),
        "faults": sum(status != "ok" for status in found.status) + problems,
    }


def _engine(recipe: Recipe, workers: int | None) -> AbstractContextManager[Engine]:
    return open_engine(recipe.engine.name, workers=workers, address=recipe.engine.address)


def _extract(step: ExtractStep, manifest: Manifest, features: Path, engine: Engine) -> ExtractResult:
    of_detection = {"detector", "detector_weights", "track", *FILTERS}
    faces = choose_faces(step.faces, resize=step.resize, **step.model_dump(include=of_detection))
    backbone = load_backbone(step.model, device=step.device, half=step.half)
    source = ModelSource(step.model, {}, step.device, step.half)
    fps = None if step.fps == "all" else float(step.fps)
    options = step.model_dump(exclude={"model", "device", "half", "fps", "workers", "faces", *of_detection})
    return extract(manifest, backbone, features, engine=engine, model=source, fps=fps, faces=faces, **options)


def _again(already_done: bool) -> str:
    return " (already done)" if already_done else ""


def _describe(folder: Path, run: dict[str, Any]) -> None:
    """Say in ``run.json`` which manifest, features and options are this folder's, so that the folder is enough."""
    state_file = folder / "run.json"
    state = read_json(state_file) if state_file.exists() else {}
    if state.get("run") != run:
        write_json(state_file, {**state, "run": run})


def _once(
    folder: Path, stage: str, key: dict[str, Any], outputs: list[Path], work: Callable[[], None]
) -> bool:
    """Do the work of a stage unless ``run.json`` says that its outputs stand there, made from the same.

    Returns:
        Whether it was done already.

    Raises:
        ChangedError: the outputs stand there, made from something else.
    """
    state_file = folder / "run.json"
    state = read_json(state_file) if state_file.exists() else {}
    before = state.get(stage)
    if before is not None and all(output.exists() for output in outputs):
        made_from = {
            "fpr_rule": DEFAULT_RULE,
            **before["made_from"],
        }  # not said before there were other rules
        for output in outputs:
            refuse_changed(output, made_from, key)
        if {output.name: sha256_file(output) for output in outputs} == before["outputs"]:
            return True
    work()
    state[stage] = {
        "made_from": key,
        "outputs": {output.name: sha256_file(output) for output in outputs},
    }
    write_json(state_file, state)
    return False
