"""Embeddings -> the challenge files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vidface.errors import UsageError
from vidface.files.atomic import require_file
from vidface.files.locks import exclusive
from vidface.manifest.manifest import Manifest, Problem
from vidface.scores.protocols.iqiyi import rank_gallery
from vidface.scores.scored import Scored, needed_embeddings
from vidface.submission import check_iqiyi, check_lfrc, sniff, write_iqiyi, write_lfrc

Format = Literal["iqiyi", "lfrc"]


def submit(
    scored: Scored,
    manifest: Manifest,
    output: Path,
    *,
    form: Format,
    enrolment_split: str = "train",
    gallery_split: str = "val",
) -> int:
    """Write a submission file, in place of an older one; returns the number of rows.

    ``form``: ``iqiyi``, rankings by the splits as text, or ``lfrc``, the matrix in the manifest's order. UsageError if
    the embeddings are not at hand, or another run is writing this file.
    """
    embeddings = needed_embeddings(scored, "submit from an embeddings file")
    with exclusive(output):
        if form == "lfrc":
            write_lfrc(output, embeddings)
            return len(embeddings)
        splits = {"enrolment_split": enrolment_split, "gallery_split": gallery_split}
        rankings = rank_gallery(embeddings, manifest, **splits)
        write_iqiyi(output, rankings)
        return len(rankings)


def check_submission(
    path: Path, manifest: Manifest, scored: Scored | None, *, gallery_split: str = "val"
) -> list[Problem]:
    """Every problem of a submission file before it is sent; StoreError if it is missing, UsageError if of neither kind.

    ``scored``: the embeddings it was made from, if at hand: then the order of an LFRC file's rows is checked too.
    """
    require_file(path)
    kind = sniff(path)
    if kind == "iqiyi":
        return check_iqiyi(path, manifest, gallery_split=gallery_split)
    if kind == "lfrc":
        known = None if scored is None else scored.embeddings
        return check_lfrc(path, manifest, embeddings=known)
    what = "an HDF5 file" if kind == "hdf5" else "a .npy file"
    raise UsageError(f"{path}: {what} is not a submission; write one with: vidface submit --format")
