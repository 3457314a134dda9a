"""Image sets: features that a plain numpy script wrote, in a list's order, score as through `vidface extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import template_sets
from command_line import vidface
from PIL import Image
from test_interop import write_by_script

PEOPLE, EACH, DISTRACTORS = 12, 6, 20


class Faces(NamedTuple):
    """A folder of pictures with mine.npz, the names of all, and who is in each; empty: a distractor."""

    folder: Path
    model: Path
    names: list[str]
    people: list[str]


@pytest.fixture(scope="module")
def faces(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Faces:
    folder = tmp_path_factory.mktemp("interop-images")
    often = [person for person, found in photographs.items() if len(found) >= EACH][:PEOPLE]
    once = [person for person, found in photographs.items() if len(found) == 1][:DISTRACTORS]
    pictures = [(who, data) for who in (*often, *once) for data in [*photographs[who].values()][:EACH]]
    pictures = [pictures[at] for at in np.random.default_rng(5).permutation(len(pictures))]
    (folder / "images").mkdir()
    for number, (_, data) in enumerate(pictures, 1):
        path = folder / "images" / f"{number}.jpg"
        path.write_bytes(data)
        if number % 4 == 0:  # hard to recognise, so that there is something to get wrong
            with Image.open(path) as picture:
                picture.resize((12, 12)).resize((112, 112)).save(path)
    names = [f"{number}.jpg" for number in range(1, len(pictures) + 1)]
    people = [person if person in often else "" for person, _ in pictures]
    return Faces(folder, shared_data / "models" / "mobilefacenet_128.onnx", names, people)


def extract(faces: Faces, manifest: Path, output: Path) -> None:
    vidface("extract", manifest, "-o", output, "--model", faces.model, "--workers", 0, code=0)


def write_mine(faces: Faces, features: Path, prefix: str = "") -> None:
    """mine.npz: vectors and images, in an order of their own."""
    with h5py.File(features) as file:
        vectors = file["features"][:]
        ids = [text.decode().removeprefix(prefix) for text in file["video_ids"][:]]
    order = np.random.default_rng(1).permutation(len(ids))
    np.savez(faces.folder / "mine.npz", vectors=vectors[order], image=np.array(ids)[order])


def write_ijbc(faces: Faces, meta: Path) -> None:
    """Lists in IJB-C's form, of the images of known people."""
    known = [(name, who) for name, who in zip(faces.names, faces.people, strict=True) if who]
    numbers = {who: number for number, who in enumerate(sorted({who for _, who in known}))}
    found = template_sets.arrange(meta, "ijbc", [numbers[who] for _, who in known], np.random.default_rng(2))
    places = [int(image.removesuffix(".jpg")) - 1 for image in found.images]
    template_sets.write_lists(found._replace(images=[known[place][0] for place in places]))


@pytest.mark.parametrize("options", [(), ("--no-norm", "--no-detector-score")])
def test_ijbc_features_in_the_order_of_face_tid_mid(faces: Faces, options: tuple[str, ...]) -> None:
    meta, features = faces.folder / "meta", faces.folder / "ijbc.h5"
    if not meta.exists():
        write_ijbc(faces, meta)
        told = ("manifest", "from-ijbc", meta, faces.folder / "images")
        vidface(*told, "-o", faces.folder / "ijbc.csv", code=0)
        extract(faces, faces.folder / "ijbc.csv", features)
    write_mine(faces, features)
    write_by_script(faces.folder, "ijb")
    told = ("--protocol", "ijbc", "--meta", meta, "--targets", "1e-1,1e-2", *options, "--json")
    wanted: Any = vidface("score", features, *told).json
    found: Any = vidface("score", faces.folder / "images.npy", *told).json
    assert found["inputs"]["kind"] == "npy" and wanted["inputs"]["kind"] == "features"
    assert any(0 < value < 1 for value in numbers(wanted) if value is not None)
    for name in wanted.keys() - {"inputs", "warnings"}:
        assert found[name] == wanted[name], name


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    return [value] if isinstance(value, float) else []


def test_trillionpairs_features_in_the_order_of_the_list(faces: Faces) -> None:
    folder = faces.folder
    (folder / "filelist.txt").write_text("".join(f"images/{name}\n" for name in faces.names))
    (folder / "labels.txt").write_text("".join(f"{person or 0}\n" for person in faces.people))
    told = ("manifest", "from-trillionpairs", folder / "filelist.txt", "--labels", folder / "labels.txt")
    manifest, features, embeddings = (folder / name for name in ("tp.csv", "tp.h5", "tp-embeddings.h5"))
    vidface(*told, "-o", manifest, code=0)
    extract(faces, manifest, features)
    vidface("cluster", features, "-o", embeddings, code=0)
    write_mine(faces, features)
    write_by_script(folder, "trillionpairs")
    told = ("--protocol", "trillionpairs", "--manifest", manifest, "--targets", "1e-2,1e-3", "--json")
    wanted: Any = vidface("score", embeddings, *told, code=0).json
    found: Any = vidface("score", folder / "images.bin", *told, code=0).json
    assert found["inputs"]["kind"] == "lfrc"
    assert any(0 < value < 1 for value in wanted["tpr@fpr"].values())
    assert numbers({**found, "inputs": None}) == pytest.approx(numbers({**wanted, "inputs": None}), abs=1e-6)
    assert found["counts"].items() >= {k: v for k, v in wanted["counts"].items() if k != "status"}.items()
