"""The faults of a stage, listed beside its output in ``faults.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vidface.errors import StoreError
from vidface.files.atomic import write_atomic
from vidface.files.locks import waiting
from vidface.files.store import Fault

FAULTS_FILE = "faults.jsonl"


def record_faults(output: Path, faults: Iterable[Fault]) -> Path:
    """Put the faults of one output into ``faults.jsonl`` beside it, in place of its earlier ones.

    One JSON object a line: ``video``, ``stage``, ``kind``, ``detail``, ``output`` (the file's name). Lines of other
    outputs in that folder stay, also if several runs end at the same time.
    """
    path = output.with_name(FAULTS_FILE)
    with waiting(path):
        others = [fault for fault in read_faults(path) if fault.get("output") != output.name]
        with write_atomic(path) as handle:
            for fault in [*others, *({**fault, "output": output.name} for fault in faults)]:
                handle.write(json.dumps(fault, ensure_ascii=False).encode() + b"\n")
    return path


def faults_of(output: Path) -> list[Fault]:
    """What is listed of an output; errors as in `read_faults`."""
    listed = read_faults(output.with_name(FAULTS_FILE))
    return [fault for fault in listed if fault.get("output") == output.name]


def read_faults(path: Path) -> list[Fault]:
    """The lines of a faults file; empty if there is none.

    Raises:
        StoreError: a line is not a JSON object.
    """
    if not path.is_file():
        return []
    faults = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            fault = json.loads(line)
        except (ValueError, RecursionError):
            fault = None
        if not isinstance(fault, dict):
            raise StoreError(f"{path}:{number}: not a fault line; delete the file, it is written anew")
        faults.append(fault)
    return faults
