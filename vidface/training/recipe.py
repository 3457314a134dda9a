"""Training recipes (TOML): who is trained on, and the stages, each of which adds something to the one before.

A ``[[stage]]`` is the stage before with the changes that it names, whatever their depth: a stage that says only
``loss = { intra = 1.0 }`` keeps the sampler, the schedule and all other losses. Every stage starts from the best
weights of the one before, as the paper trains (its section 3.2 and tables 3 and 4). "none" takes back what was said
before: ``plateau = "none"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidface.backbones.spec import Spec, parse_spec
from vidface.errors import ModelError, UsageError
from vidface.files.toml import listed, read_told
from vidface.training.losses.objective import Above, AtLeastZero, Objective

_Share = Annotated[float, Field(ge=0, le=1)]
_Below1 = Annotated[float, Field(ge=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(_Table):
    """How often a training image is changed, each a probability; only mirroring is on by default.

    ``shift`` moves it by up to 6 pixels each way and repeats the border; ``light`` changes brightness, contrast and
    the balance of colours; ``grey`` takes the colour; ``blur`` makes it smaller and larger again, as a face that
    was far away; ``jpeg`` compresses it once more; ``erase`` covers a rectangle with noise.
    """

    flip: _Share = 0.5
    shift: _Share = 0.0
    light: _Share = 0.0
    grey: _Share = 0.0
    blur: _Share = 0.0
    jpeg: _Share = 0.0
    erase: _Share = 0.0


class Plateau(_Table):
    """After `patience` epochs without a better validation the rate is multiplied by `factor`, at most `drops` times.

    After that many more the stage ends; ``epochs`` is then only an upper bound.
    """

    patience: Annotated[int, Field(ge=1)] = 3
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    drops: Annotated[int, Field(ge=0)] = 2


class Stage(_Table):
    """One stage, with everything it inherits filled in.

    Attributes:
        name: also the name of its folder.
        weights: of the first stage alone: a file to start from, see `vidface.training.checkpoint`; None: fresh weights.
        loss: what is minimised; see `vidface.training.losses.objective`.
        images_per_identity: None: images are shuffled. K: PK sampling, batches of K images of each of
            batch_size / K people (Hermans et al., the paper's [12]; it uses 4).
        epochs: passes over as many images as there are.
        learning_rate: at its highest.
        schedule: over the whole stage: constant, cosine to zero, or a tenth at each of `milestones`.
        milestones: for ``step``: shares of the stage, such as [0.5, 0.75].
        warmup: share of the stage in which the rate rises from zero.
        plateau: lowers the rate by what validation says, and ends the stage.
        clip_norm: gradients are scaled down to this L2 norm; 0: not.
        ema: decay of the moving average of the weights that is validated and kept, for example 0.999; 0: none.
        precision: of the network; losses are always computed in float32.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
    weights: Path | None = None
    loss: Objective = Objective()
    images_per_identity: Annotated[int, Field(ge=2)] | None = None
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Above = 0.1
    momentum: _Below1 = 0.9
    weight_decay: AtLeastZero = 5e-4
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    warmup: _Below1 = 0.0
    plateau: Plateau | None = None
    clip_norm: AtLeastZero = 5.0
    ema: _Below1 = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _fits_together(self) -> Stage:
        if self.images_per_identity is not None and self.batch_size % self.images_per_identity:
            raise ValueError("batch_size must be a multiple of images_per_identity")
        if self.images_per_identity is None and self.loss.triplet:
            raise ValueError("triplets need images_per_identity: a shuffled batch has hardly a pair")
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("schedule 'step' needs milestones, and only it has them")
        if self.plateau is not None and self.schedule != "constant":
            raise ValueError("a plateau rule lowers the rate itself: say schedule = 'constant'")
        return self


class People(_Table):
    """Which people are trained on; the others are never seen in training.

    Attributes:
        min_images: people with fewer are not trained on: the paper cuts the long tail.
        validation: share of all people that decides which epoch is kept.
        test: share of all people that decides nothing and is only reported.
        images_per_person: of a held-out person at most so many images are compared, or a few people with very many
            images would be nearly all pairs.
    """

    min_images: Annotated[int, Field(ge=1)] = 2
    validation: _Below1 = 0.1
    test: _Below1 = 0.0
    images_per_person: Annotated[int, Field(ge=2)] = 10


class TrainingRecipe(_Table):
    """A whole recipe; paths are absolute once it is read.

    Attributes:
        data: a folder of people, tar shards, or .rec with .idx; see `vidface.training.datasets.open.open_images`.
        output: the folder for everything that is written.
        architecture: a name, or a table of widths, as in a model card.
        input_size: (height, width) of all images; none is resized.
        name, licence: for the model's card.
        seed: decides who is held out, the first weights, the order and the augmentation.
        device: where to train; several GPUs by torchrun.
        workers: processes that read images; 0: none.
        deterministic: on a GPU, only algorithms that repeat to the bit, which cost some speed; a CPU always repeats.
        checkpoint_steps: also keep a checkpoint every so many batches within an epoch.
        tensorboard: write curves for TensorBoard as well.
        people: who is trained on.
        pairs: more validation sets by name, each a .bin.
        choose: what decides the best epoch: tpr or accuracy of the held-out people, or the accuracy on one of `pairs`.
        stages: one after the other.
    """

    data: Path
    output: Path
    architecture: str | dict[str, Any] = "step5"
    input_size: tuple[int, int] = (112, 112)
    name: str = ""
    licence: str = "not stated"
    seed: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    deterministic: bool = True
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    tensorboard: bool = False
    people: People = People()
    pairs: dict[str, Path] = Field(default_factory=dict)
    choose: str = "tpr"
    stages: tuple[Stage, ...] = Field(min_length=1)

    @property
    def spec(self) -> Spec:
        """The network."""
        return parse_spec(self.architecture)

    @model_validator(mode="after")
    def _checked(self) -> TrainingRecipe:
        names = [stage.name for stage in self.stages]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two stages are called {sorted(doubled)[0]!r}")
        if later := [stage.name for stage in self.stages[1:] if stage.weights is not None]:
            raise ValueError(
                f"stage {later[0]}: weights: the first stage alone starts from a file, every other from the one before"
            )
        if self.people.validation + self.people.test >= 1:
            raise ValueError("people: validation and test leave nobody to train on")
        if not self.pairs and not self.people.validation:
            raise ValueError(
                "people.validation is 0 and there are no [pairs]: nothing can choose the weights"
            )
        if taken := sorted({"people", "test", "tpr", "accuracy"} & set(self.pairs)):
            raise ValueError(f"pairs: {taken[0]!r} has a meaning of its own here: choose another name")
        known = (["tpr", "accuracy"] if self.people.validation else []) + list(self.pairs)
        if self.choose not in known:
            raise ValueError(f"choose must be one of {', '.join(known)}")
        return self


def read_training_recipe(path: Path) -> TrainingRecipe:
    """Read and check a recipe.

    Raises:
        UsageError: not there, not TOML, or a field is unknown, missing or of the wrong kind; all are named.
        ModelError: the architecture is unknown.
    """
    content = read_told(path, "recipe")
    if "stages" in content:
        raise UsageError(f"{path}: unknown field stages: stages are written as [[stage]] tables")
    written = content.pop("stage", [])
    if not isinstance(written, list) or not all(isinstance(stage, dict) for stage in written):
        raise UsageError(f"{path}: stages are written as [[stage]] tables")
    if not written:
        raise UsageError(f"{path}: has no [[stage]]: not a recipe to train by")
    stages: list[dict[str, Any]] = []
    for stage in written:
        before = {key: value for key, value in (stages or [{}])[-1].items() if key not in ("name", "weights")}
        stages.append(_merged(before, stage))
    try:
        recipe = TrainingRecipe.model_validate({**content, "stages": stages})
    except ValidationError as error:
        wrong = [
            f"{_where(e['loc'], stages)}{e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
        raise UsageError(f"{path}: {listed(wrong)}") from None
    base = path.resolve().parent
    try:
        recipe.spec  # noqa: B018 - an unknown architecture is said now
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    first = recipe.stages[0]
    if first.weights is not None:
        first = first.model_copy(update={"weights": (base / first.weights).resolve()})
    return recipe.model_copy(
        update={
            "stages": (first, *recipe.stages[1:]),
            "data": (base / recipe.data).resolve(),
            "output": (base / recipe.output).resolve(),
            "pairs": {name: (base / pairs).resolve() for name, pairs in recipe.pairs.items()},
            "name": recipe.name or path.stem,
        }
    )


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(before)
    for key, value in changes.items():
        if value == "none" and key != "name":
            result.pop(key, None)
            continue
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _where(place: tuple[int | str, ...], stages: list[dict[str, Any]]) -> str:
    parts = list(map(str, place))
    if len(place) > 1 and place[0] == "stages" and isinstance(place[1], int):
        parts[:2] = [f"stage {stages[place[1]].get('name', place[1] + 1)}"]
    return f"{'.'.join(parts)}: " if parts else ""
