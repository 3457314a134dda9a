from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vidface.errors import StoreError
from vidface.files.atomic import write_atomic


def test_the_name_appears_only_with_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with write_atomic(target) as handle:
        handle.write(b"new")
        handle.flush()
        assert target.read_bytes() == b"old"
        assert [path.name for path in tmp_path.glob(".*")] == [f".out.bin.{os.getpid()}.partial"]
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_an_error_leaves_the_old_file_and_no_partial_one(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), write_atomic(target) as handle:
        handle.write(b"new")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_the_bytes_are_synced_before_the_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    sync, target = os.fsync, tmp_path / "out.bin"

    def spy(descriptor: int) -> None:
        what = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        size = Path(what).stat().st_size if Path(what).is_file() else "folder"
        seen.append((size, target.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    with write_atomic(target) as handle:
        handle.write(b"12345")
    assert seen == [(5, False), ("folder", True)]


def test_killed_in_the_middle_the_old_file_stands(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    code = (
        "import os, signal, pathlib, sys\n"
        "from vidface.files.atomic import write_atomic\n"
        "with write_atomic(pathlib.Path(sys.argv[1])) as handle:\n"
        "    handle.write(b'new'); handle.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    target = tmp_path / "nowhere" / "out.bin"
    with pytest.raises(StoreError, match=r"nowhere.*cannot be written"), write_atomic(target):
        pass


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make room") as caught, write_atomic(tmp_path / "out.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
