"""Files of one JSON object, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidface.errors import StoreError
from vidface.files.atomic import read_regular, write_atomic
from vidface.files.locks import waiting


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, whole or not at all, with a line end; NaN is an error, not a token."""
    content = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with waiting(path), write_atomic(path) as handle:
        handle.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        StoreError: missing, or not a JSON object; NaN and infinity are none of JSON, and we write neither.
    """
    try:
        value = json.loads(read_regular(path), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StoreError(f"{path}: not a JSON object")
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
