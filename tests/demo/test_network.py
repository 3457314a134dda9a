"""The network that the demo brings along knows drawn people it has never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vidface.demo
from vidface.backbones import load_backbone
from vidface.demo.people.drawing import draw_person
from vidface.demo.people.noise import draw_thing, occlude

UNSEEN = 7_654_321  # neither the population it was trained on nor the demo's


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    """Unit rows: 24 people times 8 views in order, and noise of both kinds."""
    weights = Path(vidface.demo.__file__).parent / "weights" / "drawn.safetensors"
    backbone = load_backbone(weights, device="cpu")

    def embed(frames: list[np.ndarray]) -> np.ndarray:
        rows = backbone.embed(np.stack(frames)).astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return {
        "people": embed([draw_person(p, v, seed=UNSEEN) for p in range(24) for v in range(8)]),
        "not-a-face": embed([draw_thing(i, seed=UNSEEN) for i in range(24)]),
        "occluded": embed(
            [occlude(draw_person(p, 100 + p, seed=UNSEEN), 100 + p, seed=UNSEEN) for p in range(24)]
        ),
    }


def test_it_separates_unseen_people(vectors: dict[str, np.ndarray]) -> None:
    people = vectors["people"]
    who = np.arange(len(people)) // 8
    first, second = np.triu_indices(len(people), 1)
    cosine = (people @ people.T)[first, second]
    same = who[first] == who[second]
    impostors = np.sort(cosine[~same])[::-1]
    assert np.mean(cosine[same] > impostors[len(impostors) // 100]) > 0.8
    assert cosine[same].mean() > cosine[~same].mean() + 0.4


@pytest.mark.parametrize("kind", ["not-a-face", "occluded"])
def test_noise_is_far_from_the_person(vectors: dict[str, np.ndarray], kind: str) -> None:
    own = vectors["people"].reshape(24, 8, -1)
    noise = np.einsum("pvd,pd->p", own, vectors[kind]) / 8
    among = np.mean([(v @ v.T)[np.triu_indices(8, 1)].mean() for v in own])
    assert noise.mean() < among - 0.25
