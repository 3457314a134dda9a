"""Manifests from what people have: folders of videos or pictures, iQIYI-VID's and LFRC's lists, YouTube Faces.

Every converter writes a manifest, whole or not at all, with paths relative to its root, the manifest's own folder
unless another is named, and returns counts of what it wrote and the names of what it left out. Missing media keep their
rows.
"""

from __future__ import annotations

from vidface.manifest.sources.converted import Converted
from vidface.manifest.sources.folder import from_folder
from vidface.manifest.sources.lists import from_iqiyi, from_lfrc, from_trillionpairs
from vidface.manifest.sources.pictures import from_pictures, from_ytf

__all__ = [
    "Converted",
    "from_folder",
    "from_iqiyi",
    "from_lfrc",
    "from_pictures",
    "from_trillionpairs",
    "from_ytf",
]
