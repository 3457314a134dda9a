"""The people that are found worst, with what was ranked above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from vidface.report.run.content import Confused, Ranked
from vidface.runs.opened import Run
from vidface.scores.protocols.iqiyi import CUT_OFF
from vidface.scores.search.retrieval import identity_templates

__all__ = ["confused_people"]

LEAST, MOST = 10, 24  # answers of a ranking that are listed


def confused_people(
    run: Run,
    embeddings: npt.NDArray[np.float32],
    rankings: Mapping[str, Sequence[str]],
    per_identity: Mapping[str, float],
    count: int,
) -> list[Confused]:
    """The identities with the lowest AP, ties by name; those with an AP of 1 are not among them.

    Of each ranking the first answers are listed, up to the last right one, but at least 10 and at most 24.

    Args:
        run: whose manifest and splits count.
        embeddings: float32 [V, D], row i for video i of the manifest.
        rankings: identity -> video ids, best first.
        per_identity: identity -> AP.
        count: at most so many.
    """
    manifest = run.manifest
    worst = sorted((ap, name) for name, ap in per_identity.items() if ap < 1)[:count]
    wanted = {name for _, name in worst}
    enrolled: dict[str, list[int]] = {name: [] for name in wanted}
    gallery: dict[str, list[str]] = {name: [] for name in wanted}
    for place, (identity, split) in enumerate(zip(manifest.identities, manifest.splits, strict=True)):
        if identity in wanted and split == run.options.enrolment_split:
            enrolled[identity].append(place)
        if identity in wanted and split == run.options.gallery_split:
            gallery[identity].append(manifest.video_ids[place])
    shown = {video for name in wanted for video in rankings.get(name, ())}
    places = {video: place for place, video in enumerate(manifest.video_ids) if video in shown}
    people = []
    for ap, name in worst:
        ranking = list(dict.fromkeys(rankings.get(name, ())))[:CUT_OFF]
        right = [manifest.identities[places[video]] == name for video in ranking]
        last = max((rank for rank, relevant in enumerate(right, 1) if relevant), default=0)
        listed = ranking[: min(max(LEAST, last), MOST)]
        _, templates = identity_templates(embeddings[enrolled[name]], [name] * len(enrolled[name]))
        template = templates[0].astype(np.float64) if len(templates) else np.zeros(embeddings.shape[1])
        ranked = [
            Ranked(
                rank,
                video,
                manifest.identities[places[video]],
                float(embeddings[places[video]].astype(np.float64) @ template),
                right[rank - 1],
                None,
            )
            for rank, video in enumerate(listed, 1)
        ]
        missed = sorted(set(gallery[name]) - set(ranking))
        people.append(
            Confused(
                name,
                ap,
                len(enrolled[name]),
                len(gallery[name]),
                sum(right),
                ranked,
                missed,
                None,
            )
        )
    return people
