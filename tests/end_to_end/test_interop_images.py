"""Image sets: features that a plain numpy script wrote, in a list's order, score as through `vidface extract`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
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


def write_ijbc(faces: Faces) -> Path:
    """Lists in IJB-C's form: two templates of three images a person, of which two are of one medium."""
    meta = faces.folder / "meta"
    meta.mkdir()
    of_person = defaultdict(list)
    for name, person in zip(faces.names, faces.people, strict=True):
        if person:
            of_person[person].append(name)
    lines, owner = {}, {}
    for person, images in sorted(of_person.items()):
        for half in range(2):
            template = 100 + len(owner)
            owner[template] = person
            for k, image in enumerate(images[3 * half : 3 * half + 3]):
                lines[image] = f"{image} {template} {10 * template + k // 2}\n"
    random = np.random.default_rng(2)
    listed = [image for image in faces.names if image in lines]
    (meta / "ijbc_face_tid_mid.txt").write_text("".join(lines[image] for image in listed))
    points = " ".join(str(number) for number in (38, 52, 74, 52, 56, 72, 42, 92, 71, 92))
    (meta / "ijbc_name_5pts_score.txt").write_text(
        "".join(
            f"{image} {points} {score:.6f}\n"
            for image, score in zip(listed, random.uniform(0.3, 1, len(listed)), strict=True)
        )
    )
    templates = sorted(owner)
    (meta / "ijbc_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {int(owner[a] == owner[b])}\n" for a in templates for b in templates if a < b)
    )
    subject = {person: number for number, person in enumerate(sorted(of_person), 1)}
    header = "TEMPLATE_ID,SUBJECT_ID,FILENAME\n"
    galleries = {"G1": templates[0::2][: PEOPLE // 2], "G2": templates[0::2][PEOPLE // 2 :]}
    for name, part in galleries.items():
        rows = "".join(f"{template},{subject[owner[template]]},x\n" for template in part)
        (meta / f"ijbc_1N_gallery_{name}.csv").write_text(header + rows)
    rows = "".join(f"{template},{subject[owner[template]]},x\n" for template in templates[1::2])
    (meta / "ijbc_1N_probe_mixed.csv").write_text(header + rows)
    return meta


@pytest.mark.parametrize("options", [(), ("--no-norm", "--no-detector-score")])
def test_ijbc_features_in_the_order_of_face_tid_mid(faces: Faces, options: tuple[str, ...]) -> None:
    meta, features = faces.folder / "meta", faces.folder / "ijbc.h5"
    if not meta.exists():
        write_ijbc(faces)
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
