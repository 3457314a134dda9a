"""Features of single images -> scores by IJB-B and IJB-C: 1:1 over the listed pairs, 1:N over both galleries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import ManifestError, StoreError, UsageError, Warned
from vidface.files.atomic import sha256_file
from vidface.files.store import UNIT_TOLERANCE
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
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import templates as protocol
from vidface.scores.protocols.ijb_features import open_source
from vidface.scores.protocols.protocol import (
    RANKS,
    Measure,
    Protocol,
    Result,
    at_targets,
    warning_lines,
    with_costs,
)
from vidface.scores.scored import merge_numbers
from vidface.scores.text import columns, counts_line, interval, number, rate, rule_line, tpr_label

__all__ = ["PROTOCOLS", "score_templates"]

Integers = npt.NDArray[np.int64]


def score_templates(features: Path, options: ScoreOptions) -> Result:
    """Score features of single images, by ``docs/protocols/ijb.md``; what has no list is not scored, with a warning.

    ``features``: a features file whose videos are the set's images, one row each, or another tool's ``.npy`` in the
    order of ``face_tid_mid``.

    Raises:
        ManifestError: a list cannot be used, or neither the pairs nor the galleries are there.
        StoreError: the features cannot be used, or are not those of the set's images.
        UsageError: no folder was given.
    """
    meta, fpr_rule = options.meta, options.fpr_rule
    kind: TemplateSet = "ijbb" if options.protocol == "ijbb" else "ijbc"
    if meta is None:
        raise UsageError(f"--protocol {kind} needs --meta")
    variant = options.model_dump(include={"norm", "detector_score", "flip_halves"})
    faces_path = list_path(meta, kind, FACES)
    faces = read_faces(faces_path)
    used = [faces_path]
    numbers, of_template = np.unique(faces.templates, return_inverse=True)
    source = open_source(features, faces, options.flip_halves)
    scores = None
    if options.detector_score:
        path = list_path(meta, kind, CROPS)
        scores = _scores_of(path, faces, faces_path, in_order=source.in_list_order)
        used.append(path)
    pairs, searches, warnings = _protocol_lists(kind, meta, numbers, used)
    lengths = protocol.feature_lengths(source.blocks, len(faces.images))
    wrong = np.flatnonzero(~np.isfinite(lengths))
    if len(wrong):
        image = show(faces.images[wrong[0]])
        raise StoreError(
            f"{features}: {len(wrong)} features hold NaN or infinity, the first is that of {image}"
        )
    media = protocol.media_of(of_template, faces.media)
    rows = protocol.pool_templates(
        source.blocks, lengths, of_template, media, scores, norm=options.norm, dimension=source.dimension
    )
    beyond = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(beyond):
        raise StoreError(
            f"{features}: {len(beyond)} templates have features or detector scores too large to be added, the first "
            f"is template {numbers[beyond[0]]}"
        )
    without, empty = np.flatnonzero(lengths == 0), int(np.count_nonzero(~rows.any(axis=1)))
    result: dict[str, Any] = {
        "variant": protocol.variant(**variant),
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
        "warnings": source.warnings + warnings + _notes(faces, lengths, empty, options.norm),
        "definitions": {**protocol.DEFINITIONS, "fpr_rule": FPR_RULE_TEXT[fpr_rule]},
        "images_without_feature": [faces.images[i] for i in without.tolist()],
    }
    if pairs is not None:
        try:
            part = protocol.verify_templates(rows, *pairs, options.targets, fpr_rule)
        except ValueError as error:
            raise ManifestError(f"{meta / f'{kind}_{PAIRS}'}: {error}") from None
        merge_numbers(result, part)
    if searches is not None:
        part = protocol.identify_templates(rows, *searches, fpr_rule)
        part["ci95"] = {"identification": part["ci95"]}
        merge_numbers(result, part)
    result["inputs"] = {**source.inputs, "lists_sha256": {path.name: sha256_file(path) for path in used}}
    return Result(result)


def _protocol_lists(
    kind: TemplateSet, meta: Path, numbers: Integers, used: list[Path]
) -> tuple[TemplatePairs | None, tuple[dict[str, protocol.Subjects], protocol.Subjects] | None, list[str]]:
    """The pairs, the galleries with the probes, and a warning for each that is missing."""
    pairs, searches, warnings = None, None, []
    path = meta / f"{kind}_{PAIRS}"
    if path.is_file():
        pairs = read_template_pairs(path, numbers)
        used.append(path)
    else:
        warnings.append(f"1:1 is not scored: no {path.name} in {meta}")
    paths = [meta / f"{kind}_{name}" for name in (*GALLERIES[kind], PROBES)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        warnings.append(f"1:N is not scored: no {' and no '.join(missing)} in {meta}")
    else:
        found = [read_subjects(path, numbers, gallery=path is not paths[-1]) for path in paths]
        *galleries, probes = ((np.searchsorted(numbers, each.templates), each.subjects) for each in found)
        searches = dict(zip((name[-6:-4] for name in GALLERIES[kind]), galleries, strict=True)), probes
        used += paths
    if pairs is None and searches is None:
        raise ManifestError(f"{meta}: nothing to score: {'; '.join(warnings)}")
    return pairs, searches, warnings


def _scores_of(path: Path, faces: Faces, faces_path: Path, *, in_order: bool) -> npt.NDArray[np.float64]:
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
        both = zip(crops.images, faces.images, strict=True)
        line = next(number for number, (one, other) in enumerate(both, 1) if one != other)
        raise ManifestError(
            f"{path}:{line}: another order than {faces_path.name}, so which row of the matrix is whose cannot be told"
        )
    return np.array([score[image] for image in faces.images])


def _notes(faces: Faces, lengths: npt.NDArray[np.float64], empty: int, norm: bool) -> list[str]:
    notes: list[str] = []
    lost, templates = np.flatnonzero(lengths == 0), len(np.unique(faces.templates))
    if len(lost):
        text = (
            f"{len(lost)} images have no feature, the first is {show(faces.images[lost[0]])}: they are left out of the "
            "mean of their media"
        )
        notes.append(Warned(text, len(lost) / len(lengths)))
    if empty:
        text = f"{empty} templates have no image with a feature: they score 0 with everybody"
        notes.append(Warned(text, empty / templates))
    there = lengths[lengths > 0]
    if norm and len(there) > 1 and np.abs(there - 1).max() < UNIT_TOLERANCE:
        notes.append(
            "all features have length 1 already: the norms that --norm keeps are lost, and this is --no-norm"
        )
    return notes


def _measures(scores: Mapping[str, Any]) -> list[Measure]:
    """1:1, then the means over both galleries of 1:N."""
    rule = scores["fpr_rule"]
    found = at_targets(scores, scores["tpr@fpr"], None, lambda target: tpr_label(target, rule))
    if scores["identification"]:
        mean = scores["identification"]["mean"]
        found += [Measure(f"TPIR at FPIR {target}", value) for target, value in mean["tpir@fpir"].items()]
        found += [Measure(f"rank{k}", mean[f"rank{k}"]) for k in RANKS]
    return with_costs(scores, found)


def _lines(scores: Mapping[str, Any]) -> str:
    """1:1 as a table of TPR with the FPR really reached, 1:N as one of both galleries and their mean."""
    lines = [f"{scores['protocol']}: {scores['variant']}", ""]
    if scores["tpr@fpr"]:
        rows, beside = [("1:1", "value", "FPR reached")], [""]
        for each, reached in zip(_measures(scores), scores["fpr_reached"].values(), strict=False):
            rows.append((each.label, number(each.value), rate(reached)))
            beside.append(each.beside)
        lines += [columns(rows, beside), ""]
    if scores["identification"]:
        lines += [columns(_search_rows(scores)), ""]
    return "\n".join([*lines, counts_line(scores["counts"]), rule_line(scores), *warning_lines(scores)])


def _search_rows(scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    galleries, mean = scores["identification"]["galleries"], scores["identification"]["mean"]
    intervals = scores["ci95"]["identification"]
    head = [cell for name in galleries for cell in (f"gallery {name}", "95 % interval")]
    rows: list[tuple[str, ...]] = [("1:N", *head, "mean")]
    for target, value in mean["tpir@fpir"].items():
        values = [each["tpir@fpir"][target] for each in galleries.values()]
        ends = [intervals[name]["tpir@fpir"][target] for name in galleries]
        rows.append((f"TPIR at FPIR {target}", *_cells(values, ends), number(value)))
    for rank in (f"rank{k}" for k in RANKS):
        values, ends = ([of[name][rank] for name in galleries] for of in (galleries, intervals))
        rows.append((rank, *_cells(values, ends), number(mean[rank])))
    return rows


def _cells(values: Sequence[float | None], ends: Sequence[Sequence[float] | None]) -> list[str]:
    return [
        cell for value, both in zip(values, ends, strict=True) for cell in (number(value), interval(both))
    ]


PROTOCOLS = tuple(
    Protocol(name, score_templates, _lines, _measures, protocol.TARGETS) for name in ("ijbb", "ijbc")
)
