"""What can be scored, whichever kind of file it lies in: embeddings, a matrix of another tool, or a ranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.embeddings.options import MADE_FROM
from vidface.errors import ManifestError, StoreError, UsageError, Warned
from vidface.features.options import CARRIED
from vidface.files.atomic import require_file, sha256_file
from vidface.files.store import read_embeddings, warnings_of
from vidface.manifest.manifest import Manifest
from vidface.manifest.names import composed
from vidface.scores.matrices import read_matrix
from vidface.submission import read_iqiyi, sniff


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
    """Read what can be scored, recognised by content.

    Args:
        path: an embeddings file; another tool's ``.npy``, or ``.bin`` with the header of LFRC, with the rows of the
            manifest's videos in its order; or an iQIYI text file.
        manifest: gives videos and order.
        normalise: divide the rows of a matrix by their length, with a warning of how many were not of unit length.

    Raises:
        StoreError: missing, damaged, it does not hold the videos of the manifest, or rows are not of unit length.
        UsageError: ``normalise`` of a ranking.
    """
    require_file(path)
    kind = sniff(path)
    inputs: dict[str, Any] = {"scored": path.name, "kind": kind, "manifest_sha256": manifest.sha256}
    if kind == "iqiyi":
        if normalise:
            raise UsageError(f"{path}: a ranking holds no rows to normalise: leave out --normalise")
        rankings = read_iqiyi(path, video_ids=manifest.video_ids, identities=manifest.identities)
        return Scored({**inputs, "sha256": sha256_file(path)}, rankings=rankings)
    if kind in ("lfrc", "npy"):
        what = f"videos of {manifest.path}"
        matrix = read_matrix(path, len(manifest.video_ids), what, normalise=normalise)
        inputs |= {"sha256": sha256_file(path), "normalised": normalise}
        return Scored(inputs, embeddings=matrix.embeddings, warnings=matrix.warnings)
    found = read_embeddings(path)
    names = [name for name in (*MADE_FROM, *CARRIED) if name not in ("features_sha256", "manifest_sha256")]
    names = ["content_sha256", *names]
    inputs |= {name: found.attributes[name] for name in names if name in found.attributes}
    rows = rows_of(found.video_ids, manifest, path, found.attributes)
    return Scored(
        inputs,
        warnings=warnings_of(path, found.attributes) + unlisted(path, len(found.video_ids), manifest),
        embeddings=found.embeddings[rows],
        status=dict(Counter(found.status[row] for row in rows.tolist())),
        frames=found.frames[rows],
        kept=found.kept[rows],
    )


def rows_of(
    video_ids: Sequence[str], manifest: Manifest, path: Path, attributes: Mapping[str, Any]
) -> npt.NDArray[np.int64]:
    """Row of every video of the manifest in a file of ``video_ids`` with these attributes.

    Raises:
        StoreError: the file lacks videos of the manifest.
    """
    row = {composed(video): i for i, video in enumerate(video_ids)}  # the manifest may have the other form
    wanted = [composed(video) for video in manifest.video_ids]
    missing = [video for video, name in zip(manifest.video_ids, wanted, strict=True) if name not in row]
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
    return np.array([row[name] for name in wanted], np.int64)


def refuse_count(embeddings: npt.NDArray[np.float32], manifest: Manifest) -> None:
    """Refuse embeddings that are not one row for each video of the manifest: a `ValueError`."""
    if len(embeddings) != len(manifest.video_ids):
        raise ValueError(
            f"embeddings: {len(embeddings)} rows for the {len(manifest.video_ids)} videos of {manifest.path}: it must "
            "have one each, in this order"
        )


def unlisted(path: Path, videos: int, manifest: Manifest) -> list[str]:
    """What is to be said of a file that holds more videos than those of the manifest: half of a set is easier."""
    more = videos - len(manifest.video_ids)
    text = (
        f"{more:,} of the {videos:,} videos of {path.name} are not in {manifest.path.name} and play no part"
    )
    return [Warned(text, more / videos)] if more else []


def zero_embeddings(embeddings: npt.NDArray[np.float32]) -> int:
    """How many videos have no usable frame: their rows are zero."""
    return int(np.count_nonzero(~embeddings.any(axis=1)))


def needed_embeddings(scored: Scored, otherwise: str) -> npt.NDArray[np.float32]:
    """The embeddings; of a ranking a `UsageError` that says what is needed."""
    if scored.embeddings is None:
        raise UsageError(f"a ranking holds no embeddings: {otherwise}")
    return scored.embeddings


def rows_of_splits(
    manifest: Manifest, enrolment_split: str, gallery_split: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the videos with an identity in the enrolment split, and of all in the gallery split.

    Raises:
        ManifestError: there are none, of either.
    """
    splits = np.array(
        manifest.splits, object
    )  # else each takes the room of the longest, four bytes per letter
    known = np.array([name != "" for name in manifest.identities], np.bool_)
    enrolled = np.flatnonzero((splits == enrolment_split) & known)
    gallery = np.flatnonzero(splits == gallery_split)
    if not len(enrolled):
        raise no_video(manifest, f"with an identity in the enrolment split '{enrolment_split}'")
    if not len(gallery):
        raise no_video(manifest, f"in the gallery split '{gallery_split}'")
    return enrolled, gallery


def no_video(manifest: Manifest, what: str) -> ManifestError:
    """The error of a manifest without such videos, which says the splits that there are."""
    listed = ", ".join(f"'{split}' ({n})" for split, n in Counter(manifest.splits).most_common(5)) or "none"
    return ManifestError(f"{manifest.path}: no video {what}; splits here: {listed}")


def count_unusable(
    numbers: dict[str, Any],
    what: str,
    scored: Scored,
    manifest: Manifest,
    rows: Sequence[int] | None = None,
) -> None:
    """Add videos by status, and how many, of some rows or of all, have no usable frame, with a warning."""
    counts, embeddings = numbers["counts"], scored.embeddings
    if scored.status is not None:
        counts["status"] = scored.status
    if embeddings is None:
        return
    looked_at = np.arange(len(embeddings)) if rows is None else np.asarray(rows, np.int64)
    usable = np.asarray(embeddings.any(axis=1), np.bool_)
    unusable = np.flatnonzero(~usable[looked_at])
    counts["zero_embeddings"] = len(unusable)
    if len(unusable):
        where = "see faults.jsonl"
        if scored.inputs.get("kind") in ("npy", "lfrc"):  # a matrix has no list of faults beside it
            where = f"the first is {manifest.video_ids[looked_at[unusable[0]]]!r}, a row of zeros"
        text = f"{len(unusable)} of {len(looked_at):,} {what}; {where}"
        numbers["warnings"].append(Warned(text, len(unusable) / len(looked_at)))


def check_device(device: str) -> None:
    """Refuse ``cuda`` if torch finds no GPU: a `UsageError`."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(f"no GPU for torch {torch.__version__}: pass --device cpu")


def merge_numbers(result: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one protocol's numbers to the others; lists and tables of both are kept."""
    for key, value in part.items():
        if key in ("ci95", "counts", "failed"):
            result[key] = {**result.get(key, {}), **value}
        elif key == "warnings":
            result[key] += value
        else:
            result[key] = value
