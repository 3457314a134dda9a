"""Frames -> features: an engine reads the videos and runs the network; what comes back is kept in shards.

The manifest is worked off in shards of `SHARD_VIDEOS` consecutive videos, each a file that is whole or absent, in
``<output>.parts/``. Batches never cross a shard, so a run that was killed resumes with exactly the batches that it
would have had, and ends in the same bytes. When all shards are there they are joined and removed.

With ``--faces detect`` a row is a face that was found in a frame, not a frame: see
`vidface.features.engines.detection`.

With ``--shard I/N`` a run takes a share of these shards, whole ones, and `vidface.runs.merge` joins what N such
runs wrote into the bytes of the run that takes all.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vidface
from vidface.backbones import Backbone
from vidface.backbones.card import ModelCard
from vidface.features.engines import Engine, ExtractJob
from vidface.features.engines.detection import FaceOptions
from vidface.features.engines.reading import Video, read_options
from vidface.features.options import MADE_FROM, ExtractOptions
from vidface.features.rows import fault_warnings
from vidface.files import store
from vidface.files.faults import FAULTS_FILE, faults_of
from vidface.files.json_files import read_json, write_json
from vidface.files.pointers import NOT_FETCHED
from vidface.files.shares import Shard, shard_range, shard_text
from vidface.files.software import software_text
from vidface.files.stage_output import is_same, stage_output
from vidface.frames.faces.align import template
from vidface.manifest.manifest import Manifest
from vidface.runtime import progress

SHARD_VIDEOS = 64  # what a kill can cost; also the most videos a batch can be filled from


@dataclass(frozen=True)
class ExtractResult:
    """What a run of extract did: counts of videos by status, of frames, and where the files are.

    Where faces were detected, ``faces`` says what became of them all, by `vidface.files.store.FACE_COUNTS`, and
    ``frames`` counts the rows: faces that are in the file; ``template`` says where in an aligned face the five points
    are, (x, y). ``warnings`` are what the model's probe and the videos gave reason for, most costly first.
    """

    output: Path
    videos: int
    frames: int
    status: dict[str, int]
    faults: dict[str, int]
    faults_file: Path
    resumed_videos: int
    already_done: bool
    warnings: list[str]
    faces: dict[str, int] | None = None
    template: list[list[float]] | None = None


def extract(
    manifest: Manifest,
    backbone: Backbone,
    output: Path,
    options: ExtractOptions,
    *,
    engine: Engine,
    faces: FaceOptions | None = None,
    overwrite: bool = False,
) -> ExtractResult:
    """Extract the features of every frame of every video of a manifest into one HDF5 file.

    A video that cannot be read keeps its row with status ``failed`` and no frames; what is wrong is listed in
    ``faults.jsonl`` beside the output. A share of the manifest holds its faults too.

    Args:
        manifest: the videos; the order of its rows is the order of the file.
        backbone: the network, from `vidface.backbones.load_backbone`, loaded as ``options`` say.
        output: the HDF5 file to write.
        options: what `vidface extract` takes.
        engine: where the work runs, from `vidface.features.engines.open_engine`; the file does not depend on it.
        faces: how faces are found in the frames, from `vidface.features.detection.choose_faces` with the same options.
        overwrite: replace an output that was made otherwise, and throw away unfinished work of other options.

    Raises:
        ChangedError: the output, or unfinished work for it, was made with another model, manifest or option.
        UsageError: another run writes this output now, or the manifest is too short for so many shares.
    """
    assert (faces is None) == (options.faces == "aligned"), "faces are those that the options chose"
    if faces is not None:
        faces = faces._replace(template=_template(backbone.card))
    chunks = _share(len(manifest.video_ids), options.shard)
    made_from = _made_from(manifest, backbone, options, faces)
    parts, by = output.with_name(output.name + ".parts"), software_text(detection=faces is not None)
    inputs = [manifest.path, options.model, options.model.with_suffix(".toml"), options.detector_weights]
    with stage_output(output, made_from, _read_made_from, inputs=inputs, overwrite=overwrite) as out:
        if out.already_done and not _is_without_media(output):
            shutil.rmtree(parts, ignore_errors=True)
            there = sum(len(chunk) for _, chunk in chunks)
            return _result(output, backbone.warnings, resumed=there, already_done=True)
        made_from_file = parts / "identity.json"
        known = made_from_file.exists()
        by_this = {**made_from, "software": by}  # a file that is there may be of other software: it is whole
        was = ExtractOptions.where_absent() | (read_json(made_from_file) if known else {})
        if not (known and is_same(parts, was, by_this, overwrite=overwrite)):
            if parts.exists():  # nobody knows of what it is, or it may be thrown away
                shutil.rmtree(parts)
            parts.mkdir()
            write_json(made_from_file, by_this)
        job = ExtractJob(
            videos=[Video(video, manifest.video_path(i)) for i, video in enumerate(manifest.video_ids)],
            reading=read_options(options, backbone.card.input_size, faces),
            backbone=backbone,
            options=options,
        )
        resumed = _extract_shards(job, chunks, parts, engine)
        attributes = {
            **ExtractOptions.written(made_from),
            "device": backbone.device,
            "program_version": vidface.__version__,
        }
        shards = [parts / name for name, _ in chunks]
        if options.shard is None:
            warnings = fault_warnings(store.shard_faults(shards), len(manifest.video_ids))
            attributes |= store.attribute_of([*backbone.warnings, *warnings])
        else:  # `merge` counts the faults of all, and looks whether one software made them
            attributes |= store.attribute_of(backbone.warnings) | {"software": by}
        out.list_faults(store.shard_faults(shards))
        store.join_shards(shards, output, attributes, keep_faults=options.shard is not None)
        shutil.rmtree(parts)
        return _result(output, backbone.warnings, resumed=resumed, already_done=False)


def _is_without_media(features: Path) -> bool:
    """Whether no video of a file was there when it was made, as if ``--root`` was forgotten: it holds no rows."""
    kinds = {fault["kind"] for fault in faults_of(features)}
    absent = bool(kinds) and kinds <= {"missing", NOT_FETCHED}
    return absent and set(store.read_features(features).status) == {"failed"}


def _extract_shards(job: ExtractJob, chunks: list[tuple[str, range]], parts: Path, engine: Engine) -> int:
    """Write every shard that is not in ``parts`` yet; returns how many videos were there already."""
    missing = [(parts / name, chunk) for name, chunk in chunks if not (parts / name).exists()]
    todo = sum(len(chunk) for _, chunk in missing)
    dimension = job.backbone.card.dimension
    with progress("extract", todo, "videos") as advance:
        results = engine.extract_chunks(job, [chunk for _, chunk in missing], advance)
        for (shard, _), rows in zip(missing, results, strict=True):
            store.write_shard(shard, rows, dimension, job.options.dtype)
    return sum(len(chunk) for _, chunk in chunks) - todo


def _share(n_videos: int, shard: Shard | None) -> list[tuple[str, range]]:
    """The files of this run's shards, and the videos of each."""
    starts = range(0, n_videos, SHARD_VIDEOS)
    return [
        (f"shard-{start // SHARD_VIDEOS:06d}.h5", range(start, min(start + SHARD_VIDEOS, n_videos)))
        for start in (starts[i] for i in shard_range(len(starts), shard, f"runs of {SHARD_VIDEOS} videos"))
    ]


def _made_from(
    manifest: Manifest, backbone: Backbone, options: ExtractOptions, faces: FaceOptions | None
) -> dict[str, Any]:
    """What makes two runs the same run. Batch size, workers and device are not part of it; None stands in no file."""
    detected = {} if faces is None else faces._asdict()
    values = {
        **options.in_file(),
        **{name: value for name, value in detected.items() if name in MADE_FROM},
        "manifest_sha256": manifest.sha256,
        "model_name": backbone.card.name,
        "model_sha256": backbone.sha256,
        "colour_order": backbone.card.colour_order,
        "fps": "all" if options.fps == "all" else format(options.fps, "g"),
        "detector_sha256": detected.get("sha256"),
        "template": faces and json.dumps(faces.template),
        "shard": shard_text(options.shard),
    }
    return {name: values[name] for name in MADE_FROM}


def _template(card: ModelCard) -> tuple[tuple[float, float], ...]:
    """Where faces have their points for a network: its card says it, or its input's size."""
    points = card.template or template(card.input_size).round(6).tolist()
    return tuple((float(x), float(y)) for x, y in points)


def _read_made_from(features: Path) -> dict[str, Any]:
    return ExtractOptions.where_absent() | store.read_attributes(features, "features")


def _result(output: Path, of_model: Sequence[str], *, resumed: int, already_done: bool) -> ExtractResult:
    info = store.read_features(output)
    mine = faults_of(output)
    return ExtractResult(
        output=output,
        videos=len(info.video_ids),
        frames=int(info.offsets[-1]),
        status=dict(Counter(info.status)),
        faults=dict(Counter(fault["kind"] for fault in mine)),
        faults_file=output.with_name(FAULTS_FILE),
        resumed_videos=resumed,
        already_done=already_done,
        warnings=[*of_model, *fault_warnings(mine, len(info.video_ids))],
        faces=store.face_totals(output),
        template=json.loads(info.attributes.get("template", "null")),
    )
