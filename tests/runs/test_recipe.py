"""Recipes: chained stages give what the single commands give, and finished ones are not run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import frames_of, pooling_model, vidface, write_folder, write_manifest

from vidface.runs.recipe import read_recipe
from vidface.training.recipe import read_training_recipe

RECIPE = """
manifest = "set.csv"
output = "out"
[extract]
model = "model.onnx"
[cluster]
threshold = 0.5
[score]
targets = ["1e-1"]
[sweep]
thresholds = "none,0.5"
[submit]
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with three videos each, as folders of frames, a model, and a recipe that has run once."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = []
    for person in range(3):
        for take, split in enumerate(("train", "val", "val")):
            name = f"v{person}{take}"
            write_folder(folder / name, frames_of(person, 3, seed=take))
            rows.append((name, name, f"p{person}", split))
    write_manifest(folder / "set.csv", rows)
    pooling_model(folder / "model.onnx")
    (folder / "recipe.toml").write_text(RECIPE)
    first = vidface("run", folder / "recipe.toml", "--json", code=0).json
    assert first["ran"] == ["extract", "cluster", "score", "sweep", "submit iqiyi", "submit lfrc"]
    assert first["scores"]["mAP@100"] == 1.0
    return folder


def test_finished_stages_are_not_run_again(workplace: Path) -> None:
    def written() -> dict[str, int]:
        files = (workplace / "out").iterdir()
        return {path.name: path.stat().st_mtime_ns for path in files if path.name != "faults.jsonl"}

    before = written()
    assert vidface("run", workplace / "recipe.toml", "--json", code=0).json["ran"] == []
    assert written() == before


def test_a_lost_or_spoiled_file_is_made_again_with_the_same_bytes(workplace: Path) -> None:
    names = ("scores.json", "submission.bin", "embeddings.h5")
    whole = {name: (workplace / "out" / name).read_bytes() for name in names}
    (workplace / "out" / "scores.json").write_text("{}")
    (workplace / "out" / "submission.bin").unlink()
    (workplace / "out" / "embeddings.h5").unlink()
    again = vidface("run", workplace / "recipe.toml", "--json", code=0).json
    assert again["ran"] == ["cluster", "score", "submit lfrc"]
    assert {name: (workplace / "out" / name).read_bytes() for name in names} == whole


def test_the_stages_one_by_one_give_the_same(workplace: Path, tmp_path: Path) -> None:
    manifest = workplace / "set.csv"
    features, embeddings = tmp_path / "features.h5", tmp_path / "embeddings.h5"
    vidface("extract", manifest, "--model", workplace / "model.onnx", "-o", features, code=0)
    vidface("cluster", features, "--threshold", "0.5", "-o", embeddings, code=0)
    scores = vidface("score", embeddings, "--manifest", manifest, "--targets", "1e-1", "--json", code=0).json
    assert scores == json.loads((workplace / "out" / "scores.json").read_text())
    for name in ("features.h5", "embeddings.h5"):
        assert (tmp_path / name).read_bytes() == (workplace / "out" / name).read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threshold = 0.5", "threshold = 0.6", "threshold was 0.5, now 0.6"),
        ('["1e-1"]', '["1e-2"]', "targets was"),
        ("[extract]", "[extract]\nflip = true", "flip was False, now True"),
    ],
)
def test_a_changed_option_is_refused_with_the_reason(workplace: Path, old: str, new: str, said: str) -> None:
    changed = workplace / "changed.toml"
    changed.write_text(RECIPE.replace(old, new))
    assert said in vidface("run", changed, code=2).error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("manifest = ", "not TOML"),
        (RECIPE.replace("threshold", "treshold"), "cluster.treshold: extra inputs are not permitted"),
        (RECIPE.replace('model = "model.onnx"', ""), "extract.model: field required"),
        (RECIPE.replace('"out"', '"out"\nfeatures = "f.h5"'), "say either [extract] or features"),
        (RECIPE.replace('[extract]\nmodel = "model.onnx"', ""), "say either [extract] or features"),
        (RECIPE + '[engine]\nname = "spark"', "engine.name: input should be 'local' or 'ray'"),
        (RECIPE.replace("0.5", '"low"', 1), "cluster.threshold"),
        (RECIPE.replace("0.5", "7.0", 1), "a cosine lies in -1..1, not 7.0"),
        (RECIPE.replace('"none,0.5"', '"high"'), "cannot read 'high'"),
        (RECIPE.replace('"1e-1"', '"1"'), "fpr target '1' is not a rate"),
    ],
)
def test_a_wrong_recipe_is_refused_by_field(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    ran = vidface("run", tmp_path / "recipe.toml", code=2)
    assert said in ran.error.lower() or said in ran.error
    assert ran.error.startswith(f"error: {tmp_path / 'recipe.toml'}: ")


def test_features_that_were_extracted_before_begin_a_recipe(workplace: Path) -> None:
    text = RECIPE.replace('"out"', '"later"\nfeatures = "out/features.h5"')
    (workplace / "later.toml").write_text(text.replace('[extract]\nmodel = "model.onnx"', ""))
    later = vidface("run", workplace / "later.toml", "--json", code=0).json
    assert later["ran"] == ["cluster", "score", "sweep", "submit iqiyi", "submit lfrc"]
    for name in ("embeddings.h5", "scores.json", "submission.txt", "submission.bin"):
        assert (workplace / "later" / name).read_bytes() == (workplace / "out" / name).read_bytes()


def test_the_shipped_recipes_can_be_read() -> None:
    recipes = sorted((Path(__file__).parents[2] / "pipelines").glob("*.toml"))
    seen = set()
    for path in recipes:
        command = path.read_text().partition("\n")[0]
        seen.add(command.split()[2])
        if command == f"# vidface train pipelines/{path.name}":
            assert read_training_recipe(path).stages
        else:
            assert command == f"# vidface run pipelines/{path.name}"
            assert read_recipe(path).score is not None
    assert seen == {"run", "train"}


def test_overwrite_makes_again_what_changed(workplace: Path) -> None:
    shutil.copytree(workplace / "out", workplace / "changing")
    recipe = workplace / "changing.toml"
    text = RECIPE.replace('"out"', '"changing"')
    recipe.write_text(text)
    assert vidface("run", recipe, "--overwrite", "--json", code=0).json["ran"] == []
    recipe.write_text(text.replace('["1e-1"]', '["1e-2"]'))
    assert "or pass --overwrite to replace it" in vidface("run", recipe, code=2).error
    assert vidface("run", recipe, "--overwrite", "--json", code=0).json["ran"] == ["score", "sweep"]
    recipe.write_text(text.replace("threshold = 0.5", "threshold = 0.9999"))
    again = vidface("run", recipe, "--overwrite", "--json", code=0).json
    assert again["ran"] == ["cluster", "score", "sweep", "submit iqiyi", "submit lfrc"]
    assert again["scores"]["inputs"]["threshold"] == "0.9999"
    assert vidface("run", recipe, "--json", code=0).json["ran"] == []
