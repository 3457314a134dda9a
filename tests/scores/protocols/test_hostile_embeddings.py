"""Protocols called from Python with embeddings that are not one unit row for each video: an error, never a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_sets import random_set

from vidface.manifest.manifest import Manifest
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols.image_track import score_images
from vidface.scores.protocols.iqiyi import rank_gallery
from vidface.scores.protocols.iqiyi_ranks import ranks_by_search, wanted_videos
from vidface.scores.protocols.lfrc import score_all_pairs
from vidface.scores.protocols.open_set_numbers import open_set_numbers
from vidface.scores.protocols.pairs import pair_scores

MANIFEST, ROWS = random_set(0, 6, 3, 10)


def ranks(rows: np.ndarray, manifest: Manifest) -> Any:
    return ranks_by_search(rows, manifest, wanted_videos(manifest, "val"), "train")


def protocol(name: str, score: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows, manifest: score(rows, manifest, ScoreOptions(protocol=name, targets=["0.5"]))


PROTOCOLS = {"iqiyi": rank_gallery, "ranks": ranks, "openset": protocol("openset", open_set_numbers)}
PROTOCOLS |= {"lfrc": protocol("lfrc", score_all_pairs), "images": protocol("trillionpairs", score_images)}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize(
    "wrong", [ROWS[:-1], np.concatenate([ROWS, ROWS[:1]]), ROWS * 100, ROWS * np.nan, ROWS * np.float32(1.01)]
)
def test_embeddings_that_are_not_a_unit_row_for_each_video(
    protocol: Callable[..., Any], wrong: np.ndarray
) -> None:
    protocol(ROWS, MANIFEST)
    with pytest.raises(ValueError, match=r"not 1 or 0|not finite|one each|must be \["):
        protocol(wrong, MANIFEST)


@pytest.mark.parametrize("places", [[0, -1], [0.0, 1.0], [0]])
def test_pairs_of_rows_that_are_not_there(places: list[float]) -> None:
    pair_scores(ROWS, np.array([0, 1]), np.array([1, 2]))
    with pytest.raises(ValueError, match="second"):
        pair_scores(ROWS, np.array([0, 1]), np.array(places))
