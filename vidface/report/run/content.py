"""What a report says (numbers, curves, strips, lists), filled by `gather` and drawn by `page`.

Texts (ids, identities, details of faults) are as in the files and not trusted: whoever writes them escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.frames.frame import Pixels
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule

Cell = str | int | float | None
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Table(NamedTuple):
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
    """One row per threshold, in the order of the sweep; lists have one entry per threshold."""

    thresholds: list[str]  # ``none`` or a cosine
    kept: list[float | None]  # share of frames that stayed, 0..1
    measures: dict[str, list[float | None]]  # by label; measures that are never known are left out
    chosen: str | None  # the threshold of this run if it is one of these
    warning: str | None  # about how it was chosen
    smaller: frozenset[str] = frozenset()  # the labels of errors, of which less is better


class OperatingPoint(NamedTuple):
    """One exact point of the ROC curve, for an FPR target; None if there are too few impostor pairs.

    ``fpr``: where it is marked, at the target; by ``nearest``, which may lie beyond it, at the FPR it has.
    """

    target: str
    fpr: float
    tpr: float | None
    low: float | None
    high: float | None
    threshold: float | None


@dataclass(frozen=True)
class Curves:
    """ROC and DET over all pairs (FNMR = 1 - tpr): every row is the true rate at its threshold."""

    thresholds: Floats  # [P], falling; a pair is accepted from this cosine on
    fpr: Floats  # [P], rising, 0..1
    tpr: Floats
    genuine_pairs: int
    impostor_pairs: int
    points: list[OperatingPoint]  # at the FPR targets, exact
    note: str  # how fine the thresholds are, in words
    rule: FprRule = DEFAULT_RULE  # which point of the curve a target means


@dataclass(frozen=True)
class Histogram:
    """Pairs of the same person and of different ones by cosine: edges[b] <= cosine < edges[b+1], last bin closed."""

    edges: Floats  # [B+1], rising
    same: Counts  # [B]
    different: Counts  # [B]
    thresholds: dict[str, float] = field(default_factory=dict)  # FPR target -> cosine, to be marked


class Cmc(NamedTuple):
    """Closed-set identification: ``rate[k-1]`` of the identities have a hit among the first k of their ranking."""

    ranks: Counts
    rate: Floats
    identities: int


class StripFrame(NamedTuple):
    """One frame (one face, if faces were detected) of a strip."""

    row: int  # its number within the video, from 0
    seconds: float | None
    label: int  # its cluster: 0 is the kept one, the others by falling size
    cosine: float | None  # to the video's embedding; None without features, or if one of the two is zero
    kept: bool  # in the embedding; if all frames count by weight, with at least an equal share
    picture: Pixels | None  # uint8 [size, size, 3]
    track: int | None


class Strip(NamedTuple):
    """The frames of one video in the order of time; if faces were tracked, one track after the other."""

    video_id: str
    identity: str  # empty for nobody known
    why: str  # ``most changed``, ``most fragmented``, ``random`` or ``asked for``
    detail: str  # what made it chosen, in words
    frames: list[StripFrame]
    shown_of: int  # how many frames the video has; more than ``frames`` if only an even sample is shown
    kept: int  # of all frames
    clusters: int


class Ranked(NamedTuple):
    """One answer of a ranking; ``cosine`` is the inner product of the identity's template and the video."""

    rank: int
    video_id: str
    identity: str
    cosine: float
    relevant: bool
    picture: Pixels | None


class Confused(NamedTuple):
    identity: str
    ap: float
    enrolled: int  # its enrolment videos
    videos: int  # its gallery videos
    found: int  # how many of them are among the first 100
    ranked: list[Ranked]  # as far as it is worth showing
    missed: list[str]  # gallery videos of the identity that are not among the first 100
    picture: Pixels | None  # of one of its enrolment videos


class Pair(NamedTuple):
    """Two videos and the cosine of their embeddings; ``a_id`` comes before ``b_id`` in text order."""

    cosine: float
    a_id: str
    a_identity: str
    b_id: str
    b_identity: str
    a_picture: Pixels | None = None
    b_picture: Pixels | None = None


class Map(NamedTuple):
    """The video embeddings in the plane; only who is near to whom means something."""

    xy: Floats  # [n, 2]
    identities: list[str]  # empty for nobody known
    video_ids: list[str]
    method: str  # library, version, options
    shown_of: int  # videos with a usable embedding; more than n if only a sample is shown
    note: str  # how the sample was drawn; empty if all are shown


@dataclass(frozen=True)
class Content:
    """A whole report; a part that cannot be had is None or empty, and ``missing`` says why."""

    title: str
    headline: list[Number]  # in the order of the protocols
    counts: Table
    protocol: list[tuple[str, str]]  # (name, the exact protocol in words)
    warnings: list[str]
    missing: dict[str, str]  # sweep, curves, cmc, strips, confused, pairs, map -> why
    made_with: Table
    sweep: Sweep | None
    curves: Curves | None
    histogram: Histogram | None
    cmc: Cmc | None
    faces: bool  # whether a frame, of strips and counts, is a face that was detected
    weighted: bool  # whether embeddings average all frames by weight
    strips: list[Strip]  # those that were asked for first
    confused: list[Confused]  # the lowest AP first
    impostors: list[Pair]  # pairs of different people, or of somebody unknown, the highest cosine first
    genuine: list[Pair]  # pairs of one person, the lowest cosine first
    map: Map | None
    fault_counts: Table  # by stage and kind, and videos by status
    faults: Table  # every fault; a page shows the first ones, the CSV all
    lines: str = ""  # what ``vidface score`` prints, of a protocol that has no figures of its own
