"""Video embeddings in the plane, for the eye: by openTSNE if it is installed, else by principal components.

t-SNE keeps neighbours together (van der Maaten and Hinton, Visualizing data using t-SNE, 2008); distances between
groups mean little. It starts from the principal components and a fixed seed: the same map each time on one machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidface.manifest.manifest import Manifest
from vidface.report.run.content import Map

MOST = 2000  # videos: some ten seconds of work, and no more points than the eye tells apart
STRANGERS = 0.2  # share of them that may be of nobody known
FEWEST = 10  # fewer points have no neighbourhoods
SEED = 0

Places = npt.NDArray[np.int64]


def map_of(embeddings: npt.NDArray[np.float32], manifest: Manifest) -> Map | None:
    """The map of the videos that have an embedding, in the manifest's order; None if there are fewer than three."""
    usable = np.flatnonzero(embeddings.any(axis=1))
    if len(usable) < 3:
        return None
    chosen, note = sampled_videos(usable, manifest, MOST)
    xy, method = _plane(embeddings[chosen].astype(np.float64))
    identities = [manifest.identities[place] for place in chosen.tolist()]
    ids = [manifest.video_ids[place] for place in chosen.tolist()]
    return Map(xy, identities, ids, method, len(usable), note)


def sampled_videos(usable: Places, manifest: Manifest, most: int) -> tuple[Places, str]:
    """Places of the videos to show, ascending, and how they were drawn; all of them if they are few enough.

    People are drawn with all their videos, those with two or more first: one point tells nothing of a person.
    """
    if len(usable) <= most:
        return usable, ""
    by_id = sorted(usable.tolist(), key=manifest.video_ids.__getitem__)
    videos: dict[str, list[int]] = {}
    for place in by_id:
        videos.setdefault(manifest.identities[place], []).append(place)
    strangers = videos.pop("", [])
    random = np.random.default_rng(SEED)
    known = sorted(videos)
    names = [known[number] for number in random.permutation(len(known))]
    names.sort(key=lambda name: len(videos[name]) < 2)  # stable: the drawn order stays
    room = most - min(len(strangers), round(most * STRANGERS))
    chosen: list[int] = []
    people = 0
    for name in names:
        if len(chosen) + len(videos[name]) > room:
            break
        chosen += videos[name]
        people += 1
    drawn = random.permutation(len(strangers))[: most - len(chosen)].tolist()
    chosen += [strangers[number] for number in drawn]
    note = f"{people} people drawn at random with all their videos, and {len(drawn)} videos of nobody known"
    return np.array(sorted(chosen), np.int64), note


def _plane(rows: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], str]:
    first = principal_components(rows)
    if len(rows) < FEWEST:
        return first, f"principal components (fewer than {FEWEST} videos)"
    try:
        import openTSNE  # type: ignore[import-untyped]
    except ImportError:
        return first, "principal components; pip install -e '.[map]' for a map that keeps neighbours together"
    perplexity = min(30.0, (len(rows) - 1) / 3)
    spread = first[:, 0].std()
    found = openTSNE.TSNE(
        perplexity=perplexity,
        initialization=first / spread * 1e-4 if spread else "random",
        metric="cosine",
        neighbors="exact",
        n_jobs=1,  # the sum of the forces is then always in one order
        random_state=SEED,
    ).fit(rows)
    return np.asarray(found, np.float64), (
        f"t-SNE (openTSNE {openTSNE.__version__}, cosine, perplexity {perplexity:g}, from principal components, "
        f"seed {SEED})"
    )


def principal_components(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The first two principal components, float64 [n, 2]; of each the largest value is positive."""
    centred = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    xy = centred @ vectors[:, ::-1][:, :2]
    if xy.shape[1] < 2:
        xy = np.column_stack([xy, np.zeros(len(xy))])
    signs = np.sign(xy[np.abs(xy).argmax(axis=0), range(2)])
    return np.asarray(xy * np.where(signs, signs, 1.0))
