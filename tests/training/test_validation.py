from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_faces import SIDE, face
from PIL import Image
from sklearn.metrics import roc_curve
from torch import Tensor, nn

from vidface.errors import MediaError, UsageError
from vidface.training.datasets.images import ImageSet
from vidface.training.validation import Faces, held_out, measure, open_sets

SIZE = (SIDE, SIDE)
CPU = torch.device("cpu")


class Cells(nn.Module):
    """Embeddings are the values of the picture's cells, as the network is given them."""

    def forward(self, x: Tensor) -> Tensor:
        cells: Tensor = x[:, :, 4::8, 4::8].flatten(1)
        return cells


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image_set(people: int, each: int, seed: int = 0, side: int = SIDE) -> ImageSet:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(people), each)).astype(np.int64)
    names = [f"p{label}/{number}" for number, label in enumerate(labels)]

    def read(index: int) -> bytes:
        return png(face(int(labels[index]), index, side))

    return ImageSet(tuple(f"p{number}" for number in range(people)), labels, names, read, "the set")


def by_hand(faces: Faces, mean: float = 127.5, std: float = 128) -> np.ndarray:
    """float64 [N, D], unit rows, of `Cells`."""
    pixels = faces.pixels.astype(np.float64).transpose(0, 3, 1, 2)
    rows = ((pixels - mean) / std)[:, :, 4::8, 4::8].reshape(len(pixels), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def naive_folds(distances: np.ndarray, same: np.ndarray) -> list[float]:
    """Ten folds with a loop over thresholds: the best of the others decides on each."""
    found = []
    for fold in np.array_split(np.arange(len(same)), 10):
        others = np.setdiff1d(np.arange(len(same)), fold)
        rights = [np.mean((distances[others] < at) == same[others]) for at in np.arange(0, 4, 0.01)]
        at = np.arange(0, 4, 0.01)[int(np.argmax(rights))]
        found.append(float(np.mean((distances[fold] < at) == same[fold])))
    return found


def noisy(faces: Faces) -> Faces:
    """The people hardly to be reported apart, or all numbers would be 1."""
    noise = np.random.default_rng(3).normal(0, 90, (len(faces.pixels), 4, 4, 3))
    rough = faces.pixels + noise.repeat(8, axis=1).repeat(8, axis=2)
    return replace(faces, pixels=np.clip(rough, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("scale", [(127.5, 128.0), (0.0, 255.0), (123.7, 58.4)])
def test_measured_as_numpy_and_sklearn_do(scale: tuple[float, float]) -> None:
    """With the input that vidface trains with, and with what other networks take: the numbers are not the same."""
    faces = noisy(held_out(image_set(14, 6), SIZE, 4))
    network = Cells().train()
    mean, std = scale
    given = {} if mean == 127.5 else {"mean": mean, "std": std}
    found = measure(network, faces, CPU, **given)
    assert not network.training
    unit = by_hand(faces, mean, std)
    distances = ((unit[faces.first] - unit[faces.second]) ** 2).sum(axis=1)
    folds = naive_folds(distances, faces.same)
    assert found["accuracy"] == pytest.approx(np.mean(folds), abs=1e-9)
    assert found["accuracy_std"] == pytest.approx(np.std(folds), abs=1e-9)
    assert 0.6 < found["accuracy"] < 0.99

    rows, columns = np.triu_indices(len(unit), 1)
    assert faces.labels is not None
    truth = faces.labels[rows] == faces.labels[columns]
    fpr, tpr, _ = roc_curve(truth, (unit[rows] * unit[columns]).sum(axis=1), drop_intermediate=False)
    assert found["tpr"] == pytest.approx(tpr[fpr <= 1e-3].max(), abs=1e-9)
    assert 0 < found["tpr"] < 1


def test_batches_do_not_change_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = noisy(held_out(image_set(14, 6), SIZE, 4))
    before = measure(Cells(), faces, CPU)
    monkeypatch.setattr("vidface.training.validation._BATCH", 5)
    assert measure(Cells(), faces, CPU) == before


def test_too_few_impostors_for_a_rate() -> None:
    assert measure(Cells(), held_out(image_set(4, 5), SIZE, 0), CPU)["tpr"] is None


def test_the_pairs_of_held_out_people() -> None:
    images = image_set(14, 6)
    faces = held_out(images, SIZE, 4)
    assert faces.labels is images.labels or np.array_equal(faces.labels, images.labels)
    assert np.array_equal(faces.pixels[5], face(int(images.labels[5]), 5))
    assert faces.same.tolist() == [True, False] * 210  # all genuine pairs: 14 * 15
    assert np.array_equal(images.labels[faces.first] == images.labels[faces.second], faces.same)
    assert (faces.first != faces.second).all()
    listed = {frozenset(pair) for pair in zip(faces.first.tolist(), faces.second.tolist(), strict=True)}
    assert len(listed) == 420, "no pair comes twice"
    again, other = held_out(images, SIZE, 4), held_out(images, SIZE, 5)
    assert np.array_equal(again.first, faces.first) and np.array_equal(again.second, faces.second)
    assert not np.array_equal(other.first, faces.first)


def test_the_list_of_pairs_is_as_long_as_lfws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidface.training.validation._MAX_PAIRS", 40)
    faces = held_out(image_set(14, 6), SIZE, 4)
    assert faces.same.tolist() == [True, False] * 20


@pytest.mark.parametrize(("people", "each", "counts"), [(1, 9, (0, 0)), (2, 2, (2, 2))])
def test_too_few_pairs_for_ten_folds(people: int, each: int, counts: tuple[int, int]) -> None:
    said = "the set: the held-out people: {} pairs of one person and {} of two are too few for ten folds"
    with pytest.raises(UsageError, match=said.format(*counts)):
        held_out(image_set(people, each), SIZE, 0)
    assert len(held_out(image_set(2, 3), SIZE, 0).same) == 12


def test_too_many_images_to_list_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidface.training.validation._MAX_IMAGES", 83)
    with pytest.raises(UsageError, match="the set: 84 images are held out, more than 83: lower"):
        held_out(image_set(14, 6), SIZE, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite(value: float) -> None:
    class Broken(Cells):
        def forward(self, x: Tensor) -> Tensor:
            rows = super().forward(x).clone()
            rows[1, 2] = value
            return rows

    with pytest.raises(UsageError, match="embeddings that are not finite: lower the learning rate"):
        measure(Broken(), held_out(image_set(4, 4), SIZE, 0), CPU)


def write_bin(path: Path, pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """LFW's format, two images a pair; gives the pictures and who is the same."""
    pictures = [
        face(person, 10 * place + k) for place, pair in enumerate(pairs) for k, person in enumerate(pair)
    ]
    same = [one == other for one, other in pairs]
    path.write_bytes(pickle.dumps(([png(picture) for picture in pictures], same), protocol=4))
    return np.array(pictures), np.array(same)


def test_listed_pairs(tmp_path: Path) -> None:
    pairs = [(n, n if n % 3 else n + 1) for n in range(30)]
    pictures, same = write_bin(tmp_path / "lfw.bin", pairs)
    sets = open_sets({"lfw": tmp_path / "lfw.bin"}, SIZE)
    faces = sets["lfw"]
    assert faces.labels is None
    assert np.array_equal(faces.pixels[faces.first], pictures[::2])
    assert np.array_equal(faces.pixels[faces.second], pictures[1::2])
    assert np.array_equal(faces.same, same)
    unit = by_hand(faces)
    distances = ((unit[faces.first] - unit[faces.second]) ** 2).sum(axis=1)
    found = measure(Cells(), faces, CPU)
    assert set(found) == {"accuracy", "accuracy_std"}
    assert found["accuracy"] == pytest.approx(np.mean(naive_folds(distances, same)))


def test_listed_pairs_of_no_use(tmp_path: Path) -> None:
    write_bin(tmp_path / "few.bin", [(1, 1), (1, 2)] * 4)
    with pytest.raises(
        UsageError, match=r"few\.bin: 4 pairs of one person and 4 of two are too few for ten folds"
    ):
        open_sets({"few": tmp_path / "few.bin"}, SIZE)
    write_bin(tmp_path / "same.bin", [(n, n) for n in range(20)])
    with pytest.raises(UsageError, match="20 pairs of one person and 0 of two"):
        open_sets({"same": tmp_path / "same.bin"}, SIZE)
    write_bin(tmp_path / "size.bin", [(n, n // 2) for n in range(20)])
    with pytest.raises(MediaError, match=r"size.bin: .*it is 32x32, not 48x48"):
        open_sets({"size": tmp_path / "size.bin"}, (48, 48))
