"""Features of single images -> scores by IJB-B and IJB-C: 1:1 over the listed pairs, 1:N over both galleries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import vidface
from vidface.errors import ManifestError, StoreError, UsageError
from vidface.files.atomic import sha256_file
from vidface.files.npy import looks_like_npy, open_matrix
from vidface.files.store import UNIT_TOLERANCE, read_features, row_blocks, verify_file
from vidface.manifest.rows import show
from vidface.manifest.sources.template_lists import (
    CROPS,
    FACES,
    GALLERIES,
    PAIRS,
    PROBES,
    Faces,
    TemplateSet,
    list_path,
    read_crops,
    read_faces,
    read_subjects,
)
from vidface.manifest.sources.template_pairs import TemplatePairs, read_template_pairs
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.scores.protocols import templates as protocol
from vidface.scores.scored import merge_numbers

__all__ = ["score_templates"]

BLOCK = 8192  # rows read at a time: 16 MB at 512 x float32

Integers = npt.NDArray[np.int64]


class _Source(NamedTuple):
    """Features of images: how they are read, how long they are, and what is to be said of them."""

    blocks: protocol.Blocks
    dimension: int
    inputs: dict[str, Any]
    in_list_order: bool
    warnings: list[str]


def score_templates(
    features: Path,
    kind: TemplateSet,
    meta: Path,
    *,
    norm: bool = True,
    detector_score: bool = True,
    flip_halves: bool = False,
    targets: Sequence[str] = protocol.TARGETS,
    fpr_rule: FprRule = DEFAULT_RULE,
) -> dict[str, Any]:
    """Score features of single images; what a list is not there for is not scored, and a warning says so.

    Args:
        features: a features file whose videos are the set's images, one row each; or a ``.npy`` of another tool with
            the rows in the order of ``face_tid_mid``.
        kind: ``ijbb`` or ``ijbc``.
        meta: the folder of the set's lists.
        norm: keep the length of a feature when templates are pooled.
        detector_score: multiply each feature by the detector's score of ``name_5pts_score``.
        flip_halves: a row is the embedding and after it that of the mirrored image: add the two.
        targets: FPR targets of 1:1, as text.
        fpr_rule: which point of the curve a target means, of FPR and of FPIR.

    Returns:
        An object for JSON; its keys are documented in ``docs/protocols/ijb.md``.

    Raises:
        ManifestError: a list cannot be used, or neither the pairs nor the galleries are there.
        StoreError: the features cannot be used, or are not those of the set's images.
    """
    faces_path = list_path(meta, kind, FACES)
    faces = read_faces(faces_path)
    lists = {faces_path.name: sha256_file(faces_path)}
    numbers, of_template = np.unique(faces.templates, return_inverse=True)
    source = _open(features, faces, flip_halves)
    scores = None
    if detector_score:
        path = list_path(meta, kind, CROPS)
        scores = _scores_of(path, faces, faces_path, in_order=source.in_list_order)
        lists[path.name] = sha256_file(path)
    pairs, searches, warnings = _protocol_lists(kind, meta, numbers, lists)
    lengths = protocol.feature_lengths(source.blocks, len(faces.images))
    wrong = np.flatnonzero(~np.isfinite(lengths))
    if len(wrong):
        image = show(faces.images[wrong[0]])
        raise StoreError(
            f"{features}: {len(wrong)} features hold NaN or infinity, the first is that of {image}"
        )
    media = protocol.media_of(of_template, faces.media)
    rows = protocol.pool_templates(
        source.blocks, lengths, of_template, media, scores, norm=norm, dimension=source.dimension
    )
    beyond = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(beyond):
        raise StoreError(
            f"{features}: {len(beyond)} templates have features or detector scores too large to be added, the first "
            f"is template {numbers[beyond[0]]}"
        )
    without, empty = np.flatnonzero(lengths == 0), int(np.count_nonzero(~rows.any(axis=1)))
    result: dict[str, Any] = {
        "protocol": kind,
        "fpr_rule": fpr_rule,
        "variant": protocol.variant(norm=norm, detector_score=detector_score, flip_halves=flip_halves),
        **dict.fromkeys(("tpr@fpr", "threshold@fpr", "fpr_reached", "identification")),
        "ci95": {"tpr@fpr": None, "identification": None},
        "counts": {
            "images": len(faces.images),
            "images_without_feature": len(without),
            "media": int(media.max()) + 1,
            "templates": len(rows),
            "templates_without_feature": empty,
            "zero_embeddings": len(without),
        },
        "warnings": source.warnings + warnings + _notes(faces, lengths, empty, norm),
        "definitions": {**protocol.DEFINITIONS, "fpr_rule": FPR_RULE_TEXT[fpr_rule]},
        "images_without_feature": [faces.images[i] for i in without.tolist()],
    }
    if pairs is not None:
        try:
            part = protocol.verify_templates(rows, *pairs, targets, fpr_rule)
        except ValueError as error:
            raise ManifestError(f"{meta / f'{kind}_{PAIRS}'}: {error}") from None
        merge_numbers(result, part)
    if searches is not None:
        part = protocol.identify_templates(rows, searches, fpr_rule)
        part["ci95"] = {"identification": part["ci95"]}
        merge_numbers(result, part)
    result["inputs"] = {**source.inputs, "lists_sha256": lists, "program_version": vidface.__version__}
    return result


def _protocol_lists(
    kind: TemplateSet, meta: Path, numbers: Integers, lists: dict[str, str]
) -> tuple[TemplatePairs | None, protocol.Searches | None, list[str]]:
    """The pairs, the galleries with the probes, and a warning for which of them is not there."""
    pairs, searches = None, None
    warnings = []
    path = meta / f"{kind}_{PAIRS}"
    if path.is_file():
        pairs = read_template_pairs(path, numbers)
        lists[path.name] = sha256_file(path)
    else:
        warnings.append(f"1:1 is not scored: no {path.name} in {meta}")
    paths = [meta / f"{kind}_{name}" for name in (*GALLERIES[kind], PROBES)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        warnings.append(f"1:N is not scored: no {' and no '.join(missing)} in {meta}")
    else:
        first, second, probes = (
            read_subjects(path, numbers, gallery=path is not paths[-1]) for path in paths
        )
        found = {name[-6:-4]: part for name, part in zip(GALLERIES[kind], (first, second), strict=True)}
        searches = protocol.Searches(
            {name: (np.searchsorted(numbers, part.templates), part.subjects) for name, part in found.items()},
            (np.searchsorted(numbers, probes.templates), probes.subjects),
        )
        lists |= {path.name: sha256_file(path) for path in paths}
    if pairs is None and searches is None:
        raise ManifestError(f"{meta}: nothing to score: {'; '.join(warnings)}")
    return pairs, searches, warnings


def _scores_of(path: Path, faces: Faces, faces_path: Path, *, in_order: bool) -> npt.NDArray[np.float64]:
    """The detector's score of every image.

    Raises:
        ManifestError: the list has not the same images; or not in the same order, where rows are told by their place.
    """
    crops = read_crops(path)
    if crops.images == faces.images:
        return crops.scores
    score = dict(zip(crops.images, crops.scores.tolist(), strict=True))
    missing = [image for image in faces.images if image not in score]
    if missing:
        raise ManifestError(
            f"{path}: lacks {len(missing)} images of {faces_path.name}, the first is {show(missing[0])}"
        )
    if len(score) > len(faces.images):
        raise ManifestError(
            f"{path}: has {len(score) - len(faces.images)} images that are not in {faces_path.name}"
        )
    if in_order:
        line = next(
            i
            for i, (one, other) in enumerate(zip(crops.images, faces.images, strict=True), 1)
            if one != other
        )
        raise ManifestError(
            f"{path}:{line}: another order than {faces_path.name}, so which row of the matrix is whose cannot be told"
        )
    return np.array([score[image] for image in faces.images])


def _open(path: Path, faces: Faces, flip_halves: bool) -> _Source:
    """Open the features, without reading them.

    Raises:
        StoreError: they cannot be used, or are not those of the set's images.
    """
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    if looks_like_npy(head):
        source = _open_npy(path, faces)
    elif not head.startswith(b"\x89HDF"):
        raise StoreError(f"{path}: neither a features file (HDF5) nor a .npy matrix")
    else:
        source = _open_features(path, faces)
    if not flip_halves:
        return source
    if source.dimension % 2:
        raise UsageError(
            f"{path}: rows of {source.dimension} numbers have no two halves: leave --flip-halves out"
        )
    half = source.dimension // 2

    def summed() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        for places, rows in source.blocks():
            yield places, rows[:, :half].astype(np.float64) + rows[:, half:]

    return source._replace(blocks=summed, dimension=half)


def _open_npy(path: Path, faces: Faces) -> _Source:
    matrix = open_matrix(path, rows="images")
    if len(matrix) != len(faces.images):
        raise StoreError(f"{path}: {len(matrix)} rows for the {len(faces.images)} images of {FACES}")

    def blocks() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        for start in range(0, len(matrix), BLOCK):
            rows = np.asarray(matrix[start : start + BLOCK])
            yield np.arange(start, start + len(rows)), rows

    inputs = {"scored": path.name, "kind": "npy", "sha256": sha256_file(path)}
    return _Source(blocks, matrix.shape[1], inputs, True, [])


def _open_features(path: Path, faces: Faces) -> _Source:
    info = read_features(path)
    verify_file(path, info.attributes)
    place = {image: i for i, image in enumerate(faces.images)}
    rows_of_image = np.diff(info.offsets)
    listed = np.array([place.get(video, -1) for video in info.video_ids], np.int64)
    several = np.flatnonzero((rows_of_image > 1) & (listed >= 0))
    if len(several):
        image, count = info.video_ids[several[0]], rows_of_image[several[0]]
        raise StoreError(
            f"{path}: {len(several)} images have several rows, the first is {show(image)} with {count}; these sets "
            "are scored with one face an image: extract aligned pictures"
        )
    missing = len(place) - np.count_nonzero(listed >= 0)
    if missing:
        there = set(info.video_ids)
        first = next(image for image in faces.images if image not in there)
        shard = info.attributes.get("shard")
        todo = f"it is shard {shard}: merge the shards first" if shard else "extract the set's own manifest"
        raise StoreError(
            f"{path}: lacks {missing} of the {len(place)} images of {FACES}, the first is {show(first)}; {todo}"
        )
    of_row = np.repeat(listed, rows_of_image)
    bounds = [*range(0, len(of_row), BLOCK), len(of_row)]

    def blocks() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        start = 0
        for rows in row_blocks(path, bounds):
            places = of_row[start : start + len(rows)]
            start += len(rows)
            yield places[places >= 0], rows[places >= 0]

    names = ("content_sha256", "model_name", "model_sha256", "flip", "decoder")
    inputs = {"scored": path.name, "kind": "features"} | {
        name: value.item() if isinstance(value := info.attributes[name], np.generic) else value
        for name in names
        if name in info.attributes
    }
    extra = int(np.count_nonzero(listed < 0))
    warnings = [f"{extra} videos of {path.name} are not in {FACES} and play no part"] if extra else []
    return _Source(blocks, info.dimension, inputs, False, warnings)


def _notes(faces: Faces, lengths: npt.NDArray[np.float64], empty: int, norm: bool) -> list[str]:
    """What the user should know about the features."""
    notes = []
    lost = np.flatnonzero(lengths == 0)
    if len(lost):
        notes.append(
            f"{len(lost)} images have no feature, the first is {show(faces.images[lost[0]])}: they are left out of the "
            "mean of their media"
        )
    if empty:
        notes.append(f"{empty} templates have no image with a feature: they score 0 with everybody")
    there = lengths[lengths > 0]
    if norm and len(there) > 1 and np.abs(there - 1).max() < UNIT_TOLERANCE:
        notes.append(
            "all features have length 1 already: the norms that --norm keeps are lost, and this is --no-norm"
        )
    return notes
