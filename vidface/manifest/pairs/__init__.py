"""Lists of pairs of videos or pictures, as public sets and people write them, brought to the rows of a manifest.

The format is told by the content, never by the name. What is no pair of the manifest is left out, counted by reason and
listed with its line: an id that matches nothing is never an impostor. Tested in ``tests/manifest/pairs``.
"""

from __future__ import annotations

from vidface.manifest.pairs.listed import ListedPairs, read_pairs

__all__ = ["ListedPairs", "read_pairs"]
