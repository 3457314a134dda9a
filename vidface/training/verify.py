"""Listed pairs -> ten-fold accuracy: LFW, CFP-FP, AgeDB-30, or pairs of one's own.

Every image is read, decoded and embedded once, a batch at a time; only embeddings are kept. An image that cannot be
read, has another size or no direction is a fault: it is listed, and its pairs are left out of the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from vidface.backbones import Backbone
from vidface.errors import MediaError, StoreError, UsageError
from vidface.frames.folder import decode_image
from vidface.frames.frame import fit_frame, is_no_face_crop
from vidface.runtime import progress
from vidface.scores.metrics.folds import THRESHOLDS, cut_folds, given_folds
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FPR_RULE_TEXT, FprRule
from vidface.scores.metrics.listed_pairs import auc, tpr_of_listed_pairs
from vidface.scores.protocols.pairs import FOLDS, TARGETS
from vidface.scores.text import too_few
from vidface.training.datasets.pairs import PairSet, is_bin, open_pairs


class ImageFault(TypedDict):
    """An image that could not be used."""

    image: str
    kind: str
    detail: str


def open_all(paths: Sequence[Path], images: Path | None) -> list[PairSet]:
    """Open several files of pairs; ``images`` is for those that are lists.

    Raises:
        UsageError: no list among them uses ``images``, or one needs them; StoreError, ManifestError: see
            `open_pairs`.
    """
    holds_images = [is_bin(path) for path in paths]
    if images is not None and all(holds_images):
        raise UsageError(f"{paths[0]}: a .bin file holds its own images: leave --images out")
    for path, held in zip(paths, holds_images, strict=True):
        if images is None and not held:
            raise UsageError(f"{path}: a list of pairs needs its images: pass --images DIR, TAR or REC")
    return [
        open_pairs(path, None if held else images) for path, held in zip(paths, holds_images, strict=True)
    ]


def verify(
    pairs: PairSet,
    backbone: Backbone,
    *,
    flip: bool = True,
    resize: bool = False,
    batch_size: int = 32,
    fpr_rule: FprRule = DEFAULT_RULE,
) -> dict[str, Any]:
    """Embed the images of listed pairs and measure how well the distance tells people apart.

    Args:
        pairs: what to compare.
        backbone: the model.
        flip: add the embedding of the mirrored image, unnormalised, before the L2 normalisation; the protocol of
            the public sets does.
        resize: scale images of another size instead of listing them as faults.
        batch_size: images embedded at once; does not change the result.
        fpr_rule: which point of the curve an FPR target means.

    Returns:
        An object for JSON: ``source``; ``accuracy``, ``std``, ``standard_error``, ``fold_accuracies``,
        ``fold_thresholds``, ``threshold`` and ``threshold_accuracy`` (the best on all pairs at once; thresholds
        are squared distances), see `vidface.scores.metrics.folds`; ``auc``; ``fpr_rule``; ``tpr@fpr``, ``fpr_reached``
        and ``distance@fpr`` by target, None where the pairs are too few; ``counts``: ``pairs`` measured, ``same`` and
        ``different`` ones among them, ``images`` embedded, ``left_out`` pairs whose lines or images the list lacks,
        ``failed_images`` and ``failed_pairs``; ``faults``: image, kind, detail; ``problems`` of the list; ``warnings``.

    Raises:
        StoreError: fewer usable pairs than folds, or all of one kind.
    """
    try:  # what does not depend on the distances is said before the work: any will do here
        given_folds(~pairs.same, pairs.same, _folds(pairs, np.ones(len(pairs.same), np.bool_)))
    except ValueError as error:
        named = next(
            (f"the first: {line}" for line in pairs.problems if ": left out: " in line), "none is named"
        )
        fewer = f"; {pairs.left_out} pairs are left out, {named}" if pairs.left_out else ""
        raise StoreError(f"{pairs.source}: no accuracy can be had: {error}{fewer}") from None
    every, faults, squeezed = squared_distances(
        pairs, backbone, flip=flip, resize=resize, batch_size=batch_size
    )
    usable = np.isfinite(every)
    distances, same, folds = every[usable], pairs.same[usable], np.empty(0, np.int64)
    try:
        folds = _folds(pairs, usable)
        result = given_folds(distances, same, folds)
    except ValueError as error:
        first = f"; {faults[0]['image']}: {faults[0]['detail']}" if faults else ""
        raise StoreError(
            f"{pairs.source}: no accuracy: of {len(usable)} pairs {len(same)} can be used: {error}{first}"
        ) from None
    points = tpr_of_listed_pairs(-distances, same, TARGETS, fpr_rule)
    images = len(np.unique([pairs.first, pairs.second]))
    warnings = too_few(
        "TPR at FPR",
        [point.target for point in points if point.tpr is None],
        int((~same).sum()),
        "pairs of different people",
    )
    if squeezed:
        warnings.insert(
            0,
            f"{squeezed} of {images} images have another shape than the model's input, or are far larger, and were "
            "resized whole: cut out and align the faces first",
        )
    numbers = np.unique(folds)
    one_kind = sum(len(np.unique(same[folds == number])) == 1 for number in numbers)
    if one_kind:
        warnings.append(
            f"{one_kind} of {len(numbers)} folds hold pairs of one kind only: folds follow the order of the list, "
            "which should mix same and different"
        )
    return {
        "source": pairs.source,
        "accuracy": result.accuracy,
        "std": result.std,
        "standard_error": result.standard_error,
        "fold_accuracies": result.accuracies.tolist(),
        "fold_thresholds": result.thresholds.tolist(),
        "threshold": result.best_threshold,
        "threshold_accuracy": result.best_accuracy,
        "auc": auc(-distances, same),
        "tpr@fpr": {point.target: point.tpr for point in points},
        "fpr_rule": fpr_rule,
        "fpr_reached": {point.target: point.fpr for point in points},
        "distance@fpr": {
            point.target: None if point.threshold is None else -point.threshold for point in points
        },
        "counts": {
            "pairs": len(same),
            "same": int(same.sum()),
            "different": int((~same).sum()),
            "images": images - len(faults),
            "left_out": pairs.left_out,
            "failed_images": len(faults),
            "failed_pairs": len(usable) - len(same),
        },
        "faults": faults,
        "problems": list(pairs.problems),
        "warnings": warnings,
    }


def _folds(pairs: PairSet, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fold of every usable pair: the list's, or ten in its order; ValueError if pairs are fewer than folds."""
    return cut_folds(int(usable.sum()), FOLDS) if pairs.folds is None else pairs.folds[usable]


def definition(flip: bool, fpr_rule: FprRule = DEFAULT_RULE) -> str:
    """What the numbers mean, in words."""
    summed = "embedding + embedding of the mirrored image" if flip else "embedding (no flip)"
    return (
        f"{summed}, L2-normalised; squared Euclidean distance; same where it is below a threshold, of "
        f"{THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g} in steps of 0.01; {FOLDS} folds in the order of the pairs, or those "
        "of the list, each with the best threshold of the others; std: population standard deviation over folds; "
        f"TPR at FPR: {FPR_RULE_TEXT[fpr_rule].partition(': ')[2]}"
    )


def squared_distances(
    pairs: PairSet, backbone: Backbone, *, flip: bool, resize: bool, batch_size: int
) -> tuple[NDArray[np.float64], list[ImageFault], int]:
    """The squared Euclidean distance of every pair's L2-normalised embeddings.

    Returns:
        float64 [P], NaN where an image of the pair failed; the faults; and how many images were resized that are
        hardly cropped faces.
    """
    used = np.unique([pairs.first, pairs.second])
    summed = np.zeros((len(used), backbone.card.dimension), np.float32)
    faults: dict[int, ImageFault] = {}
    squeezed, size = 0, backbone.card.input_size
    with progress("verify", len(used), "images") as advance:
        for start in range(0, len(used), batch_size):
            batch = used[start : start + batch_size].tolist()
            faces = {}
            for image in batch:
                try:
                    pixels = decode_image(pairs.read(image))
                    faces[image] = fit_frame(pixels, size, resize=resize)
                    squeezed += is_no_face_crop(pixels, size)
                except MediaError as error:
                    faults[image] = {"image": pairs.names[image], "kind": error.kind, "detail": str(error)}
            if faces:
                stacked = np.stack(list(faces.values()))
                rows = backbone.embed(stacked)
                if flip:
                    rows = rows + backbone.embed(np.ascontiguousarray(stacked[:, :, ::-1]))
                summed[np.searchsorted(used, list(faces))] = rows
            advance(len(batch))
    unit = summed.astype(np.float64)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    directed = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    for image in used[~directed].tolist():
        detail = "the model gives zeros or no number for it"
        faults.setdefault(image, {"image": pairs.names[image], "kind": "no-embedding", "detail": detail})
    unit[directed] /= norms[directed]
    unit[~directed] = np.nan
    first, second = np.searchsorted(used, pairs.first), np.searchsorted(used, pairs.second)
    distances = np.empty(len(first))
    for place in range(0, len(first), 4096):  # the differences of a million pairs would not fit
        part = slice(place, place + 4096)
        distances[part] = np.square(unit[first[part]] - unit[second[part]]).sum(axis=1)
    return distances, [faults[image] for image in sorted(faults)], squeezed
