"""A whole training recipe: the stages one after the other, then the table, the curves and the best model.

    OUTPUT/1-arcface/   metrics.jsonl; best_checkpoint.safetensors, last_checkpoint.safetensors;
                        model.safetensors, model.toml: the best weights, for extract, verify, budget, export;
                        stage.json once it is finished
    OUTPUT/             model.safetensors, model.toml: those of the best stage;
                        results.json, table.md, curves.svg, curves.png, faults.jsonl

A finished stage is not trained again, and one that has begun is resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from vidface.backbones.card import ModelCard, card_text
from vidface.backbones.mobilefacenet import build
from vidface.backbones.weights import save_weights
from vidface.errors import UsageError
from vidface.files.atomic import sha256_file, write_atomic
from vidface.files.json_files import read_json, write_json
from vidface.files.locks import exclusive, refuse_changed
from vidface.runtime import keep_freed_memory
from vidface.training.checkpoint import load_checkpoint, of_checkpoint, part_of, read_start
from vidface.training.data import MEAN, STD
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images
from vidface.training.distributed import World, joined
from vidface.training.epochs import epoch_steps
from vidface.training.loop import BEST, Setting, train_stage
from vidface.training.outputs import draw_curves, in_words, markdown, stage_table
from vidface.training.people import Divided, divide
from vidface.training.recipe import TrainingRecipe, read_training_recipe
from vidface.training.validation import FPR_TARGET, Faces, held_out, measure, open_sets

Say = Callable[[str], object]


def train(path: Path, *, only: str | None, say: Say) -> dict[str, Any]:
    """Train what a recipe says; finished stages are not trained again, a begun one is gone on with.

    Args:
        path: the recipe.
        only: a stage's name: train this one alone; the one before has to be finished.
        say: is told a line, or the table.

    Returns:
        What is written to ``results.json``: ``recipe``, ``output``, ``people`` (counts of the three sets), ``stages``
        (a dict each: ``stage``, ``epochs``, ``best_epoch``, ``images_seen``, ``validation``, ``test``, ``faults``,
        ``model``), ``best_stage`` and ``model``; and ``ran``, ``already_done``, lists of stages.

    Raises:
        UsageError: the recipe is wrong, a stage is not in it, or the folder holds what was made otherwise.
        VidfaceError: as data, pairs and checkpoints raise.
    """
    recipe = read_training_recipe(path)
    names = [stage.name for stage in recipe.stages]
    if only is not None and only not in names:
        raise UsageError(f"{path}: has no stage {only!r}: it has {', '.join(names)}")
    with joined(recipe.device) as world, _prepared(recipe, world):
        if world.rank:
            say = str  # nobody hears it
        images = open_images(recipe.data)
        for problem in images.problems:
            say(f"{images.source}: {problem}")
        divided = divide(images, recipe.people, recipe.seed)
        parts = {"training": divided.training, "validation": divided.validation, "test": divided.test}
        people: dict[str, Any] = {
            name: {"people": len(part.identities), "images": len(part.labels)}
            for name, part in parts.items()
            if part is not None
        }
        people["cut"] = {"people": divided.cut_people, "images": divided.cut_images}
        say(in_words(people, " "))
        sets = open_sets(recipe.pairs, recipe.input_size)
        if divided.validation is not None:
            sets["people"] = held_out(divided.validation, recipe.input_size, recipe.seed)
        test = None if divided.test is None else held_out(divided.test, recipe.input_size, recipe.seed)
        setting = Setting(recipe, divided.training, sets, world)
        ran, done, results = [], [], []
        _refuse_batches(recipe, divided.training, world)
        shared = _shared(recipe, divided)
        weights = recipe.stages[0].weights
        start = None if weights is None else read_start(weights, recipe, shared["images"])
        if start is not None:
            say(start.said)
        before: Path | None = None
        for number, stage in enumerate(recipe.stages):
            folder = recipe.output / f"{number + 1}-{stage.name}"
            made_with = {
                **shared,
                **stage.model_dump(mode="json", exclude={"weights"}),
                **({} if start is None or number else {"weights": start.sha256}),
                "stage_before": "none" if before is None else sha256_file(before),
            }
            if world.rank == 0:
                _clear(folder)
            skipped = only is not None and stage.name != only
            if (folder / "stage.json").exists():
                result = read_json(folder / "stage.json")
                refuse_changed(folder, result.pop("made_with"), {"weights": None, **made_with})
                done.append(stage.name)
            elif skipped and names.index(stage.name) < names.index(str(only)):
                raise UsageError(
                    f"stage {only} starts from stage {stage.name}, which is not finished: train it first"
                )
            elif skipped:
                break
            else:
                folder.mkdir(parents=True, exist_ok=True)
                begun = start if before is None else of_checkpoint(before)
                trained = train_stage(setting, number, folder, begun, made_with)
                result = _finished(setting, number, folder, trained, test, made_with)
                ran.append(stage.name)
            results.append({**result, "model": str(folder / "model.safetensors")})  # folders may be moved
            before = folder / BEST
        found = _written(setting, path, people, results)
        if world.size > 1:
            torch.distributed.barrier()  # torchrun ends all where one ends with faults: not before all is written
        say(stage_table(found))
        return {**found, "ran": ran, "already_done": done}


@contextmanager
def _prepared(recipe: TrainingRecipe, world: World) -> Iterator[None]:
    """One run at a time in the output folder, and torch set up for a whole run."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    if world.device.type == "cuda" and recipe.deterministic:
        # cuBLAS repeats only with a workspace of a fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = not recipe.deterministic
    with exclusive(recipe.output / "training") if world.rank == 0 else nullcontext():
        if world.rank == 0:
            _clear(recipe.output)
        yield


def _clear(folder: Path) -> None:
    """Take away what a killed run was writing, and its lock on what it had just written."""
    for left in (*folder.glob(".*.part*"), *folder.glob(".stage.json.lock")):
        left.unlink(missing_ok=True)


def _refuse_batches(recipe: TrainingRecipe, images: ImageSet, world: World) -> None:
    """Say now, not hours later, that the batches of a stage cannot be made."""
    for stage in recipe.stages:
        try:
            epoch_steps(images.labels, stage.batch_size, stage.images_per_identity)
        except UsageError as error:
            raise UsageError(f"stage {stage.name}: {error}") from None
        if stage.batch_size % world.size:
            raise UsageError(
                f"stage {stage.name}: batch_size {stage.batch_size} is no multiple of {world.size} processes"
            )


def _digest(images: ImageSet) -> str:
    """Who and what is in a set."""
    digest = hashlib.sha256(images.labels.tobytes())
    for name in chain(images.identities, images.names):
        digest.update(f"{name}\n".encode())
    return digest.hexdigest()


def _shared(recipe: TrainingRecipe, divided: Divided) -> dict[str, Any]:
    """What decides the result of every stage, apart from the machine."""
    return {
        "architecture": json.dumps(asdict(recipe.spec)),
        "input_size": list(recipe.input_size),
        "seed": recipe.seed,
        "images": _digest(divided.training),
        "validation": "none" if divided.validation is None else _digest(divided.validation),
        "pairs": {name: sha256_file(path) for name, path in recipe.pairs.items()},
        "choose": recipe.choose,
    }


def _finished(
    setting: Setting,
    number: int,
    folder: Path,
    trained: dict[str, Any],
    test: Faces | None,
    made_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a stage's model, measure it on the test people, and write ``stage.json``: from then on it is finished."""
    recipe, world = setting.recipe, setting.world
    result = {"stage": recipe.stages[number].name, **trained}
    if world.rank == 0:
        tensors, _ = load_checkpoint(folder / BEST)
        network = build(recipe.spec, recipe.input_size)
        network.load_state_dict(part_of(tensors, "network"))
        _save_model(recipe, network, folder, recipe.stages[number].name)
        if test is not None:
            network.to(world.device)
            result["test"] = measure(network, test, world.device)
        write_json(folder / "stage.json", {**result, "made_with": dict(made_with)})
    if world.size > 1:
        torch.distributed.barrier()
        result = read_json(folder / "stage.json")
        result.pop("made_with")
    return result


def _save_model(recipe: TrainingRecipe, network: torch.nn.Module, folder: Path, stage: str) -> None:
    weights = recipe.stages[0].weights
    begun = "" if weights is None else f", starting from the weights {weights.name}"
    card = ModelCard(
        name=recipe.name,
        input_size=recipe.input_size,
        colour_order="rgb",
        mean=(MEAN, MEAN, MEAN),
        std=(STD, STD, STD),
        dimension=recipe.spec.dimension,
        licence=recipe.licence,
        source=f"trained by vidface, recipe {recipe.name}, stage {stage}{begun}",
        architecture=asdict(recipe.spec),
    )
    save_weights(network, folder / "model.safetensors")
    with write_atomic(folder / "model.toml") as handle:
        handle.write(card_text(card).encode())


def _written(
    setting: Setting, path: Path, people: dict[str, Any], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write what is known so far: results, table, curves, faults, and the model of the best stage."""
    recipe = setting.recipe
    best = max(results, key=lambda result: setting.chosen(result["validation"]))
    found = {
        "recipe": str(path),
        "output": str(recipe.output),
        "choose": recipe.choose,
        "fpr_target": FPR_TARGET,
        "people": people,
        "stages": results,
        "best_stage": best["stage"],
        "model": str(recipe.output / "model.safetensors"),
    }
    if setting.world.rank:
        return found
    for name in ("model.safetensors", "model.toml"):
        with write_atomic(recipe.output / name) as handle:
            handle.write(Path(best["model"]).with_name(name).read_bytes())
    write_json(recipe.output / "results.json", found)
    with write_atomic(recipe.output / "table.md") as handle:
        handle.write(markdown(found).encode())
    with write_atomic(recipe.output / "faults.jsonl") as handle:
        for result in results:
            for image, detail in result["faults"].items():
                fault = {"image": image, "stage": result["stage"], "detail": detail}
                handle.write(json.dumps(fault, ensure_ascii=False).encode() + b"\n")
    folders = [recipe.output / f"{number + 1}-{result['stage']}" for number, result in enumerate(results)]
    draw_curves(folders, recipe.output, FPR_TARGET)
    return found
