"""Shards of features or of embeddings -> the file of the run that does all: the same bytes.

`vidface.features.extract` and `vidface.embeddings.cluster` write shards, `vidface.files.shares` says of which videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vidface.embeddings.options import EMBEDDINGS_ATTRIBUTES
from vidface.errors import UsageError, first_few
from vidface.features.options import FEATURES_ATTRIBUTES
from vidface.features.rows import fault_warnings
from vidface.files import store
from vidface.files.locks import short
from vidface.files.shares import Shard, parse_shard, shard_text
from vidface.files.stage_output import stage_output
from vidface.files.store import FeaturesInfo, read_info, warnings_of

OF_ONE_SHARD = {"shard", "content_sha256", "rest_sha256", "rows_sum"}


@dataclass(frozen=True)
class MergeResult:
    """What was merged: how many shards, videos by status, frames, and faults by kind; faces as extract counts them."""

    output: Path
    kind: str
    shards: int
    videos: int
    frames: int
    status: dict[str, int]
    faults: dict[str, int]
    already_done: bool
    faces: dict[str, int] | None = None


def merge(files: Sequence[Path], output: Path, *, overwrite: bool = False) -> MergeResult:
    """Merge all shards of a run into the file that one run without ``--shard`` writes; the shards stay.

    Rows are moved in blocks: memory does not grow with the number of frames. The faults of features are listed in
    ``faults.jsonl`` beside the output. If shards were made on different devices, ``device`` names them all.

    Args:
        files: features files, or embeddings files, in any order.
        output: the file to write.
        overwrite: replace an output that was made otherwise.

    Raises:
        StoreError: a file is missing, damaged or of another kind.
        UsageError: a shard is missing, there twice, or of another run; or another run is writing this output.
        ChangedError: the output is there and was not made of these shards.
    """
    shards = [read_info(path, "features", "embeddings") for path in files]
    attributes = _common(shards)
    shards = _in_order(shards)
    for shard in shards:
        store.verify_file(shard.path, shard.attributes)
    paths = [shard.path for shard in shards]
    whole = FeaturesInfo(
        path=output,
        video_ids=[video for shard in shards for video in shard.video_ids],
        offsets=store.offsets_of(np.concatenate([np.diff(shard.offsets) for shard in shards])),
        status=[status for shard in shards for status in shard.status],
        attributes=attributes,
    )
    of_features = attributes["kind"] == "features"
    faults = list(store.shard_faults(paths)) if of_features else []
    if of_features and (counted := fault_warnings(faults, len(whole.video_ids))):
        attributes |= store.attribute_of([*warnings_of(output, attributes), *counted])
        attributes = {name: attributes[name] for name in _by_stage(attributes, "features")}
    made_from = {**{name: value for name, value in attributes.items() if name != "warnings"}, "shard": None}

    read = partial(_attributes, kind=attributes["kind"])
    with stage_output(output, made_from, read, inputs=files, overwrite=overwrite) as out:
        if out.already_done and of_features:  # embeddings follow from what their attributes name
            out.compare(*_contents(whole, paths))
        if out.already_done:
            pass
        elif of_features:
            out.list_faults(faults)
            store.join_shards(paths, output, attributes)
        else:
            rows = chain.from_iterable(map(store.embedding_chunks, paths))
            store.write_embeddings(output, whole, rows, attributes)
    return MergeResult(
        output=output,
        kind=str(attributes["kind"]),
        shards=len(shards),
        videos=len(whole.video_ids),
        frames=int(whole.offsets[-1]),
        status=dict(Counter(whole.status)),
        faults=dict(Counter(fault["kind"] for fault in faults)),
        already_done=out.already_done,
        faces=store.face_totals(output) if of_features else None,
    )


def _common(shards: Sequence[FeaturesInfo]) -> dict[str, Any]:
    """What all shards were made with, in stage order; UsageError if one is no shard or differs in more than device."""
    for shard in shards:
        if "shard" not in shard.attributes:
            of = shard.attributes.get("features_shard")
            hint = f" (of features that are shard {of}: merge those first, then cluster)" if of else ""
            raise UsageError(f"{shard.path}: not a shard: it was made without --shard{hint}")
    first = shards[0]
    names = {name for shard in shards for name in shard.attributes} - OF_ONE_SHARD
    common: dict[str, Any] = {}
    for name in _by_stage(names, first.attributes["kind"]):
        values = [shard.attributes.get(name) for shard in shards]
        if name == "warnings":  # each of every shard's
            said = [text for shard in shards for text in warnings_of(shard.path, shard.attributes)]
            common |= store.attribute_of(list(dict.fromkeys(said)))
            continue
        common[name] = values[0]
        if name == "device":
            common[name] = " + ".join(sorted(set(map(str, values))))
            continue
        for shard, value in zip(shards, values, strict=True):
            if value != values[0]:
                raise UsageError(
                    f"{shard.path}: {name} is {short(value)}, but {short(values[0])} in {first.path}: "
                    "only shards of one run can be merged"
                )
    common.pop("software", None)  # compared here; the file of one run does not have it
    return common


def _by_stage(names: Iterable[str], kind: str) -> list[str]:
    """Attributes in the order in which one run writes them, which decides the bytes of the file."""
    order = FEATURES_ATTRIBUTES if kind == "features" else EMBEDDINGS_ATTRIBUTES
    place = {name: number for number, name in enumerate(order)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def _in_order(shards: Sequence[FeaturesInfo]) -> list[FeaturesInfo]:
    """The shards by number; UsageError names those missing, there twice, or of another number of shards."""
    found: dict[Shard, FeaturesInfo] = {}
    parts = parse_shard(str(shards[0].attributes["shard"]))[1]
    for info in shards:
        shard = parse_shard(str(info.attributes["shard"]))
        if shard in found:
            raise UsageError(f"{info.path}: shard {shard_text(shard)} again: {found[shard].path} is it too")
        found[shard] = info
    for (_, others), info in found.items():
        if others != parts:
            raise UsageError(
                f"{info.path}: shard is {info.attributes['shard']}, but {shards[0].attributes['shard']} in "
                f"{shards[0].path}: only shards of one run can be merged"
            )
    missing = [f"{part}/{parts}" for part in range(1, parts + 1) if (part, parts) not in found]
    if missing:
        raise UsageError(f"shard: {len(missing)} of {parts} are not among the files: {first_few(missing, 5)}")
    return [info for _, info in sorted(found.items())]


def _attributes(path: Path, kind: str) -> dict[str, Any]:
    return read_info(path, kind).attributes


def _contents(whole: FeaturesInfo, shards: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the output holds that is there, and what the shards do."""
    there = read_info(whole.path, "features")
    was = {"content_sha256": there.attributes["content_sha256"], "status": dict(Counter(there.status))}
    sha256 = store.joined_sha256(shards, whole.offsets, whole.video_ids)
    return was, {"content_sha256": sha256, "status": dict(Counter(whole.status))}
