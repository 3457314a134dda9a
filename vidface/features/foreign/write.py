"""Frame features of another tool -> a features file, for cluster, sweep and score as any other.

What the file says of how it was made is what is known: neither network nor decoder are. Tested in
``tests/faults/test_foreign_features.py``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import vidface
from vidface.errors import StoreError, printable
from vidface.features.foreign import AS_GIVEN, FPS, NOT_KNOWN, Foreign, read_arrays, read_iqiyi_features
from vidface.features.rows import halves_warning, left_out, usable_rows
from vidface.files import store
from vidface.files.atomic import require_file, sha256_file
from vidface.files.faults import FAULTS_FILE, faults_of
from vidface.files.stage_output import stage_output
from vidface.manifest.manifest import Manifest
from vidface.manifest.rows import show
from vidface.runtime import progress

STAGE = "features"
NOT_LISTED = "not-in-manifest"  # the kind of fault of a video that the manifest does not have
SHARD_ROWS = 16_384  # rows moved at a time: 34 MB at 512 x float32; a longer video is moved whole
SHARD_VIDEOS = 4_096


@dataclass(frozen=True)
class FeaturesResult:
    """What was written: videos of the manifest by status, rows, and what became of all rows of the source.

    ``unlisted`` are the names that the manifest does not have; ``faults`` counts these too, by kind. ``warnings`` are
    those that the file holds.
    """

    output: Path
    videos: int
    rows: int
    status: dict[str, int]
    faults: dict[str, int]
    faults_file: Path
    counts: dict[str, int]
    unlisted: list[str]
    already_done: bool
    warnings: list[str]


def from_iqiyi(
    pickles: Sequence[Path],
    manifest: Manifest,
    output: Path,
    *,
    min_score: float | None = None,
    min_quality: float | None = None,
    overwrite: bool = False,
) -> FeaturesResult:
    """Write the features file of official iQIYI-VID feature pickles; see `vidface.features.foreign`.

    With ``overwrite`` an output that was made otherwise is replaced.

    Raises:
        StoreError: a pickle cannot be used.
        ChangedError: the output is there and was made from something else, or with other limits.
        UsageError: another run writes this output now.
    """
    limits = {"min_score": min_score, "min_quality": min_quality}

    def read(folder: Path) -> Foreign:
        return read_iqiyi_features(pickles, manifest.video_ids, folder, **limits)

    return _write(output, manifest, "iqiyi", pickles, read, limits, overwrite=overwrite)


def from_arrays(
    features: Path, index: Path, manifest: Manifest, output: Path, *, overwrite: bool = False
) -> FeaturesResult:
    """Write the features file of an array of frame features; see `vidface.features.foreign`.

    Raises:
        StoreError, ChangedError, UsageError: as in `from_iqiyi`.
    """

    def read(_folder: Path) -> Foreign:
        return read_arrays(features, index, manifest.video_ids)

    return _write(output, manifest, "arrays", [features, index], read, {}, overwrite=overwrite)


def _write(
    output: Path,
    manifest: Manifest,
    source: str,
    files: Sequence[Path],
    read: Callable[[Path], Foreign],
    limits: Mapping[str, float | None],
    *,
    overwrite: bool,
) -> FeaturesResult:
    """``read`` is given a folder for what it keeps while the file is written."""
    made_from = {
        "manifest_sha256": manifest.sha256,
        "source": source,
        "source_sha256": _sha256_of(files),
        **limits,
    }
    # Not the name of unfinished work of extract, which can be resumed; this is quick, and starts anew.
    work = output.with_name(f".{output.name}.import")
    inputs = [*files, manifest.path]
    with stage_output(output, made_from, _read_made_from, inputs=inputs, overwrite=overwrite) as out:
        if out.already_done:
            return _result(output, already_done=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        names = ", ".join(path.name for path in files)
        try:
            foreign = read(work)
            counts, unlisted = Counter(foreign.counts), foreign.unlisted
            read_rows = counts["read"]
            # Ids are spelt otherwise, or it is another set.
            if read_rows and counts["not_in_manifest"] == read_rows:
                raise StoreError(
                    f"{names}: none of the {read_rows} rows is of a video of {manifest.path}: they are of "
                    f"{show(next(iter(unlisted)))} and so on, its ids look like {show(manifest.video_ids[0])}"
                )
            shards = list(_write_shards(foreign, manifest, work, counts))
            made_with = {
                "manifest_sha256": made_from["manifest_sha256"],
                "model_name": printable(f"{NOT_KNOWN}, of {names}"),
                "model_sha256": NOT_KNOWN,
                "decoder": NOT_KNOWN,
                "fps": "all" if foreign.times_are == AS_GIVEN else format(FPS, "g"),
                "flip": NOT_KNOWN,
                "dtype": foreign.dtype,
                **{name: value for name, value in made_from.items() if value is not None},
                "times": foreign.times_are,
                "source_rows": json.dumps(dict(counts)),
                "program_version": vidface.__version__,
                **store.attribute_of(
                    halves_warning(foreign.features, "if the two should be added, add them first")
                ),
            }
            (work / "vectors").unlink(missing_ok=True)  # room for the output, once the map of it is gone too
            del foreign
            said = "rows are left out: the manifest has no such video"
            strangers = (
                _fault(printable(name), NOT_LISTED, f"its {rows} {said}")
                for name, rows in sorted(unlisted.items())
            )
            out.list_faults(chain(store.shard_faults(shards), strangers))
            store.join_shards(shards, output, made_with)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return _result(output, already_done=False)


def _read_made_from(features: Path) -> dict[str, Any]:
    return store.read_attributes(features, "features")


def _sha256_of(files: Sequence[Path]) -> str:
    """Of the files' contents, in their order."""
    digests = []
    for path in files:
        require_file(path)  # a pipe could be read only once
        try:
            digests.append(sha256_file(path))
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _write_shards(foreign: Foreign, manifest: Manifest, work: Path, counts: Counter[str]) -> Iterator[Path]:
    """Write the rows of the videos as shards, in the manifest's order; ``counts`` gets what is left out here."""
    counts.setdefault("not_finite", 0)
    videos = len(manifest.video_ids)
    start = 0
    with progress(STAGE, videos, "videos") as advance:
        while start < videos:
            last = int(np.searchsorted(foreign.offsets, foreign.offsets[start] + SHARD_ROWS, "right")) - 1
            stop = min(max(last, start + 1), start + SHARD_VIDEOS, videos)
            shard = work / f"shard-{start:09d}.h5"
            rows = [_video(foreign, i, manifest.video_ids[i], counts) for i in range(start, stop)]
            store.write_shard(shard, rows, foreign.features.shape[1], foreign.dtype)
            yield shard
            advance(stop - start)
            start = stop


def _video(foreign: Foreign, i: int, video_id: str, counts: Counter[str]) -> store.VideoRows:
    """The rows of one video, without those that hold NaN or infinity, or nothing but zeros."""
    rows = foreign.order[foreign.offsets[i] : foreign.offsets[i + 1]]
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is left out
        features = foreign.features[rows].astype(foreign.dtype)
    usable, lost = usable_rows(features)
    counts.update({kind.replace("-", "_"): count for kind, count in lost.items()})
    faults = [*foreign.faults.get(i, []), *left_out(lost, len(rows), "rows have")]
    if not usable.any() and not faults:
        faults.append(("missing", "the source has no row of this video"))
    partial = any(kind != "filtered" for kind, _ in faults)
    status = "failed" if not usable.any() else "partial" if partial else "ok"
    listed = [_fault(video_id, kind, detail) for kind, detail in faults]
    return store.VideoRows(video_id, features[usable], foreign.times[rows][usable], status, listed)


def _fault(video: str, kind: str, detail: str) -> store.Fault:
    return {"video": video, "stage": STAGE, "kind": kind, "detail": printable(detail)}


def _result(output: Path, *, already_done: bool) -> FeaturesResult:
    info = store.read_features(output)
    mine = faults_of(output)
    counts: Any = info.attributes.get("source_rows", "{}")
    return FeaturesResult(
        output=output,
        videos=len(info.video_ids),
        rows=int(info.offsets[-1]),
        status=dict(Counter(info.status)),
        faults=dict(Counter(fault["kind"] for fault in mine)),
        faults_file=output.with_name(FAULTS_FILE),
        counts=json.loads(counts),
        unlisted=[fault["video"] for fault in mine if fault["kind"] == NOT_LISTED],
        already_done=already_done,
        warnings=store.warnings_of(output, info.attributes),
    )
