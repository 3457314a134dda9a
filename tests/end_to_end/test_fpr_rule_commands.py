"""The FPR rule from the recipe or the option to every text and file; the numbers against plain numpy."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import frames_of, pooling_model, vidface, write_manifest
from PIL import Image

PEOPLE, EACH = 14, 4
TARGET = "1e-2"
RECIPE = """
manifest = "set.csv"
output = "{output}"
[extract]
model = "model.onnx"
[cluster]
threshold = "none"
[score]
targets = ["1e-2", "1e-5"]
{rule}
[sweep]
thresholds = "none,0.5"
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of some people, noisy enough to be mixed up; two recipes that have run: `usual` and `nearest`."""
    folder = tmp_path_factory.mktemp("rules")
    rows, pairs = [], []
    for person in range(PEOPLE):
        (folder / f"p{person:02d}").mkdir()
        for take, pixels in enumerate(frames_of(person, EACH, spread=75)):
            name = f"p{person:02d}/{take}.png"
            Image.fromarray(pixels).save(folder / name, compress_level=1)
            rows.append((f"v{person:02d}{take}", name, f"p{person:02d}", "train" if take < 2 else "val"))
            other = f"p{(person + take + 1) % PEOPLE:02d}/{take}.png"
            pairs += [(name, f"p{person:02d}/{(take + 1) % EACH}.png", 1), (name, other, 0)]
    write_manifest(folder / "set.csv", rows)
    pooling_model(folder / "model.onnx")
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same"), *pairs])
    for output, rule in (("usual", ""), ("nearest", 'fpr_rule = "nearest"')):
        (folder / f"{output}.toml").write_text(RECIPE.format(output=output, rule=rule))
        vidface("run", folder / f"{output}.toml", "--json", code=0)
    return folder


def expected(folder: Path) -> dict[str, tuple[float, float]]:
    """Rule -> (TPR, FPR reached) at 1e-2, from all pairs in one matrix; no two scores tie here."""
    with h5py.File(folder / "usual" / "embeddings.h5") as file:
        rows = file["embeddings"][:].astype(np.float64)
    who = np.repeat(np.arange(PEOPLE), EACH)
    lower, upper = np.triu_indices(len(rows), 1)
    scores, genuine = (rows @ rows.T)[lower, upper], who[lower] == who[upper]
    strangers, own = np.sort(scores[~genuine])[::-1], scores[genuine]
    assert np.abs(np.diff(strangers)).min() > 1e-9
    aim = Fraction(TARGET) * len(strangers)  # 14.56 of 1,456
    low = int(aim)
    near = low if aim - low < low + 1 - aim else low + 1
    assert near == low + 1, "nearest should go beyond the target"
    at = {count: float(np.mean(own > strangers[count])) for count in (low, near)}
    assert at[near] > at[low], "the two rules should differ"
    return {
        "at-most": (at[low], low / len(strangers)),
        "nearest": (at[near], near / len(strangers)),
        "interpolated": (at[low], float(Fraction(TARGET))),
    }


def test_score_by_every_rule(workplace: Path) -> None:
    embeddings = workplace / "usual" / "embeddings.h5"
    for rule, (tpr, fpr) in expected(workplace).items():
        asked = ("--manifest", workplace / "set.csv", "--targets", TARGET, "--fpr-rule", rule)
        found = vidface("score", embeddings, *asked, "--json", code=0).json
        assert found["fpr_rule"] == rule
        assert found["tpr@fpr"][TARGET] == pytest.approx(tpr, abs=1e-12)
        assert found["fpr_reached"][TARGET] == pytest.approx(fpr, abs=1e-12)
        assert (found["threshold@fpr"][TARGET] is None) == (rule == "interpolated")
        low, high = found["ci95"]["tpr@fpr"][TARGET]
        assert low <= tpr <= high
        text = vidface("score", embeddings, *asked, code=0).out
        assert f"\nFPR rule {rule}: " in text
        label = f"TPR at FPR {TARGET}" + ("" if rule == "at-most" else f" ({rule})")
        (line,) = [line for line in text.splitlines() if line.startswith(label + "  ")]
        assert line.removeprefix(label).split()[0] == f"{tpr:.4f}"
        assert (f"reached: {fpr:.3g} for {TARGET}" in text) == (rule == "nearest")


def test_the_rule_of_a_recipe(workplace: Path) -> None:
    wanted = expected(workplace)
    for output, rule in (("usual", "at-most"), ("nearest", "nearest")):
        scores = json.loads((workplace / output / "scores.json").read_text())
        sweep = json.loads((workplace / output / "sweep.json").read_text())
        for one in (scores, *sweep["rows"]):
            assert (one["fpr_rule"], one["tpr@fpr"]["1e-5"]) == (rule, None)
        assert scores["tpr@fpr"][TARGET] == sweep["rows"][0]["tpr@fpr"][TARGET]
        assert scores["tpr@fpr"][TARGET] == pytest.approx(wanted[rule][0], abs=1e-12)
        said = vidface("run", workplace / f"{output}.toml", code=0).out
        assert said.count(f"FPR rule {rule}: ") == 2  # below the scores, and below the sweep


def test_a_run_from_before_there_were_rules_goes_on(workplace: Path) -> None:
    recipe = workplace / "old.toml"
    recipe.write_text(RECIPE.format(output="old", rule=""))
    vidface("run", recipe, "--json", code=0)
    state_file, scores_file = workplace / "old" / "run.json", workplace / "old" / "scores.json"
    state = json.loads(state_file.read_text())
    for stage in ("run", "score", "sweep"):
        del (state[stage] if stage == "run" else state[stage]["made_from"])["fpr_rule"]
    state_file.write_text(json.dumps(state))
    again = vidface("run", recipe, "--json", code=0).json
    assert again["ran"] == [] and again["scores"]["fpr_rule"] == "at-most"
    before = scores_file.read_bytes()
    recipe.write_text(RECIPE.format(output="old", rule='fpr_rule = "nearest"'))
    refused = vidface("run", recipe)
    assert refused.code != 0
    assert (
        "scores.json was made otherwise (fpr_rule was at-most, now nearest): choose another" in refused.error
    )
    assert scores_file.read_bytes() == before
    recipe.write_text(RECIPE.format(output="old", rule='fpr_rule = "closest"'))
    said = "score.fpr_rule: input should be 'at-most', 'nearest' or 'interpolated'"
    assert said in vidface("run", recipe).error
    recipe.write_text(RECIPE.format(output="nearest", rule=""))  # and back
    assert "(fpr_rule was nearest, now at-most)" in vidface("run", recipe).error
    vidface("run", workplace / "nearest.toml", code=0)  # as it was


def test_a_report_says_the_rule(workplace: Path, tmp_path: Path) -> None:
    wanted = expected(workplace)
    words = ("report", workplace / "nearest", "-o", tmp_path / "page", "--no-pictures", "--json")
    ran = vidface(*words, code=0).json
    assert ran["fpr_rule"] == "nearest"
    assert ran["headline"][f"TPR at FPR {TARGET} (nearest)"] == pytest.approx(wanted["nearest"][0], abs=1e-12)
    page = (tmp_path / "page" / "index.html").read_text()
    assert "(bootstrap over identities); FPR rule nearest</caption>" in page
    assert "(FPR rule nearest)" in page  # below the ROC curve
    assert "nearest to the target, which it may exceed, over all pairs of distinct videos" in page
    with (tmp_path / "page" / "data" / "operating-points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["FPR nearest to"] == TARGET
    with (tmp_path / "page" / "data" / "made-with.csv").open(newline="") as file:
        made = dict(list(csv.reader(file))[1:])
    assert made["FPR rule"] == "nearest: the TPR whose FPR is nearest to the target, also beyond it"
    by_another = vidface(*words, "--fpr-rule", "interpolated", code=0).json
    assert by_another["fpr_rule"] == "interpolated"
    value = by_another["headline"][f"TPR at FPR {TARGET} (interpolated)"]
    assert value == pytest.approx(wanted["interpolated"][0], abs=1e-12)
    assert any(text.startswith("scores.json was made from other") for text in by_another["warnings"])


def test_compare_uses_at_most_and_says_so(workplace: Path, tmp_path: Path) -> None:
    wanted = expected(workplace)
    runs = (workplace / "nearest", workplace / "usual")
    found = vidface("compare", *runs, "--protocol", "lfrc", "--json", code=0).json
    assert found["fpr_rule"] == found["options"]["fpr_rule"] == "at-most"
    value = next(one for one in found["measures"] if one["measure"] == f"TPR at FPR {TARGET}")["values"]
    assert [one["value"] for one in value] == [pytest.approx(wanted["at-most"][0], abs=1e-12)] * 2
    said = "nearest was scored by the FPR rule nearest: here it is compared by at-most"
    assert said in found["warnings"]
    text = vidface("compare", *runs, "--protocol", "lfrc", "-o", tmp_path / "page", code=0).out
    rule = "FPR rule at-most: the largest TPR whose FPR is at most the target"
    assert f"warning: {said}" in text and f"{rule}. " in text
    for name in ("index.html", "compare.md"):
        assert rule in (tmp_path / "page" / name).read_text(), name


def test_verify_by_every_rule(workplace: Path) -> None:
    shared = ("--model", workplace / "model.onnx", "--images", workplace)
    tprs = {}
    for rule in ("at-most", "nearest", "interpolated"):
        asked = ("verify", workplace / "pairs.csv", *shared, "--fpr-rule", rule)
        found = vidface(*asked, "--json", code=0).json
        assert found["fpr_rule"] == found["sets"][0]["fpr_rule"] == rule
        tprs[rule] = (found["sets"][0]["tpr@fpr"]["1e-1"], found["sets"][0]["fpr_reached"]["1e-1"])
        text = vidface(*asked, code=0).out
        assert f"FPR rule {rule}: " in text
    # 5.6 of 56 impostors: 5 are within the target, 6 are nearer.
    assert [fpr for _, fpr in tprs.values()] == [5 / 56, 6 / 56, 0.1]
    assert tprs["nearest"][0] >= tprs["at-most"][0] == tprs["interpolated"][0]
