from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import auc as area
from sklearn.metrics import roc_curve
from sklearn.model_selection import KFold

from vidface.backbones import Backbone, ModelCard, load_backbone
from vidface.errors import StoreError
from vidface.scores.protocols.pairs import TARGETS
from vidface.training.datasets.pairs import PairSet, open_pairs, write_bin
from vidface.training.verify import squared_distances, verify

SIDE = 8


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def faces(count: int, *, side: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def mean_colours(seen: list[int] | None = None, columns: int = 4) -> Backbone:
    """Embeds as the mean colour of every column strip, less 128 (a grey image is zero); ``seen`` gets batch sizes."""
    values: dict[str, Any] = {"name": "strips", "input_size": (SIDE, SIDE), "colour_order": "rgb"}
    values |= {"mean": (0, 0, 0), "std": (1, 1, 1), "dimension": 3 * columns, "licence": "", "source": ""}

    def embed(images: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(len(images))
        strips = images.reshape(len(images), SIDE, columns, SIDE // columns, 3).astype(np.float32)
        return strips.mean(axis=(1, 3)).reshape(len(images), -1) - 128

    return Backbone(card=ModelCard(**values), sha256="", device="cpu", embed=embed)


def pairs_of(images: list[bytes], first: list[int], second: list[int], same: list[bool]) -> PairSet:
    return PairSet(
        names=[f"image {number}" for number in range(len(images))],
        read=images.__getitem__,
        first=np.array(first),
        second=np.array(second),
        same=np.array(same),
        source="a test",
    )


def naive_distances(pixels: np.ndarray, pairs: PairSet, flip: bool) -> np.ndarray:
    """One image at a time, in float64."""

    def unit(image: np.ndarray) -> np.ndarray:
        def embedded(face: np.ndarray) -> np.ndarray:
            return np.array([face[:, 2 * c : 2 * c + 2].mean(axis=(0, 1)) for c in range(4)]).ravel() - 128

        row = embedded(image.astype(np.float64))
        if flip:
            row = row + embedded(image[:, ::-1].astype(np.float64))
        return row / np.sqrt((row**2).sum())

    both = zip(pairs.first, pairs.second, strict=True)
    return np.array([((unit(pixels[one]) - unit(pixels[other])) ** 2).sum() for one, other in both])


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_distances_against_one_image_at_a_time(flip: bool, batch_size: int) -> None:
    pixels = faces(9)
    # Image 4 is in no pair, image 0 in many.
    pairs = pairs_of([png(face) for face in pixels], [0, 8, 0, 3, 0], [5, 0, 6, 2, 0], [True] * 5)
    seen: list[int] = []
    distances, faults, squeezed = squared_distances(
        pairs, mean_colours(seen), flip=flip, resize=False, batch_size=batch_size
    )
    assert np.allclose(distances, naive_distances(pixels, pairs, flip), rtol=0, atol=1e-6)
    assert distances[4] == 0
    assert np.isfinite(distances).all() and (faults, squeezed) == ([], 0)
    assert sum(seen) == 6 * (1 + flip), "each image that is in a pair, once"
    assert max(seen) <= batch_size


def test_images_that_fail_are_listed_and_their_pairs_left_out() -> None:
    pixels = faces(24)
    images = [png(face) for face in pixels]
    images[3] = images[3][:40]
    images[5] = b"no image"
    images[7] = png(faces(1, side=9)[0])
    images[9] = png(np.full((SIDE, SIDE, 3), 128, np.uint8))
    first, second = list(range(0, 24, 2)), list(range(1, 24, 2))
    same = [True, False] * 6
    # One more pair of an image that fails: it is one fault, and two pairs.
    pairs = pairs_of(images, [*first, 3, 0, 0], [*second, 10, 11, 12], [*same, True, True, False])
    backbone = mean_colours()
    result = verify(pairs, backbone, batch_size=4)
    kinds = ["unreadable-image", "unreadable-image", "wrong-size", "no-embedding"]
    failed = list(zip(["image 3", "image 5", "image 7", "image 9"], kinds, strict=True))
    assert [(fault["image"], fault["kind"]) for fault in result["faults"]] == failed
    counts = {"pairs": 10, "same": 5, "different": 5, "images": 20, "left_out": 0}
    assert result["counts"] == {**counts, "failed_images": 4, "failed_pairs": 5}
    left = [number for number in range(15) if not {pairs.first[number], pairs.second[number]} & {3, 5, 7, 9}]
    kept = pairs_of(
        images, pairs.first[left].tolist(), pairs.second[left].tolist(), pairs.same[left].tolist()
    )
    clean = verify(kept, backbone, batch_size=4)
    assert clean["counts"]["pairs"] == 10 and clean["faults"] == []
    for key in ("accuracy", "std", "auc", "tpr@fpr", "fold_accuracies", "fold_thresholds"):
        assert result[key] == clean[key], key
    resized = verify(pairs, backbone, resize=True)
    assert "wrong-size" not in {fault["kind"] for fault in resized["faults"]}
    assert not any("resized whole" in warning for warning in resized["warnings"])
    images = [png(face) for face in pixels]
    images[7], images[2] = png(faces(1, side=4 * SIDE)[0]), png(faces(1, side=2 * SIDE)[0][:, :SIDE])
    whole = verify(pairs_of(images, first, second, same), backbone, resize=True)
    assert whole["warnings"][0].startswith("2 of 24 images have another shape than the model's input")
    assert resized["counts"]["pairs"] == 11


@pytest.mark.parametrize(
    ("same", "said"),
    [
        ([True, False, True], "3 pairs cannot be cut into 10 folds"),
        ([True] * 12, "all pairs are of the same person"),
        ([False] * 12, "all pairs are of different people"),
    ],
)
def test_what_has_no_accuracy_is_refused_before_the_work(same: list[bool], said: str) -> None:
    seen: list[int] = []
    pairs = pairs_of([png(face) for face in faces(2)], [0] * len(same), [1] * len(same), same)
    with pytest.raises(StoreError, match=f"a test: no accuracy can be had: {said}"):
        verify(pairs, mean_colours(seen))
    assert seen == []


def test_too_few_pairs_left() -> None:
    images = [png(face) for face in faces(3)] + [b"no image"]
    pairs = pairs_of(images, [0] * 12, [1, 2] + [3] * 10, [True, False] * 6)
    with pytest.raises(
        StoreError, match=r"of 12 pairs 2 can be used: 2 pairs cannot be cut .*; image 3: it is neither"
    ):
        verify(pairs, mean_colours())


def test_warnings() -> None:
    images = [png(face) for face in faces(40)]
    ordered = pairs_of(images, list(range(20)), list(range(20, 40)), [True] * 10 + [False] * 10)
    text = " ".join(verify(ordered, mean_colours())["warnings"])
    assert "10 of 10 folds hold pairs of one kind only" in text
    assert (
        "TPR at FPR 1e-2, 1e-3 and 1e-4 is not measured: 10 pairs of different people are fewer than 1/1e-2"
        in text
    )
    assert "FPR 1e-1" not in text
    mixed = pairs_of(images, list(range(20)), list(range(20, 40)), [True, False] * 10)
    assert "folds" not in " ".join(verify(mixed, mean_colours())["warnings"])


# Real faces

PAIRS = 300


def some_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Published pairs, the first of each kind, in turn."""
    with path.open(newline="") as file:
        rows = [(row["first"], row["second"], row["same"] == "1") for row in csv.DictReader(file)]
    kinds = [[row for row in rows if row[2] is kind][: PAIRS // 2] for kind in (True, False)]
    return [row for two in zip(*kinds, strict=True) for row in two]


def test_real_faces_against_scikit_learn_and_plain_numpy(tmp_path: Path, shared_data: Path) -> None:
    """Folder, tar and .bin give the same figure, and it is that of another program written here."""
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    rows = some_pairs(shared_data / "lfw" / "pairs.csv")
    names = sorted({name for row in rows for name in row[:2]})
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        contents = {name: tar.extractfile(members[name]).read() for name in names}  # type: ignore[union-attr]
    for name, content in contents.items():
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "people" / name).write_bytes(content)
    listed = tmp_path / "pairs.csv"
    listed.write_text("first,second,same\n" + "".join(f"{a},{b},{int(same)}\n" for a, b, same in rows))
    write_bin(
        tmp_path / "pairs.bin", (contents[n] for row in rows for n in row[:2]), [row[2] for row in rows]
    )

    # The oracle: onnxruntime and numpy alone.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    mean, std = np.float32([0.485, 0.456, 0.406]) * 255, np.float32([0.229, 0.224, 0.225]) * 255
    raw: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in names:
        pixels = np.array(Image.open(io.BytesIO(contents[name])).convert("RGB"))
        both = np.stack([pixels, pixels[:, ::-1]]).astype(np.float32)
        (out,) = session.run(
            None, {session.get_inputs()[0].name: ((both - mean) / std).transpose(0, 3, 1, 2)}
        )
        raw[name] = (out[0], out[1])
    same = np.array([row[2] for row in rows])

    # What was embedded above is looked up; that the backbone itself gives the same is checked on some of them.
    known = {}
    for name, (one, other) in raw.items():
        pixels = np.array(Image.open(io.BytesIO(contents[name])).convert("RGB"))
        known |= {pixels.tobytes(): one, pixels[:, ::-1].tobytes(): other}
    real = load_backbone(model)
    sample = np.stack([np.frombuffer(key, np.uint8).reshape(112, 112, 3) for key in list(known)[:40]])
    assert np.allclose(real.embed(sample), np.stack(list(known.values())[:40]), atol=1e-3)
    backbone = replace(real, embed=lambda images: np.stack([known[image.tobytes()] for image in images]))

    for flip in (True, False):
        unit = {name: one + other if flip else one for name, (one, other) in raw.items()}
        unit = {name: row / np.linalg.norm(row) for name, row in unit.items()}
        distances = np.array([((unit[a] - unit[b]) ** 2).sum() for a, b, _ in rows])
        thresholds = np.arange(0, 4, 0.01)
        right = (distances[:, None] < thresholds) == same[:, None]
        accuracies = [
            right[test][:, right[train].mean(axis=0).argmax()].mean()
            for train, test in KFold(n_splits=10, shuffle=False).split(distances)
        ]
        fpr, tpr, _ = roc_curve(same, -distances, drop_intermediate=False)
        tar = shared_data / "lfw" / "aligned.tar"
        ways = [(listed, tmp_path / "people"), (listed, tar), (tmp_path / "pairs.bin",)]
        results = [verify(open_pairs(*way), backbone, flip=flip, batch_size=7) for way in ways]
        for result in results:
            assert result["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
            assert result["std"] == pytest.approx(np.std(accuracies), abs=1e-12)
            assert result["auc"] == pytest.approx(area(fpr, tpr), abs=1e-6)
            assert result["counts"]["pairs"] == PAIRS and result["counts"]["images"] == len(names)
            for target in TARGETS[:2]:
                assert result["tpr@fpr"][target] == tpr[fpr <= float(target) + 1e-12].max()
            assert {**result, "source": "", "problems": []} == {**results[0], "source": "", "problems": []}
        assert results[0]["accuracy"] > 0.97


def test_folds_that_the_list_gives(tmp_path: Path) -> None:
    """Pairs of one person stand first, as in CALFW: cut in that order, folds would be of one kind each."""
    pixels = faces(80, seed=3)
    same = [True] * 20 + [False] * 20
    pixels[1:40:2] = pixels[0:40:2] // 2 + faces(80, seed=4)[1:40:2] // 2  # alike, but not as one
    first, second = list(range(0, 80, 2)), list(range(1, 80, 2))
    pairs = pairs_of([png(face) for face in pixels], first, second, same)
    folds = np.tile(np.repeat(np.arange(1, 11), 2), 2)
    given = verify(replace(pairs, folds=folds), mean_colours(), flip=False)
    distances = naive_distances(pixels, pairs, flip=False)
    accuracies = []
    for fold in range(1, 11):
        rest = folds != fold
        right = [np.mean((distances[rest] < t) == pairs.same[rest]) for t in np.arange(0, 4, 0.01)]
        threshold = np.arange(0, 4, 0.01)[int(np.argmax(right))]
        accuracies.append(np.mean((distances[~rest] < threshold) == pairs.same[~rest]))
    assert given["fold_accuracies"] == pytest.approx(accuracies)
    assert not [warning for warning in given["warnings"] if "one kind only" in warning]
    cut = verify(pairs, mean_colours(), flip=False)
    assert "10 of 10 folds hold pairs of one kind only" in cut["warnings"][-1]


def test_a_list_that_lost_one_kind_says_which_lines(tmp_path: Path) -> None:
    pairs = replace(
        pairs_of([png(face) for face in faces(4)], [0] * 12, [1] * 12, [True] * 12),
        left_out=3,
        problems=("x: a note", "p.csv:4: left out: no image 'a'", "p.csv:5: left out: no image 'b'"),
    )
    with pytest.raises(
        StoreError, match=r"all pairs are of the same person; 3 pairs are left out, the first: p.csv:4"
    ):
        verify(pairs, mean_colours())
