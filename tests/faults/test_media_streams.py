"""Videos and pictures that are sound and odd, or not shown as they are stored: each is read as a viewer sees it.

How every decoder reads many more of them, frame by frame, stands in tests/frames.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from bad_clips import turned, wide
from command_line import (
    SIDE,
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    vidface,
    write_manifest,
    write_video,
)
from fault_material import Extracted, extracted
from PIL import Image

from vidface.demo.benchmark import faces_from_folder
from vidface.files.store import read_info
from vidface.manifest.manifest import read_manifest
from vidface.report.video.pictures import open_pictures
from vidface.training.data import read_face
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pairs import write_bin
from vidface.training.datasets.rec import write_rec
from vidface.training.datasets.tar import write_tar

TICKS = 90_000
EXACT, LEVELS = 1e-4, 4 / 64  # of 256, four levels, as the small model sees them
GREY = (0.299, 0.587, 0.114)


def stream(
    *streams: np.ndarray,
    form: str = "rgb24",
    times: Sequence[float] | None = None,
    turn: int = 0,
    cut: int = 0,
    **options: str,
) -> Callable[[Path], None]:
    """Write a lossless h264 clip of one or more streams, at ``times`` in seconds, else 8 frames per second.

    ``turn``: stored so that it must be turned by so many degrees. ``cut``: frames before the start, by an edit list.
    """

    def mux(out: Any, packets: Sequence[Any]) -> None:
        for packet in packets:
            packet.pts -= round(cut / 8 / packet.time_base)
            packet.dts -= round(cut / 8 / packet.time_base)
            out.mux(packet)

    def picture_of(upright: np.ndarray) -> av.VideoFrame:
        stored = np.ascontiguousarray(np.rot90(upright, -turn // 90))
        if form == "gray":  # by hand: an untagged video is in limited range, 16 to 235
            luma = (16 + (stored @ np.array(GREY)) * 219 / 255).round().astype(np.uint8)
            return av.VideoFrame.from_ndarray(luma, format="gray")
        return av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(format=form)

    def write(path: Path) -> None:
        codec = "libx264rgb" if form == "rgb24" else "libx264"
        with av.logging.Capture(), av.open(str(path), "w") as out:
            made: list[Any] = [
                out.add_stream(codec, rate=8, options={"preset": "ultrafast", "qp": "0", **options})
                for _ in streams
            ]
            for one in made:
                one.width, one.height, one.pix_fmt = SIDE, SIDE, form
                one.codec_context.thread_count = 1
                one.codec_context.time_base = Fraction(1, TICKS)
                if turn:
                    one.set_display_rotation(turn)
            for one, frames in zip(made, streams, strict=True):
                for index, upright in enumerate(frames):
                    picture = picture_of(upright)
                    seconds = index / 8 if times is None else times[index]
                    picture.pts, picture.time_base = round(seconds * TICKS), Fraction(1, TICKS)
                    mux(out, one.encode(picture))
                mux(out, one.encode(None))

    return write


def joined(path: Path) -> None:
    """Time starts anew in every part."""
    parts = [wide(path, Fraction(1), frames_of(3, 4, seed=n)).read_bytes() for n in range(3)]
    path.write_bytes(b"".join(parts))


def turned_pictures(path: Path) -> None:
    path.mkdir()
    for n, pixels in enumerate(frames_of(6, 3)):
        (path / f"{n}.png").write_bytes(turned(pixels))


class Odd(NamedTuple):
    """What writes a file, the frames that it shows, and how near the rows must be to theirs."""

    write: Callable[[Path], object]
    frames: np.ndarray
    near: float = EXACT


def grey(frames: np.ndarray) -> np.ndarray:
    return np.repeat((frames @ np.array(GREY))[..., None], 3, axis=3)


ODD = {
    "good.mp4": Odd(lambda path: write_video(path, frames_of(7, 5)), frames_of(7, 5)),
    "turned-90.mp4": Odd(stream(frames_of(2, 5), turn=90), frames_of(2, 5)),
    "turned-180.mp4": Odd(stream(frames_of(2, 5), turn=180), frames_of(2, 5)),
    "turned-270.mp4": Odd(stream(frames_of(2, 5), turn=270), frames_of(2, 5)),
    # The five frames before the start that the list cuts away give no rows.
    "edit-list.mp4": Odd(stream(frames_of(3, 12), cut=5, g="12"), frames_of(3, 12)[5:]),
    # Those that are on screen at a multiple of 1/8 s, each once: worked out by hand.
    "variable.mp4": Odd(
        stream(frames_of(4, 7), times=[0, 0.05, 0.3, 0.31, 0.9, 1.4, 1.5]), frames_of(4, 7)[[0, 1, 3, 4, 6]]
    ),
    "ten-bit.mp4": Odd(stream(frames_of(6, 6), form="yuv444p10le"), frames_of(6, 6), LEVELS),
    "grey.mp4": Odd(stream(frames_of(5, 6), form="gray"), grey(frames_of(5, 6)), LEVELS),
    "joined.ts": Odd(joined, np.concatenate([frames_of(3, 4, seed=n) for n in range(3)]), LEVELS),
    # A ratio that rounds away; and frames stored at 84x112 and shown at 112x112.
    "nearly.mp4": Odd(lambda path: wide(path, Fraction(299, 300), frames_of(2, 4)), frames_of(2, 4), LEVELS),
    "shown-square.mp4": Odd(
        lambda path: wide(path, Fraction(4, 3), frames_of(1, 4)[:, :, ::4].repeat(3, axis=2)),
        *(frames_of(1, 4), 0.3),
    ),
    "turned.jpg": Odd(lambda path: path.write_bytes(turned(frames_of(5, 1)[0])), frames_of(5, 1)),
    "folder": Odd(turned_pictures, frames_of(6, 3)),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    root = tmp_path_factory.mktemp("odd")
    for name, one in ODD.items():
        one.write(root / name)
    for name in ("two.mp4", "two.mkv"):
        stream(frames_of(0, 6), frames_of(1, 9))(root / name)
    rows = [(name, name) for name in (*ODD, "two.mp4", "two.mkv")]
    model = pooling_model(root / "cells.onnx")
    return extracted(write_manifest(root / "m.csv", rows), root / "f.h5", model, code=0)


def test_odd_files_leave_no_fault(found: Extracted) -> None:
    """The exit code is 0; that time starts anew is noted."""
    assert set(found.status.values()) == {"ok"} and found.ran.err == ""
    (((kind, detail),),) = found.faults.values()
    assert "joined.ts" in found.faults and kind == "joined" and "2 times" in detail


@pytest.mark.parametrize("name", ODD)
def test_what_is_shown_is_what_counts(found: Extracted, name: str) -> None:
    _, frames, near = ODD[name]
    rows = found.rows[name]
    assert len(rows) == len(frames) and np.abs(rows - cells_of(frames)).max() < near


@pytest.mark.parametrize("name", ["two.mp4", "two.mkv"])
def test_two_video_streams(found: Extracted, name: str) -> None:
    """One of them is read, and whole: rows of the other never come between."""
    rows = found.rows[name]
    either = [cells_of(frames_of(person, count)) for person, count in ((0, 6), (1, 9))]
    assert any(len(rows) == len(one) and np.allclose(rows, one, atol=1e-5) for one in either)


def test_resize_takes_aligned_faces_whose_pixels_are_not_square(tmp_path: Path, model: Path) -> None:
    """The frame that is shown, scaled to the model's size, is the stored one again, but for two scalings."""
    wide(tmp_path / "wide.mp4", Fraction(64, 45), frames_of(0, 4))
    manifest = write_manifest(tmp_path / "m.csv", [("wide", "wide.mp4")])
    run = extracted(manifest, tmp_path / "f.h5", model, "--resize", code=0)
    assert run.status == {"wide": "ok"}
    assert np.abs(run.rows["wide"] - cells_of(frames_of(0, 4))).mean() < LEVELS


@pytest.mark.parametrize("store", ["folder", "tar", "rec"])
def test_training_sets_are_put_upright(store: str, tmp_path: Path) -> None:
    """Wherever the bytes lie, the network sees the picture upright; so does the demo of one's own photographs."""
    faces = [frames_of(person, 2) for person in range(2)]
    for person, frames in enumerate(faces):
        (tmp_path / "set" / f"p{person}").mkdir(parents=True)
        for n, pixels in enumerate(frames):
            (tmp_path / "set" / f"p{person}" / f"{n}.png").write_bytes(turned(pixels))
    images = open_images(tmp_path / "set")
    if store == "tar":
        write_tar(tmp_path / "a.tar", images, range(4))
    elif store == "rec":
        write_rec(tmp_path / "a.rec", images)
    if store != "folder":
        images = open_images(tmp_path / f"a.{store}")
    seen = [read_face(images, n, (SIDE, SIDE)) for n in range(4)]
    assert (np.array(seen) == np.concatenate(faces)).all()
    assert (faces_from_folder(tmp_path / "set").picture("p1", 1, 0) == faces[1][1]).all()


@pytest.mark.parametrize("form", ["bin", "csv"])
def test_pair_lists_see_upright_pictures(form: str, tmp_path: Path, model: Path) -> None:
    """The same picture upright and lying is one: all 40 pairs are told apart. As they lie, few are."""
    (tmp_path / "p").mkdir()
    contents, lines = [], ["first,second,same"]
    for n in range(40):
        upright = tmp_path / "p" / f"{2 * n}.png"
        Image.fromarray(frames_of(n, 1)[0]).save(upright)
        lying = turned(frames_of(n if n % 2 == 0 else n - 1, 1)[0])
        (tmp_path / "p" / f"{2 * n + 1}.png").write_bytes(lying)
        contents += [upright.read_bytes(), lying]
        lines.append(f"p/{2 * n}.png,p/{2 * n + 1}.png,{int(n % 2 == 0)}")
    write_bin(tmp_path / "pairs.bin", contents, [n % 2 == 0 for n in range(40)])
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    words = [tmp_path / f"pairs.{form}", *(["--images", tmp_path] if form == "csv" else [])]
    ran = vidface("verify", *words, "--model", model, "--no-flip", "--json", code=0)
    (numbers,) = ran.json["sets"]
    assert numbers["accuracy"] == 1.0


def test_faces_in_pixels_that_are_not_square(tmp_path: Path, shared_data: Path) -> None:
    """A photograph in a film of 1024x576, and the same stored at 720x576 with pixels of 64:45: one face."""
    with tarfile.open(shared_data / "lfw" / "photos.tar") as tar:
        content = tar.extractfile(next(one for one in tar if one.isfile()))
        assert content is not None
        photograph = Image.open(content).convert("RGB").resize((500, 500), Image.Resampling.LANCZOS)
    film = Image.new("RGB", (1024, 576))
    film.paste(photograph, (262, 38))
    stored = np.array(film.resize((720, 576), Image.Resampling.LANCZOS))[np.newaxis]
    wide(tmp_path / "square.mp4", Fraction(1), np.array(film)[np.newaxis])
    wide(tmp_path / "wide.mp4", Fraction(64, 45), stored)
    wide(tmp_path / "unsaid.mp4", Fraction(1), stored)
    manifest = write_manifest(tmp_path / "m.csv", [(n, f"{n}.mp4") for n in ("square", "wide", "unsaid")])
    models = shared_data / "models"
    words = ("extract", manifest, "-o", tmp_path / "f.h5", "--model", models / "mobilefacenet_128.onnx")
    vidface(*words, "--faces", "detect", "--detector-weights", models / "yunet.onnx", code=0)
    rows = [feature[0] / np.linalg.norm(feature[0]) for feature in read_features(tmp_path / "f.h5")[2]]
    assert rows[0] @ rows[1] > 0.97 and rows[0] @ rows[2] < 0.9
    with open_pictures(read_manifest(manifest), read_info(tmp_path / "f.h5", "features")) as pictures:
        (shot,) = pictures.shots(1, [0])  # reports and inspect cut faces out of the very same frame
    assert shot.pixels.shape == (576, 1024, 3) and pictures.missing == {}
