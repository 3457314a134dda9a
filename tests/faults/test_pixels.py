"""Pictures and videos that are not shown as they are stored: each command sees what a viewer sees, or says why not.

Frame by frame, for both decoders and every container: test_aspect.py, test_timeline.py, test_orientation.py,
test_fields.py and test_hdr.py in tests/frames.
"""

from __future__ import annotations

import io
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import (
    SIDE,
    cells_of,
    encode,
    frames_of,
    pooling_model,
    read_features,
    read_lines,
    vidface,
    write_manifest,
)
from PIL import ExifTags, Image

from vidface.demo.benchmark import faces_from_folder
from vidface.files.store import read_info
from vidface.manifest.manifest import read_manifest
from vidface.report.video.pictures import open_pictures
from vidface.training.data import read_face
from vidface.training.datasets.bin_file import write_bin
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images
from vidface.training.datasets.rec import write_rec
from vidface.training.datasets.tar import write_tar

LEVELS = 4 / 64  # four levels of 256, as the small model sees them


def write(path: Path, frames: np.ndarray, *, aspect: Fraction = Fraction(1), form: str | None = None) -> Path:
    """An h264 clip without loss of luma, 8 frames a second, whose pixels are said to be so wide."""
    height, width = frames.shape[1:3]
    return encode(path, frames, (width, height), rate=8, pix_fmt="yuv444p", aspect=aspect, form=form)


def turned(upright: np.ndarray) -> bytes:
    """A PNG as a phone held upright stores it: lying, with EXIF orientation 6."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(upright)).save(file, "PNG", exif=exif)
    return file.getvalue()


class Found(NamedTuple):
    """What one run of extract made of all of them."""

    rows: dict[str, np.ndarray]
    status: dict[str, str]
    faults: dict[str, list[tuple[str, str]]]


def extracted(root: Path, *options: object, code: int) -> Found:
    names = sorted(path.name for path in root.iterdir() if path.suffix not in (".onnx", ".toml", ".csv"))
    manifest = write_manifest(root / "manifest.csv", [(name, name) for name in names])
    model = pooling_model(root / "cells.onnx")
    output = root.parent / "out" / "features.h5"
    output.parent.mkdir()
    vidface("extract", manifest, "-o", output, "--model", model, *options, code=code)
    ids, status, rows = read_features(output)
    faults: dict[str, list[tuple[str, str]]] = {}
    for line in read_lines(output.parent / "faults.jsonl"):
        faults.setdefault(line["video"], []).append((line["kind"], line["detail"]))
    return Found(dict(zip(ids, rows, strict=True)), dict(zip(ids, status, strict=True)), faults)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("pixels") / "set"
    root.mkdir()
    write(root / "wide.mp4", frames_of(0, 4), aspect=Fraction(64, 45))
    write(root / "shown-square.mp4", frames_of(1, 4)[:, :, ::4].repeat(3, axis=2), aspect=Fraction(4, 3))
    write(root / "nearly.mp4", frames_of(2, 4), aspect=Fraction(299, 300))
    parts = [write(root / f"{n}.ts", frames_of(3, 4, seed=n)).read_bytes() for n in range(3)]
    (root / "joined.ts").write_bytes(b"".join(parts))
    for n in range(3):
        (root / f"{n}.ts").unlink()
    whole = write(root / "second.mp4", frames_of(4, 4)).read_bytes()
    (root / "second.mp4").write_bytes(2 * whole)
    (root / "turned.jpg").write_bytes(turned(frames_of(5, 1)[0]))
    (root / "folder").mkdir()
    for n, pixels in enumerate(frames_of(6, 3)):
        (root / "folder" / f"{n}.png").write_bytes(turned(pixels))
    Image.fromarray(frames_of(7, 1)[0]).save(root / "webp.jpg", format="WEBP")
    Image.fromarray(frames_of(7, 1)[0]).save(root / "gif.gif")
    return extracted(root, code=1)


def test_aligned_faces_whose_pixels_are_not_square(found: Found) -> None:
    assert found.status["wide.mp4"] == "failed" and len(found.rows["wide.mp4"]) == 0
    ((kind, detail),) = found.faults["wide.mp4"]
    assert kind == "not-square"
    assert "64:45" in detail and "159x112" in detail and "setsar=1" in detail and "--resize" in detail


def test_resize_takes_aligned_faces_whose_pixels_are_not_square(tmp_path: Path) -> None:
    """The frame that is shown, scaled to the model's size, is the stored one again, but for two scalings."""
    root = tmp_path / "set"
    root.mkdir()
    write(root / "wide.mp4", frames_of(0, 4), aspect=Fraction(64, 45))
    run = extracted(root, "--resize", code=0)
    assert run.status == {"wide.mp4": "ok"}
    inner = np.abs(run.rows["wide.mp4"] - cells_of(frames_of(0, 4)))
    assert inner.mean() < LEVELS


def test_what_is_shown_is_what_counts(found: Found) -> None:
    """Stored at 84x112 and shown at 112x112; and a ratio that rounds away leaves every row as it is."""
    assert found.status["shown-square.mp4"] == found.status["nearly.mp4"] == "ok"
    assert np.abs(found.rows["nearly.mp4"] - cells_of(frames_of(2, 4))).max() < LEVELS
    assert found.rows["shown-square.mp4"].shape == (4, 48)


def test_time_that_starts_anew_is_said_and_costs_nothing(found: Found) -> None:
    assert found.status["joined.ts"] == "ok"
    expected = np.concatenate([frames_of(3, 4, seed=n) for n in range(3)])
    assert found.rows["joined.ts"].shape == (12, 48)
    assert np.abs(found.rows["joined.ts"] - cells_of(expected)).max() < LEVELS
    ((kind, detail),) = found.faults["joined.ts"]
    assert kind == "joined" and "2 times" in detail


def test_a_second_file_behind_the_first(found: Found) -> None:
    assert found.status["second.mp4"] == "partial" and len(found.rows["second.mp4"]) == 4
    ((kind, detail),) = found.faults["second.mp4"]
    assert kind == "partial" and "a second mov file begins at byte" in detail and "concat" in detail


def test_a_picture_that_lies_on_its_side(found: Found) -> None:
    """By its EXIF orientation; alone, and in a folder of frames."""
    assert found.status["turned.jpg"] == found.status["folder"] == "ok"
    assert np.abs(found.rows["turned.jpg"] - cells_of(frames_of(5, 1))).max() < 1e-5
    assert np.abs(found.rows["folder"] - cells_of(frames_of(6, 3))).max() < 1e-5


def test_a_picture_of_another_format(found: Found) -> None:
    for name, kind, said in (
        ("webp.jpg", "unreadable-image", "WebP"),
        ("gif.gif", "not-a-video", "GIF"),
    ):
        assert found.status[name] == "failed"
        ((fault, detail),) = found.faults[name]
        assert fault == kind and f"a picture in the {said} format: convert it to JPEG or PNG" in detail


def test_a_heif_picture_of_tiles(tmp_path: Path) -> None:
    """Of such FFmpeg gives one tile. Here the main picture is none of the streams, as in those of phones."""
    root = tmp_path / "set"
    root.mkdir()
    Image.fromarray(frames_of(0, 1)[0]).save(root / "whole.avif")
    data = (root / "whole.avif").read_bytes()
    place = data.index(b"pitm") + 8
    assert data[place : place + 2] == b"\0\1"
    (root / "tiles.avif").write_bytes(data[:place] + b"\0\2" + data[place + 2 :])
    run = extracted(root, code=1)
    assert run.status == {"tiles.avif": "failed", "whole.avif": "ok"}
    ((kind, detail),) = run.faults["tiles.avif"]
    assert kind == "not-a-video" and "several tiles: convert it" in detail


@pytest.mark.parametrize("store", ["folder", "tar", "rec"])
def test_training_sets_are_put_upright(store: str, tmp_path: Path) -> None:
    """Wherever the bytes lie, the network sees the picture upright; so does the demo of one's own photographs."""
    faces = {f"p{person}": frames_of(person, 2) for person in range(2)}
    for person, frames in faces.items():
        (tmp_path / "set" / person).mkdir(parents=True)
        for n, pixels in enumerate(frames):
            (tmp_path / "set" / person / f"{n}.png").write_bytes(turned(pixels))
    images = opened(tmp_path, store)
    seen = [read_face(images, n, (SIDE, SIDE)) for n in range(4)]
    assert all(
        (one == other).all() for one, other in zip(seen, np.concatenate(list(faces.values())), strict=True)
    )
    source = faces_from_folder(tmp_path / "set")
    assert (source.picture("p1", 1, 0) == faces["p1"][1]).all()


def opened(folder: Path, store: str) -> ImageSet:
    images = open_images(folder / "set")
    if store == "tar":
        write_tar(folder / "a.tar", images, range(4))
    elif store == "rec":
        write_rec(folder / "a.rec", images)
    return images if store == "folder" else open_images(folder / f"a.{store}")


@pytest.mark.parametrize("form", ["bin", "csv"])
def test_pair_lists_see_upright_pictures(form: str, tmp_path: Path) -> None:
    """The same picture upright and lying is one: all 40 pairs are told apart. As they lie, few are."""
    model = pooling_model(tmp_path / "cells.onnx")
    upright = [frames_of(n, 1)[0] for n in range(40)]
    contents = []
    for n in range(40):
        other = upright[n if n % 2 == 0 else n - 1]
        file = io.BytesIO()
        Image.fromarray(upright[n]).save(file, "PNG")
        contents += [file.getvalue(), turned(other)]
    same = [n % 2 == 0 for n in range(40)]
    lists = tmp_path / f"pairs.{form}"
    if form == "bin":
        write_bin(lists, contents, same)
        words: list[object] = [lists]
    else:
        (tmp_path / "set" / "p").mkdir(parents=True)
        for n, content in enumerate(contents):
            (tmp_path / "set" / "p" / f"{n}.png").write_bytes(content)
        rows = [f"p/{2 * n}.png,p/{2 * n + 1}.png,{int(flag)}" for n, flag in enumerate(same)]
        lists.write_text("\n".join(["first,second,same", *rows]) + "\n")
        words = [lists, "--images", tmp_path / "set"]
    ran = vidface("verify", *words, "--model", model, "--no-flip", "--json", code=0)
    (numbers,) = ran.json["sets"]
    assert numbers["accuracy"] == 1.0


def test_faces_in_pixels_that_are_not_square(tmp_path: Path, shared_data: Path) -> None:
    """A photograph in a film of 1024x576, and the same stored at 720x576 with pixels of 64:45: one face."""
    with tarfile.open(shared_data / "lfw" / "photos.tar") as tar:
        member = next(one for one in tar if one.isfile())
        content = tar.extractfile(member)
        assert content is not None
        photograph = Image.open(content).convert("RGB").resize((500, 500), Image.Resampling.LANCZOS)
    film = Image.new("RGB", (1024, 576))
    film.paste(photograph, (262, 38))
    root = tmp_path / "set"
    root.mkdir()
    write(root / "square.mp4", np.array(film)[np.newaxis])
    stored = np.array(film.resize((720, 576), Image.Resampling.LANCZOS))[np.newaxis]
    write(root / "wide.mp4", stored, aspect=Fraction(64, 45))
    write(root / "unsaid.mp4", stored)
    manifest = write_manifest(tmp_path / "set/m.csv", [(n, f"{n}.mp4") for n in ("square", "wide", "unsaid")])
    models = shared_data / "models"
    vidface(
        *("extract", manifest, "-o", tmp_path / "f.h5", "--model", models / "mobilefacenet_128.onnx"),
        *("--faces", "detect", "--detector-weights", models / "yunet.onnx"),
        code=0,
    )
    rows = [feature[0] / np.linalg.norm(feature[0]) for feature in read_features(tmp_path / "f.h5")[2]]
    assert rows[0] @ rows[1] > 0.97 and rows[0] @ rows[2] < 0.9
    with open_pictures(read_manifest(manifest), read_info(tmp_path / "f.h5", "features")) as pictures:
        (shot,) = pictures.shots(1, [0])  # reports and inspect cut faces out of the very same frame
    assert shot.pixels.shape == (576, 1024, 3) and pictures.missing == {}
