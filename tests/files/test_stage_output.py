"""The file that a stage writes: held, there already, refused, or replaced once the new one is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidface.errors import ChangedError, UsageError
from vidface.files.atomic import write_atomic
from vidface.files.json_files import read_json
from vidface.files.stage_output import stage_output


def made(path: Path, made_from: dict[str, Any], *, fails: bool = False, **more: Any) -> bool:
    """Run a stage that writes what it was made from; whether it was there already."""
    with stage_output(path, made_from, read_json, **more) as out:
        if not out.already_done:
            with write_atomic(path) as file:
                file.write(json.dumps(made_from).encode())
                if fails:
                    raise KeyboardInterrupt
        return out.already_done


def test_once_and_again(tmp_path: Path) -> None:
    assert [made(tmp_path / "x", {"a": 1}) for _ in range(2)] == [False, True]
    assert made(tmp_path / "x", {"a": 1}, overwrite=True)


def test_what_was_made_otherwise_is_refused_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    made(path, {"a": 1})
    with pytest.raises(ChangedError) as refused:
        made(path, {"a": 2})
    assert str(refused.value) == (
        f"{path} was made otherwise (a was 1, now 2): choose another output, or pass --overwrite to replace it"
    )
    assert not made(path, {"a": 2}, overwrite=True)
    assert read_json(path) == {"a": 2}


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    made(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt):
        made(path, {"a": 2}, overwrite=True, fails=True)
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_an_input_is_never_overwritten(tmp_path: Path, link: bool, overwrite: bool) -> None:
    path, read = tmp_path / "x", tmp_path / "link"
    made(path, {"a": 1})
    if link:
        read.symlink_to(path)
    with pytest.raises(UsageError, match="is an input of this command"):
        made(path, {"a": 2}, overwrite=overwrite, inputs=[None, read if link else path])
    assert read_json(path) == {"a": 1}


def test_it_is_held(tmp_path: Path) -> None:
    with (
        stage_output(tmp_path / "x", {}, read_json),
        pytest.raises(UsageError, match="another run is writing it now"),
    ):
        made(tmp_path / "x", {})
