"""One run at a time on an output, nothing mixed, faults listed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from vidface.errors import ChangedError, StoreError, UsageError
from vidface.files.faults import read_faults, record_faults
from vidface.files.json_files import write_json
from vidface.files.locks import exclusive, exclusive_folder, refuse_changed, scratch_folder


def test_two_runs_on_one_output_exclude_each_other(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "out.h5"),
        pytest.raises(UsageError, match="another run"),
        exclusive(tmp_path / "out.h5"),
    ):
        pytest.fail("the second run went on")
    with exclusive(tmp_path / "out.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.h5.123.partial").touch()
    (tmp_path / ".other.h5.123.partial").touch()
    with exclusive(tmp_path / "out.h5"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".other.h5.123.partial"]


def test_a_json_file_and_faults_take_away_what_killed_runs_left_of_them(tmp_path: Path) -> None:
    for name in ("a.json", "faults.jsonl", "b.json"):
        (tmp_path / f".{name}.123.partial").touch()
    write_json(tmp_path / "a.json", {})
    record_faults(tmp_path / "x.h5", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".b.json.123.partial",
        "a.json",
        "faults.jsonl",
    ]


def test_a_folder_of_files_is_held_and_cleared(tmp_path: Path) -> None:
    for part in ("data", "other"):
        (tmp_path / "page" / part).mkdir(parents=True)
        (tmp_path / "page" / part / ".a.csv.123.partial").touch()
    (tmp_path / "page" / ".index.html.123.partial").touch()
    (tmp_path / "page" / "index.html").touch()
    with exclusive_folder(tmp_path / "page", "data", "figures"):
        with pytest.raises(UsageError, match="another run"), exclusive_folder(tmp_path / "page"):
            pytest.fail("the second run went on")
        assert (tmp_path / "page" / "figures").is_dir()
    left = sorted(
        str(path.relative_to(tmp_path / "page")) for path in (tmp_path / "page").rglob("*") if path.is_file()
    )
    assert left == ["index.html", "other/.a.csv.123.partial"]


def test_a_temporary_folder_goes_and_takes_those_of_killed_runs_along(tmp_path: Path) -> None:
    """But not that of a run that is still at work, nor anything else."""
    (tmp_path / ".sweep-killed").mkdir()
    (tmp_path / ".sweep-killed" / "embeddings").write_bytes(b"1")
    (tmp_path / ".sweep-file").touch()
    (tmp_path / ".sweeper").mkdir()
    with scratch_folder(tmp_path / "features.h5", "sweep") as first:
        assert not (tmp_path / ".sweep-killed").exists()
        (first / "mine").write_bytes(b"1")
        with scratch_folder(tmp_path / "features.h5", "sweep") as second:
            assert first != second and (first / "mine").exists()
        assert not second.exists() and first.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".sweep-file", ".sweeper"]


def test_a_temporary_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="temporary folder"),
        scratch_folder(tmp_path / "no" / "f.h5", "sweep"),
    ):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"), exclusive(tmp_path / "no" / "out.h5"):
        pass


def test_every_change_is_named_with_both_values(tmp_path: Path) -> None:
    refuse_changed(tmp_path, {"a": 1, "b": True}, {"a": "1"})
    with pytest.raises(ChangedError, match="a was 1, now 2; b was True, now False"):
        refuse_changed(tmp_path, {"a": 1, "b": True}, {"a": 2, "b": False})
    refuse_changed(tmp_path, {}, {"shard": None})
    with pytest.raises(ChangedError, match="shard was none, now 1/2"):
        refuse_changed(tmp_path, {}, {"shard": "1/2"})


def test_faults_of_other_outputs_and_stages_stay(tmp_path: Path) -> None:
    fault = {"video": "v", "stage": "extract", "kind": "k", "detail": "line\u2028separator"}
    record_faults(tmp_path / "one.h5", [fault, fault])
    record_faults(tmp_path / "two.h5", [fault])
    path = record_faults(tmp_path / "one.h5", [fault])
    assert [line["output"] for line in read_faults(path)] == ["two.h5", "one.h5"]
    assert read_faults(path)[0] == {**fault, "output": "two.h5"}
    path.write_text("{}\nnot json\n")
    with pytest.raises(StoreError, match=r"faults\.jsonl:2"):
        read_faults(path)


def test_runs_that_end_at_the_same_time_keep_each_others_faults(tmp_path: Path) -> None:
    """Each of them reads the list, adds to it and writes it anew, as two shards in one folder do."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom vidface.files.faults import record_faults\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for number in range(50):\n"
        "    fault = {'video': str(number), 'stage': 'extract', 'kind': 'k', 'detail': 'd'}\n"
        "    record_faults(Path(f'{sys.argv[1]}-{number}.h5'), [fault])\n"
    )
    with ExitStack() as both:
        runs = []
        for name in ("one", "two"):
            words = [sys.executable, "-c", program, name]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            runs.append(both.enter_context(subprocess.Popen(words, text=True, cwd=tmp_path, **pipes)))
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
    assert [run.wait(60) for run in runs] == [0, 0]
    listed = [line["output"] for line in read_faults(tmp_path / "faults.jsonl")]
    assert sorted(listed) == sorted(f"{name}-{number}.h5" for name in ("one", "two") for number in range(50))
    assert [path.name for path in tmp_path.iterdir()] == ["faults.jsonl"]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "s.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "s.json", {"x": None})
    assert json.loads((tmp_path / "s.json").read_text()) == {"x": None}
