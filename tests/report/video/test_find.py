"""Who is on a picture: the face taken, the cosines against loops, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import cells_of, frames_of, pooling_model
from feature_files import POINTS, features_file
from PIL import ExifTags, Image

from vidface.backbones import load_backbone
from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions
from vidface.errors import MediaError, UsageError
from vidface.frames.faces.faces import Faces
from vidface.report.video import find as module
from vidface.report.video.find import face_of_picture, find


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_backbone(pooling_model(tmp_path_factory.mktemp("model") / "cells.onnx"), device="cpu")


def write_features(
    path: Path, backbone: Any, videos: dict[str, np.ndarray], tracks: Any = None, **told: Any
) -> Path:
    """Features of frames as the small model gives them."""
    faces = None if tracks is None else {"tracks": np.concatenate(tracks)}
    rows = {name: cells_of(frames) if len(frames) else np.empty((0, 48)) for name, frames in videos.items()}
    return features_file(path, rows, faces=faces, model_name="cells", model_sha256=backbone.sha256, **told)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_cosines_are_those_of_loops(tmp_path: Path, backbone: Any) -> None:
    videos = {f"v{person}": frames_of(person, 5, spread=60.0) for person in range(9)}
    path = write_features(tmp_path / "f.h5", backbone, videos)
    face = frames_of(4, 1, seed=9)[0]
    found = find(face, path, backbone, threshold=0.4, top=4)
    query = unit(cells_of(face[np.newaxis]))[0]
    expected = {}
    for name, frames in videos.items():
        mean = sum(unit(row) for row in cells_of(frames))
        expected[name] = float(unit(mean) @ query)
    names = sorted(expected, key=lambda name: -expected[name])
    assert [hit.video_id for hit in found.hits] == names[:4] and names[0] == "v4"
    for hit in found.hits:
        assert hit.cosine == pytest.approx(expected[hit.video_id], abs=1e-5)
        near = [float(unit(row) @ query) for row in cells_of(videos[hit.video_id])]
        assert hit.best == pytest.approx(max(near), abs=1e-5)
        assert hit.best_at == pytest.approx(np.argmax(near) / 8)
        assert (hit.first, hit.last, hit.rows, hit.track) == (0.0, 0.5, 5, None)
    assert (found.compared, found.empty, found.units) == (9, 0, "videos")
    assert found.above == sum(cosine >= 0.4 for cosine in expected.values())


def test_each_track_is_compared_for_itself(tmp_path: Path, backbone: Any) -> None:
    """Videos of several people: tracks of one number in neighbouring videos are two, and empty videos none."""
    people = {"a": [0, 0, 1], "empty": [], "b": [1, 1, 2], "c": [2]}
    videos = {
        name: np.concatenate([np.empty((0, 112, 112, 3), np.uint8), *(frames_of(p, 2, seed=7) for p in of)])
        for name, of in people.items()
    }
    numbers = [np.repeat([0, 1], [4, 2]), [], np.repeat([0, 1], [4, 2]), [1, 1]]
    path = write_features(tmp_path / "f.h5", backbone, videos, tracks=numbers)
    found = find(frames_of(2, 1)[0], path, backbone, threshold=0.8, top=10)
    assert [(hit.video_id, hit.track, hit.rows) for hit in found.hits[:2]] == [("b", 1, 2), ("c", 1, 2)]
    assert found.hits[0].cosine == found.hits[1].cosine  # the same frames: the file's order decides
    every = [(hit.video_id, hit.track) for hit in found.hits]
    assert sorted(every) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1)]
    assert (found.units, found.compared, found.empty, found.above) == ("tracks", 5, 0, 2)
    assert found.hits[0].first == 0.5 and found.hits[0].last == 0.625


def test_an_embeddings_file_is_searched_too(tmp_path: Path, backbone: Any) -> None:
    videos = {f"v{person}": frames_of(person, 4) for person in range(3)}
    videos["mixed"] = np.concatenate([frames_of(1, 3, seed=5), frames_of(50, 1)])
    path = write_features(tmp_path / "f.h5", backbone, videos)
    cluster(path, tmp_path / "e.h5", ClusterOptions(threshold=0.7))
    searched, plain = (
        {
            hit.video_id: hit
            for hit in find(frames_of(1, 1, seed=3)[0], file, backbone, threshold=0.4, top=2).hits
        }
        for file in (tmp_path / "e.h5", path)
    )
    assert searched.keys() == {"v1", "mixed"}
    mixed = searched["mixed"]
    assert mixed.rows == 3 and mixed.first is None and mixed.best is None
    assert mixed.cosine > plain["mixed"].cosine


def test_embeddings_of_tracks_are_searched_too(tmp_path: Path, backbone: Any) -> None:
    videos = {"a": np.concatenate([frames_of(0, 2), frames_of(1, 2)]), "b#7": frames_of(2, 2)}
    path = write_features(tmp_path / "f.h5", backbone, videos, tracks=[[0, 0, 1, 1], [0, 0]])
    cluster(path, tmp_path / "e.h5", ClusterOptions(threshold=0.4, by="track"))
    found = find(frames_of(2, 1)[0], tmp_path / "e.h5", backbone, threshold=0.8, top=1)
    assert [(hit.video_id, hit.track) for hit in found.hits] == [("b#7", 0)]
    assert (found.units, found.compared, found.above) == ("tracks", 3, 1)
    plain = find(frames_of(2, 1)[0], path, backbone, threshold=0.8, top=1)
    assert plain.hits[0].cosine == pytest.approx(found.hits[0].cosine, abs=1e-6)


def test_where_no_video_has_a_face_nobody_is_found(tmp_path: Path, backbone: Any) -> None:
    path = write_features(tmp_path / "f.h5", backbone, {"v": frames_of(0, 0)}, tracks=[[]])
    assert find(frames_of(2, 1)[0], path, backbone, threshold=0.8, top=1) == ([], 0, 0, 0, "tracks")


def test_a_video_without_an_embedding_is_counted_not_ranked(tmp_path: Path, backbone: Any) -> None:
    videos = {"none": frames_of(0, 0), "grey": frames_of(0, 1), "v": frames_of(3, 2)}
    path = write_features(tmp_path / "f.h5", backbone, videos)
    with h5py.File(path, "a") as file:
        file["features"][0] = 0
    found = find(frames_of(9, 1)[0], path, backbone, threshold=0.9, top=10)
    assert [hit.video_id for hit in found.hits] == ["v"]
    assert (found.compared, found.empty, found.above) == (1, 2, 0)


def test_flip_is_the_files_own(tmp_path: Path, backbone: Any) -> None:
    face = frames_of(1, 1)[0]
    videos = {"v": frames_of(1, 1), "w": frames_of(2, 1)}
    path = write_features(tmp_path / "f.h5", backbone, videos, flip=True)
    (hit, *_) = find(face, path, backbone, threshold=0, top=1).hits
    both = cells_of(face[np.newaxis]) + cells_of(face[np.newaxis, :, ::-1])
    assert hit.cosine == pytest.approx(float(unit(both)[0] @ unit(cells_of(videos["v"]))[0]), abs=1e-5)


def test_another_model_is_refused_by_name(tmp_path: Path, backbone: Any) -> None:
    path = write_features(tmp_path / "f.h5", backbone, {"v": frames_of(1, 1)})
    with h5py.File(path, "a") as file:
        file.attrs["model_sha256"], file.attrs["model_name"] = "0" * 64, "other\x1b[2J"
    with pytest.raises(UsageError) as error:
        find(frames_of(1, 1)[0], path, backbone, threshold=0.4, top=1)
    assert "made with other\\x1b[2J (000000000000), not with cells" in str(error.value)


# The picture.


def detector(*found: tuple[float, float, float]) -> Any:
    """Finds aligned faces with their corners at x, y, scaled; remembers what it saw."""
    seen: list[np.ndarray] = []

    def detect(pixels: np.ndarray) -> Faces:
        seen.append(pixels)
        corner = np.float32([[x, y] for x, y, _ in found]).reshape(-1, 2)
        scale = np.float32([s for _, _, s in found])[:, None]
        return Faces(
            np.concatenate([corner, corner + 112 * scale], axis=1),
            corner[:, None] + POINTS * scale[:, None],
            np.full(len(found), 0.9, np.float32),
        )

    detect.seen = seen  # type: ignore[attr-defined]
    return detect


def test_the_largest_face_is_taken_and_aligned(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    picture = np.full((300, 500, 3), 40, np.uint8)
    face = frames_of(1, 1)[0]
    picture[20:132, 30:142] = frames_of(2, 1)[0]
    picture[50:274, 200:424] = np.repeat(np.repeat(face, 2, axis=0), 2, axis=1)
    path = save(tmp_path / "p.png", picture)
    found = face_of_picture(path, detect=detector((30, 20, 1), (200, 50, 2)))
    assert (found.box, found.faces, found.score) == ((200, 50, 424, 274), 2, pytest.approx(0.9))
    middle = slice(14, 112, 28)  # of the cells: away from their edges
    assert np.abs(found.pixels[middle, middle].astype(int) - face[middle, middle]).max() <= 1


def test_an_aligned_picture_is_taken_as_it_is(tmp_path: Path) -> None:
    face = frames_of(1, 1)[0]
    found = face_of_picture(save(tmp_path / "p.png", face), detect=None)
    np.testing.assert_array_equal(found.pixels, face)
    assert found.box is None
    with pytest.raises(MediaError, match=r"p\.png: the picture is 111x112, an aligned face 112x112: leave"):
        face_of_picture(save(tmp_path / "p.png", face[:, :-1]), detect=None)


def test_a_face_that_fills_its_picture_is_looked_for_with_a_border(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    face = frames_of(1, 1)[0]
    path = save(tmp_path / "p.png", face)

    def detect(pixels: np.ndarray) -> Faces:
        if pixels.shape[:2] == (112, 112):
            return detector()(pixels)
        assert pixels.shape[:2] == (224, 224) and (pixels[0, 0] == face[0, 0]).all()
        return detector((56, 56, 1))(pixels)

    found = face_of_picture(path, detect=detect)
    assert found.box == (0, 0, 112, 112)
    np.testing.assert_allclose(found.pixels[14::28, 14::28], face[14::28, 14::28], atol=1)


def test_a_picture_is_put_upright(tmp_path: Path) -> None:
    """Phones store pictures as the sensor lies and say so in EXIF; what cannot be read there says nothing."""
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:16, :16], upright[:16, -16:], upright[-16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "p.jpg", exif=exif, quality=95)
    watch = detector((0, 0, 0.2))
    face_of_picture(tmp_path / "p.jpg", detect=watch)
    assert watch.seen[0].shape == upright.shape
    assert np.abs(watch.seen[0].astype(int) - upright).mean() < 8
    (tmp_path / "p.jpg").write_bytes(jpeg(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    assert face_of_picture(tmp_path / "p.jpg", detect=None).pixels.shape == (112, 112, 3)


def jpeg(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frames_of(1, 1)[0]).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", ""),
        (jpeg()[:500], ""),
        (b"", ""),
        (jpeg(comment=b" " * 5000), "more than 0 MB is no picture"),
        (jpeg(), "no face was found in the picture: take another, or align it and pass --aligned"),
        (None, "no such file"),
    ],
    ids=["text", "cut", "empty", "huge", "no face", "not there"],
)
def test_what_is_no_picture_of_a_face_is_one_line(
    tmp_path: Path, content: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PICTURE_BYTES", 5000)
    path = tmp_path / "p.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError) as error:
        face_of_picture(path, detect=detector())
    assert str(error.value).startswith(f"{path}: {words}") and "\n" not in str(error.value)
    with pytest.raises(MediaError, match="not a file"):
        face_of_picture(tmp_path, detect=None)
