"""The numbers of open-set search: videos of the gallery split are searched among the identities of the other one.

A template is the L2-normalised mean of an identity's enrolment videos, as in `vidface.scores.protocols.iqiyi`. Every
gallery video is one search, non-mated if its identity is not enrolled or unknown. A video without a usable frame
scores 0 with everybody and stays in its denominator; an identity without a usable enrolment video stays enrolled and
scores 0 likewise.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError, Warned
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.bootstrap import bootstrap_ratio
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.protocol import RANKS, costs, rates
from vidface.scores.scored import refuse_count, rows_of_splits

if TYPE_CHECKING:
    from vidface.scores.metrics.identity_thresholds import IdentityThresholds, Judged
    from vidface.scores.metrics.open_set import Det, Identification, SearchOutcomes

__all__ = ["TARGETS", "fnir_label", "open_set_numbers", "rank_label"]

TARGETS = ("1e-1", "1e-2", "1e-3")
_STORED = {"tpir@fpir": "tpir", "fnir@fpir": "fnir", "threshold@fpir": "threshold", "fpir_reached": "fpir"}
STEPS = 200  # of the curve in the result; a file has them all


def open_set_numbers(
    embeddings: npt.NDArray[np.float32], manifest: Manifest, options: ScoreOptions
) -> tuple[dict[str, Any], Det | None]:
    """Enrol, search and score: the numbers, and the whole curve if there are mated and non-mated searches.

    ``embeddings``: float32 [V, D], L2-normalised or zero, row i for video i of the manifest.

    Raises:
        ManifestError: nobody is enrolled, or there is nothing to search for.
        UsageError: both splits are the same.
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    targets, rule = options.targets, options.fpr_rule
    enrolment_split, gallery_split = options.enrolment_split, options.gallery_split
    refuse_count(embeddings, manifest)
    from vidface.scores.metrics.identity_thresholds import identity_thresholds
    from vidface.scores.metrics.open_set import closed_set_rates, det, fnir_at_fpir, search_outcomes
    from vidface.scores.search.retrieval import identity_templates

    if enrolment_split == gallery_split:
        raise UsageError(
            f"--enrolment-split and --gallery-split are both '{gallery_split}': each video would find itself; "
            "name two splits"
        )
    enrolled, searched = rows_of_splits(manifest, enrolment_split, gallery_split)
    names, templates = identity_templates(
        embeddings[enrolled], [manifest.identities[i] for i in enrolled.tolist()]
    )
    code = {name: i for i, name in enumerate(names)}
    people = [manifest.identities[i] for i in searched.tolist()]
    own = np.array([code.get(person, -1) for person in people], np.int64)
    probes, identities = embeddings[searched], np.arange(len(names))

    outcomes = search_outcomes(probes, templates, own, identities)
    points, notes = fnir_at_fpir(outcomes, targets, rule=rule)
    warnings: list[str] = list(notes)
    # Who is drawn together: all searches of one person, and each video of nobody known.
    units = [person or f"\0{row}" for row, person in enumerate(people)]
    unit = np.unique(np.array(units, object), return_inverse=True)[1]
    judged = identity_thresholds(probes, templates, own, identities, _first_half(manifest, searched), targets)
    curve = det(outcomes) if outcomes.mated.any() and not outcomes.mated.all() else None
    unusable = int(np.count_nonzero(~templates.any(axis=1)))
    if unusable:
        text = f"{unusable} of {len(names)} enrolled identities have no usable video: they score 0"
        warnings.append(Warned(text, unusable / len(names)))
    usable = np.asarray(probes.any(axis=1), np.bool_) & np.asarray(templates.any(axis=1), np.bool_)[own]
    failed = _failed(outcomes, points, usable, rule)
    warnings += [
        f"thresholds of single identities at {target} are not measured: in the half they are chosen on, searches of "
        f"other people are fewer than 1/{target}"
        for target, found in zip(targets, judged.at, strict=True)
        if found is None
    ]
    splits = Counter(manifest.splits)
    strangers = {person for person in people if person and person not in code}
    result = {
        "failed": failed,
        **rates(points, _STORED),
        **{f"rank{k}": value for k, value in closed_set_rates(outcomes, RANKS).items()},
        "ci95": _intervals(outcomes, points, unit, rule),
        "det": None if curve is None else _steps(curve),
        "identity_thresholds": {
            target: None if found is None else _summary(found, judged)
            for target, found in zip(targets, judged.at, strict=True)
        },
        "per_identity": _per_identity(names, judged),
        "counts": {
            "enrolled_identities": len(names),
            "enrolment_videos": len(enrolled),
            "searches": len(searched),
            "mated_searches": int(outcomes.mated.sum()),
            "identities_searched_for": len(set(own[own >= 0].tolist())),
            "non_mated_searches": int((~outcomes.mated).sum()),
            "identities_not_enrolled": len(strangers),
            "searches_without_identity": people.count(""),
            "searches_without_usable_frame": int(np.count_nonzero(~probes.any(axis=1))),
            "enrolled_without_usable_video": unusable,
            "enrolment_videos_without_identity": splits[enrolment_split] - len(enrolled),
            "videos_of_other_splits": len(manifest.splits) - splits[enrolment_split] - len(searched),
        },
        "warnings": warnings,
    }
    return result, curve


def fnir_label(target: str, rule: FprRule) -> str:
    """``FNIR at FPIR 1e-2``; with the rule unless it is the default."""
    return f"FNIR at FPIR {target}" + ("" if rule == DEFAULT_RULE else f" ({rule})")


def rank_label(k: int) -> str:
    """Rank-k here is of searches, not of identities as elsewhere."""
    return f"rank{k} of mated searches"


def _failed(
    outcomes: SearchOutcomes, points: Sequence[Identification], usable: npt.NDArray[np.bool_], rule: FprRule
) -> dict[str, Any]:
    """What mated searches without a usable video or mate cost; ``usable``, bool [P]: it has a probe and a template."""
    from vidface.scores.metrics.open_set import returned

    rest, of = outcomes.mated & usable, int(outcomes.mated.sum())

    def share(found: npt.NDArray[np.bool_]) -> float | None:
        return float(found[rest].mean()) if rest.any() else None

    without = {rank_label(k): share(outcomes.rank <= k) for k in RANKS}
    for point in points:
        if point.fnir is not None:
            right = None if rule == "interpolated" else share(returned(outcomes, point.threshold))
            without[fnir_label(point.target, rule)] = None if right is None else 1 - right
    why = "mated searches have no usable video, or their identity has none, and fail"
    return costs(why, of - int(rest.sum()), of, without)


def _first_half(manifest: Manifest, videos: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Half of the people, with all their videos, by the hash of their names; unknown videos by that of their ids."""
    names = [
        f"identity {manifest.identities[i]}" if manifest.identities[i] else f"video {manifest.video_ids[i]}"
        for i in videos.tolist()
    ]
    return np.array(
        [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[0] < 128 for name in names], np.bool_
    )


def _intervals(
    outcomes: SearchOutcomes, points: Sequence[Identification], unit: npt.NDArray[np.int64], rule: FprRule
) -> dict[str, Any]:
    """95 % intervals; None where a number is None, and between thresholds."""
    from vidface.scores.metrics.open_set import returned

    def ratio(hits: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> list[float]:
        counts = [np.bincount(unit, weights=part) for part in (hits & of, of)]
        return list(bootstrap_ratio(*counts))

    intervals: dict[str, Any] = {"tpir@fpir": {}, "fnir@fpir": {}, "fpir_reached": {}}
    for point in points:
        if point.tpir is None or rule == "interpolated":
            low, high, fpir = None, None, None
        else:
            low, high = ratio(returned(outcomes, point.threshold), outcomes.mated)
            least = np.inf if point.threshold is None else point.threshold
            fpir = ratio(outcomes.best >= least, ~outcomes.mated)
        found = None if low is None or high is None else [low, high]
        intervals["tpir@fpir"][point.target] = found
        intervals["fnir@fpir"][point.target] = None if found is None else [1 - found[1], 1 - found[0]]
        intervals["fpir_reached"][point.target] = fpir
    for k in RANKS:
        intervals[f"rank{k}"] = ratio(outcomes.rank <= k, outcomes.mated) if outcomes.mated.any() else None
    return intervals


def _steps(curve: Det) -> dict[str, Any]:
    """The corners of the curve, the lowest FNIR of each FPIR; of many, some evenly spread over log FPIR."""
    last = np.append(np.flatnonzero(np.diff(curve.fpir)), len(curve.fpir) - 1)
    if len(last) > STEPS:
        levels = np.geomspace(curve.fpir[last[1]], 1, STEPS - 1)
        chosen = np.searchsorted(curve.fpir[last], levels, side="right") - 1
        last = last[np.unique(np.append(0, chosen))]
    threshold = [None if np.isinf(value) else value for value in curve.threshold[last].tolist()]
    return {
        "fpir": curve.fpir[last].tolist(),
        "fnir": curve.fnir[last].tolist(),
        "threshold": threshold,
        "corners": int(np.count_nonzero(np.diff(curve.fpir))) + 1,
    }


def _summary(found: IdentityThresholds, judged: Judged) -> dict[str, Any]:
    """Means over identities of their own thresholds beside one for all; None if there is nothing to divide by."""
    searched, others = judged.searches > 0, judged.others > 0

    def rates(missed: npt.NDArray[np.int64], accepted: npt.NDArray[np.int64]) -> dict[str, float | None]:
        misses = missed[searched] / judged.searches[searched]
        false = accepted[others] / judged.others[others]
        return {
            "missed": float(misses.mean()) if len(misses) else None,
            "accepted_others": float(false.mean()) if len(false) else None,
            "accepted_others_worst": float(false.max()) if len(false) else None,
        }

    return {
        "own": {
            **rates(found.missed, found.accepted),
            "lowest": float(found.threshold.min()),
            "median": float(np.median(found.threshold)),
            "highest": float(found.threshold.max()),
        },
        "one": {**rates(found.one_missed, found.one_accepted), "threshold": found.one_threshold},
    }


def _per_identity(names: Sequence[str], judged: Judged) -> dict[str, Any]:
    """Each identity's threshold at every target, with what it misses and accepts there."""
    at = [found for found in judged.at if found is not None]
    return {
        name: {
            "searches": int(judged.searches[i]),
            "searches_of_others": int(judged.others[i]),
            "threshold": {found.target: float(found.threshold[i]) for found in at},
            "missed": {found.target: int(found.missed[i]) for found in at},
            "accepted_others": {found.target: int(found.accepted[i]) for found in at},
        }
        for i, name in enumerate(names)
    }
