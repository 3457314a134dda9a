"""What is compared: runs, embeddings files and submissions, of one set and no other.

Tested in ``tests/runs/test_compare.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidface.embeddings.options import MADE_FROM
from vidface.errors import UsageError
from vidface.features.options import CARRIED
from vidface.files.locks import short
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runs.opened import Run, choose_options, open_run
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.options import ScoreOptions
from vidface.submission import sniff

__all__ = ["Compared", "made_with", "open_compared"]

# Of a file alone, and no matter of how it was made.
_NOT_MADE_WITH = {
    *(
        "kind",
        "schema_version",
        "content_sha256",
        "rest_sha256",
        "rows_sum",
        "features_sha256",
        "manifest_sha256",
        "warnings",
    ),
}


@dataclass(frozen=True)
class Compared:
    """One of the runs.

    Attributes:
        name: short, and no other has it.
        path: as it was named.
        scored: the file that is scored.
        made_with: what is known of how it was made, name -> value.
        fpr_rule: by which rule its own scores are; the comparison's is always the usual one.
    """

    name: str
    path: Path
    scored: Path
    made_with: dict[str, Any]
    fpr_rule: FprRule = DEFAULT_RULE


def open_compared(
    paths: Sequence[Path], *, manifest: Path | None, options: Mapping[str, Any]
) -> tuple[list[Compared], Manifest, ScoreOptions]:
    """Open what is to be compared, and make sure that it is of one set.

    Args:
        paths: folders of recipes, embeddings files, or submission files; the baseline first.
        manifest: who is where; None: as the folders' ``run.json`` say.
        options: some of those of `ScoreOptions`; what is None is as the first run was scored.

    Returns:
        (runs, manifest, options).

    Raises:
        UsageError: fewer than two, runs of different sets, or nothing says which manifest.
        StoreError: something is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two runs or more")
    opened = [None if path.is_file() and sniff(path) != "hdf5" else path for path in paths]
    runs: list[Run | None] = []
    first = None
    for path in opened:
        # The others are scored as the first is; of how they were before, only the rule is told.
        asked = options if first is None else {}
        runs.append(None if path is None else open_run(path, manifest=manifest, options=asked, media=False))
        first = first or runs[-1]
    if first is None and manifest is None:
        raise UsageError("submission files do not say which manifest they belong to: pass --manifest FILE")
    truth = first.manifest if first is not None else read_manifest(manifest or Path(), media=False)
    chosen = choose_options({}, options) if first is None else first.options
    for path, run in zip(paths, runs, strict=True):
        if run is not None and first is not None:
            _refuse_another_set(first.path, first.manifest, path, run.manifest)
    made_from = {
        str(path): run.attributes.get("manifest_sha256")
        for path, run in zip(paths, runs, strict=True)
        if run is not None
    }
    if manifest is None and len(set(made_from.values())) > 1:
        (a, one), (b, other) = _two_that_differ(made_from)
        raise UsageError(
            f"{a} and {b} were made from different manifests ({short(one)}, {short(other)}): what they share can be "
            "compared with --manifest FILE"
        )
    for run in runs:
        if (
            manifest is None
            and run is not None
            and run.attributes.get("manifest_sha256") != run.manifest.sha256
        ):
            raise UsageError(
                f"{run.path}: was not made from {run.manifest.path} as it is now; to compare with it all the same, "
                "pass --manifest FILE"
            )
    compared = [
        Compared(
            "",
            path,
            path if run is None else run.embeddings,
            {"file": sniff(path)}
            if run is None
            else {k: v for k, v in run.attributes.items() if k not in _NOT_MADE_WITH},
            DEFAULT_RULE if run is None else run.options.fpr_rule,
        )
        for path, run in zip(paths, runs, strict=True)
    ]
    names = _names(
        [path.name if run is None else run.name for path, run in zip(paths, runs, strict=True)], paths
    )
    return (
        [replace(c, name=name) for name, c in zip(names, compared, strict=True)],
        truth,
        chosen.model_copy(update={"fpr_rule": DEFAULT_RULE}),
    )


def made_with(runs: Sequence[Compared]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What the runs were made with: where they differ, and what is the same as far as it is known.

    A matrix or a ranking says nothing of how it was made, so no setting can be said to differ, or not to.
    """
    differs: dict[str, list[Any]] = {}
    same: dict[str, Any] = {}
    silent = [not any(name in run.made_with for name in (*MADE_FROM, *CARRIED)) for run in runs]
    if any(silent):
        differs["how it was made"] = ["not known" if unknown else "known" for unknown in silent]
    for name in dict.fromkeys(name for run in runs for name in run.made_with):
        values = [run.made_with.get(name) for run in runs]
        known = [value for value in values if value is not None]
        if all(str(value) == str(known[0]) for value in known):
            same[name] = known[0]
        else:
            differs[name] = values
    return differs, same


def _refuse_another_set(a: Path, first: Manifest, b: Path, second: Manifest) -> None:
    if first.sha256 == second.sha256:
        return
    lost = len(set(first.video_ids) - set(second.video_ids))
    new = len(set(second.video_ids) - set(first.video_ids))
    how = f"{lost} videos are in the first alone and {new} in the second alone"
    if not lost and not new:
        how = "the same video ids, but other paths, identities, splits or another order"
    raise UsageError(
        f"{a} and {b} are of different sets, {first.path} and {second.path} ({how}): "
        "what they share can be compared with --manifest FILE"
    )


def _two_that_differ(values: Mapping[str, Any]) -> tuple[tuple[str, Any], tuple[str, Any]]:
    items = list(values.items())
    return items[0], next(item for item in items if item[1] != items[0][1])


def _names(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Names that tell the runs apart: where two are alike, paths; where those are, too, with a number."""
    told = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    return [
        name if told.count(name) == 1 else f"{name} ({told[: i + 1].count(name)})"
        for i, name in enumerate(told)
    ]
