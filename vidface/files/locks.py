"""What every output keeps: one run at a time writes it, and what was made otherwise is never mixed in."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from vidface.errors import ChangedError, StoreError, UsageError

_held: set[TextIO] = set()


def _let_go() -> None:
    """In a forked process: its copy of a lock would hold the output for as long as it lives on after a kill."""
    for handle in _held:
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Hold the output for this run. The kernel lets go of it when the process ends, however it ends.

    Raises:
        UsageError: another run is writing this output now, or its folder does not exist.
    """
    if not output.parent.is_dir():
        raise UsageError(f"{output}: the folder {output.parent} does not exist; create it first")
    with _locked(output, fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
        if not held:
            raise UsageError(
                f"{output}: another run is writing it now; wait for it, or choose another output"
            )
        _remove_partials(output.parent, output.name)
        yield


@contextmanager
def exclusive_folder(folder: Path, *parts: str) -> Iterator[None]:
    """Make a folder of many files and hold it for this run, as `exclusive` holds a file.

    What killed runs were writing in it and in the folders ``parts`` within it is removed; those are made as well.
    """
    try:
        for part in ("", *parts):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}; name another folder with -o") from None
    with exclusive(folder / "folder"):
        for part in ("", *parts):
            _remove_partials(folder / part)
        yield


@contextmanager
def scratch_folder(beside: Path, name: str) -> Iterator[Path]:
    """A folder for temporary files beside a file, gone at the end; those of killed runs go first.

    The kernel lets go of the lock on it when its run ends, so a folder that can be locked belongs to nobody.
    """
    prefix = f".{name}-"
    for left in beside.parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _folder_lock(left):
            shutil.rmtree(left)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(dir=beside.parent, prefix=prefix))
        except OSError as error:
            raise StoreError(
                f"{beside.parent}: a temporary folder cannot be made there: {error.strerror}"
            ) from None
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(_folder_lock(folder))
            except OSError:
                continue  # another run took it for one that was left, before it was locked
            try:
                yield folder
            finally:
                shutil.rmtree(folder)
            return


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder itself; an OSError where another holds it, or where it is none."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino != os.fstat(handle).st_ino:
            raise FileNotFoundError(folder)
        yield
    finally:
        os.close(handle)


def _remove_partials(folder: Path, name: str = "*") -> None:
    """Remove what a killed run left half-written of a file, or of all in the folder."""
    wanted = name if name == "*" else glob.escape(name)
    for partial in folder.glob(f".{wanted}.*.partial"):
        partial.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    """Lock a file by a file beside it, ``how`` as flock is told; whether it is held."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        opened = lock.open("w")
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror}; check the folder and its rights"
        ) from None
    with opened as handle:
        try:
            fcntl.flock(handle, how)
            # A run that ends removes its lock: what was locked here must still be what stands there.
            held = lock.stat().st_ino == os.fstat(handle.fileno()).st_ino
        except (BlockingIOError, FileNotFoundError):
            held = False
        if held:
            _held.add(handle)
        try:
            yield held
        finally:
            if held:
                _held.discard(handle)
                lock.unlink(missing_ok=True)


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Lock a file as soon as nobody else does, and remove what killed runs left of it."""
    while True:
        with _locked(path, fcntl.LOCK_EX) as held:
            if held:
                _remove_partials(path.parent, path.name)
                yield
                return


def refuse_changed(
    output: Path,
    made_with: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    way_on: str = "delete it to start anew",
) -> None:
    """Refuse to resume an output that was made from something else; only keys of ``now`` are compared.

    Raises:
        ChangedError: naming every key that differs, with both values, and the ``way_on`` beside another output.
    """
    changed = [
        f"{key} was {short(made_with.get(key))}, now {short(value)}"
        for key, value in now.items()
        if str(made_with.get(key)) != str(value)
    ]
    if changed:
        raise ChangedError(
            f"{output} was made otherwise ({'; '.join(changed)}): choose another output, or {way_on}"
        )


def short(value: Any) -> str:
    """What something was made with, for a message."""
    text = "none" if value is None else str(value)
    return text[:12] + "..." if len(text) == 64 else text  # a SHA-256
