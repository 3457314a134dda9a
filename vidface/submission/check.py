"""Look for what the organisers would refuse, or score as wrong, before a submission is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, Warned
from vidface.files.store import UNIT_TOLERANCE
from vidface.manifest.manifest import Manifest
from vidface.manifest.rows import Problem, show
from vidface.submission.iqiyi import MOST_VIDEOS, Line, parse_iqiyi, video_name
from vidface.submission.lfrc import BLOCK, read_lfrc

MOST_COLUMNS = 512  # the challenge's limit on the dimension
SAME_TOLERANCE = 1e-6  # on every number, when rows are compared with the embeddings they come from

Matrix = npt.NDArray[np.float32]


def check_iqiyi(path: Path, manifest: Manifest, *, gallery_split: str = "val") -> list[Problem]:
    """Check rankings against the gallery they must rank; problems come by line, 0 is the file as a whole.

    Kinds: ``empty``, ``undecodable``, ``spacing``, ``not-mp4``, ``repeated-identity`` (see `parse_iqiyi`);
    ``no-videos``, ``too-many`` (over 100), ``repeated-video`` (within an identity), ``unknown-video`` (not
    in the manifest), ``not-in-gallery`` (of another split), ``unknown-identity`` (nowhere in the manifest),
    ``missing-identity`` (with gallery videos but no line), ``ambiguous-id`` (manifest ids that share a name).
    Whether the best videos come first cannot be seen from the file: that is what a score is for.
    """
    lines, problems = parse_iqiyi(path)
    splits: dict[str, str] = {}
    ids: dict[str, str] = {}
    for video_id, split in zip(manifest.video_ids, manifest.splits, strict=True):
        name = video_name(video_id)
        splits[name] = split
        first = ids.setdefault(name, video_id)
        if first != video_id:
            message = f"ids {show(first)} and {show(video_id)} of the manifest share the name {show(name)}"
            problems.append(Problem(0, "ambiguous-id", message))
    people = set(manifest.identities)
    for line in lines:
        who = f"identity {show(line.identity)}"
        if line.identity not in people:
            problems.append(Problem(line.number, "unknown-identity", f"{who} is not in the manifest"))
        found = _video_problems(line, splits, gallery_split)
        problems += [Problem(line.number, kind, f"{who}: {message}") for kind, message in found]
    both = zip(manifest.identities, manifest.splits, strict=True)
    gallery = {identity for identity, split in both if identity and split == gallery_split}
    for identity in sorted(gallery - {line.identity for line in lines}):
        message = f"identity {show(identity)} has videos in {show(gallery_split)} but no line: it scores 0"
        problems.append(Problem(0, "missing-identity", message))
    return sorted(problems, key=lambda problem: problem.line)


def _video_problems(line: Line, splits: dict[str, str], gallery_split: str) -> Iterator[tuple[str, str]]:
    """Kind and message of each."""
    if not line.names:
        yield "no-videos", "no videos, so it scores 0"
    if len(line.names) > MOST_VIDEOS:
        yield "too-many", f"{len(line.names)} videos; at most {MOST_VIDEOS} are allowed"
    for name, count in Counter(line.names).items():
        if count > 1:
            yield "repeated-video", f"video {show(name)} is there {count} times"
        if not name.endswith(".mp4"):
            continue  # reported as such
        if name not in splits:
            yield "unknown-video", f"video {show(name)} is not in the manifest"
        elif splits[name] != gallery_split:
            yield (
                "not-in-gallery",
                f"video {show(name)} is in {show(splits[name])}, not {show(gallery_split)}",
            )


def check_ranking(
    name: str, rankings: Mapping[str, Sequence[str]], manifest: Manifest, gallery_split: str
) -> list[Warned]:
    """What of a ranking is not scored, or can only be wrong, as it is about other videos or people than the manifest.

    ``name`` is the file's, for messages; ``rankings`` has video ids by identity, best first.

    Raises:
        StoreError: none of its videos, or none of its identities, is in the manifest: it is of another set.
    """
    splits = dict(zip(manifest.video_ids, manifest.splits, strict=True))
    people = set(manifest.identities)
    ranked = [video for videos in rankings.values() for video in videos]
    unknown = [video for video in ranked if video not in splits]
    outside = [video for video in ranked if splits.get(video, gallery_split) != gallery_split]
    nobody = [identity for identity in rankings if identity not in people]
    named = next((identity for identity in manifest.identities if identity), "")
    for strange, all_of_it, what, like in (
        (unknown, ranked, "ranked videos", f"ids look like {show(manifest.video_ids[0])}"),
        (nobody, rankings, "identities", f"identities look like {show(named)}"),
    ):
        if strange and len(strange) == len(all_of_it):
            raise StoreError(
                f"{name}: none of its {len(strange):,} {what} is in {manifest.path}: the first is {show(strange[0])}, "
                f"the manifest's {like}"
            )
    again = len(ranked) - sum(len(set(videos)) for videos in rankings.values())
    most = sum(len(set(videos)) > MOST_VIDEOS for videos in rankings.values())
    listed = ": vidface submit --check lists them"
    found: list[tuple[int, Sized, str]] = [
        (len(unknown), ranked, f"ranked videos are not in the manifest and count as wrong answers{listed}"),
        (
            len(outside),
            ranked,
            f"ranked videos are not in the split {show(gallery_split)} and are wrong{listed}",
        ),
        (len(nobody), rankings, f"identities of {name} are not in the manifest and are not scored{listed}"),
        (again, ranked, "ranked videos repeat another of their identity: the first counts"),
        (most, rankings, f"identities have over {MOST_VIDEOS} videos: the first {MOST_VIDEOS} count"),
    ]
    return [
        Warned(f"{number:,} of {len(of):,} {text}", number / len(of)) for number, of, text in found if number
    ]


def check_lfrc(
    path: Path,
    manifest: Manifest,
    *,
    embeddings: Matrix | None = None,
    video_ids: Sequence[str] | None = None,
) -> list[Problem]:
    """Check an embedding matrix against the manifest whose order its rows must have, all splits.

    Kinds: ``format`` (header or length; nothing else is looked at then), ``row-count``, ``dimension`` (over
    512), ``not-finite`` (NaN or infinite), ``zero-row`` (the video had no usable frame), ``not-unit`` (length
    off by more than 1e-3), and with ``embeddings``: ``other-dimension``, ``no-embedding``, ``order``.

    Rows carry no ids. From the file alone their number is all that can be seen of their order; with the
    embeddings they were written from, float32 [N, D], every row is compared with its video's by value (to 1e-6).
    ``video_ids`` says whose those are; the manifest's, in its order, unless given.

    Returns:
        The problems; ``line`` is the row, from 1, which is also the line in the organisers' list; 0 is the
        file as a whole.
    """
    try:
        matrix = read_lfrc(path)
    except StoreError as error:
        if not path.is_file():
            raise
        return [Problem(0, "format", str(error).removeprefix(f"{path}: "))]
    problems = []
    rows, columns = matrix.shape
    videos = manifest.video_ids
    if rows != len(videos):
        message = f"{rows} rows, but the manifest has {len(videos)} videos"
        problems.append(Problem(0, "row-count", message))
    if columns > MOST_COLUMNS:
        problems.append(Problem(0, "dimension", f"{columns} columns; at most {MOST_COLUMNS} are allowed"))
    for start in range(0, rows, BLOCK):
        block = np.asarray(matrix[start : start + BLOCK], np.float64)
        lengths = np.sqrt(np.einsum("rc,rc->r", block, block))
        for row in np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE)):
            if not np.isfinite(block[row]).all():
                kind, what = "not-finite", "holds NaN or infinite numbers"
            elif lengths[row] == 0:
                kind, what = "zero-row", "is zero: it had no usable frame"
            else:
                kind, what = "not-unit", f"has length {lengths[row]:.6g}; normalise it to 1"
            number = start + int(row)
            problems.append(Problem(number + 1, kind, f"{_named(number, videos)} {what}"))
    if embeddings is not None:
        problems += _order_problems(matrix, embeddings, videos, videos if video_ids is None else video_ids)
    return sorted(problems, key=lambda problem: problem.line)


def _named(row: int, videos: Sequence[str]) -> str:
    of = f"video {show(videos[row])}" if row < len(videos) else "of no video"
    return f"row {row + 1} ({of})"


def _order_problems(
    matrix: Matrix, embeddings: Matrix, videos: Sequence[str], owners: Sequence[str]
) -> list[Problem]:
    """Compare rows by value with their videos' embeddings; the first that differs is named."""
    if matrix.shape[1] != embeddings.shape[1]:
        message = f"{matrix.shape[1]} columns, but the embeddings have {embeddings.shape[1]}"
        return [Problem(0, "other-dimension", message)]
    if len(owners) != len(embeddings):
        raise ValueError(f"{len(owners)} ids for {len(embeddings)} embeddings")
    places = {video_id: place for place, video_id in enumerate(owners)}
    rows = range(min(len(matrix), len(videos)))
    lost = [row for row in rows if videos[row] not in places]
    known = np.array([row for row in rows if videos[row] in places], np.int64)
    wrong: list[int] = []
    for start in range(0, len(known), BLOCK):
        some = known[start : start + BLOCK]
        expected = embeddings[[places[videos[row]] for row in some]]
        wrong += some[~_same(matrix[some], expected)].tolist()
    problems = []
    for kind, found in (("no-embedding", lost), ("order", wrong)):
        if not found:
            continue
        what = ": the embeddings do not have this video"
        if kind == "order":
            holder = _find(embeddings, matrix[found[0] : found[0] + 1])
            what = f" holds the embedding of video {show(owners[holder])}" if holder is not None else ""
            what = what or " differs from the video's embedding"
        more = f" ({len(found) - 1} more rows like it)" if len(found) > 1 else ""
        problems.append(Problem(found[0] + 1, kind, _named(found[0], videos) + what + more))
    return problems


def _same(left: Matrix, right: Matrix) -> npt.NDArray[np.bool_]:
    close = np.isclose(left, right, rtol=0, atol=SAME_TOLERANCE, equal_nan=True)
    return np.asarray(close.all(axis=1))


def _find(embeddings: Matrix, row: Matrix) -> int | None:
    """Whose embedding a row [1, D] is; nobody's if it is zero, as many may be."""
    for start in range(0, len(embeddings) if row.any() else 0, BLOCK):
        found = np.flatnonzero(_same(embeddings[start : start + BLOCK], row))
        if len(found):
            return start + int(found[0])
    return None
