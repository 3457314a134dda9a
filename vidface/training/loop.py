"""One stage of training: the loop itself.

    images -> network -> embeddings -> cosines with the class weights -> losses -> both learn
    after every epoch: validation; the best weights are kept, and the last ones with all that is needed to go on

Everything random is decided by (seed, stage, epoch, batch), and a checkpoint holds the weights, the optimiser and the
place in the epoch: a killed run goes on to the same weights, to the bit, on a CPU. GPU, half precision and several
GPUs are written for real and were not run on any yet.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vidface.backbones.mobilefacenet import build
from vidface.errors import UsageError
from vidface.files.locks import refuse_changed
from vidface.runtime import progress
from vidface.training.checkpoint import (
    Start,
    first_classifier,
    load_checkpoint,
    optimiser_tensors,
    part_of,
    restore_optimiser,
    save_checkpoint,
)
from vidface.training.data import Batches, loader, normalised
from vidface.training.datasets.images import ImageSet
from vidface.training.distributed import World, broadcast, gathered_rows, shares
from vidface.training.epochs import epoch_batches, epoch_steps, plateau_drops, rate
from vidface.training.losses.objective import objective
from vidface.training.losses.shard import Shard, all_sum
from vidface.training.outputs import MetricsFile
from vidface.training.recipe import Stage, TrainingRecipe
from vidface.training.validation import Faces, measure

BEST, LAST = "best_checkpoint.safetensors", "last_checkpoint.safetensors"
_LOG_STEPS = 20  # batches between two lines of metrics


@dataclass(frozen=True)
class Setting:
    """What all stages of a run share.

    Attributes:
        recipe: the recipe.
        images: of the people that are trained on.
        sets: what to validate on, by name; "people" are the held-out ones.
        world: this process among those that train together.
    """

    recipe: TrainingRecipe
    images: ImageSet
    sets: Mapping[str, Faces]
    world: World

    def chosen(self, measured: Mapping[str, Mapping[str, Any]]) -> float:
        """The figure that decides, of what validation measured; one that can't be measured is the worst."""
        choose = self.recipe.choose
        held = choose in ("tpr", "accuracy")
        figure = measured["people"][choose] if held else measured[choose]["accuracy"]
        return -math.inf if figure is None else float(figure)


def train_stage(
    setting: Setting, number: int, folder: Path, start: Start | None, made_with: Mapping[str, Any]
) -> dict[str, Any]:
    """Train stage ``number``, from 0, or resume it; ``folder`` then holds `BEST`, `LAST` and its metrics.

    ``start`` is the best checkpoint of the stage before, or weights that the recipe names; None: fresh weights.
    What was made with anything else than ``made_with``, all that decides the result, is refused.

    Returns:
        ``epochs`` that were trained; ``best_epoch``, from 1; ``validation``, what was measured then; ``images_seen``;
        ``faults``, images that could not be used, name to reason.

    Raises:
        ChangedError: the folder holds a stage that was made otherwise.
        UsageError: the loss is no longer finite, or a batch cannot be made.
    """
    recipe, stage, world = setting.recipe, setting.recipe.stages[number], setting.world
    images, device, precision = setting.images, setting.world.device, getattr(torch, stage.precision)
    first, last = shares(len(images.identities), world.size)[world.rank]
    shard = Shard(first, None) if world.size > 1 else None
    counts = torch.from_numpy(np.bincount(images.labels)).to(device)

    torch.manual_seed(recipe.seed)
    network = build(recipe.spec, recipe.input_size)
    weights = first_classifier(len(images.identities), recipe.spec.dimension, recipe.seed)
    if start is not None:
        network.load_state_dict(start.network)
        weights = weights if start.classifier is None else start.classifier
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
    classifier = nn.Parameter(weights[first:last].to(device))
    average = copy.deepcopy(network) if stage.ema else network  # what is validated and kept
    optimiser = _optimiser(stage, network, classifier)
    scaler = _scaler(stage, world)
    state: dict[str, Any] = {"epoch": 0, "step": 0, "sums": {}, "history": [], "faults": {}, "lines": 0}
    if (folder / LAST).exists():
        tensors, state = load_checkpoint(folder / LAST)
        refuse_changed(folder, state["made_with"], {"weights": None, **made_with})
        network.load_state_dict(part_of(tensors, "network"))
        average.load_state_dict(part_of(tensors, "average" if stage.ema else "network"))
        classifier.data.copy_(tensors["classifier"][first:last])
        own = {
            name: value[first:last] if name.startswith("0.") and value.ndim else value
            for name, value in part_of(tensors, "optimiser").items()
        }
        optimiser.load_state_dict(restore_optimiser(optimiser.state_dict(), own))
        scaler.load_state_dict(state["scaler"])
    model: nn.Module = DistributedDataParallel(network) if world.size > 1 else network

    def save(name: str, kept: nn.Module, **more: Tensor) -> None:
        rows = gathered_rows(classifier, len(images.identities), world)
        if world.rank == 0:
            tensors = {f"network.{key}": value for key, value in kept.state_dict().items()}
            held = {**state, "made_with": dict(made_with), "scaler": scaler.state_dict()}
            save_checkpoint(folder / name, {**tensors, "classifier": rows, **more}, held)

    def save_last() -> None:
        held = {
            name: gathered_rows(value, len(images.identities), world)
            if name.startswith("0.") and value.ndim
            else value
            for name, value in optimiser_tensors(optimiser.state_dict()).items()
        }
        more = {f"optimiser.{name}": value for name, value in held.items()}
        if stage.ema:
            more |= {f"average.{name}": value for name, value in average.state_dict().items()}
        save(LAST, network, **more)

    steps = epoch_steps(images.labels, stage.batch_size, stage.images_per_identity)
    metrics = MetricsFile(folder, state["lines"], tensorboard=recipe.tensorboard, speaks=world.rank == 0)
    left = (stage.epochs - state["epoch"]) * steps * stage.batch_size
    done_before = state["step"] * stage.batch_size
    with metrics, progress(stage.name, left, "images") as advance:
        advance(done_before)
        for epoch in range(state["epoch"], stage.epochs):
            values = [setting.chosen(line["validation"]) for line in state["history"]]
            drops, over = plateau_drops(stage.plateau, values) if stage.plateau else (0, False)
            if over:
                break
            begun, seen_before = time.monotonic(), state["step"]
            model.train()
            for inputs, labels, faults in loader(
                _batches(setting, number, epoch),
                first=state["step"],
                workers=recipe.workers,
                pin=device.type == "cuda",
            ):
                step = state["step"]
                lr = rate(stage, epoch * steps + step, stage.epochs * steps, drops)
                for group in optimiser.param_groups:
                    group["lr"] = lr
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    embeddings = model(normalised(inputs, device))  # [B, D]
                embeddings, labels = _of_all_ranks(embeddings, labels.to(device), world)
                loss, parts = objective(embeddings, classifier, labels, counts, stage.loss, shard)
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # not in its stubs
                scaler.unscale_(optimiser)
                if world.size > 1 and classifier.grad is not None:
                    classifier.grad /= world.size  # every rank has backpropagated the same loss
                if stage.clip_norm:
                    nn.utils.clip_grad_norm_(network.parameters(), stage.clip_norm)
                scaler.step(optimiser)
                scaler.update()
                if stage.ema:
                    update_average(average, network, stage.ema)

                state["step"] = step + 1
                state["faults"].update(faults)
                # On the device and in double precision: no wait for the GPU, and no difference after a resumed epoch.
                for name, value in {"loss": loss.detach(), **parts}.items():
                    state["sums"][name] = state["sums"].get(name, 0.0) + value.double()
                advance(stage.batch_size)
                if (step + 1) % _LOG_STEPS == 0 or step + 1 == steps:
                    means = _means(state["sums"], step + 1)
                    _refuse_not_finite(means, stage, epoch, step)
                    speed = (step + 1 - seen_before) * stage.batch_size / (time.monotonic() - begun)
                    metrics.add(
                        epoch * steps + step + 1,
                        {"epoch": epoch + 1, **means, "rate": lr, "images_per_second": round(speed, 1)},
                    )
                if recipe.checkpoint_steps and (step + 1) % recipe.checkpoint_steps == 0 and step + 1 < steps:
                    _refuse_not_finite(_means(state["sums"], step + 1), stage, epoch, step)
                    state["lines"] = metrics.lines
                    state["faults"] = _of_all_faults(state["faults"], world)
                    state["sums"] = {name: float(value) for name, value in state["sums"].items()}
                    save_last()

            measured: dict[str, Any] = {}
            if world.rank == 0:
                try:
                    measured = {name: measure(average, faces, device) for name, faces in setting.sets.items()}
                except UsageError as error:
                    raise UsageError(f"stage {stage.name}, epoch {epoch + 1}: {error}") from None
            measured = broadcast(measured, world)
            state["faults"] = _of_all_faults(state["faults"], world)
            line = {"epoch": epoch + 1, **_means(state["sums"], steps), "validation": measured}
            metrics.add((epoch + 1) * steps, line)
            better = setting.chosen(measured) > max(values, default=-math.inf) or not values
            state.update(
                epoch=epoch + 1, step=0, sums={}, history=[*state["history"], line], lines=metrics.lines
            )
            if better:
                save(BEST, average)
            save_last()
    values = [setting.chosen(line["validation"]) for line in state["history"]]
    best = values.index(max(values))
    return {
        "epochs": len(values),
        "best_epoch": best + 1,
        "validation": state["history"][best]["validation"],
        "images_seen": len(values) * steps * stage.batch_size,
        "faults": state["faults"],
    }


def _optimiser(stage: Stage, network: nn.Module, classifier: nn.Parameter) -> torch.optim.Optimizer:
    """The classifier comes first: parameter 0 is the one that may be shared out."""
    parameters = [classifier, *network.parameters()]
    if stage.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay)
    return torch.optim.SGD(
        parameters, lr=stage.learning_rate, momentum=stage.momentum, weight_decay=stage.weight_decay
    )


def _scaler(stage: Stage, world: World) -> torch.amp.GradScaler:
    """For losses in float16. Ranks hold different classes: an overflow on one must skip the step on all."""
    enabled = stage.precision == "float16"
    if world.size == 1:
        return torch.amp.GradScaler(world.device.type, enabled=enabled)
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    return ShardedGradScaler(world.device.type, enabled=enabled)


def _batches(setting: Setting, number: int, epoch: int) -> Batches:
    """Every batch of an epoch, the part of it that falls to one rank."""
    recipe, stage, world = setting.recipe, setting.recipe.stages[number], setting.world
    seed = [recipe.seed, number, epoch]
    batches = epoch_batches(setting.images.labels, stage.batch_size, stage.images_per_identity, seed)
    first, last = shares(stage.batch_size, world.size)[world.rank]
    return Batches(
        setting.images, batches[:, first:last], recipe.input_size, stage.augmentation, [*seed, world.rank]
    )


def _of_all_ranks(embeddings: Tensor, labels: Tensor, world: World) -> tuple[Tensor, Tensor]:
    """Embeddings and labels of the whole batch, rank after rank; gradients flow back to the rank they came from."""
    if world.size == 1:
        return embeddings, labels
    count = len(labels)
    mine = slice(world.rank * count, (world.rank + 1) * count)
    rows = embeddings.new_zeros(world.size * count, embeddings.shape[1])
    rows[mine] = embeddings
    names = labels.new_zeros(world.size * count)
    names[mine] = labels
    shard = Shard(0)
    return all_sum(rows, shard), all_sum(names, shard)


def _of_all_faults(faults: dict[str, str], world: World) -> dict[str, str]:
    """What every rank has met, on all of them."""
    return {name: why for rank in range(world.size) for name, why in broadcast(faults, world, rank).items()}


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average towards a network: average <- decay * average + (1 - decay) * network.

    Running means and variances are averaged as well; counters are copied.
    """
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


def _means(sums: Mapping[str, Any], steps: int) -> dict[str, float]:
    return {name: float(value) / steps for name, value in sums.items()}


def _refuse_not_finite(means: Mapping[str, float], stage: Stage, epoch: int, step: int) -> None:
    wrong = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        raise UsageError(
            f"stage {stage.name}, epoch {epoch + 1}, batch {step + 1}: {', '.join(wrong)}: lower its learning_rate, "
            "or clip its gradients (clip_norm)"
        )
