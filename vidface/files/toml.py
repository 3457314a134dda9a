"""TOML files of strangers: model cards and recipes. What Python's reader cannot bear is refused in one line."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidface.errors import UsageError, printable
from vidface.files.atomic import read_regular

_MOST_LISTED = 10
_LARGEST = 1 << 20  # bytes
_MOST_DOTS = 200  # of a key: the reader takes time with their square
_MAY_BE_A_KEY = re.compile(r"[\w.\-\"' \t]+")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: it is no TOML or not UTF-8, larger than 1 MiB, nested too deeply, or has a number or a key that is
            too long; the text is one line without the file's name.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"larger than {_LARGEST >> 20} MiB")
    text = read_regular(path).decode("utf-8")
    if any(found.group().count(".") > _MOST_DOTS for found in _MAY_BE_A_KEY.finditer(text)):
        raise ValueError(f"a key or a text with more than {_MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one; long numbers and impossible dates raise it as well
        raise ValueError(printable(str(error))) from None


def read_told(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file that the call names; ``what`` it should be, a recipe say; or a UsageError."""
    try:
        return read_toml(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: no such {what}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def listed(problems: Sequence[str]) -> str:
    """What is wrong with the fields of a file, on one line: names and values in it are those of a stranger."""
    shown = [printable(problem)[:200] for problem in problems[:_MOST_LISTED]]
    more = len(problems) - len(shown)
    return "; ".join(shown + [f"and {more} more"] * (more > 0))
