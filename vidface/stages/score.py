"""Embeddings, or a submission file, -> scores: the protocols' numbers with what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import vidface
from vidface.errors import ManifestError, StoreError, UsageError
from vidface.files import sha256_file
from vidface.manifest import Manifest
from vidface.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.protocols import iqiyi, lfrc
from vidface.stages.matrices import read_matrix
from vidface.store import read_embeddings
from vidface.submission import read_iqiyi, sniff

Protocol = Literal["iqiyi", "lfrc", "both"]


@dataclass(frozen=True)
class Scored:
    """What is scored: embeddings in the manifest's order, or ready-made rankings, and where they are from."""

    inputs: dict[str, Any]
    embeddings: npt.NDArray[np.float32] | None = None
    rankings: dict[str, list[str]] | None = None
    status: dict[str, int] | None = None
    warnings: list[str] = field(default_factory=list)
    frames: npt.NDArray[np.int64] | None = None  # [V], and how many of them each embedding was made of
    kept: npt.NDArray[np.int64] | None = None


def read_scored(path: Path, manifest: Manifest, *, normalise: bool = False) -> Scored:
    """Read what can be scored, told by content: an embeddings file, a matrix of another tool, or a ranking.

    Args:
        path: an embeddings file; ``.npy``, or ``.bin`` with the header of LFRC, with the rows of the manifest's videos
            in its order; or an iQIYI text file.
        manifest: gives videos and order.
        normalise: divide the rows of a matrix by their length, with a warning of how many were not of unit length.

    Raises:
        StoreError: missing, damaged, it does not hold the videos of the manifest, or rows are not of unit length.
        UsageError: ``normalise`` of a ranking.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    kind = sniff(path)
    inputs: dict[str, Any] = {"scored": path.name, "kind": kind, "manifest_sha256": manifest.sha256}
    if kind == "iqiyi":
        if normalise:
            raise UsageError(f"{path}: a ranking holds no rows to normalise: leave out --normalise")
        return Scored(
            {**inputs, "sha256": sha256_file(path)}, rankings=read_iqiyi(path, video_ids=manifest.video_ids)
        )
    if kind in ("lfrc", "npy"):
        what = f"videos of {manifest.path}"
        matrix = read_matrix(path, len(manifest.video_ids), what, normalise=normalise)
        inputs |= {"sha256": sha256_file(path), "normalised": normalise}
        return Scored(inputs, embeddings=matrix.embeddings, warnings=matrix.warnings)
    found = read_embeddings(path)
    names = ["content_sha256", "threshold", "pooling", "model_name", "model_sha256", "flip", "fps", "decoder"]
    names += ["faces", "track", "folder_frames"]
    inputs |= {name: _plain(found.attributes[name]) for name in names if name in found.attributes}
    rows = rows_of(found.video_ids, manifest, path, found.attributes)
    return Scored(
        inputs,
        embeddings=found.embeddings[rows],
        status=dict(Counter(found.status[row] for row in rows.tolist())),
        frames=found.frames[rows],
        kept=found.kept[rows],
    )


def rows_of(
    video_ids: Sequence[str], manifest: Manifest, path: Path, attributes: Mapping[str, Any]
) -> npt.NDArray[np.int64]:
    """Row of every video of the manifest in a file that holds ``video_ids`` and has these attributes.

    Raises:
        StoreError: the file lacks videos of the manifest.
    """
    row = {video: i for i, video in enumerate(video_ids)}
    missing = [video for video in manifest.video_ids if video not in row]
    if missing:
        todo = "extract and cluster this manifest first"
        if "shard" in attributes:
            todo = f"it is shard {attributes['shard']}: merge the shards first"
        elif "features_shard" in attributes:
            todo = f"its features are shard {attributes['features_shard']}: merge the features first"
        elif attributes.get("by") == "track":
            todo = "its rows are tracks: cluster the features again without --by track"
        raise StoreError(
            f"{path}: lacks {len(missing)} of the {len(manifest.video_ids)} videos of {manifest.path}, "
            f"the first is '{missing[0]}'; {todo}"
        )
    return np.array([row[video] for video in manifest.video_ids], np.int64)


def zero_embeddings(embeddings: npt.NDArray[np.float32]) -> int:
    """How many videos have no usable frame: their rows are zero."""
    return int(np.count_nonzero(~embeddings.any(axis=1)))


def where_unusable(scored: Scored, manifest: Manifest, rows: Sequence[int] | None = None) -> str:
    """Which videos, of some rows or of all, have no usable frame: a matrix has no list of faults beside it."""
    if scored.embeddings is None or scored.inputs.get("kind") not in ("npy", "lfrc"):
        return "see faults.jsonl"
    looked_at = range(len(scored.embeddings)) if rows is None else rows
    first = next(row for row in looked_at if not scored.embeddings[row].any())
    return f"the first is {manifest.video_ids[first]!r}, a row of zeros"


def check_device(device: str) -> None:
    """Look whether there is a GPU where one is asked for.

    Raises:
        UsageError: torch finds none.
    """
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(f"no GPU for torch {torch.__version__}: say --device cpu")


def score(
    scored: Scored,
    manifest: Manifest,
    *,
    protocol: Protocol = "both",
    enrolment_split: str = "train",
    gallery_split: str = "val",
    targets: Sequence[str] = lfrc.TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score by one protocol or both; a number that cannot be had is None, with a warning that says why.

    Args:
        scored: from `read_scored`.
        manifest: the ground truth.
        protocol: ``iqiyi``, ``lfrc`` or ``both``.
        enrolment_split: iqiyi: the videos that templates are made of.
        gallery_split: iqiyi: the videos that are searched.
        targets: lfrc: FPR targets, as text.
        fpr_rule: lfrc: which point of the curve a target means, see `vidface.metrics.fpr_rules`.
        device: lfrc: ``cpu`` or ``cuda``, where the pairs are compared; the numbers do not depend on it.

    Returns:
        The content of ``scores.json``; its keys are documented in the README.

    Raises:
        ManifestError: ``protocol`` is one that the manifest cannot serve.
        UsageError: a ranking cannot be scored over pairs, or torch finds no GPU for ``cuda``.
    """
    check_device(device)
    result: dict[str, Any] = {
        "protocol": protocol,
        "fpr_rule": fpr_rule,
        "mAP@100": None,
        **{f"rank{k}": None for k in iqiyi.RANKS},
        "tpr@fpr": None,
        "threshold@fpr": None,
        "fpr_reached": None,
        "ci95": {},
        "counts": {},
        "warnings": list(scored.warnings),
        "definitions": {},
        "per_identity": None,
    }
    if protocol in ("iqiyi", "both"):
        try:
            rankings = scored.rankings
            if rankings is None and scored.embeddings is not None:
                rankings = iqiyi.rank_gallery(
                    scored.embeddings, manifest, enrolment_split=enrolment_split, gallery_split=gallery_split
                )
            merge_numbers(
                result,
                iqiyi.score_rankings(
                    rankings or {}, manifest, enrolment_split=enrolment_split, gallery_split=gallery_split
                ),
            )
            result["definitions"] |= {
                "iqiyi": iqiyi.DEFINITION,
                "splits": f"{enrolment_split} -> {gallery_split}",
            }
        except ManifestError as error:
            if protocol == "iqiyi":
                raise
            result["warnings"].append(f"iqiyi not scored: {error}")
    if protocol in ("lfrc", "both"):
        if scored.embeddings is not None:
            found = lfrc.score_pairs(scored.embeddings, manifest, targets, fpr_rule=fpr_rule, device=device)
            merge_numbers(result, found)
            result["definitions"]["lfrc"] = lfrc.definition(fpr_rule)
        elif protocol == "lfrc":
            raise UsageError("a ranking holds no embeddings: TPR at FPR needs an embeddings file or a .bin")
        else:
            result["warnings"].append("lfrc not scored: a ranking holds no embeddings")
    if scored.status is not None:
        result["counts"]["status"] = scored.status
    if scored.embeddings is not None:
        result["counts"]["zero_embeddings"] = unusable = zero_embeddings(scored.embeddings)
        if unusable:
            result["warnings"].append(
                f"{unusable} videos have no usable frame: never ranked, score 0 in pairs; "
                f"{where_unusable(scored, manifest)}"
            )
    result["inputs"] = {**scored.inputs, "program_version": vidface.__version__}
    return result


def merge_numbers(result: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one protocol's numbers to the others; lists and tables of both are kept."""
    for key, value in part.items():
        if key in ("ci95", "counts"):
            result[key] |= value
        elif key == "warnings":
            result[key] += value
        else:
            result[key] = value


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
