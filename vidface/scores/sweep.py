"""Features -> a table of scores, a row a threshold: every video's frames are compared once for all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import vidface
from vidface.embeddings.cluster import POOLING, over_videos, video_blocks
from vidface.embeddings.embed import embed_sweep
from vidface.embeddings.thresholds import threshold_text
from vidface.errors import StoreError
from vidface.features.engines import Engine
from vidface.files.atomic import disk_is_full
from vidface.files.locks import scratch_folder
from vidface.files.store import read_features
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.protocols.lfrc import TARGETS
from vidface.scores.score import Protocol, score
from vidface.scores.scored import Scored, rows_of


def sweep(
    features: Path,
    manifest: Manifest,
    thresholds: Sequence[float | None],
    *,
    pool: str = "largest",
    protocol: Protocol = "both",
    enrolment_split: str = "train",
    gallery_split: str = "val",
    targets: Sequence[str] = TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Score every clustering threshold.

    The embeddings of all thresholds lie in a temporary file, so memory holds those of one threshold at a time.

    Args:
        features: a features file.
        manifest: the ground truth.
        thresholds: cosines; None keeps every frame.
        pool: how frames become an embedding, as in `vidface.embeddings.cluster.cluster`.
        protocol, enrolment_split, gallery_split, targets, fpr_rule: as in `vidface.scores.score.score`.
        engine: where the videos are clustered, as in `vidface.embeddings.cluster.cluster`.

    Returns:
        ``rows``, a score object a threshold (without ``per_identity``) with ``threshold`` and ``kept``, the share of
        frames that stayed; ``best``, protocol measure -> threshold; ``inputs``.

    Raises:
        StoreError: the features file lacks videos of the manifest, or there is no space left beside it.
    """
    source = read_features(features)
    rows = rows_of(source.video_ids, manifest, features, source.attributes)
    n_videos, n_frames = len(source.video_ids), int(source.offsets[-1])
    function = {"largest": _sweep_chunk, "size": _size_sweep_chunk, "size-norm": _size_norm_sweep_chunk}[pool]
    table = []
    kept = np.zeros(len(thresholds), np.int64)
    with scratch_folder(features, "sweep") as folder:
        # A plain file: a memory map on a full disk would end the process without a word.
        pooled, of_one = folder / "embeddings", n_videos * source.dimension
        try:
            with pooled.open("wb") as file:
                video = 0
                for embeddings, counts in over_videos(
                    source, function, list(thresholds), engine=engine, label="sweep"
                ):
                    for t, chunk in enumerate(embeddings):
                        file.seek(4 * (t * of_one + video * source.dimension))
                        file.write(chunk.tobytes())
                    kept += counts
                    video += embeddings.shape[1]
        except OSError as error:
            if not disk_is_full(error):
                raise
            size = 4 * len(thresholds) * of_one / 1e6
            raise StoreError(
                f"{features.parent}: no space left for the {size:.0f} MB that a sweep needs beside the features; "
                "make room and run again"
            ) from None
        for t, threshold in enumerate(thresholds):
            embeddings = np.fromfile(pooled, np.float32, of_one, offset=4 * t * of_one)
            scored = Scored({}, embeddings=embeddings.reshape(n_videos, source.dimension)[rows])
            result = score(
                scored,
                manifest,
                protocol=protocol,
                enrolment_split=enrolment_split,
                gallery_split=gallery_split,
                targets=targets,
                fpr_rule=fpr_rule,
            )
            del result["per_identity"], result["inputs"]
            share = float(kept[t] / n_frames) if n_frames else None
            table.append({"threshold": threshold_text(threshold), "kept": share, **result})
    return {
        "rows": table,
        "best": _best(table, targets),
        "inputs": {
            "features_sha256": source.attributes["content_sha256"],
            "manifest_sha256": manifest.sha256,
            "program_version": vidface.__version__,
            **({} if pool == "largest" else {"pooling": POOLING[pool]}),
        },
    }


def _sweep_chunk(
    path: Path, offsets: npt.NDArray[np.int64], thresholds: list[float | None], pool: str = "largest"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Embeddings float32 [T, v, D] of a chunk of videos, and the number of kept frames [T]."""
    blocks = [
        embed_sweep(block, bounds, thresholds, pool=pool) for block, bounds in video_blocks(path, offsets)
    ]
    embeddings, kept = (np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True))
    return embeddings, kept.sum(axis=1)


def _size_sweep_chunk(
    path: Path, offsets: npt.NDArray[np.int64], thresholds: list[float | None]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    return _sweep_chunk(path, offsets, thresholds, "size")


def _size_norm_sweep_chunk(
    path: Path, offsets: npt.NDArray[np.int64], thresholds: list[float | None]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    return _sweep_chunk(path, offsets, thresholds, "size-norm")


def _best(table: list[dict[str, Any]], targets: Sequence[str]) -> dict[str, str]:
    """The threshold with the highest value of each measure; the first of equals."""
    best = {}
    for name in ("mAP@100", *targets):
        values = [row[name] if name == "mAP@100" else (row["tpr@fpr"] or {}).get(name) for row in table]
        known = [value for value in values if value is not None]
        if known:
            best[name if name == "mAP@100" else f"tpr@fpr={name}"] = table[values.index(max(known))][
                "threshold"
            ]
    return best
