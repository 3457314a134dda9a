"""The table of protocols is true: modules, pages, help and what the commands refuse follow from it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from command_line import vidface

from vidface.commands.main import cli
from vidface.embeddings.options import SweepPoolOptions
from vidface.features.options import EngineOptions
from vidface.manifest.manifest import read_manifest
from vidface.manifest.manifest import write_manifest as write_rows
from vidface.scores.options import RECORDED, RecipeScoreOptions, ScoreOptions, SplitOptions, SweepOptions
from vidface.scores.protocols import table
from vidface.scores.protocols.protocol import Protocol, Result
from vidface.scores.protocols.table import OF_EMBEDDINGS, TABLE, load, used_by
from vidface.scores.score import score
from vidface.scores.scored import Scored

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "protocols"
FILES = ("manifest", "pairs", "meta")
SWEEP = [RecipeScoreOptions, SweepOptions, SweepPoolOptions, EngineOptions]
OPTIONS = {"enrolment_split": "train", "gallery_split": "val", "targets": "1e-2", "fpr_rule": "at-most"}
OPTIONS |= {"device": "cpu"}


def test_every_protocol_is_where_the_table_says_and_there_is_no_other() -> None:
    package = Path(table.__file__).parent
    holders = {
        path.stem for path in package.glob("*.py") if re.search(r"^PROTOCOLS = ", path.read_text(), re.M)
    }
    assert holders == {entry.module for entry in TABLE.values()}
    for name, entry in TABLE.items():
        assert load(name).name == name
        module = sys.modules[f"vidface.scores.protocols.{entry.module}"]
        assert {each.name for each in module.PROTOCOLS} == {
            other for other, its in TABLE.items() if its.module == entry.module
        }


def test_what_a_protocol_needs_and_uses_are_files_and_options_that_there_are() -> None:
    fields = set(ScoreOptions.model_fields)
    for entry in TABLE.values():
        assert entry.needs and set(entry.needs) <= set(FILES)
        assert {*entry.needs} - {"manifest"} <= fields
        assert set(entry.uses) <= (fields | {"det"}) - {"protocol", *FILES}


def test_the_usual_targets_are_those_of_the_protocol() -> None:
    for name in TABLE:
        assert ScoreOptions(protocol=name).targets == list(load(name).targets)
    assert ScoreOptions(protocol="openset", targets=["1e-2"]).targets == ["1e-2"]


def test_a_record_holds_what_sets_the_numbers() -> None:
    assert set(ScoreOptions(device="cuda").record()) == set(RECORDED)
    told = ScoreOptions(protocol="folds", pairs=Path("p.csv"), device="cuda").record()
    assert told["pairs"] == "p.csv"
    assert "device" not in told
    assert ScoreOptions.model_validate(told) == ScoreOptions(protocol="folds", pairs=Path("p.csv"))


@pytest.mark.parametrize("name", TABLE)
def test_every_protocol_has_a_page_in_the_index(name: str) -> None:
    row = next(line for line in (PAGES / "README.md").read_text().splitlines() if f"`{name}`" in line)
    link = re.search(r"\]\((\w+\.md)\)", row)
    assert link, row
    assert re.search(rf"\b{name}\b", (PAGES / link[1]).read_text())


def test_the_index_says_what_each_needs_and_uses() -> None:
    listed = {}
    for line in (PAGES / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            for name in re.findall(r"`(\w+)`", cells[0]):
                listed[name] = [re.findall(r"`--([\w-]+)`", cell) for cell in cells[1:]]
    dashed = {
        name: [[word.replace("_", "-") for word in words] for words in (entry.needs, entry.uses)]
        for name, entry in TABLE.items()
    }
    assert listed == dashed


@pytest.mark.parametrize(
    ("command", "names"),
    [("score", TABLE), ("sweep", OF_EMBEDDINGS), ("report", OF_EMBEDDINGS), ("compare", OF_EMBEDDINGS)],
)
def test_help_lists_every_protocol(command: str, names: tuple[str, ...]) -> None:
    out = " ".join(vidface(command, "--help", code=0).out.split())
    assert f"--protocol [{'|'.join(names)}]" in out
    assert f"({used_by('gallery_split')})" in out


@pytest.mark.parametrize(
    ("name", "models", "own"),
    [
        ("score", [ScoreOptions], ["manifest_path", "output", "det", "normalise"]),
        ("sweep", SWEEP, ["manifest_path", "output"]),
        ("submit", [SplitOptions], ["manifest_path", "output", "form", "checked", "normalise"]),
    ],
)
def test_every_field_of_the_models_is_an_option(name: str, models: list[Any], own: list[str]) -> None:
    command = cli.commands[name]
    command.make_context(name, [], resilient_parsing=True)
    options = [parameter.name for parameter in command.params if isinstance(parameter, click.Option)]
    assert sorted(options) == sorted(
        [*(field for model in models for field in model.model_fields), *own, "as_json"]
    )


def test_the_command_line_holds_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ScoreOptions] = []
    monkeypatch.setattr(cli.commands["score"], "callback", lambda **given: seen.append(given["options"]))
    for name in TABLE:
        cli.main(["score", "e.h5", "--protocol", name], standalone_mode=False)
        assert seen.pop() == ScoreOptions(protocol=name)
    words = ("--protocol", "openset", "--gallery-split", "g", "--enrolment-split", "e")
    words += ("--targets", "0.1, 0.2", "--pairs", "p", "--meta", "m", "--no-norm", "--flip-halves")
    cli.main(["score", "e.h5", *words], standalone_mode=False)
    said = {"gallery_split": "g", "enrolment_split": "e", "targets": ["0.1", "0.2"]}
    files = {"pairs": Path("p"), "meta": Path("m")}
    assert seen.pop() == ScoreOptions(protocol="openset", **said, **files, norm=False, flip_halves=True)


@pytest.mark.parametrize("name", TABLE)
def test_files_that_are_missing_or_of_no_use_are_refused(name: str) -> None:
    needs = TABLE[name].needs
    for file in FILES:
        told = [word for each in needs if each != file for word in (f"--{each}", "there")]
        if file in needs:
            said = f"--protocol {name} needs --{file}"
        else:
            told += [f"--{file}", "there"]
            said = f"--protocol {name} does not use --{file}: leave it out"
        assert vidface("score", "e.h5", "--protocol", name, *told, code=2).error == f"error: {said}"


@pytest.mark.parametrize("name", TABLE)
def test_options_that_a_protocol_does_not_use_are_refused(name: str) -> None:
    entry = TABLE[name]
    files = [word for file in entry.needs for word in (f"--{file}", "there")]
    for option, value in {**OPTIONS, "det": "curve.csv"}.items():
        said = f"--{option.replace('_', '-')}"
        ran = vidface("score", "e.h5", "--protocol", name, *files, said, value)
        refused = f"--protocol {name} does not use {said}: leave it out" in ran.error
        assert refused == (option not in entry.uses)
    for flag in ("--no-norm", "--no-detector-score", "--flip-halves"):
        ran = vidface("score", "e.h5", "--protocol", name, *files, flag)
        assert (f"are not used by --protocol {name}" in ran.error) == ("norm" not in entry.uses)


def test_videos_without_a_frame_are_counted_also_where_a_protocol_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As compare, score's exit code and a report need it of whatever protocol is added."""
    write_rows(tmp_path / "set.csv", [("a", "a", "p", "val"), ("b", "b", "p", "val"), ("c", "c", "", "val")])
    rows = np.array([[1, 0], [0, 0], [0, 0]], np.float32)
    scores = {"protocol": "lfrc", "counts": {}, "warnings": []}
    added = Protocol("lfrc", lambda *_given: Result(scores), str, lambda _scores: [], ())
    monkeypatch.setattr("vidface.scores.score.load", lambda _name: added)
    manifest, options = read_manifest(tmp_path / "set.csv"), ScoreOptions(protocol="lfrc")
    assert score(Scored({}, embeddings=rows), manifest, options)["counts"] == {"zero_embeddings": 2}
    scores["counts"] = {"zero_embeddings": 1}  # a protocol that looks at two of the three videos
    assert score(Scored({}, embeddings=rows), manifest, options)["counts"] == {"zero_embeddings": 1}
