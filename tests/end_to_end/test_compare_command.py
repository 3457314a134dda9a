"""`vidface compare` as people call it; that its intervals are those of scipy is shown in tests/runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import vidface


class Three(NamedTuple):
    """Embeddings of the small set at three thresholds; all have the failed video."""

    manifest: Path
    none: Path
    low: Path
    high: Path


@pytest.fixture(scope="module")
def three(small, tmp_path_factory: pytest.TempPathFactory) -> Three:
    folder = tmp_path_factory.mktemp("three")
    for name, threshold in (("none", "none"), ("low", 0.3), ("high", 0.9)):
        vidface("cluster", small.features, "-o", folder / f"{name}.h5", "--threshold", threshold, code=1)
    return Three(small.manifest, *(folder / f"{name}.h5" for name in ("none", "low", "high")))


def test_two_thresholds(three: Three, tmp_path: Path) -> None:
    ran = vidface("compare", three.none, three.low, "--manifest", three.manifest, "--json", code=1).json
    assert ran["baseline"] == "none" and ran["differs"] == {"threshold": ["none", "0.3"]}
    scores = []
    for path in (three.none, three.low):
        vidface("score", path, "--manifest", three.manifest, "-o", tmp_path / "scores.json", code=1)
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    for measure in ran["measures"]:
        values = [value and value["value"] for value in measure["values"]]
        if measure["measure"].startswith("TPR"):
            target = measure["measure"].removeprefix("TPR at FPR ")
            assert values == [one["tpr@fpr"][target] for one in scores]
        else:
            assert values == [one[measure["measure"]] for one in scores]
    gain = ran["measures"][0]["differences"][1]
    assert gain["value"] == pytest.approx(scores[1]["mAP@100"] - scores[0]["mAP@100"])
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_the_text_and_the_files(three: Three, tmp_path: Path) -> None:
    ran = vidface("compare", *three[1:], "--manifest", three.manifest, "-o", tmp_path / "out", code=1)
    assert ran.err == ""
    assert ran.out.startswith("made with  none  low  high\nthreshold  none  0.3   0.9\n")
    assert "against none" in ran.out and "Bonferroni" in ran.out
    assert f"written: {tmp_path / 'out' / 'index.html'}" in ran.out
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert {"index.html", "compare.md", "data/differences.csv", "figures/roc.svg"} <= found


def test_a_recipe_and_its_submissions(small, tmp_path: Path) -> None:
    """A folder knows its manifest and how it was scored; files beside it are taken as of the same set."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'manifest = "{small.manifest}"\noutput = "A"\nfeatures = "{small.features}"\n'
        '[cluster]\nthreshold = 0.3\n[score]\ntargets = ["1e-2"]\n[submit]\n'
    )
    vidface("run", recipe, code=1)
    folder = tmp_path / "A"
    ran = vidface(
        "compare", folder, folder / "submission.bin", folder / "submission.txt", "--json", code=1
    ).json
    assert ran["options"]["targets"] == ["1e-2"]
    assert [run["zero_embeddings"] for run in ran["runs"]] == [1, 1, 0]  # a ranking does not say
    assert [run["name"] for run in ran["runs"]] == ["A", "submission.bin", "submission.txt"]
    words = [[gain and gain["words"] for gain in measure["differences"]][1:] for measure in ran["measures"]]
    assert words == [["no difference at all"] * 2] * 4 + [["no difference at all", None]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{none}"], 2, "a comparison needs two runs or more"),
        (["{none}", "{low}"], 2, "pass --manifest FILE"),
        (["{none}", "{low}", "--manifest", "{manifest}", "--targets", "7"], 2, "'7' is not a rate"),
        (["{none}", "nowhere.h5", "--manifest", "{manifest}"], 1, "nowhere.h5: no such file"),
        (["{none}", "{manifest}", "--manifest", "{manifest}"], 1, "not an embeddings file"),
    ],
)
def test_wrong_calls_of_compare(three: Three, arguments: list[str], code: int, said: str) -> None:
    words = [word.format(**{name: str(path) for name, path in three._asdict().items()}) for word in arguments]
    assert said in vidface("compare", *words, code=code).error


def test_no_run_at_all_is_wrong_usage() -> None:
    assert "Usage: vidface compare" in vidface("compare", code=2).err
