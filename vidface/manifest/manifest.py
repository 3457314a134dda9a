"""Who is where: the manifest, one row a video, as CSV, JSON Lines or Parquet.

Columns: ``video_id`` (unique), ``path`` (a video file or a folder of frames, relative to the manifest's root
and never outside it), ``identity`` (empty: unknown, or a distractor) and ``split``. The first two are needed;
a file without the others reads as if they were empty. Everything is text: ``0144686`` keeps its zero, and
``NA`` is a name.
"""

from __future__ import annotations

import hashlib
import operator
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vidface.errors import ManifestError, Warned
from vidface.files.atomic import write_atomic
from vidface.files.locks import waiting
from vidface.manifest.formats import format_of, parse
from vidface.manifest.identities import suspicions
from vidface.manifest.media import find_media
from vidface.manifest.names import folded
from vidface.manifest.rows import COLUMNS, Parsed, Problem, Row, show

__all__ = ["COLUMNS", "Manifest", "Problem", "Row", "check_manifest", "read_manifest", "write_manifest"]

# Control characters, line separators, a byte order mark inside the text, and what undecodable bytes turned
# into: none of them survives a trip through a text file or a terminal.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
_LEAVES_ROOT = re.compile(r"^/|^[A-Za-z]:|\\|(?:^|/)\.\.(?:/|$)")
# Characters of each column. Every id takes the room of the longest in the files that follow; 4,096 is Linux's own.
_LONGEST = (1024, 4096, 1024, 1024)
_NAMED = 100  # identities in a warning of check, which is where a person looks for them
# Found by check, but no reason to stop: extract counts missing media as faults and goes on.
_NOT_FATAL = {"missing-file", "duplicate-path"}


@dataclass(frozen=True)
class Manifest:
    """The videos of a set, in the order of the file; all lists have one entry a video.

    Attributes:
        path: The manifest's file.
        root: The folder that ``paths`` start from.
        video_ids: Unique ids, also when compared without case and Unicode form.
        paths: Video files or folders of frames, relative to ``root``, with ``/`` between folders.
        identities: Who is in the video; empty for an unknown person or a distractor.
        splits: ``train``, ``val``, ``test``, the user's own, or empty.
        sha256: Of the rows, not of the file: CSV and Parquet of the same rows agree. The root is no part of it.
        places: Path as written -> as it is on the disk, if its Unicode form is the other one.
    """

    path: Path
    root: Path
    video_ids: list[str]
    paths: list[str]
    identities: list[str]
    splits: list[str]
    sha256: str
    places: Mapping[str, str] = field(default_factory=dict)

    def video_path(self, i: int) -> Path:
        """Where the media of row ``i`` lie."""
        return self.root / self.places.get(self.paths[i], self.paths[i])

    @cached_property
    def warnings(self) -> list[Warned]:
        """What is odd about identities and splits, and costs whoever scores by them; see `suspicions`."""
        return [found.warning for found in suspicions(self.identities, self.splits)]


def read_manifest(path: Path, *, root: Path | None = None, media: bool = True) -> Manifest:
    """Read a manifest that can be used as it is.

    Media files that are missing, and two ids for one path, are not errors here; `check_manifest` names them.

    Args:
        path: A ``.csv``, ``.jsonl`` or ``.parquet`` file.
        root: Where the paths start; the manifest's own folder unless given. Nothing is written there.
        media: Whether media will be opened; if not, nobody looks for them, and it does not matter where they lie.

    Raises:
        ManifestError: The first problem, with file and line, and how many more there are.
    """
    root = _root(path, root) if media else root or path.parent
    (_, rows, problems), places = _load(path, root, media=media)
    fatal = [problem for problem in problems if problem.kind not in _NOT_FATAL]
    if fatal:
        more = f" ({len(fatal) - 1} more; run: vidface manifest check {path})" if len(fatal) > 1 else ""
        raise ManifestError(fatal[0].at(path) + more)
    video_ids, paths, identities, splits = (list(column) for column in zip(*rows, strict=True))
    # No field holds a control character, so the two separators make it unambiguous.
    sha256 = hashlib.sha256("\n".join("\x1f".join(row) for row in rows).encode()).hexdigest()
    return Manifest(path, root, video_ids, paths, identities, splits, sha256, places)


def check_manifest(path: Path, *, root: Path | None = None) -> list[Problem]:
    """Return every problem of a manifest, ordered by line; an empty list means that it can be used.

    Kinds that make `read_manifest` fail: ``empty`` (a file without rows, an id or path without text),
    ``undecodable``, ``syntax``, ``unknown-column``, ``missing-column``, ``duplicate-column``, ``fields``
    (wrong number of them), ``type`` (not text), ``control`` (control characters, line ends), ``white-space``
    (around an id, identity or split), ``too-long``, ``too-large`` (what a Parquet file unpacks to),
    ``outside-root``, ``duplicate-id``, ``confusable-id`` (ids that differ only by case or Unicode form),
    ``confusable-identity`` (identities that differ only by Unicode form; case may differ). Others:
    ``missing-file``, ``duplicate-path``. Warnings, which are no problems: those of `suspicions`.

    Raises:
        ManifestError: The file cannot be opened, or its suffix is not that of a manifest.
    """
    (lines, rows, problems), _ = _load(path, _root(path, root))
    return sorted([*problems, *row_warnings(lines, rows)], key=lambda problem: problem.line)


def row_warnings(lines: Sequence[int], rows: Sequence[Row]) -> list[Problem]:
    """What is odd about the rows, but may be as it should; see `suspicions`."""
    identities, splits = (
        [row[column] if len(row[column]) <= _LONGEST[column] else "" for row in rows] for column in (2, 3)
    )
    found = suspicions(identities, splits, named=_NAMED)
    return [Problem(lines[odd.row], odd.kind, str(odd.warning), warning=True) for odd in found]


def write_manifest(path: Path, rows: Iterable[Row]) -> int:
    """Write ``(video_id, path, identity, split)`` rows, whole or not at all; the suffix decides the format.

    Returns:
        The number of rows.

    Raises:
        ManifestError: The rows could not be read back as a manifest, or the suffix is unknown.
        StoreError: The file cannot be written.
    """
    rows = list(rows)
    form = format_of(path)
    if not rows:
        raise ManifestError(f"{path}: not written, there are no videos to list")
    # What cannot be decoded here is no text of a file but a name on the disk.
    problems = row_problems(
        range(1, len(rows) + 1), rows, undecodable="rename the file or folder that has this name"
    )
    if problems:
        first = problems[0]
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ManifestError(f"{path}: not written, row {first.line}: {first.message}{more}")
    with waiting(path), write_atomic(path) as handle:
        form.write(handle, rows)
    return len(rows)


def _root(path: Path, root: Path | None) -> Path:
    if root is None:
        return path.parent
    if not Path(root).is_dir():
        raise ManifestError(f"{root}: not a folder, so it cannot be the root of {path}")
    return Path(root)


def _load(path: Path, root: Path, *, media: bool = True) -> tuple[Parsed, dict[str, str]]:
    """Parse a manifest and check its rows; problems come ordered by line. See `find_media` for the second."""
    lines, rows, problems = parse(path)
    if not rows and not problems:
        problems.append(Problem(0, "empty", "no videos in it; a manifest has one row a video"))
    problems += row_problems(lines, rows)
    places: dict[str, str] = {}
    if media:
        listed = [
            (line, path)
            for line, (_, path, _, _) in zip(lines, rows, strict=True)
            if 0 < len(path) <= _LONGEST[1] and not (_LEAVES_ROOT.search(path) or CONTROL.search(path))
        ]  # what is wrong with other paths, `row_problems` says
        missing, places = find_media(listed, root)
        problems += missing
    return Parsed(lines, rows, sorted(problems, key=lambda problem: problem.line)), places


def row_problems(
    lines: Sequence[int], rows: Sequence[Row], *, undecodable: str = "save the file as UTF-8"
) -> list[Problem]:
    """What is wrong with the text of the rows, without looking at the disk.

    ``undecodable`` says what to do about a text that is not UTF-8.
    """
    problems: list[Problem] = []
    ids: dict[str, int] = {}  # folded id -> the first row that has it
    identities: dict[str, int] = {}  # identity as written -> the first row that has it
    for row, (line, fields) in enumerate(zip(lines, rows, strict=True)):
        found = _text_problems(fields, undecodable)
        problems += [Problem(line, kind, message) for kind, message in found]
        if any(map(operator.gt, map(len, fields), _LONGEST)):
            continue  # what is so long is not looked at: one text may come a million times
        video_id, _, identity, _ = fields
        identities.setdefault(identity, row)
        first = ids.setdefault(folded(video_id), row) if video_id else row
        other = rows[first][0]
        if first != row and other == video_id:
            message = f"video_id {show(video_id)} is already in line {lines[first]}"
            problems.append(Problem(line, "duplicate-id", message))
        elif first != row:
            message = f"video_id {video_id!a} differs only by case or Unicode form from {other!a} "
            problems.append(Problem(line, "confusable-id", f"{message}in line {lines[first]}"))
    # People who are written in two Unicode forms would silently count as two.
    forms: dict[str, str] = {}
    for identity, row in identities.items():
        first_form = forms.setdefault(unicodedata.normalize("NFKC", identity), identity)
        if first_form != identity:
            message = f"identity {identity!a} differs only by Unicode form from {first_form!a} "
            message += f"in line {lines[identities[first_form]]}"
            problems.append(Problem(lines[row], "confusable-identity", message))
    return problems


def _text_problems(fields: Row, undecodable: str) -> list[tuple[str, str]]:
    """Kind and message of what is wrong with the texts of one row."""
    problems: list[tuple[str, str]] = []
    if any(map(operator.gt, map(len, fields), _LONGEST)):
        for name, text, most in zip(COLUMNS, fields, _LONGEST, strict=True):
            if len(text) > most:
                message = f"{name} {show(text)} has {len(text):,} characters; at most {most:,} are read"
                problems.append(("too-long", message))
        return problems
    if CONTROL.search("".join(fields)):
        for name, text in zip(COLUMNS, fields, strict=True):
            found = CONTROL.search(text)
            if found and "\udc80" <= found[0] <= "\udcff":
                problems.append(("undecodable", f"{name} {show(text)} is not UTF-8; {undecodable}"))
            elif found:
                message = f"{name} {show(text)} has the control character {found[0]!a}; remove it"
                problems.append(("control", message))
    for name, text in zip(COLUMNS, fields, strict=True):
        if name != "path" and (text[:1].isspace() or text[-1:].isspace()):
            problems.append(
                ("white-space", f"{name} {show(text)} starts or ends with white space; remove it")
            )
    video_id, path, _, _ = fields
    if not path:
        problems.append(("empty", f"no path for video {show(video_id)}"))
    elif _LEAVES_ROOT.search(path):
        message = "may leave the root; write it relative to the root, with / and without .."
        problems.append(("outside-root", f"path {show(path)} {message}"))
    if not video_id:
        problems.append(("empty", "no video_id"))
    return problems
