"""Frame features that another tool made: the official iQIYI-VID pickles, or a plain array with a list of videos.

Every reader lays the rows out by video, in the manifest's order, and says of each row that is left out why. What it
gives goes to `vidface.features.foreign.write`, which writes the features file. Memory does not grow with the number
of rows, but a pickle is held whole while it is read.

Tested in ``tests/features/foreign/``.
"""

from __future__ import annotations

from vidface.features.foreign.arrays import read_arrays
from vidface.features.foreign.foreign import AS_GIVEN, FPS, NOT_KNOWN, Foreign
from vidface.features.foreign.iqiyi import iqiyi_names, read_iqiyi_features

__all__ = ["AS_GIVEN", "FPS", "NOT_KNOWN", "Foreign", "iqiyi_names", "read_arrays", "read_iqiyi_features"]
