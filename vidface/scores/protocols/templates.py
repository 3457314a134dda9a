"""IJB-B and IJB-C: photographs and frames of videos pooled to templates, which are compared in pairs and searched.

A template's feature is the sum over its media of the mean of each medium's images, L2-normalised; the score is the
cosine. 1:1 is over the listed pairs. 1:N is open-set over two galleries, each by itself: a probe whose subject is in
the gallery is a mated search, every other one non-mated. Tested in ``tests/scores/protocols/test_templates.py``
against the definition in plain numpy and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidface.errors import Warned
from vidface.scores.metrics.bootstrap import bootstrap_ratio
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import tpr_of_listed_pairs
from vidface.scores.protocols.protocol import RANKS, rate_costs, rates
from vidface.scores.text import too_few, tpr_label

if TYPE_CHECKING:
    from vidface.scores.metrics.open_set import SearchOutcomes

Integers = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Subjects = tuple[Integers, Integers]  # places of templates, and whose they are
# Every call gives the features again from the first on: places in the list of images, and their rows.
Blocks = Callable[[], Iterable[tuple[Integers, npt.NDArray[Any]]]]

TARGETS = ("1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1")
FPIR_TARGETS = ("1e-3", "1e-2", "1e-1")
DEFINITIONS = {
    "template": "the mean over the images of each medium, summed over the media of a template, L2-normalised; cosine",
    "1:1": "TPR at FPR over the listed pairs; no interval, as pairs share templates and name no subjects",
    "1:N": (
        "each probe is searched in each gallery by itself; mated: its subject is in that gallery, non-mated: all other "
        "probes. FPIR: non-mated searches whose best score is at least the threshold / all non-mated searches; TPIR: "
        "mated searches whose mate is first and at least the threshold / all mated searches; a tie goes against the "
        "mate; rank-k: mated searches whose mate is among the first k / all mated searches; the mean over both "
        "galleries, each of the same weight. Intervals resample subjects at the threshold found"
    ),
}


def feature_lengths(blocks: Blocks, count: int) -> Floats:
    """The length of every image's feature, float64 [count]: 0 if there is none, not finite if the feature is not."""
    lengths = np.zeros(count)
    for places, rows in blocks():
        with np.errstate(over="ignore", invalid="ignore"):
            lengths[places] = np.linalg.norm(rows.astype(np.float64), axis=1)
    return lengths


def media_of(templates: Integers, media: Integers) -> Integers:
    """int64 [N], a number for every medium of a template: the same medium in another template is another one."""
    numbers, code = np.unique(media, return_inverse=True)
    return np.asarray(np.unique(templates * len(numbers) + code, return_inverse=True)[1], np.int64)


def pool_templates(
    blocks: Blocks,
    lengths: Floats,
    templates: Integers,
    media: Integers,
    scores: Floats | None,
    *,
    norm: bool,
    dimension: int,
) -> Rows:
    """Mean over the images of a medium, sum over the media of a template, L2-normalised; never all rows in memory.

    An image without a feature, or with a zero one, is left out of its medium's mean.

    Args:
        blocks: the features, finite.
        lengths: float64 [N], from `feature_lengths`.
        templates: int64 [N], the template of every image, 0 to T - 1.
        media: int64 [N], from `media_of`.
        scores: float64 [N], factors of the features; None for 1.
        norm: keep the length of a feature, so that longer ones count more; else each is L2-normalised first.
        dimension: D.

    Returns:
        float32 [T, D], of unit length; zero if a template has no usable image, not finite if its sum is not.
    """
    used = lengths > 0
    sizes = np.bincount(media[used], minlength=int(media.max(initial=-1)) + 1)[media]
    weights = np.divide(1.0, sizes, out=np.zeros(len(lengths)), where=used)
    if not norm:
        np.divide(weights, lengths, out=weights, where=used)
    if scores is not None:
        weights *= scores
    sums = np.zeros((int(templates.max(initial=-1)) + 1, dimension))
    for places, rows in blocks():
        order = np.argsort(templates[places], kind="stable")
        sorted_places = places[order]
        with np.errstate(over="ignore"):
            weighted = rows[order].astype(np.float64) * weights[sorted_places, None]
        of = templates[sorted_places]
        starts = np.flatnonzero(np.diff(of, prepend=-1))
        if len(starts):
            with np.errstate(over="ignore", invalid="ignore"):  # such sums stay, and are no numbers
                sums[of[starts]] += np.add.reduceat(weighted, starts, axis=0)
    # By the largest number first: the squares of very large and very small ones are no numbers.
    largest = np.abs(sums).max(axis=1, keepdims=True, initial=0)
    with np.errstate(invalid="ignore"):
        sums /= np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(norms > 0, norms, 1), np.float32)


def variant(*, norm: bool, detector_score: bool, flip_halves: bool) -> str:
    """What was done with the features before they were pooled, in words."""
    rows = "features as they are in the file"
    if flip_halves:
        rows = "both halves of each row added (embedding and that of the mirrored image)"
    norms = "their norms kept" if norm else "each L2-normalised"
    return f"{rows}, {norms}, " + (
        "multiplied by the detector's score" if detector_score else "no detector score"
    )


def verify_templates(
    rows: Rows,
    first: Places,
    second: Places,
    same: Flags,
    targets: Sequence[str] = TARGETS,
    rule: FprRule = DEFAULT_RULE,
) -> dict[str, Any]:
    """TPR at FPR of float32 [T, D] templates ``rows`` over listed pairs: places int32 [P] and ``same``, bool [P].

    Raises:
        ValueError: all pairs are of one kind.
    """
    from vidface.scores.pairs.listed import listed_cosines

    points = tpr_of_listed_pairs(listed_cosines(rows, first, second), same, targets, rule)
    impostors = int(np.count_nonzero(~same))
    rare = [point.target for point in points if point.tpr is None]
    warnings = too_few("TPR at FPR", rare, impostors, "impostor pairs")
    usable = np.asarray(rows.any(axis=1), np.bool_)
    without = ~(usable[first] & usable[second])
    empty, lost, genuine = int(without.sum()), int((without & same).sum()), int(same.sum())
    if empty:
        text = f"{empty:,} of {len(same):,} pairs have a template without any feature: they score 0"
        warnings.append(Warned(text, empty / len(same)))
    why = "genuine pairs have a template without any feature and score 0"
    repeats, opposite = _repeats(first, second, same, len(rows))
    if repeats:
        warnings.append(
            f"{repeats:,} listed pairs repeat another, in either order, {opposite:,} of them with the other label; "
            "each counts"
        )
    with_itself = int(np.count_nonzero(first == second))
    if with_itself:
        warnings.append(f"{with_itself:,} listed pairs are of a template with itself: they score 1")
    found = rates(points)
    return {
        "failed": rate_costs(why, lost, genuine, found, lambda target: tpr_label(target, rule)),
        **found,
        "counts": {"genuine_pairs": len(same) - impostors, "impostor_pairs": impostors},
        "warnings": warnings,
    }


def _repeats(first: Places, second: Places, same: Flags, templates: int) -> tuple[int, int]:
    """How many pairs were there before, in either order, and how many pairs are listed with both labels."""
    keys = np.minimum(first, second).astype(np.int64) * templates + np.maximum(first, second)
    keys = 2 * keys + same  # so that both labels of a pair come one after the other
    keys.sort()
    again = keys[1:] // 2 == keys[:-1] // 2
    return int(np.count_nonzero(again)), int(np.count_nonzero(again & (keys[1:] != keys[:-1])))


def identify_templates(
    rows: Rows, galleries: Mapping[str, Subjects], searched: Subjects, rule: FprRule = DEFAULT_RULE
) -> dict[str, Any]:
    """1:N, open set: every probe is searched in each gallery by itself, and the two rates are averaged.

    ``identification`` has ``galleries`` by name and their ``mean``, each with ``tpir@fpir``, ``threshold@fpir`` and
    ``fpir_reached`` (target -> value or None; the mean has the first only), ``rank1``, ``rank5``, ``rank10``.
    """
    from vidface.scores.metrics.open_set import search_outcomes

    probes, subjects = searched
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    counts: dict[str, int] = {"probes": len(subjects)}
    warnings: list[str] = []
    found = np.zeros(len(subjects), np.int64)
    for name, (places, enrolled) in galleries.items():
        outcomes = search_outcomes(rows[probes], rows[places], subjects, enrolled)
        found += outcomes.mated
        results[name], intervals[name], notes = _one_gallery(outcomes, subjects, rule)
        warnings += [f"gallery {name}: {note.replace('FNIR', 'TPIR')}" for note in notes]
        counts |= {
            f"gallery_{name}": len(places),
            f"mated_{name}": int(outcomes.mated.sum()),
            f"non-mated_{name}": int((~outcomes.mated).sum()),
        }
        shared = len(np.intersect1d(places, probes))
        if shared:
            warnings.append(f"gallery {name}: {shared} of its templates are probes too, and find themselves")
    for times, what in ((0, "no gallery"), (2, "more than one gallery")):
        number = int(np.count_nonzero(found >= times if times else found == 0))
        if number:
            warnings.append(f"{number} probes have their subject in {what}")
    values = list(results.values())
    mean = {
        "tpir@fpir": {t: _mean([each["tpir@fpir"][t] for each in values]) for t in FPIR_TARGETS},
        **{f"rank{k}": _mean([each[f"rank{k}"] for each in values]) for k in RANKS},
    }
    return {
        "identification": {"galleries": results, "mean": mean},
        "ci95": intervals,
        "counts": counts,
        "warnings": warnings,
    }


def _one_gallery(
    outcomes: SearchOutcomes, subjects: Integers, rule: FprRule
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    from vidface.scores.metrics.open_set import closed_set_rates, fnir_at_fpir, returned

    points, notes = fnir_at_fpir(outcomes, FPIR_TARGETS, rule=rule)
    _, person = np.unique(subjects, return_inverse=True)
    searches = np.bincount(person, outcomes.mated)

    def interval(hits: Flags) -> list[float]:
        return list(bootstrap_ratio(np.bincount(person, hits, len(searches)), searches))

    ranks = closed_set_rates(outcomes, RANKS)
    result = {
        **rates(points, {"tpir@fpir": "tpir", "threshold@fpir": "threshold", "fpir_reached": "fpir"}),
        **{f"rank{k}": rate for k, rate in ranks.items()},
    }
    intervals = {
        "tpir@fpir": {
            point.target: None if point.threshold is None else interval(returned(outcomes, point.threshold))
            for point in points
        },
        **{
            f"rank{k}": None if rate is None else interval(outcomes.mated & (outcomes.rank <= k))
            for k, rate in ranks.items()
        },
    }
    return result, intervals, notes


def _mean(values: Sequence[float | None]) -> float | None:
    """None if one of them is."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None
