"""The challenge files, written, read back and checked: iQIYI's text of rankings, LFRC's matrix of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vidface.errors import StoreError
from vidface.files.atomic import read_head
from vidface.files.npy import looks_like_npy
from vidface.submission.check import check_iqiyi, check_lfrc, check_ranking
from vidface.submission.iqiyi import read_iqiyi, write_iqiyi
from vidface.submission.lfrc import looks_like_lfrc, read_lfrc, write_lfrc

__all__ = [
    "check_iqiyi",
    "check_lfrc",
    "check_ranking",
    "read_iqiyi",
    "read_lfrc",
    "sniff",
    "write_iqiyi",
    "write_lfrc",
]

_HEAD = 1 << 16


def sniff(path: Path) -> Literal["iqiyi", "lfrc", "hdf5", "npy"]:
    """Tell what a result file is by its first bytes; it may still be damaged further on.

    ``npy`` is also an archive of such files, ``lfrc`` a header that agrees with itself, and ``iqiyi`` is text that
    names an ``.mp4`` in its first 64 KiB. Anything else is a StoreError.
    """
    head, _ = read_head(path, _HEAD)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if looks_like_npy(head):
        return "npy"
    if looks_like_lfrc(head):
        return "lfrc"
    if b".mp4" in head and b"\0" not in head:
        return "iqiyi"
    kinds = (
        "not an embeddings file (HDF5), a matrix (.npy, or .bin of LFRC) or an iQIYI ranking (UTF-8 text, one line "
        "per identity: IDENTITY VIDEO.mp4 VIDEO.mp4 ...)"
    )
    what = kinds if head else "empty"
    raise StoreError(f"{path}: {what}")
