"""``--pool size-norm`` by the real commands, on features of videos in which things outnumber the person."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Ran, vidface, write_manifest

from vidface.embeddings.embed import embed_videos
from vidface.files import store
from vidface.manifest.manifest import read_manifest

PEOPLE, DIMENSION = 8, 32
RECIPE = """
manifest = "set.csv"
features = "f.h5"
output = "out"
[cluster]
threshold = 0.5
pool = "size-norm"
[score]
targets = ["1e-1"]
[sweep]
thresholds = "none,0.5"
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each person: three faces of norm 18 and five things of norm 8 that resemble each other."""
    folder = tmp_path_factory.mktemp("pool")
    random = np.random.default_rng(0)
    faces = random.standard_normal((PEOPLE, DIMENSION))
    thing = random.standard_normal(DIMENSION)
    rows, videos = [], []
    for person in range(PEOPLE):
        for split in ("train", "val"):
            name = f"v{person}{split}"
            shown = np.concatenate([np.tile(faces[person], (3, 1)), np.tile(thing, (5, 1))])
            shown += 0.3 * random.standard_normal(shown.shape)
            shown *= np.repeat([18.0, 8.0], [3, 5])[:, None] / np.linalg.norm(shown, axis=1, keepdims=True)
            times = np.arange(8, dtype=np.float32) / 8
            videos.append(store.VideoRows(name, shown.astype(np.float32), times, "ok", []))
            rows.append((name, name, f"p{person}", split))
    manifest = write_manifest(folder / "set.csv", rows)
    store.write_shard(folder / "s.h5", videos, DIMENSION, "float32")
    made_from = {
        **{"manifest_sha256": read_manifest(manifest).sha256, "model_name": "m", "model_sha256": "0" * 64},
        **{"flip": False, "fps": "8", "decoder": "pyav", "program_version": "test"},
    }
    store.join_shards([folder / "s.h5"], folder / "f.h5", made_from)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def cluster(workplace: Path, output: str, *options: object, code: int) -> Ran:
    words = ("cluster", workplace / "f.h5", "-o", workplace / output, "--threshold", 0.5, *options)
    return vidface(*words, code=code)


def test_cluster_writes_the_weights_of_all_frames(workplace: Path) -> None:
    said = cluster(workplace, "w.h5", "--pool", "size-norm", "--json", code=0).json
    assert (said["pool"], said["frames"], said["kept"]) == ("size-norm", 16 * PEOPLE, 16 * PEOPLE)
    with h5py.File(workplace / "f.h5") as file:
        features, offsets = file["features"][:], file["offsets"][:]
    found = store.read_embeddings(workplace / "w.h5")
    assert "weighted by cluster size and norm" in found.attributes["pooling"]
    embeddings, kept, labels, weights = embed_videos(features, offsets, 0.5, pool="size-norm")
    assert found.weights is not None
    for stored, expected in (
        *((found.embeddings, embeddings), (found.kept, kept)),
        *((found.labels, labels), (found.weights, weights)),
    ):
        assert stored.dtype == expected.dtype and stored.tobytes() == expected.tobytes()
    for a, b in pairwise(offsets):
        faces, things = weights[a : a + 3].sum(), weights[a + 3 : b].sum()
        assert faces > 0.95 and faces + things == pytest.approx(1, abs=1e-5)
        assert labels[a:b].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]  # clusters are still by size


def test_shares_merge_to_the_bytes_of_the_whole(workplace: Path) -> None:
    shares = [workplace / f"share{i}.h5" for i in range(3)]
    for i, share in enumerate(shares):
        cluster(workplace, share.name, "--pool", "size-norm", "--shard", f"{i + 1}/3", code=0)
    cluster(workplace, "whole.h5", "--pool", "size-norm", "--workers", 1, code=0)
    vidface("merge", *shares, "-o", workplace / "merged.h5", code=0)
    assert (workplace / "merged.h5").read_bytes() == (workplace / "whole.h5").read_bytes()
    assert "pooling" in cluster(workplace, "whole.h5", code=2).error  # the usual one, which has no weights
    cluster(workplace, "usual.h5", code=0)
    assert store.read_embeddings(workplace / "usual.h5").weights is None


def test_a_sweep_and_a_recipe_pool_by_weight(workplace: Path) -> None:
    common = ("sweep", workplace / "f.h5", "--manifest", workplace / "set.csv", "--json")
    common = (*common, "--thresholds", "none,0.5")
    largest, weighted = (vidface(*common, "--pool", pool, code=0).json for pool in ("largest", "size-norm"))
    assert "pooling" not in largest["inputs"] and "weighted" in weighted["inputs"]["pooling"]
    assert largest["rows"][1]["mAP@100"] < 0.7 < weighted["rows"][1]["mAP@100"] == 1.0
    ran = vidface("run", workplace / "recipe.toml", "--json", code=0).json
    assert ran["scores"]["mAP@100"] == 1.0
    swept = json.loads((workplace / "out" / "sweep.json").read_text())
    assert swept["rows"][1]["mAP@100"] == 1.0 and swept["inputs"] == weighted["inputs"]
    assert vidface("run", workplace / "recipe.toml", "--json", code=0).json["ran"] == []
    (workplace / "recipe.toml").write_text(RECIPE.replace('"size-norm"', '"heaviest"'))
    assert "cluster.pool" in vidface("run", workplace / "recipe.toml", code=2).error
