"""What a run was made with, and what failed on the way."""

from __future__ import annotations

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version

import vidface
from vidface.files.faults import FAULTS_FILE, read_faults
from vidface.files.store import Embeddings, Fault, FeaturesInfo
from vidface.report.run.content import Cell, Table
from vidface.runs.opened import Run
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT

__all__ = ["fault_tables", "faults_of", "made_with_table"]

LIBRARIES = ("numpy", "numba", "h5py", "openTSNE", "matplotlib")
# Of the files themselves, or shown elsewhere.
_OF_THE_FILE = {
    *("kind", "schema_version", "content_sha256", "rest_sha256", "rows_sum", "program_version", "warnings"),
}
FAULT = ("video", "stage", "kind", "detail", "output")


def made_with_table(run: Run, info: FeaturesInfo | None) -> Table:
    """Everything that the files say of how they were made, then the manifest, the options and this program."""
    embeddings = run.attributes
    features = {} if info is None else info.attributes
    rows: list[list[Cell]] = []
    for name in dict.fromkeys([*embeddings, *features]):
        if name in _OF_THE_FILE:
            continue
        rows.append([name.replace("_", " "), _plain(embeddings.get(name, features.get(name)))])
    rows += [
        ["embeddings", run.embeddings.name],
        ["embeddings sha256 of content", _plain(embeddings["content_sha256"])],
        ["embeddings made by", f"vidface {embeddings.get('program_version', 'unknown')}"],
    ]
    if info is not None:
        rows.append(["features", info.path.name])
        rows.append(["features made by", f"vidface {features.get('program_version', 'unknown')}"])
    rows += [
        ["manifest", run.manifest.path.name],
        ["manifest sha256 of rows", run.manifest.sha256],
        ["protocol", run.options.protocol],
        ["enrolment split", run.options.enrolment_split],
        ["gallery split", run.options.gallery_split],
        ["FPR targets", ", ".join(run.options.targets)],
        ["FPR rule", FPR_RULE_TEXT[run.options.fpr_rule]],
        ["report made by", f"vidface {vidface.__version__}"],
        ["Python", platform.python_version()],
    ]
    rows += [[name, found] for name in LIBRARIES if (found := _version(name))]
    return Table("made-with", "How it was made", ["what", "value"], rows)


def faults_of(run: Run) -> list[Fault]:
    """The faults that were recorded for the files of this run, in the order of `faults.jsonl`."""
    files = [run.embeddings, *([run.features] if run.features else [])]
    lists = {file.resolve().with_name(FAULTS_FILE) for file in files}
    names = {(file.resolve().parent, file.name) for file in files}
    return [
        fault
        for path in sorted(lists)
        for fault in read_faults(path)
        if (path.parent, fault.get("output")) in names
    ]


def fault_tables(faults: list[Fault], found: Embeddings) -> tuple[Table, Table]:
    """Counts by status and kind, and every fault."""
    counts: list[list[Cell]] = [
        ["videos by status", status, count] for status, count in sorted(Counter(found.status).items())
    ]
    kinds = Counter((str(fault.get("stage", "")), str(fault.get("kind", ""))) for fault in faults)
    counts += [[f"faults of {stage}", kind, count] for (stage, kind), count in sorted(kinds.items())]
    note = "" if faults else "No fault was recorded for these files."
    return (
        Table("fault-counts", "What failed, by kind", ["what", "kind", "count"], counts, note),
        Table(
            "faults",
            "Every fault",
            list(FAULT),
            [[str(fault.get(name, "")) for name in FAULT] for fault in faults],
        ),
    )


def _plain(value: object) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str | int | float) else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
