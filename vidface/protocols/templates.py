"""IJB-B and IJB-C: photographs and frames of videos pooled to templates, which are compared in pairs and searched.

A template's feature is the sum over its media of the mean of each medium's images, L2-normalised; two templates are
compared by cosine. 1:1 is over the listed pairs. 1:N is open-set over two galleries, each by itself: a probe whose
subject is in the gallery is a mated search, every other probe a non-mated one. Tested in
``tests/protocols/test_templates.py`` against the definition in plain numpy and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["TARGETS", "Blocks", "Pooled", "pool_templates", "variant"]

Integers = npt.NDArray[np.int64]
# Every call gives the features again from the first on: places in the list of images, and their rows.
Blocks = Callable[[], Iterable[tuple[Integers, npt.NDArray[Any]]]]

TARGETS = ("1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1")


class Pooled(NamedTuple):
    """Templates made of images.

    Attributes:
        rows: float32 [T, D], of unit length; zero where a template has no image that can be used.
        lengths: float64 [N], of the images' features; 0 where there is none, or it is zero.
    """

    rows: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.float64]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which templates have a feature, bool [T]."""
        return np.asarray(self.rows.any(axis=1))


def pool_templates(
    blocks: Blocks,
    templates: Integers,
    media: Integers,
    scores: npt.NDArray[np.float64] | None,
    *,
    norm: bool,
    dimension: int,
) -> Pooled:
    """Mean over the images of a medium, sum over the media of a template, L2-normalised.

    An image without a feature, or whose feature is zero, is left out of its medium's mean. A medium belongs to its
    template: the same number in another template is another medium. Rows are read twice and never held all at once.

    Args:
        blocks: the features.
        templates: int64 [N], the template of every image, 0 to T - 1.
        media: int64 [N], its medium.
        scores: float64 [N], what its feature is multiplied by; None for 1.
        norm: keep the length of a feature, so that longer ones count more; else each is L2-normalised first.
        dimension: D.

    Raises:
        ValueError: a feature that is NaN or infinite, by the place of its image.
    """
    count = len(templates)
    lengths = np.zeros(count)
    for places, rows in blocks():
        with np.errstate(over="ignore", invalid="ignore"):
            lengths[places] = np.linalg.norm(rows.astype(np.float64), axis=1)
        if not np.isfinite(lengths[places]).all():
            wrong = places[~np.isfinite(lengths[places])]
            raise ValueError(
                f"{len(wrong)} features hold NaN or infinity, the first is that of image {wrong[0]}"
            )
    used = np.flatnonzero(lengths > 0)
    weights = np.zeros(count)
    if len(used):
        numbers, code = np.unique(media[used], return_inverse=True)
        key = templates[used] * len(numbers) + code
        _, of_medium, sizes = np.unique(key, return_inverse=True, return_counts=True)
        weights[used] = 1 / sizes[of_medium]
        if not norm:
            weights[used] /= lengths[used]
        if scores is not None:
            weights *= scores
    sums = np.zeros((int(templates.max(initial=-1)) + 1, dimension))
    for places, rows in blocks():
        order = np.argsort(templates[places], kind="stable")
        places, weighted = places[order], rows[order].astype(np.float64)
        weighted *= weights[places, None]
        of = templates[places]
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        if len(starts):
            sums[of[starts]] += np.add.reduceat(weighted, starts, axis=0)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return Pooled((sums / np.where(norms > 0, norms, 1)).astype(np.float32), lengths)


def variant(*, norm: bool, detector_score: bool, flip_halves: bool) -> str:
    """What was done with the features before they were pooled, in words."""
    return ", ".join(
        (
            "both halves of each row added (embedding and that of the mirrored image)"
            if flip_halves
            else "features as they are in the file",
            "their norms kept" if norm else "each L2-normalised",
            "multiplied by the detector's score" if detector_score else "no detector score",
        )
    )
