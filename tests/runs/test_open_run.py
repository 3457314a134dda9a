"""What belongs to a run, and what lies beside it by chance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from feature_files import stored_features

from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions
from vidface.errors import StoreError, UsageError
from vidface.files.json_files import write_json
from vidface.manifest.manifest import read_manifest, write_manifest
from vidface.runs.opened import open_run, run_entry
from vidface.scores.options import ScoreOptions
from vidface.scores.score import score
from vidface.scores.scored import read_scored
from vidface.scores.sweep import sweep


def write_features(path: Path, manifest: Path, seed: int) -> None:
    truth = read_manifest(manifest)
    random = np.random.default_rng(seed)
    stored_features(path, truth, {video: random.standard_normal((4, 8)) for video in truth.video_ids})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a recipe leaves: a manifest, and a folder `demo/results` with everything in it."""
    results = tmp_path / "demo" / "results"
    results.mkdir(parents=True)
    manifest = tmp_path / "demo" / "set.csv"
    rows = [(f"v{i}{split}", f"v{i}{split}", f"p{i}", split) for i in range(4) for split in ("train", "val")]
    write_manifest(manifest, rows)
    write_features(results / "features.h5", manifest, 0)
    cluster(results / "features.h5", results / "embeddings.h5", ClusterOptions(threshold=0.3))
    truth = read_manifest(manifest)
    options = ScoreOptions(targets=["1e-1"])
    write_json(results / "scores.json", score(read_scored(results / "embeddings.h5", truth), truth, options))
    write_json(results / "sweep.json", sweep(results / "features.h5", truth, [None, 0.3], options))
    write_json(results / "run.json", {"run": run_entry(results, manifest, results / "features.h5", options)})
    return results


def test_a_folder_is_enough(folder: Path, tmp_path: Path) -> None:
    for path in (folder, folder.parent, folder / "embeddings.h5"):
        run = open_run(path)
        assert run.name == "demo"
        assert run.manifest.path.resolve() == (folder.parent / "set.csv").resolve()
        assert (run.features, run.embeddings) == (folder / "features.h5", folder / "embeddings.h5")
        assert run.options == ScoreOptions(targets=["1e-1"])
        assert run.scores == json.loads((folder / "scores.json").read_text())
        assert run.sweep == json.loads((folder / "sweep.json").read_text())
        assert run.attributes["threshold"] == "0.3"
        assert run.notes == []
    folder.parent.rename(tmp_path / "elsewhere")  # with its manifest
    run = open_run(tmp_path / "elsewhere")
    assert (run.name, run.notes, run.scores is not None) == ("elsewhere", [], True)


def test_other_options_than_those_of_the_scores_leave_them_aside(folder: Path) -> None:
    run = open_run(folder, options={"targets": ["1e-2"], "protocol": None})
    assert (run.scores, run.sweep, run.options.targets) == (None, None, ["1e-2"])
    assert [note.split()[0] for note in run.notes] == ["scores.json", "sweep.json"]
    for options in ({"gallery_split": "test"}, {"protocol": "lfrc"}):
        assert open_run(folder, options=options).scores is None
    assert open_run(folder, options={"targets": ["1e-1"], "protocol": "both"}).notes == []


def test_scores_by_another_rule_are_left_aside_and_old_ones_are_at_most(folder: Path) -> None:
    run = open_run(folder, options={"fpr_rule": "nearest"})
    assert (run.scores, run.sweep, run.options.fpr_rule) == (None, None, "nearest")
    # As they were written before there was a choice.
    for name in ("scores.json", "sweep.json", "run.json"):
        found = json.loads((folder / name).read_text())
        for part in (found, *found.get("rows", []), found.get("run", {})):
            part.pop("fpr_rule", None)
            part.pop("fpr_reached", None)
        write_json(folder / name, found)
    run = open_run(folder)
    assert (run.options.fpr_rule, run.notes) == ("at-most", [])
    assert run.scores is not None and run.sweep is not None
    assert open_run(folder, options={"fpr_rule": "nearest"}).scores is None


def test_scores_of_other_embeddings_or_another_manifest_are_not_this_runs(folder: Path) -> None:
    (folder / "embeddings.h5").unlink()
    cluster(folder / "features.h5", folder / "embeddings.h5", ClusterOptions(threshold=0.9))
    run = open_run(folder)
    assert run.scores is None and run.sweep is not None
    assert run.notes == ["scores.json was made from other embeddings, another manifest or with other options"]
    other = folder / "other.csv"
    write_manifest(other, [("v0train", "a", "x", "train"), ("v0val", "b", "x", "val")])
    run = open_run(folder, manifest=other)
    assert (run.scores, run.sweep, len(run.notes)) == (None, None, 3)
    assert run.notes[0] == "embeddings.h5 was made from another manifest than other.csv"


def test_features_are_those_that_the_embeddings_were_made_from(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    moved = shutil.move(folder / "features.h5", tmp_path / "away" / "moved.h5")
    run = open_run(folder)
    assert run.features is None and "pass --features FILE" in run.notes[0]
    assert open_run(folder, features=moved).features == moved
    write_features(folder / "features.h5", folder.parent / "set.csv", 1)
    assert open_run(folder).features is None
    with pytest.raises(StoreError, match="was made from other features"):
        open_run(folder, features=folder / "features.h5")
    with pytest.raises(StoreError, match="no such file"):
        open_run(folder, features=tmp_path / "nothing.h5")


def test_an_embeddings_file_alone_needs_a_manifest(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "embeddings.h5", alone / "mine.h5")
    wanted = read_manifest(folder.parent / "set.csv").sha256[:12]
    with pytest.raises(
        UsageError, match=rf"rows {wanted}\.\.\.\) is not in {alone}, .*: pass --manifest FILE"
    ):
        open_run(alone / "mine.h5")
    run = open_run(alone / "mine.h5", manifest=folder.parent / "set.csv")
    assert (run.name, run.options, run.scores) == ("mine", ScoreOptions(), None)
    # beside a recipe's files, another file is not the recipe's: it is scored as usual
    shutil.copy(folder / "embeddings.h5", folder / "mine.h5")
    assert open_run(folder / "mine.h5").options == ScoreOptions()


def test_what_is_no_run_is_refused(folder: Path, tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "nothing", "no such file or folder"),
        (tmp_path, r"no embeddings\.h5 in it"),
        (folder / "features.h5", "expected a vidface embeddings file"),
    ):
        with pytest.raises(StoreError, match=words):
            open_run(path)
    with pytest.raises(UsageError, match="not a rate"):
        open_run(folder, options={"targets": ["2"]})
    for told in ("5", '{"manifest": 5}', '{"manifest": "../set.csv", "targets": "1e-3"}'):
        (folder / "run.json").write_text(f'{{"run": {told}}}')
        assert open_run(folder).options == ScoreOptions()  # nothing in it is believed; the manifest is found


@pytest.fixture
def embeddings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embeddings file in ``runs/one``, its features and manifest in other places under other names."""
    monkeypatch.chdir(tmp_path)
    for place in ("runs/one", "data"):
        (tmp_path / place).mkdir(parents=True)
    shutil.move(folder / "embeddings.h5", tmp_path / "runs" / "one" / "first.h5")
    shutil.move(folder / "features.h5", tmp_path / "runs" / "of_model_a.h5")
    shutil.move(folder.parent / "set.csv", tmp_path / "data" / "people.csv")
    return tmp_path / "runs" / "one" / "first.h5"


def test_manifest_and_features_are_found_by_their_digest(embeddings: Path, tmp_path: Path) -> None:
    """Beside them lie a manifest of other rows, a file that is none, and features of another run."""
    (tmp_path / "runs" / "one" / "a.csv").write_text("video_id,path,identity,split\nv0train,x,p0,train\n")
    (tmp_path / "runs" / "one" / "b.csv").write_text("measure,value\nmAP,1\n")
    run = open_run(Path("runs/one/first.h5"))
    assert run.manifest.path.resolve() == (tmp_path / "data" / "people.csv").resolve()
    assert run.features is not None and run.features.name == "of_model_a.h5"
    assert run.notes == []


def test_what_was_changed_is_not_taken(embeddings: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "data" / "people.csv"
    manifest.write_text(manifest.read_text().replace("p0", "p9"))
    with pytest.raises(UsageError, match="pass --manifest FILE"):
        open_run(embeddings)
