from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_models import CARD, TINY, tiny_onnx, tiny_torch, write_card

from vidface.backbones import read_card
from vidface.errors import ModelError

OPTIONS = {"input_size": "16x32", "colour_order": "rgb", "mean": "120,110,100", "std": "60,50,40"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "face.onnx"
    tiny_onnx(path)
    return path


def test_a_card_is_read(model: Path) -> None:
    write_card(model)
    card = read_card(model, {})
    assert card.model_dump(exclude={"architecture", "output", "template"}) == {
        **CARD,
        "input_size": (16, 32),
        "mean": (120.0, 110.0, 100.0),
        "std": (60.0, 50.0, 40.0),
    }


def test_without_a_card_everything_must_be_said(model: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_card(model, {"colour_order": "rgb", "mean": None})
    assert "input_size, mean, std not given" in str(caught.value)
    assert "--input-size 112x112 --mean 127.5,127.5,127.5 --std 128,128,128" in str(caught.value)
    assert "face.toml" in str(caught.value)
    for name in OPTIONS:
        with pytest.raises(ModelError, match=f"{name} not given"):
            read_card(model, {key: value for key, value in OPTIONS.items() if key != name})


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {"input_size": (16, 32), "colour_order": "rgb", "mean": [120, 110, 100], "std": (60.0, 50.0, 40.0)},
    ],
    ids=["text", "numbers"],
)
def test_options_alone_make_a_card(model: Path, options: dict[str, object]) -> None:
    card = read_card(model, options)
    assert (card.name, card.licence, card.source) == ("face", "not stated", "not stated")
    assert (card.input_size, card.mean, card.std) == ((16, 32), (120.0, 110.0, 100.0), (60.0, 50.0, 40.0))
    assert card.dimension == 6, "taken from the model"
    assert read_card(model, {**options, "dimension": 5}).dimension == 5, "what is said is not replaced"


def test_weights_without_a_card(tmp_path: Path) -> None:
    path = tiny_torch(tmp_path)
    path.with_suffix(".toml").unlink()
    with pytest.raises(ModelError, match=r"its card tiny\.toml must name an architecture"):
        read_card(path, OPTIONS)
    assert read_card(path, {**OPTIONS, "architecture": TINY}).dimension == 6
    assert read_card(path, {**OPTIONS, "architecture": "step5"}).dimension == 282


@pytest.mark.parametrize(
    ("name", "value", "ours", "theirs"),
    [
        ("input_size", "112x112", r"\[16, 32\]", r"\[112, 112\]"),
        ("colour_order", "bgr", "rgb", "bgr"),
        ("mean", "127.5,127.5,127.5", r"\[120, 110, 100\]", r"\[127.5, 127.5, 127.5\]"),
        ("std", (60, 50, 41), r"\[60, 50, 40\]", r"\[60, 50, 41\]"),
        ("dimension", 512, "6", "512"),
    ],
)
def test_an_option_that_contradicts_the_card(
    model: Path, name: str, value: object, ours: str, theirs: str
) -> None:
    write_card(model)
    with pytest.raises(ModelError, match=f"{name} is {ours}, but the option says {theirs}"):
        read_card(model, {name: value})


def test_options_that_repeat_the_card_are_fine(model: Path) -> None:
    write_card(model)
    assert read_card(model, OPTIONS) == read_card(model, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": [1.0, 0.0, 1.0]}, "std.1: Input should be greater than 0"),
        ({"std": [1.0, float("inf"), 1.0]}, "std.1: Input should be a finite number"),
        ({"mean": [1.0, float("nan"), 1.0]}, "mean.1: Input should be a finite number"),
        ({"mean": [1.0, 2.0]}, "mean"),
        ({"colour_order": "grey"}, "colour_order: Input should be 'rgb' or 'bgr'"),
        ({"dimension": 0}, "dimension: Input should be greater than 0"),
        ({"dimension": True}, "dimension: "),
        ({"input_size": [112]}, "input_size"),
        ({"input_size": [112, -1]}, "input_size.1"),
        ({"input_size": [112, 10**6]}, "input_size.1: Input should be less than or equal to 4096"),
        ({"licence": None}, "licence: Field required"),
        ({"license": "MIT"}, "license: Extra inputs are not permitted"),
        ({"mean": None, "source": None}, "mean: Field required; source: Field required"),
    ],
)
def test_a_bad_card_names_the_field(model: Path, changes: dict[str, object], message: str) -> None:
    write_card(model, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        read_card(model, {})
    assert str(model.with_suffix(".toml")) in str(caught.value)
    assert "\n" not in str(caught.value)


# Of an input 32 wide and 16 high.
POINTS = [[11, 5], [21, 5], [16, 8], [12, 11], [20, 11]]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[x / 32, y / 16] for x, y in POINTS], "the mouth is 0.375 pixels below the eyes"),
        ([[9 * x, 9 * y] for x, y in POINTS], "points lie outside the input of 32x16"),
        ([[x, y + 8] for x, y in POINTS], "points lie outside the input of 32x16"),
        ([[x, 15 - y] for x, y in POINTS], "the mouth is -6 pixels below the eyes"),
        ([POINTS[1], POINTS[0], *POINTS[2:]], "the image-left eye comes first"),
        ([*POINTS[:3], POINTS[4], POINTS[3]], "the corners of the mouth, left and right"),
        ([[y, x] for x, y in POINTS], "comes first"),
        (POINTS[:2], "template.2: Field required"),
        ([part for point in POINTS for part in point], "template: Tuple should have at most 5 items"),
    ],
    ids=["shares", "of a larger input", "too low", "upside down", "eyes", "mouth", "y, x", "two", "flat"],
)
def test_a_template_that_is_no_face_in_pixels_of_the_input(
    model: Path, points: list[object], message: str
) -> None:
    write_card(model, template=POINTS)
    assert read_card(model, {}).template == tuple(map(tuple, POINTS))
    write_card(model, template=points)
    with pytest.raises(ModelError, match=re.escape(message)):
        read_card(model, {})


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"<html>"])
def test_a_card_that_is_no_toml(model: Path, content: bytes) -> None:
    model.with_suffix(".toml").write_bytes(content)
    with pytest.raises(ModelError, match=r"face\.toml: not a readable TOML card"):
        read_card(model, {})


@pytest.mark.parametrize("text", ["112", "112x", "x", "112x112x3", "axb"])
def test_an_option_that_is_no_size(model: Path, text: str) -> None:
    with pytest.raises(ModelError, match="options: input_size"):
        read_card(model, {**OPTIONS, "input_size": text})


def test_a_model_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: no such model file"):
        read_card(tmp_path / "none.onnx", {})
