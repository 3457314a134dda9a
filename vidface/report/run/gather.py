"""Everything a report says, from the files of a run; the same for the same files, whatever the threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import ManifestError, UsageError, printable
from vidface.files.store import Embeddings, FeaturesInfo, read_embeddings, read_features, warnings_of
from vidface.frames.frame import Pixels
from vidface.manifest.names import NameIndex
from vidface.report.run import examples, numbers
from vidface.report.run.content import Cmc, Content, Pair, Strip
from vidface.report.run.projection import map_of
from vidface.runs.opened import Run
from vidface.scores.metrics.ranking import cmc
from vidface.scores.pairs.distribution import Extremes, pair_distribution
from vidface.scores.protocols import iqiyi
from vidface.scores.protocols.lfrc import identity_codes
from vidface.scores.protocols.table import load
from vidface.scores.score import score
from vidface.scores.scored import Scored, rows_of, unlisted
from vidface.scores.sweep import sweep

PAIRS = 24  # strongest impostors and weakest genuine pairs that are listed
PEOPLE = 12  # of the lowest AP
STRIPS = 6  # of each kind


class _Opened(NamedTuple):
    """A run in memory; ``embeddings`` are in the manifest's order, ``rows`` are where they stand in ``found``."""

    run: Run
    info: FeaturesInfo | None
    found: Embeddings
    rows: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]


def gather(
    run: Run,
    *,
    thresholds: Sequence[float | None] | None = None,
    videos: Sequence[str] = (),
    pictures: bool = True,
) -> Content:
    """Fill a report.

    Memory holds the embeddings twice, and some megabytes per core; pairs and features are read in blocks.

    Args:
        run: from `vidface.runs.opened.open_run`.
        thresholds: sweep these now, if the run has no sweep or another one is wanted.
        videos: ids whose frames are shown in any case.
        pictures: whether to read the videos again for small pictures.

    Raises:
        UsageError: an unknown id, or thresholds without a features file.
        VidfaceError: as the stages raise.
    """
    if thresholds is not None and run.features is None:
        needs = "the features that the embeddings were made from: pass --features FILE"
        raise UsageError(f"--thresholds needs {needs}")
    index = NameIndex(run.manifest.video_ids)
    shown = {video: index.find(video) for video in videos}
    for video, places in shown.items():
        if len(places) != 1:
            raise UsageError(f"--video {printable(video)}: there is no such video in {run.manifest.path}")
    opened = _open(run)
    info, found = opened.info, opened.found
    protocol = load(run.options.protocol)
    missing: dict[str, str] = {}
    scores, rankings = _score(opened)
    faults = numbers.faults_of(run)
    headline = numbers.headline(scores)
    told = {number.note for number in headline}  # beside the number they are about
    said = scores["warnings"]
    # Scores of an older version lack those of the manifest.
    before = [warning for warning in run.manifest.warnings if warning not in said]
    warnings = [*before, *(warning for warning in said if warning not in told), *run.notes]
    table = run.sweep
    if thresholds is not None and run.features is not None:
        table = sweep(run.features, run.manifest, thresholds, run.options)
    if table is None:
        way = "pass --thresholds none,0.2:0.6:0.05, or make it with vidface sweep"
        missing["sweep"] = f"this run has no sweep: {way}"
    ranks, confused = None, []
    if rankings is None:
        said_so = (text for text in scores["warnings"] if text.startswith("iqiyi not scored"))
        missing["cmc"] = missing["confused"] = next(said_so, "the protocol iqiyi was not scored")
    else:
        split = run.options.gallery_split
        _, identities, hits = iqiyi.ranked_hits(rankings, run.manifest, gallery_split=split)
        ranks = Cmc(np.arange(1, hits.shape[1] + 1), cmc(hits), len(identities))
        confused = examples.confused_people(run, opened.embeddings, rankings, scores["per_identity"], PEOPLE)
        if not confused:
            missing["confused"] = "every person has an AP of 1"
    people, _ = identity_codes(run.manifest)
    spread = pair_distribution(opened.embeddings, people, run.manifest.video_ids, listed=PAIRS)
    curves = numbers.curves_of(spread, scores) if protocol.figures else None
    if not protocol.figures:
        missing["curves"] = f"the protocol {protocol.name} has no curves of its own; its numbers stand above"
    elif curves is None:
        missing["curves"] = "pairs of the same person and of different people are needed, both"
    if not (spread.same.any() and spread.different.any()):
        missing["pairs"] = "there are no pairs of this kind"
    plane = map_of(opened.embeddings, run.manifest)
    if plane is None:
        missing["map"] = "fewer than three videos have a usable frame"
    detected = info is not None and "faces" in info.attributes
    strips = _strips(opened, [run.manifest.video_ids[place] for (place,) in shown.values()])
    if not strips:
        missing["strips"] = "no video has a frame"
    fault_counts, every_fault = numbers.fault_tables(faults, found)
    content = Content(
        title=run.name,
        headline=headline,
        counts=numbers.counts_table(run, found, scores, len(faults), what="faces" if detected else "frames"),
        protocol=numbers.protocol_words(run, scores),
        warnings=list(dict.fromkeys(warnings)),
        missing=missing,
        made_with=numbers.made_with_table(run, info),
        sweep=None if table is None else numbers.sweep_of(table, run),
        curves=curves,
        histogram=numbers.histogram_of(spread, scores) if protocol.figures else None,
        cmc=ranks,
        faces=detected,
        weighted=found.weights is not None,
        strips=strips,
        confused=confused,
        impostors=_pairs(spread.strongest, run),
        genuine=_pairs(spread.weakest, run),
        map=plane,
        fault_counts=fault_counts,
        faults=every_fault,
        lines="" if protocol.figures else protocol.lines(scores),
    )
    return _illustrated(content, opened, info) if pictures and info is not None else content


def _open(run: Run) -> _Opened:
    found = read_embeddings(run.embeddings)
    rows = rows_of(found.video_ids, run.manifest, run.embeddings, found.attributes)
    whole = len(rows) == len(found.video_ids) and bool((np.diff(rows) == 1).all())
    embeddings = found.embeddings if whole else found.embeddings[rows]
    info = None if run.features is None else read_features(run.features)
    # Ids as the manifest writes them, which may be the other Unicode form.
    both = zip(rows.tolist(), run.manifest.video_ids, strict=True)
    spelled = {found.video_ids[row]: video for row, video in both}
    found = replace(found, video_ids=[spelled.get(video, video) for video in found.video_ids])
    if info is not None:
        info = replace(info, video_ids=[spelled.get(video, video) for video in info.video_ids])
    return _Opened(run, info, found, rows, embeddings)


def _score(opened: _Opened) -> tuple[dict[str, Any], dict[str, list[str]] | None]:
    """The stored score object, else a new one, and the rankings, None if the protocol has none."""
    run, rankings = opened.run, None
    options, figures = run.options, load(run.options.protocol).figures
    if "rankings" in figures:
        splits = {"enrolment_split": options.enrolment_split, "gallery_split": options.gallery_split}
        try:
            rankings = iqiyi.rank_gallery(opened.embeddings, run.manifest, **splits)
        except ManifestError:
            if "pairs" not in figures:
                raise
    if run.scores is not None:
        scores = run.scores
    else:
        status = Counter(opened.found.status[row] for row in opened.rows.tolist())
        said = warnings_of(run.embeddings, run.attributes)
        said += unlisted(run.embeddings, len(opened.found.video_ids), run.manifest)
        scored = Scored({}, opened.embeddings, rankings, dict(status), said)
        scores = score(scored, run.manifest, options)
    return scores, rankings if rankings is not None and scores["mAP@100"] is not None else None


def _strips(opened: _Opened, asked: Sequence[str]) -> list[Strip]:
    changed = None if opened.info is None else examples.cosines_to_plain(opened.info, opened.found)
    manifest = opened.run.manifest
    identity = dict(zip(manifest.video_ids, manifest.identities, strict=True))
    return [
        examples.strip_of(choice, opened.found, opened.info, identity[opened.found.video_ids[choice[0]]])
        for choice in examples.choose(opened.found, opened.rows, changed, asked, STRIPS)
    ]


def _pairs(extremes: Extremes, run: Run) -> list[Pair]:
    ids, who = run.manifest.video_ids, run.manifest.identities
    return [
        Pair(float(cosine), ids[a], who[a], ids[b], who[b])
        for cosine, (a, b) in zip(extremes.scores, extremes.pairs.tolist(), strict=True)
    ]


def _illustrated(content: Content, opened: _Opened, info: FeaturesInfo) -> Content:
    """Add pictures: of strips every frame; of other videos the frame nearest to their embedding."""
    manifest = opened.run.manifest
    place = dict(zip(manifest.video_ids, opened.rows.tolist(), strict=True))
    pairs = [*content.impostors, *content.genuine]
    faces = _enrolled({people.identity for people in content.confused}, opened.run)
    shown = {answer.video_id for people in content.confused for answer in people.ranked}
    shown |= {*(pair.a_id for pair in pairs), *(pair.b_id for pair in pairs), *faces.values()}
    nearest = {video: examples.nearest_frame(place[video], opened.found, info) for video in sorted(shown)}
    wanted: dict[int, set[int]] = {}
    for strip in content.strips:
        wanted.setdefault(place[strip.video_id], set()).update(frame.row for frame in strip.frames)
    for video, row in nearest.items():
        if row is not None:
            wanted.setdefault(place[video], set()).add(row)
    pictures, missing = examples.read_thumbnails(manifest, info, wanted)

    def of(video: str) -> Pixels | None:
        row = nearest[video]
        return None if row is None else pictures.get((place[video], row))

    def both(pairs: Sequence[Pair]) -> list[Pair]:
        return [pair._replace(a_picture=of(pair.a_id), b_picture=of(pair.b_id)) for pair in pairs]

    notes = []
    if missing:
        video, why = next(iter(missing.items()))
        gone = f"pictures of {len(missing)} of {len(wanted)} videos shown are missing"
        notes = [f"{gone}; the first is {video}: {why}"]
    strips = []
    for strip in content.strips:
        at = place[strip.video_id]
        frames = [frame._replace(picture=pictures.get((at, frame.row))) for frame in strip.frames]
        strips.append(strip._replace(frames=frames))
    confused = []
    for people in content.confused:
        ranked = [answer._replace(picture=of(answer.video_id)) for answer in people.ranked]
        face = of(faces[people.identity]) if people.identity in faces else None
        confused.append(people._replace(picture=face, ranked=ranked))
    return replace(
        content,
        warnings=[*content.warnings, *notes],
        strips=strips,
        confused=confused,
        impostors=both(content.impostors),
        genuine=both(content.genuine),
    )


def _enrolled(names: set[str], run: Run) -> dict[str, str]:
    """The first enrolment video, by id, of each of these people."""
    manifest = run.manifest
    first: dict[str, str] = {}
    for video, identity, split in zip(manifest.video_ids, manifest.identities, manifest.splits, strict=True):
        if identity in names and split == run.options.enrolment_split:
            first[identity] = min(video, first.get(identity, video))
    return first
