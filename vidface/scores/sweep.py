"""Features -> a table of scores, one row per threshold: every video's frames are compared once for all thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import vidface
from vidface.embeddings.embed import embed_sweep
from vidface.embeddings.pooling import POOLING
from vidface.embeddings.thresholds import threshold_text
from vidface.errors import StoreError, by_cost
from vidface.features.chunks import over_blocks, over_videos
from vidface.features.engines import Engine
from vidface.files.atomic import disk_is_full
from vidface.files.locks import scratch_folder
from vidface.files.store import read_features, warnings_of
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.protocol import Measure
from vidface.scores.protocols.table import check_embeddings, load
from vidface.scores.score import score
from vidface.scores.scored import Scored, rows_of, unlisted
from vidface.scores.text import columns, number, rule_line


def sweep(
    features: Path,
    manifest: Manifest,
    thresholds: Sequence[float | None],
    options: ScoreOptions,
    *,
    pool: str = "largest",
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Score every clustering threshold (None keeps every frame) by any protocol of embeddings.

    Memory holds the embeddings of one threshold at a time; a temporary file beside the features holds them all.

    Args:
        features: a features file.
        manifest: the ground truth.
        thresholds: cosines.
        options: how each is scored.
        pool, engine: as in `vidface.embeddings.cluster.cluster`.

    Returns:
        ``rows``, a score object per threshold of clustering, with that ``threshold`` and ``kept``, the share of frames
        that stayed, but without ``per_identity`` and a ``threshold`` of its own; ``best``, protocol measure ->
        threshold; ``warnings``, those of all rows; ``inputs``.

    Raises:
        StoreError: the features file lacks videos of the manifest, or there is no space left beside it.
        UsageError: the protocol scores features of images.
    """
    check_embeddings(options.protocol)
    source = read_features(features)
    rows = rows_of(source.video_ids, manifest, features, source.attributes)
    n_videos, n_frames = len(source.video_ids), int(source.offsets[-1])
    warnings = warnings_of(features, source.attributes) + unlisted(features, len(source.video_ids), manifest)
    table = []
    inputs: dict[str, Any] = {}
    kept = np.zeros(len(thresholds), np.int64)
    with scratch_folder(features, "sweep") as folder:
        # A plain file: a memory map on a full disk would end the process without a word.
        pooled, of_one = folder / "embeddings", n_videos * source.dimension
        try:
            with pooled.open("wb") as file:
                video = 0
                how = list(thresholds), pool
                for embeddings, counts in over_videos(
                    source, _sweep_chunk, how, engine=engine, label="sweep"
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
            scored = Scored({}, embeddings.reshape(n_videos, source.dimension)[rows], warnings=warnings)
            result = score(scored, manifest, options)
            for name in ("per_identity", "threshold"):  # the latter of accuracy by folds
                result.pop(name, None)
            inputs = result.pop("inputs")  # of a list of pairs, the same in every row
            share = float(kept[t] / n_frames) if n_frames else None
            table.append({"threshold": threshold_text(threshold), "kept": share, **result})
    return {
        "rows": table,
        "best": _best(table),
        "warnings": by_cost(_warnings(table)),
        "inputs": {
            "features_sha256": source.attributes["content_sha256"],
            "manifest_sha256": manifest.sha256,
            "program_version": vidface.__version__,
            **({} if pool == "largest" else {"pooling": POOLING[pool]}),
            **inputs,
        },
    }


def _sweep_chunk(
    path: Path, offsets: npt.NDArray[np.int64], how: tuple[list[float | None], str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Embeddings float32 [T, v, D] of a chunk of videos, and the number of kept frames [T]."""
    thresholds, pool = how
    blocks = over_blocks(path, offsets, partial(embed_sweep, thresholds=thresholds, pool=pool))
    embeddings, kept = (np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True))
    return embeddings, kept.sum(axis=1)


def _best(table: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The threshold with the best value of each measure; the first of equals."""
    best = {}
    for column in _columns(table):
        values = [each.value for each in column]
        known = [value for value in values if value is not None]
        if known and (key := _key(column[0])):
            wanted = min(known) if column[0].lower_is_better else max(known)
            best[key] = table[values.index(wanted)]["threshold"]
    return best


def _key(measure: Measure) -> str:
    return measure.label if measure.key is None else measure.key


def _warnings(table: Sequence[Mapping[str, Any]]) -> list[str]:
    return [warning for row in table for warning in row["warnings"]]


def _columns(table: Sequence[Mapping[str, Any]]) -> list[list[Measure]]:
    measures = load(table[0]["protocol"]).measures
    return [list(column) for column in zip(*map(measures, table), strict=True)]


def sweep_table(sweep: Mapping[str, Any]) -> str:
    """A sweep as the paper's table 5, one row per threshold; the best of each column has a star, unless all tie."""
    rows = sweep["rows"]
    thresholds = [row["threshold"] for row in rows]
    table = [["threshold", *thresholds]]
    table.append(["frames kept", *("-" if row["kept"] is None else f"{row['kept']:.1%}" for row in rows)])
    notes, aimed = ["* best of its column"], False
    for column in _columns(rows):
        first, values = column[0], [each.value for each in column]
        if first.column == "" or not any(value is not None for value in values):
            continue
        best = sweep["best"].get(_key(first)) if len(set(values) - {None}) > 1 else None
        mark = " " if _key(first) else ""
        cells = [
            number(value) + (mark and ("*" if threshold == best else " "))
            for value, threshold in zip(values, thresholds, strict=True)
        ]
        table.append([first.label if first.column is None else first.column, *cells])
        if first.beside:  # videos fail whatever the threshold: what they cost is said once
            notes.append(f"{first.label} at threshold {thresholds[0]}: {first.beside}")
        aimed = aimed or bool(first.target)
    if aimed:  # what is reached differs by row: it is in the JSON
        notes.append(rule_line({"fpr_rule": rows[0].get("fpr_rule", DEFAULT_RULE)}))
    # Files from before have no warnings of all rows.
    warnings = sweep.get("warnings", dict.fromkeys(_warnings(rows)))
    lines = [columns(list(zip(*table, strict=True))), "", *notes]
    return "\n".join([*lines, *(f"warning: {text}" for text in warnings)])
