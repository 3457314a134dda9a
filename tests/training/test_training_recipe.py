from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn_faces import NETWORK, SEVEN, write_recipe

from vidface.backbones.spec import STEPS
from vidface.errors import ModelError, UsageError
from vidface.training.losses.objective import Objective
from vidface.training.recipe import Augmentation, People, Plateau, read_training_recipe

ROOT = Path(__file__).resolve().parents[2]
ONE = '[[stage]]\nname = "one"\nepochs = 1\n'
TWO = ONE + '[[stage]]\nname = "two"\n'


def read(folder: Path, stages: str = ONE, **fields: Any) -> Any:
    return read_training_recipe(write_recipe(folder / "recipe.toml", Path("people"), stages, **fields))


def test_a_stage_is_the_one_before_with_its_changes(tmp_path: Path) -> None:
    stages = """
[[stage]]
name = "a"
epochs = 3
batch_size = 8
warmup = 0.1
loss = { scale = 32.0, m2 = 0.3 }
augmentation = { blur = 0.25 }
schedule = "constant"
plateau = { patience = 5, drops = 4 }
[[stage]]
name = "b"
loss = { intra = 1.0 }
plateau = { drops = 1 }
[[stage]]
name = "c"
epochs = 1
images_per_identity = 4
[stage.loss]
classification = "combined"
m3 = 0.1
[stage.augmentation]
flip = 0.0
"""
    a, b, c = read(tmp_path, stages).stages
    assert (a.epochs, b.epochs, c.epochs) == (3, 3, 1)
    assert (a.batch_size, b.batch_size, c.batch_size) == (8, 8, 8)
    assert (a.warmup, b.warmup, c.warmup) == (0.1, 0.1, 0.1)
    assert a.loss == Objective(scale=32.0, m2=0.3)
    assert b.loss == Objective(scale=32.0, m2=0.3, intra=1.0)
    assert c.loss == Objective(scale=32.0, m2=0.3, intra=1.0, classification="combined", m3=0.1)
    assert (a.augmentation, b.augmentation) == (Augmentation(blur=0.25), Augmentation(blur=0.25))
    assert c.augmentation == Augmentation(blur=0.25, flip=0.0)
    assert a.plateau == Plateau(patience=5, drops=4)
    assert b.plateau == c.plateau == Plateau(patience=5, drops=1)
    assert (a.images_per_identity, b.images_per_identity, c.images_per_identity) == (None, None, 4)
    assert (a.name, b.name, c.name) == ("a", "b", "c")


def test_none_takes_back_what_was_said_before(tmp_path: Path) -> None:
    first = ONE.replace("[[stage]]", "[[stage]]\nimages_per_identity = 4", 1)
    second = (
        '[[stage]]\nname = "second"\nimages_per_identity = "none"\nschedule = "constant"\n'
        "plateau = { patience = 1 }\nloss = { intra = 1.0 }\n"
    )
    third = '[[stage]]\nname = "third"\nplateau = "none"\nschedule = "none"\nloss = { intra = "none" }\n'
    stages = read(tmp_path, first + second + third).stages
    assert [stage.images_per_identity for stage in stages] == [4, None, None]
    assert [stage.plateau is None for stage in stages] == [True, False, True]
    assert [stage.schedule for stage in stages] == ["cosine", "constant", "cosine"]
    assert [stage.loss.intra for stage in stages] == [0.0, 1.0, 0.0]


def test_paths_and_what_is_not_said(tmp_path: Path) -> None:
    recipe = read(tmp_path / "sub", pairs={"lfw": "../lfw.bin"})
    assert recipe.data == tmp_path / "sub" / "people"
    assert recipe.output == tmp_path / "sub" / "out"
    assert recipe.pairs == {"lfw": tmp_path / "lfw.bin"}
    assert (recipe.name, recipe.choose, recipe.device, recipe.workers) == ("recipe", "tpr", "auto", 0)
    assert recipe.people == People(min_images=2, validation=0.25, test=0.25, images_per_person=10)
    stage = recipe.stages[0]
    assert (stage.loss, stage.augmentation, stage.plateau) == (Objective(), Augmentation(), None)
    assert (recipe.spec.stem, recipe.spec.blocks[1]) == (8, (16, 8, 1, 2))
    assert read(tmp_path, architecture="y1").spec == STEPS["y1"]
    plain = tmp_path / "plain.toml"
    plain.write_text('data = "d"\noutput = "o"\n' + ONE)
    assert read_training_recipe(plain).spec == STEPS["step5"]
    assert read_training_recipe(plain).people.validation == 0.1


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (TWO + "epochs = 0", "stage two.epochs: Input should be greater than or equal to 1"),
        (TWO + "epoch = 1", "stage two.epoch: Extra inputs are not permitted"),
        (ONE + "loss = { margin = 1.0 }", "stage one.loss.margin: Extra inputs are not permitted"),
        (ONE + "augmentation = { rotate = 1.0 }", "stage one.augmentation.rotate: Extra inputs"),
        (ONE + "augmentation = { flip = 1.5 }", "stage one.augmentation.flip: Input should be less"),
        (ONE + "augmentation = { flip = nan }", "stage one.augmentation.flip: "),
        (ONE + "plateau = { wait = 1 }", "stage one.plateau.wait: Extra inputs"),
        (ONE + "learning_rate = nan", "stage one.learning_rate: "),
        (ONE + "learning_rate = 0.0", "stage one.learning_rate: Input should be greater than 0"),
        (ONE + "learning_rate = inf", "stage one.learning_rate: Input should be a finite number"),
        (ONE + "momentum = nan", "stage one.momentum: "),
        (ONE + "warmup = 1.0", "stage one.warmup: "),
        (ONE + "ema = nan", "stage one.ema: "),
        (ONE + "clip_norm = -1.0", "stage one.clip_norm: "),
        (ONE + 'precision = "float64"', "stage one.precision: "),
        (ONE + 'optimiser = "adam"', "stage one.optimiser: "),
        (ONE + "batch_size = 1", "stage one.batch_size: "),
        (ONE + "images_per_identity = 1", "stage one.images_per_identity: "),
        (ONE + "batch_size = 10\nimages_per_identity = 4", "stage one: batch_size must be a multiple of"),
        (ONE + "loss = { triplet = 1.0 }", "stage one: triplets need images_per_identity"),
        (ONE + 'schedule = "step"', "stage one: schedule 'step' needs milestones"),
        (ONE + "milestones = [0.5]", "stage one: schedule 'step' needs milestones, and only it has them"),
        (ONE + 'schedule = "step"\nmilestones = [1.0]', "stage one.milestones.0: "),
        (ONE + "plateau = { patience = 2 }", "stage one: a plateau rule lowers the rate itself"),
        (ONE + "loss = { m3 = 0.1 }", "stage one.loss: arcface has the margin m2 alone"),
        (ONE + "loss = { m1 = 1.2 }", "stage one.loss: arcface has the margin m2 alone"),
        (ONE + 'loss = { classification = "cosface" }', "stage one.loss.classification: Input should be"),
        *(
            (ONE + f"loss = {{ {name} = {value} }}", f"stage one.loss.{name}: ")
            for name, value in {
                **{"weight": -1.0, "scale": 0.0, "m1": 0.0, "t": 0.5, "inter": -0.1, "triplet": -0.1},
                **{"triplet_margin": 0.0, "intra": "nan", "m2": "inf", "class_balanced": "nan"},
            }.items()
        ),
        (ONE + "loss = { class_balanced = 1.0 }", "stage one.loss.class_balanced: "),
        (ONE + "loss = { weight = 0.0 }", "stage one.loss: weight, intra, inter and triplet are all 0"),
        (
            ONE + "loss = { weight = 0.0, intra = 1.0, class_balanced = 0.9 }",
            "stage one.loss: class_balanced needs a classification loss",
        ),
        (ONE + ONE, "two stages are called 'one'"),
        ('[[stage]]\nname = "a/b"\nepochs = 1\n', "stage a/b.name: "),
        ('[[stage]]\nname = "..."\nepochs = 1\n', "stage ....name: "),
        ("[[stage]]\nepochs = 1\n", "stage 1.name: Field required"),
        ('[[stage]]\nname = "one"\n', "stage one.epochs: Field required"),
        ("", "has no [[stage]]"),
        ('[stage]\nname = "one"\n', "stages are written as [[stage]] tables"),
        (ONE + '[[stages]]\nname = "two"\n', "unknown field stages: stages are written as [[stage]] tables"),
    ],
)
def test_what_is_wrong_in_a_stage(tmp_path: Path, stages: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, stages)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'recipe.toml'}: {said}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"colour": "rgb"}, "colour: Extra inputs are not permitted"),
        ({"seed": -1}, "seed: Input should be greater"),
        ({"workers": -1}, "workers: "),
        ({"device": "tpu"}, "device: "),
        ({"checkpoint_steps": 0}, "checkpoint_steps: "),
        ({"input_size": [112]}, "input_size.1: Field required"),
        ({"people": {"min_images": 0}}, "people.min_images: "),
        ({"people": {"share": 0.1}}, "people.share: Extra inputs"),
        ({"people": {"images_per_person": 1}}, "people.images_per_person: "),
        ({"people": {"validation": 0.5, "test": 0.5}}, "people: validation and test leave nobody"),
        ({"people": {"validation": 0.0}}, "people.validation is 0 and there are no [pairs]"),
        ({"choose": "loss"}, "choose must be one of tpr, accuracy"),
        ({"choose": "agedb", "pairs": {"lfw": "lfw.bin"}}, "choose must be one of tpr, accuracy, lfw"),
        ({"people": {"validation": 0.0}, "pairs": {"lfw": "lfw.bin"}}, "choose must be one of lfw"),
        ({"pairs": {"people": "lfw.bin"}}, "pairs: 'people' has a meaning of its own"),
        ({"pairs": {"tpr": "lfw.bin"}}, "pairs: 'tpr' has a meaning of its own"),
    ],
)
def test_what_is_wrong_above_the_stages(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, **fields)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'recipe.toml'}: {said}")
    assert "\n" not in message


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, TWO + "epochs = 0\nloss = { m2 = nan, x = 1 }", seed=-1)
    message = str(raised.value)
    for said in ("seed: ", "stage two.epochs: ", "stage two.loss.m2: ", "stage two.loss.x: "):
        assert said in message


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("step9", "architecture 'step9' is unknown"),
        ({**NETWORK, "width": 3}, "unknown width"),
        ({"stem": 8}, "blocks, dimension, head missing"),
        ({**NETWORK, "blocks": [[1, 2, 3]]}, "row 1 of blocks"),
        ({**NETWORK, "stem": 0}, "stem must be a positive whole number"),
    ],
)
def test_an_unknown_network(tmp_path: Path, architecture: Any, said: str) -> None:
    with pytest.raises(ModelError) as raised:
        read(tmp_path, architecture=architecture)
    assert said in str(raised.value) and str(tmp_path / "recipe.toml") in str(raised.value)


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such recipe"):
        read_training_recipe(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="no such recipe"):
        read_training_recipe(tmp_path)
    (tmp_path / "bad.toml").write_text("data = \n")
    with pytest.raises(UsageError, match="not TOML"):
        read_training_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        read_training_recipe(tmp_path / "bad.toml")


def test_the_seven_stages_add_up(tmp_path: Path) -> None:
    last = read(tmp_path, SEVEN).stages[-1]
    assert last.loss == Objective(
        classification="support_vector",
        scale=16.0,
        m1=1.05,
        m2=0.2,
        m3=0.1,
        intra=0.5,
        inter=0.5,
        class_balanced=0.9,
        triplet=1.0,
    )
    assert (last.images_per_identity, last.optimiser, last.epochs) == (4, "adamw", 1)


@pytest.mark.parametrize("name", ["progressive_lfw", "arcface_lfw", "demo_network"])
def test_recipes_that_come_along(name: str) -> None:
    assert len(read_training_recipe(ROOT / "pipelines" / f"{name}.toml").stages) == 7
