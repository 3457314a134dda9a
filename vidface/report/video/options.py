"""What `find` is told."""

from __future__ import annotations

from pathlib import Path

from vidface.features.options import ModelOptions
from vidface.files.options import option


class FindOptions(ModelOptions):
    """Whose face is searched, with which network, and what counts as found."""

    detector: str = option("yunet", "What finds the face in the picture: yunet, or uniface:NAME.")
    detector_weights: Path | None = option(
        None, "Its weights [default: a known file in the cache of weights]."
    )
    aligned: bool = option(False, "PICTURE is an aligned face already, of the network's size.")
    threshold: float = option(0.4, "Cosine from which on somebody counts as found.", ge=-1, le=1)
    top: int = option(10, "How many are listed.", ge=1)
