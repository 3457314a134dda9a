"""A run that is there: a recipe's folder, or an embeddings file, with what was made from it.

Nothing is guessed: scores and sweeps count as this run's only if their inputs say that they were made from these
embeddings, this manifest and these options; what is left aside is named in ``notes``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from vidface.errors import StoreError
from vidface.files.json_files import read_json
from vidface.files.locks import short
from vidface.files.store import read_attributes
from vidface.manifest.manifest import Manifest, read_manifest
from vidface.manifest.pairs import read_pairs
from vidface.runs.lookup import find_features, looked_in, manifest_of
from vidface.runs.score_form import is_score, is_sweep
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.options import RECORDED, ScoreOptions, read_options
from vidface.scores.protocols.lfrc import check_targets
from vidface.scores.protocols.table import TABLE, check_embeddings, check_files, load

RUN_FILE = "run.json"
PATHS = ("manifest", "root", "features", "pairs")


class Run(NamedTuple):
    """What one way through the stages left behind."""

    path: Path  # as it was named
    name: str  # short, for tables: the folder's, or the embeddings file's stem
    manifest: Manifest
    embeddings: Path
    features: Path | None  # the file that they were made from; None if it is not there
    attributes: dict[str, Any]  # of the embeddings file: what they were made with
    options: ScoreOptions  # how it is scored
    scores: dict[str, Any] | None  # the content of ``scores.json`` if it was made from exactly this
    sweep: dict[str, Any] | None  # the content of ``sweep.json``, likewise
    notes: list[str]  # a sentence for everything that was found but does not belong to this run


def open_run(
    path: Path,
    *,
    manifest: Path | None = None,
    root: Path | None = None,
    features: Path | None = None,
    options: Mapping[str, Any] | None = None,
    media: bool = True,
) -> Run:
    """Open a run.

    Args:
        path: a recipe's output folder, the folder of a demo (its run is in ``results``), or an embeddings file.
        manifest: None: as ``run.json`` says, or one near the embeddings whose rows they were made from.
        root: where its paths start; None: as ``run.json`` says of its manifest, else the manifest's own folder.
        features: None: as ``run.json`` says, or found near the embeddings.
        options: some of those of `ScoreOptions`; others, or None, as the run was scored, else the defaults.
        media: whether videos will be opened, for pictures.

    Raises:
        UsageError: the manifest is not found, a target is no rate, or the protocol cannot score this.
        StoreError: something is missing or damaged, or ``features`` is not what the embeddings were made from.
        ManifestError: the manifest cannot be used.
    """
    embeddings = _embeddings_of(path)
    attributes = read_attributes(embeddings, "embeddings")
    told = _told(embeddings)
    notes: list[str] = []
    if manifest is None:
        named = embeddings.parent / str(told["manifest"]) if "manifest" in told else None
        manifest = manifest_of(embeddings, attributes.get("manifest_sha256"), named)
        if root is None and "root" in told:
            root = embeddings.parent / str(told["root"])
            media = media and root.is_dir()  # a disk that is not there costs the pictures alone
    truth = read_manifest(manifest, root=root, media=media)
    if attributes.get("manifest_sha256") != truth.sha256:
        notes.append(f"{embeddings.name} was made from another manifest than {truth.path.name}")
    before = {name: told[name] for name in (*RECORDED, "pairs") if name in told}
    if "pairs" in before:
        before["pairs"] = embeddings.parent / before["pairs"]
    run = Run(
        path=path,
        name=_name(path, embeddings),
        manifest=truth,
        embeddings=embeddings,
        features=_features_of(embeddings, attributes, told, features, notes),
        attributes=attributes,
        options=choose_options(before, options or {}),
        scores=None,
        sweep=None,
        notes=notes,
    )
    scores, sweeps = _result_of(run, "score"), _result_of(run, "sweep")
    return run._replace(scores=scores, sweep=sweeps)


def choose_options(before: Mapping[str, Any], asked: Mapping[str, Any]) -> ScoreOptions:
    """How something is scored: as asked for, else as before, else by default.

    For another protocol than before the targets are its own, and a list of pairs is of no use to most. UsageError if an
    option is wrong, or the protocol scores no embeddings or lacks its list of pairs.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    kept, protocol = dict(before), asked.get("protocol")
    if protocol is not None:
        if load(protocol).targets != load(kept.get("protocol", "both")).targets:
            kept.pop("targets", None)
        if "pairs" not in TABLE[protocol].needs:
            kept.pop("pairs", None)
    chosen = read_options({**kept, **asked})
    check_targets(chosen.targets)
    check_embeddings(chosen.protocol)
    check_files(chosen.protocol, pairs=chosen.pairs)
    return chosen


def list_inputs(options: ScoreOptions, manifest: Manifest) -> dict[str, Any]:
    """What a score object says of its list of pairs: name, kind and SHA-256; empty if the protocol has none."""
    return {} if options.pairs is None else read_pairs(options.pairs, manifest).inputs


def run_entry(
    folder: Path, manifest: Path, features: Path, options: ScoreOptions, *, root: Path | None = None
) -> dict[str, Any]:
    """What a recipe writes into its ``run.json`` as ``run``: paths from the folder, and how it scores."""
    paths = {"manifest": manifest, "features": features}
    paths |= {} if root is None else {"root": root}
    paths |= {} if options.pairs is None else {"pairs": options.pairs}
    told = {name: value for name, value in options.record().items() if name in RECORDED}
    return {name: Path(os.path.relpath(path, folder)).as_posix() for name, path in paths.items()} | told


def _embeddings_of(path: Path) -> Path:
    if path.is_file():
        return path
    for candidate in (path / "embeddings.h5", path / "results" / "embeddings.h5"):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        name = "name a recipe's output folder or an embeddings file"
        raise StoreError(f"{path}: no embeddings.h5 in it: {name}")
    raise StoreError(f"{path}: no such file or folder")


def _name(path: Path, embeddings: Path) -> str:
    """The last part of the name that tells runs apart."""
    if path.is_file() and path.stem != "embeddings":
        return path.stem
    parts = [part for part in embeddings.resolve().parent.parts if part not in ("results", os.sep)]
    return parts[-1] if parts else "run"


def _told(embeddings: Path) -> dict[str, Any]:
    """What the recipe recorded of its run, for the embeddings file that it writes alone."""
    state = embeddings.with_name(RUN_FILE)
    if embeddings.name != "embeddings.h5" or not state.is_file():
        return {}
    told = read_json(state).get("run")
    if not isinstance(told, dict):
        return {}
    paths = [told[name] for name in PATHS if name in told]
    if not all(isinstance(path, str) and "\0" not in path for path in paths):  # Python's own error, else
        return {}
    try:
        ScoreOptions.model_validate({name: told[name] for name in RECORDED if name in told})
    except ValidationError:
        return {}
    return told


def _features_of(
    embeddings: Path,
    attributes: Mapping[str, Any],
    told: Mapping[str, Any],
    asked: Path | None,
    notes: list[str],
) -> Path | None:
    sha256 = attributes.get("features_sha256")
    named = embeddings.parent / told.get("features", "features.h5")
    if asked is not None or named.is_file():
        path = asked or named
        there = read_attributes(path, "features").get("content_sha256")
        if there is not None and there == sha256:
            return path
        if asked is not None:
            raise StoreError(f"{asked}: {embeddings} was made from other features")
    found = None if sha256 is None else find_features(embeddings.parent, sha256)
    if found is None:
        wanted = "it does not say which" if sha256 is None else f"content_sha256 {short(sha256)}"
        notes.append(
            f"the features that {embeddings.name} was made from ({wanted}) are not in {looked_in(embeddings.parent)}: "
            "pass --features FILE"
        )
    return found


def _result_of(run: Run, command: str) -> dict[str, Any] | None:
    """What ``vidface score`` or ``vidface sweep`` wrote beside the embeddings, if it was made from exactly this run."""
    of_sweep = command == "sweep"
    path = run.embeddings.with_name("sweep.json" if of_sweep else "scores.json")
    if not path.is_file():
        return None
    source, digest = ("features", "features_sha256") if of_sweep else ("embeddings", "content_sha256")
    result = read_json(path)
    try:
        inputs, rows = result["inputs"], result["rows"] if of_sweep else [result]
        same = (
            inputs[digest] == run.attributes.get(digest)
            and inputs["manifest_sha256"] == run.manifest.sha256
            and list_inputs(run.options, run.manifest).items() <= inputs.items()
            and len(rows) > 0
            and all(_scored_as(row, run.options) for row in rows)
            and (not of_sweep or all({"threshold", "kept"} <= row.keys() for row in rows))
        )
    except (AttributeError, KeyError, TypeError):  # not as the command writes it
        same = False
    if not same:
        run.notes.append(f"{path.name} was made from other {source}, another manifest or with other options")
        return None
    fits = is_sweep(result) if of_sweep else is_score(result)
    if not fits or not set(result.get("per_identity") or ()) <= set(run.manifest.identities):
        raise StoreError(f"{path}: damaged (not as vidface {command} writes it): {command} again")
    return result


def _scored_as(scores: Mapping[str, Any], options: ScoreOptions) -> bool:
    """Whether a score object was made with these options, as far as its protocol uses them."""
    if scores.get("protocol") != options.protocol or not scores.keys() >= {"ci95", "counts", "warnings"}:
        return False
    splits = scores["definitions"].get("splits")
    if splits not in (None, f"{options.enrolment_split} -> {options.gallery_split}"):
        return False
    measures = load(options.protocol).measures(scores)
    targets = list(dict.fromkeys(each.target for each in measures if each.target))
    if "targets" not in TABLE[options.protocol].uses:
        return True
    rule = scores.get("fpr_rule", DEFAULT_RULE)  # not said before there were other rules
    return targets == options.targets and rule == options.fpr_rule
