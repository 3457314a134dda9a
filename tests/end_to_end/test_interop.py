"""Features that a plain numpy script wrote, in every foreign format, score as through `vidface extract`: real faces.

The scripts are those of docs/protocols/foreign.md, word for word, run by a Python that cannot import vidface.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from command_line import vidface, write_manifest
from python2_pickle import python2_pickle

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols" / "foreign.md"
PEOPLE, VIDEOS, FRAMES, STRANGERS = 12, 3, 3, 8
TARGETS = ("--targets", "1e-1,1e-2,2e-3")
NUMBERS = ("mAP@100", "hit@1", "hit@5", "tpr@fpr", "per_identity", "counts")


class Faces(NamedTuple):
    """A folder with set.csv and mine.npz, and what extract made of the same frames, in float32 and float16."""

    folder: Path
    features: Path
    half: Path


@pytest.fixture(scope="module")
def faces(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Faces:
    folder = tmp_path_factory.mktemp("interop")
    rows = []
    random = np.random.default_rng(3)
    people = {name: list(pictures.values()) for name, pictures in photographs.items()}
    shown = [name for name in people if len(people[name]) >= VIDEOS * FRAMES][:PEOPLE]
    others = [name for name in people if len(people[name]) == 2][:STRANGERS]
    for name in [*shown, *others]:
        for take in range(VIDEOS if name in shown else 1):
            video = f"{name}-{take}"
            (folder / video).mkdir()
            chosen = people[name][take * FRAMES : (take + 1) * FRAMES]
            if name in shown:  # two others get in, the same ones in many videos
                chosen[1:] = [people[others[k]][0] for k in random.choice(STRANGERS, 2, replace=False)]
            for number, data in enumerate(chosen):
                (folder / video / f"{number}.jpg").write_bytes(data)
            split = "train" if name in shown and not take else "val"
            rows.append((video, video, name if name in shown else "", split))
    manifest = write_manifest(folder / "set.csv", rows)
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    told = ("--model", model, "--workers", 0)
    vidface("extract", manifest, "-o", folder / "extracted.h5", *told, code=0)
    vidface("extract", manifest, "-o", folder / "half.h5", *told, "--dtype", "float16", code=0)
    with h5py.File(folder / "extracted.h5") as file:
        offsets, vectors, times = file["offsets"][:], file["features"][:], file["timestamps"][:]
        ids = [text.decode() for text in file["video_ids"][:]]
    owner = np.repeat(ids, np.diff(offsets))
    order = np.random.default_rng(0).permutation(len(owner))  # their files need not be in our order
    order = order[np.argsort(times[order], kind="stable")]
    np.savez(folder / "mine.npz", frames=vectors[order], video=owner[order], second=times[order])
    return Faces(folder, folder / "extracted.h5", folder / "half.h5")


def write_by_script(folder: Path, name: str) -> None:
    """Run a script of the page where vidface cannot be imported."""
    found = re.search(rf"<!-- script: {name} -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    script = found[1]
    assert "vidface" not in script and len([line for line in script.splitlines() if line]) <= 12
    guard = "import sys; sys.modules['vidface'] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", guard + script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def scores(faces: Faces, scored: Path) -> Any:
    told = ("--manifest", faces.folder / "set.csv", *TARGETS)
    return vidface("score", scored, *told, "--json", code=0).json


def clustered(faces: Faces, features: Path, threshold: str) -> Any:
    output = features.with_name(f"{features.stem}.{threshold}.h5")
    vidface("cluster", features, "-o", output, "--threshold", threshold, code=0)
    return scores(faces, output)


@pytest.mark.parametrize(("name", "written"), [("npy", "embeddings.npy"), ("bin", "embeddings.bin")])
def test_embeddings_that_a_script_pooled(faces: Faces, name: str, written: str) -> None:
    write_by_script(faces.folder, name)
    found, wanted = scores(faces, faces.folder / written), clustered(faces, faces.features, "none")
    assert 0.1 < wanted["mAP@100"] < 0.9  # strangers in most videos: there is something to get wrong
    for number in ("mAP@100", "hit@1", "hit@5"):
        assert found[number] == pytest.approx(wanted[number], abs=1e-6), number
    assert found["per_identity"] == pytest.approx(wanted["per_identity"], abs=1e-6)
    for target, value in wanted["tpr@fpr"].items():
        assert value is not None and found["tpr@fpr"][target] == pytest.approx(value, abs=1e-6)
        assert found["threshold@fpr"][target] == pytest.approx(wanted["threshold@fpr"][target], abs=1e-6)


@pytest.mark.parametrize("threshold", ["none", "0.3"])
def test_frames_as_an_array_with_an_index(faces: Faces, threshold: str) -> None:
    write_by_script(faces.folder, "arrays")
    output = faces.folder / "arrays.h5"
    files = (faces.folder / "frames.npy", "--index", faces.folder / "frames.csv")
    vidface("features", "from-arrays", *files, "--manifest", faces.folder / "set.csv", "-o", output, code=0)
    with h5py.File(output) as theirs, h5py.File(faces.features) as ours:
        for dataset in ("features", "offsets", "timestamps", "video_ids"):
            assert np.array_equal(theirs[dataset][:], ours[dataset][:]), dataset
    found, wanted = clustered(faces, output, threshold), clustered(faces, faces.features, threshold)
    for number in (*NUMBERS, "ci95", "threshold@fpr"):
        assert found[number] == wanted[number], number


@pytest.mark.parametrize("writer", ["Python 3", "Python 2"])
def test_the_iqiyi_pickle(faces: Faces, writer: str) -> None:
    path, output = faces.folder / "faces.pickle", faces.folder / f"{writer[-1]}.h5"
    if writer == "Python 3":
        write_by_script(faces.folder, "iqiyi")
    else:
        mine = np.load(faces.folder / "mine.npz")
        videos: dict[str, Any] = defaultdict(list)
        for video, second, vector in zip(mine["video"], mine["second"], mine["frames"], strict=True):
            videos[video].append([str(int(second * 8)), [0.0, 0.0, 9.0, 9.0], 1.0, 9.0, vector.astype("f2")])
        path.write_bytes(python2_pickle(videos))
    vidface("features", "from-iqiyi", path, "--manifest", faces.folder / "set.csv", "-o", output, code=0)
    found, wanted = clustered(faces, output, "0.3"), clustered(faces, faces.half, "0.3")
    for number in (*NUMBERS, "ci95", "threshold@fpr"):
        assert found[number] == wanted[number], number
    # Rounding to float16 costs little, and something.
    whole = clustered(faces, faces.features, "0.3")
    assert abs(found["mAP@100"] - whole["mAP@100"]) < 0.01


def test_the_page_names_every_script() -> None:
    scripts = re.findall(r"<!-- script: (\w+) -->", PAGE.read_text("utf-8"))
    assert scripts == ["npy", "bin", "arrays", "iqiyi", "ijb", "trillionpairs"]
