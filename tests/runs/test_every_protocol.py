"""Every protocol of embeddings goes through recipe, sweep, report and compare, with the numbers of score."""

from __future__ import annotations

import json
import re
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import vidface
from feature_files import stored_features

from vidface.manifest.manifest import read_manifest, write_manifest
from vidface.runs.opened import open_run
from vidface.scores.protocols.table import OF_EMBEDDINGS, TABLE, load

PEOPLE, STRANGERS, FRAMES, DIMENSION = 8, 8, 4, 16
FIGURES = [name for name in OF_EMBEDDINGS if load(name).figures]
OTHERS = [name for name in OF_EMBEDDINGS if name not in FIGURES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with its features and a list of pairs with folds; a recipe of every protocol that has run."""
    folder = tmp_path_factory.mktemp("protocols")
    rows = [
        (f"v{person}{take}", f"v{person}{take}", f"p{person}", "train" if take < 2 else "val")
        for person in range(PEOPLE)
        for take in range(4)
    ]
    rows += [(f"n{number}", f"n{number}", "", "val") for number in range(STRANGERS)]
    write_manifest(folder / "set.csv", rows)
    truth = read_manifest(folder / "set.csv")
    random = np.random.default_rng(0)
    base = {name: random.normal(size=DIMENSION) for name in sorted(set(truth.identities))}
    videos = {}
    for video, identity in zip(truth.video_ids, truth.identities, strict=True):
        middle = base[identity] if identity else random.normal(size=DIMENSION)
        videos[video] = middle + random.normal(size=DIMENSION) + 0.6 * random.normal(size=(FRAMES, DIMENSION))
    stored_features(folder / "features.h5", truth, videos)
    known = [(video, identity) for video, identity, *_ in (row[::2] for row in rows) if identity]
    lines = [
        f"{a},{b},{int(one == other)},{1 + at % 4}\n"
        for at, ((a, one), (b, other)) in enumerate(combinations(known, 2))
        if one == other or at % 7 == 0
    ]
    (folder / "pairs.csv").write_text("first,second,same,fold\n" + "".join(lines))
    for name in OF_EMBEDDINGS:
        ran = vidface("run", write_recipe(folder, name), "--json", code=0).json
        assert ran["ran"] == ["cluster", "score", "sweep"]
    return folder


def write_recipe(folder: Path, name: str, extra: str = "") -> Path:
    pairs = 'pairs = "pairs.csv"\n' if "pairs" in TABLE[name].needs else ""
    path = folder / f"{name}.toml"
    path.write_text(
        f'manifest = "set.csv"\noutput = "{name}"\nfeatures = "features.h5"\n[cluster]\nthreshold = 0.3\n'
        f'[score]\nprotocol = "{name}"\ntargets = ["0.3", "0.1"]\n{pairs}{extra}[sweep]\nthresholds = "none,0.3,0.8"\n'
    )
    return path


def scored(folder: Path, name: str, embeddings: Path, *options: object) -> Any:
    if "pairs" in TABLE[name].needs:
        options = (*options, "--pairs", folder / "pairs.csv")
    if "targets" in TABLE[name].uses:
        options = (*options, "--targets", "0.3,0.1")
    manifest = folder / "set.csv"
    return vidface("score", embeddings, "--manifest", manifest, "--protocol", name, *options)


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_a_recipe_scores_as_the_command_does(folder: Path, name: str) -> None:
    found = json.loads((folder / name / "scores.json").read_text())
    assert found == scored(folder, name, folder / name / "embeddings.h5", "--json").json
    assert vidface("run", folder / f"{name}.toml", "--json", code=0).json["ran"] == []
    told = vidface("run", folder / f"{name}.toml", code=0).out
    assert scored(folder, name, folder / name / "embeddings.h5").out.strip() in told


@pytest.mark.parametrize("name", OTHERS)
def test_another_list_or_option_is_refused_and_never_mixed(folder: Path, name: str) -> None:
    path = write_recipe(folder, name)
    whole, text = (folder / "pairs.csv").read_text(), path.read_text()
    path.write_text(text.replace('"0.1"', '"0.2"'))
    assert "targets was" in vidface("run", path, code=2).error
    path.write_text(text)
    if "pairs" in TABLE[name].needs:
        (folder / "pairs.csv").write_text(whole + "v00,v13,0,2\n")
        assert "pairs_sha256 was" in vidface("run", path, code=2).error
        assert "scores.json was made from" in str(open_run(folder / name).notes)
        (folder / "pairs.csv").write_text(whole)
    assert vidface("run", path, "--json", code=0).json["ran"] == []  # which also says the options again
    assert open_run(folder / name).notes == []


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_a_sweep_has_the_numbers_of_score_and_their_best(folder: Path, name: str) -> None:
    sweep = json.loads((folder / name / "sweep.json").read_text())
    measures = load(name).measures
    scores = json.loads((folder / name / "scores.json").read_text())
    row = next(row for row in sweep["rows"] if row["threshold"] == "0.3")
    assert [each[:3] for each in measures(row)] == [each[:3] for each in measures(scores)]
    for at, each in enumerate(measures(row)):
        key = each.label if each.key is None else each.key
        values = [measures(one)[at].value for one in sweep["rows"]]
        if key and None not in values:
            best = min(values) if each.lower_is_better else max(values)
            assert sweep["rows"][values.index(best)]["threshold"] == sweep["best"][key]


@pytest.mark.parametrize("name", OTHERS)
def test_a_report_shows_numbers_lines_and_definitions(folder: Path, name: str, tmp_path: Path) -> None:
    made = vidface("report", folder / name, "-o", tmp_path / "r", "--no-pictures", "--json", code=0).json
    scores = json.loads((folder / name / "scores.json").read_text())
    expected = {each.label: each.value for each in load(name).measures(scores)}
    assert {re.sub("^rank-", "rank", label): value for label, value in made["headline"].items()} == expected
    assert not (tmp_path / "r" / "data" / "curves.csv").exists()
    why = f"the protocol {name} has no curves of its own; its numbers stand above"
    assert made["missing"]["curves"] == why
    page = (tmp_path / "r" / "index.html").read_text()
    line = scored(folder, name, folder / name / "embeddings.h5").out.split("\n")[1]
    for text in (*scores["definitions"].values(), line):
        assert escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
    # Scored again where the scores are not there, and as another protocol than the recipe's.
    command = ("report", folder / "both", "--protocol", name, "--targets", "0.3,0.1", "-o", tmp_path / "s")
    pairs = ("--pairs", folder / "pairs.csv") if "pairs" in TABLE[name].needs else ()
    by_hand = vidface(*command, *pairs, "--no-pictures", "--json", code=0).json
    assert by_hand["headline"] == made["headline"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_comparison_has_both_numbers_and_no_interval(folder: Path, name: str, tmp_path: Path) -> None:
    vidface("cluster", folder / "features.h5", "--threshold", "none", "-o", tmp_path / "e.h5", code=0)
    command = ("compare", folder / name, tmp_path / "e.h5", "--manifest", folder / "set.csv")
    found = vidface(*command, "--json", code=0).json
    measures = load(name).measures
    paths = (folder / name / "embeddings.h5", tmp_path / "e.h5")
    both = [measures(scored(folder, name, path, "--json").json) for path in paths]
    rows = [(one.label, one.value, other.value) for one, other in zip(*both, strict=True)]
    expected = [row for row in rows if row[1:] != (None, None)]
    shown = [(each["measure"], *(value["value"] for value in each["values"])) for each in found["measures"]]
    assert shown == expected
    for each, (_, one, other) in zip(found["measures"], expected, strict=True):
        gain = each["differences"][1]
        assert gain["value"] == other - one
        assert (gain["low"], gain["high"], gain["verdict"]) == (None, None, 0)
        assert gain["words"].endswith(", no interval")
    assert found["intervals"]["replicates"] == 0 and found["definitions"]
    assert any(f"{name} gives no interval of a difference" in text for text in found["warnings"])
    out = vidface(*command, "-o", tmp_path / "c", code=0).out
    assert "No interval of a difference is given for this protocol." in out
    assert (tmp_path / "c" / "index.html").is_file() and not (tmp_path / "c" / "figures" / "roc.svg").exists()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('pairs = "pairs.csv"', "score.pairs: the protocol openset does not use it: leave it out"),
        ('device = "cpu"', "score.device: the protocol openset does not use it: leave it out"),
        ("flip_halves = true", "score.flip_halves: extra inputs are not permitted"),
        ('meta = "m"', "score.meta: extra inputs are not permitted"),
        ("det = true", "score.det: extra inputs are not permitted"),
    ],
)
def test_a_recipe_is_refused_by_field(folder: Path, extra: str, said: str) -> None:
    path = write_recipe(folder, "openset", f"{extra}\n")
    assert said in vidface("run", path, code=2).error
    write_recipe(folder, "openset")


def test_a_recipe_of_a_protocol_that_cannot_be(folder: Path) -> None:
    text = write_recipe(folder, "openset").read_text()
    path = folder / "wrong.toml"
    for protocol, said in (
        ('"ijbb"\nmeta = "m"', "vidface score FEATURES --protocol ijbb --meta DIR"),
        ('"nope"', "score.protocol: no protocol 'nope'; there are both, iqiyi"),
        ('"ytf"', "score.pairs: the protocol ytf needs it"),
    ):
        path.write_text(text.replace('protocol = "openset"', f"protocol = {protocol}"))
        assert said in vidface("run", path, code=2).error
    path.write_text(text.replace("openset", "lfrc").replace("[score]", '[score]\ndevice = "cpu"'))
    assert vidface("run", path, "--json", code=0).json["already_done"] == ["cluster", "score", "sweep"]
