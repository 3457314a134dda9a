"""What an embeddings file was made from is found near it by its digest, whatever it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_open_run import folder as made  # noqa: F401 - a fixture

from vidface.errors import UsageError
from vidface.runs.opened import open_run


@pytest.fixture
def embeddings(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """An embeddings file in ``runs/one``, its features and manifest in other places under other names."""
    monkeypatch.chdir(tmp_path)
    for place in ("runs/one", "data"):
        (tmp_path / place).mkdir(parents=True)
    shutil.move(made / "embeddings.h5", tmp_path / "runs" / "one" / "first.h5")
    shutil.move(made / "features.h5", tmp_path / "runs" / "of_model_a.h5")
    shutil.move(made.parent / "set.csv", tmp_path / "data" / "people.csv")
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
