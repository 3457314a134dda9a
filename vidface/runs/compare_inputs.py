"""What is compared: runs, embeddings files and submissions, of one set and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidface.embeddings.options import MADE_FROM
from vidface.errors import UsageError
from vidface.features.options import CARRIED
from vidface.files.locks import short
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runs.opened import Run, choose_options, open_run
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.options import ScoreOptions
from vidface.submission import sniff

# Of a file alone, and no matter of how it was made.
_NOT_MADE_WITH = {
    *("kind", "schema_version", "content_sha256", "rest_sha256", "rows_sum"),
    *("features_sha256", "manifest_sha256", "warnings"),
}


class Compared(NamedTuple):
    name: str  # short, and no other has it
    path: Path  # as it was named
    scored: Path  # the file that is scored
    made_with: dict[str, Any]  # what is known of how it was made
    fpr_rule: FprRule = DEFAULT_RULE  # of its own scores; the comparison's is always the usual one


def open_compared(
    paths: Sequence[Path], *, manifest: Path | None, options: Mapping[str, Any]
) -> tuple[list[Compared], Manifest, ScoreOptions]:
    """Open (runs, manifest, options) to compare, and make sure that they are of one set.

    Args:
        paths: folders of recipes, embeddings files, or submission files; the baseline first.
        manifest: None: as the folders' ``run.json`` say.
        options: some of those of `ScoreOptions`; those that are None are as the first run was scored.

    Raises:
        UsageError: fewer than two, runs of different sets, or nothing says which manifest.
        StoreError: something is missing or damaged.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two runs or more")
    compared: list[Compared] = []
    opened: dict[str, Run] = {}
    first: Run | None = None
    for path in paths:
        if path.is_file() and (form := sniff(path)) != "hdf5":
            compared.append(Compared(path.name, path, path, {"file": form}))
            continue
        # The others are scored as the first is; of how they were before, only the rule is told.
        run = open_run(path, manifest=manifest, options={} if first else options, media=False)
        first = first or run
        made = {name: value for name, value in run.attributes.items() if name not in _NOT_MADE_WITH}
        compared.append(Compared(run.name, path, run.embeddings, made, run.options.fpr_rule))
        _refuse_another_set(first.path, first.manifest, path, run.manifest)
        opened[str(path)] = run
    if first is None:
        if manifest is None:
            raise UsageError(
                "submission files do not say which manifest they belong to: pass --manifest FILE"
            )
        truth, chosen = read_manifest(manifest, media=False), choose_options({}, options)
    else:
        truth, chosen = first.manifest, first.options
    if manifest is None:
        _refuse_other_manifests(opened)
    return _named(compared), truth, chosen.model_copy(update={"fpr_rule": DEFAULT_RULE})


def made_with(runs: Sequence[Compared]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The settings in which the runs differ, and those that are the same, as far as known.

    A matrix or a ranking does not say how it was made, so no setting can be said to differ, or not to.
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


def _refuse_other_manifests(runs: Mapping[str, Run]) -> None:
    """Refuse files that were made from other rows than those of the manifest that was found."""
    made_from = {path: run.attributes.get("manifest_sha256") for path, run in runs.items()}
    for b, other in made_from.items():
        a, one = next(iter(made_from.items()))
        if other != one:
            raise UsageError(
                f"{a} and {b} were made from different manifests ({short(one)}, {short(other)}): what they share can "
                "be compared with --manifest FILE"
            )
    for path, run in runs.items():
        if made_from[path] != run.manifest.sha256:
            raise UsageError(
                f"{path}: was not made from {run.manifest.path} as it is now; to compare with it all the same, "
                "pass --manifest FILE"
            )


def _named(runs: Sequence[Compared]) -> list[Compared]:
    """Names that tell the runs apart: paths if names are alike; with a number if paths are, too."""
    names = [run.name for run in runs]
    told = [run.name if names.count(run.name) == 1 else str(run.path) for run in runs]
    several = [
        name if told.count(name) == 1 else f"{name} ({told[: at + 1].count(name)})"
        for at, name in enumerate(told)
    ]
    return [run._replace(name=name) for run, name in zip(runs, several, strict=True)]
