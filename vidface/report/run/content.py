"""What a report says: numbers, curves, strips and lists, without a word about how they are drawn.

`vidface.report.run.gather` fills a `Content` from a run, `vidface.report.run.page` draws it. Texts (ids, identities,
details of faults) are as they stand in the files and not to be trusted: whoever writes them into a page or a table
escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.frames.frame import Pixels
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule

__all__ = [
    "Cell",
    "Cmc",
    "Confused",
    "Content",
    "Curves",
    "Histogram",
    "Map",
    "Number",
    "OperatingPoint",
    "Pair",
    "Ranked",
    "Strip",
    "StripFrame",
    "Sweep",
    "Table",
]

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows of one table; ``name`` is the stem of its CSV file (letters, digits, ``-``), ``note`` may be empty."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


class Number(NamedTuple):
    """One measure of the headline with its 95 % interval, or None; ``note`` says why, or what failed trials cost it."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class Sweep:
    """A row a threshold, in the order of the sweep; lists have one entry a threshold.

    Attributes:
        thresholds: as text, ``none`` or a cosine.
        kept: share of frames that stayed, 0..1.
        measures: label (``mAP@100``, ``TPR at FPR 1e-4`` ...) -> values; measures that are never known are left out.
        chosen: the threshold of this run where it is one of ``thresholds``.
        warning: what is to be said about how it was chosen; None where nothing is.
        smaller: the labels of errors, of which less is better.
    """

    thresholds: list[str]
    kept: list[float | None]
    measures: dict[str, list[float | None]]
    chosen: str | None
    warning: str | None
    smaller: frozenset[str] = frozenset()


class OperatingPoint(NamedTuple):
    """One exact point of the ROC curve, for an FPR target; None where there are too few impostor pairs.

    ``fpr`` is where it is marked: at the target, but for ``nearest``, which may lie beyond it, at the FPR it has.
    """

    target: str
    fpr: float
    tpr: float | None
    low: float | None
    high: float | None
    threshold: float | None


@dataclass(frozen=True)
class Curves:
    """ROC and DET over all pairs (FNMR = 1 - tpr): every row is the true rate at its threshold, none is interpolated.

    Attributes:
        thresholds: float64 [P], falling; a pair is accepted where its cosine is at least the threshold.
        fpr: float64 [P], rising, 0..1.
        tpr: float64 [P], rising, 0..1.
        genuine_pairs, impostor_pairs: how many pairs there are in all.
        points: at the FPR targets, exact.
        note: how fine the thresholds are, in words.
        rule: of `vidface.scores.metrics.fpr_rules`: which point of the curve a target means.
    """

    thresholds: npt.NDArray[np.float64]
    fpr: npt.NDArray[np.float64]
    tpr: npt.NDArray[np.float64]
    genuine_pairs: int
    impostor_pairs: int
    points: list[OperatingPoint]
    note: str
    rule: FprRule = DEFAULT_RULE


@dataclass(frozen=True)
class Histogram:
    """How many pairs of the same person, and of different ones, have which cosine.

    Attributes:
        edges: float64 [B+1], rising; bin b holds edges[b] <= cosine < edges[b+1], the last one its upper end too.
        same: int64 [B].
        different: int64 [B].
        thresholds: FPR target -> cosine from which pairs are accepted there, to be marked.
    """

    edges: npt.NDArray[np.float64]
    same: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]
    thresholds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cmc:
    """Closed-set identification: ``rate[k-1]`` of the identities have a hit among the first k of their ranking."""

    ranks: npt.NDArray[np.int64]
    rate: npt.NDArray[np.float64]
    identities: int


class StripFrame(NamedTuple):
    """One frame (where faces were detected: one face) of a strip.

    Attributes:
        row: its number within the video, from 0.
        seconds: its presentation time.
        label: its cluster, 0 is the kept one, the others by falling size.
        cosine: to the video's embedding; None where the features are not there, or one of the two is zero.
        kept: whether the embedding was made of it; where all frames count by weight, whether its share is an equal
            one at least.
        picture: uint8 [size, size, 3]; None where it cannot be read, or was not asked for.
        track: its track, where faces were detected and tracked.
    """

    row: int
    seconds: float | None
    label: int
    cosine: float | None
    kept: bool
    picture: Pixels | None
    track: int | None


@dataclass(frozen=True)
class Strip:
    """The frames of one video in the order of time; where faces were tracked, of one track after the other.

    Attributes:
        video_id: which video.
        identity: who is in it; empty for nobody known.
        why: ``most changed``, ``most fragmented``, ``random`` or ``asked for``.
        detail: what made it chosen, in words ("cosine 0.41 between the embeddings without and with clustering").
        frames: those that are shown.
        shown_of: how many frames the video has; more than ``frames`` where only an even sample of them is shown.
        kept: how many of all frames are kept.
        clusters: how many clusters all frames make.
    """

    video_id: str
    identity: str
    why: str
    detail: str
    frames: list[StripFrame]
    shown_of: int
    kept: int
    clusters: int


class Ranked(NamedTuple):
    """One answer of a ranking; ``cosine`` is the inner product of the identity's template and the video."""

    rank: int
    video_id: str
    identity: str
    cosine: float
    relevant: bool
    picture: Pixels | None


@dataclass(frozen=True)
class Confused:
    """An identity with a low AP.

    Attributes:
        identity: whose template was searched.
        ap: average precision at 100.
        enrolled: its enrolment videos.
        videos: its gallery videos.
        found: how many of them are among the first 100.
        ranked: its ranking, as far as it is worth showing.
        missed: gallery videos of the identity that are not among the first 100.
        picture: of one of its enrolment videos.
    """

    identity: str
    ap: float
    enrolled: int
    videos: int
    found: int
    ranked: list[Ranked]
    missed: list[str]
    picture: Pixels | None


class Pair(NamedTuple):
    """Two videos and the cosine of their embeddings; ``a_id`` comes before ``b_id`` in text order."""

    cosine: float
    a_id: str
    a_identity: str
    b_id: str
    b_identity: str
    a_picture: Pixels | None = None
    b_picture: Pixels | None = None


@dataclass(frozen=True)
class Map:
    """The video embeddings in the plane; only who is near to whom means something.

    Attributes:
        xy: float64 [n, 2].
        identities: [n], to be coloured by; empty for nobody known.
        video_ids: [n].
        method: how it was made, in words: library, version, options.
        shown_of: how many videos with a usable embedding there are; more than n where only a sample is shown.
        note: how the sample was drawn; empty where all are shown.
    """

    xy: npt.NDArray[np.float64]
    identities: list[str]
    video_ids: list[str]
    method: str
    shown_of: int
    note: str


@dataclass(frozen=True)
class Content:
    """A whole report; a part that cannot be had is None or empty, and ``missing`` says why.

    Attributes:
        title: the run's name.
        headline: the numbers that count, in the order of the protocols.
        counts: videos, people, distractors, pairs, faults.
        protocol: (name, the exact protocol in words), to be shown with the headline.
        warnings: sentences that belong to the top of the page.
        missing: part (``sweep``, ``curves``, ``cmc``, ``strips``, ``confused``, ``pairs``, ``map``) -> why it is not
            there.
        made_with: model, options, versions, checksums.
        sweep, curves, histogram, cmc: the figures.
        faces: whether a frame, of strips and counts, is a face that was detected.
        weighted: whether embeddings average all frames by weight; kept are then those with an equal share or more.
        strips: chosen videos, those that were asked for first.
        confused: identities with the lowest AP, the lowest first.
        impostors: pairs of different people (or of somebody unknown) with the highest cosine, the highest first.
        genuine: pairs of one person with the lowest cosine, the lowest first.
        map: the embeddings in the plane.
        fault_counts: how many faults of each stage and kind there are, and videos by status.
        faults: every fault; a page shows the first ones, the CSV all.
        lines: what ``vidface score`` prints, of a protocol that has no figures of its own; else empty.
    """

    title: str
    headline: list[Number]
    counts: Table
    protocol: list[tuple[str, str]]
    warnings: list[str]
    missing: dict[str, str]
    made_with: Table
    sweep: Sweep | None
    curves: Curves | None
    histogram: Histogram | None
    cmc: Cmc | None
    faces: bool
    weighted: bool
    strips: list[Strip]
    confused: list[Confused]
    impostors: list[Pair]
    genuine: list[Pair]
    map: Map | None
    fault_counts: Table
    faults: Table
    lines: str = ""
