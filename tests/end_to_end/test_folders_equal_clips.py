"""The same real faces as folders of pictures and as lossless clips give the same features, by every decoder."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import read_features, read_lines, vidface, write_folder, write_manifest, write_video
from PIL import Image

PEOPLE, FRAMES = 8, 12  # frames: more than 10, so that 10.jpg must come after 2.jpg


@pytest.fixture(scope="module")
def model(shared_data: Path) -> Path:
    return shared_data / "models" / "mobilefacenet_128.onnx"


@pytest.fixture(scope="module")
def material(photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same faces as jpeg/NAME/*.jpg, png/NAME/*.png, NAME.mp4 and NAME.mkv."""
    root = tmp_path_factory.mktemp("faces")
    chosen = [list(pictures.values()) for pictures in photographs.values() if len(pictures) >= FRAMES]
    for number, pictures in enumerate(chosen[:PEOPLE]):
        jpeg = root / "jpeg" / f"p{number}"
        jpeg.mkdir(parents=True)
        for index, data in enumerate(pictures[:FRAMES]):
            (jpeg / f"{index}.jpg").write_bytes(data)
        pixels = np.stack([np.array(Image.open(io.BytesIO(data))) for data in pictures[:FRAMES]])
        write_folder(root / "png" / f"p{number}", pixels)
        write_video(root / f"p{number}.mp4", pixels)
        write_video(root / f"p{number}.mkv", pixels)
    return root


@pytest.fixture(scope="module")
def from_png(material: Path, model: Path) -> tuple[np.ndarray, np.ndarray]:
    return extracted(material, model, "png/p{}")


def extracted(
    material: Path, model: Path, pattern: str, decoder: str = "pyav", code: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features and timestamps of all videos."""
    name = pattern.replace("{}", "N").replace("/", "-") + "-" + decoder
    rows = [(f"p{number}", pattern.format(number)) for number in range(PEOPLE)]
    manifest = write_manifest(material / f"{name}.csv", rows)
    (material / name).mkdir()
    output = material / name / "features.h5"
    vidface("extract", manifest, "-o", output, "--model", model, "--decoder", decoder, code=code)
    with h5py.File(output) as file:
        return file["features"][:], file["timestamps"][:]


@pytest.mark.parametrize("pattern", ["jpeg/p{}", "p{}.mp4", "p{}.mkv"])
def test_folders_and_clips_give_the_same_features(
    material: Path, model: Path, from_png: tuple[np.ndarray, np.ndarray], pattern: str
) -> None:
    features, times = extracted(material, model, pattern)
    assert features.shape == (PEOPLE * FRAMES, 128)
    assert np.abs(features - from_png[0]).max() <= 1e-5
    assert np.abs(times - from_png[1]).max() <= 0.0011  # Matroska counts in milliseconds
    assert np.allclose(from_png[1].reshape(PEOPLE, FRAMES), np.arange(FRAMES) / 8)


def test_decord_gives_the_same_features_or_refuses_by_name(
    material: Path, model: Path, from_png: tuple[np.ndarray, np.ndarray]
) -> None:
    """Never a wrong frame: a clip it does not read rightly is a fault of that name, with no rows."""
    rows = [(f"p{number}", f"p{number}.mp4") for number in range(PEOPLE)]
    manifest = write_manifest(material / "decord.csv", rows)
    (material / "decord").mkdir()
    output = material / "decord" / "features.h5"
    ran = vidface("extract", manifest, "-o", output, "--model", model, "--decoder", "decord")
    _, status, features = read_features(output)
    refused = {fault["video"] for fault in read_lines(material / "decord" / "faults.jsonl")}
    assert {fault["kind"] for fault in read_lines(material / "decord" / "faults.jsonl")} <= {
        "decoder-refused"
    }
    assert ran.code == int(bool(refused))
    wanted = from_png[0].reshape(PEOPLE, FRAMES, 128)
    for number in range(PEOPLE):
        if f"p{number}" in refused:
            assert (status[number], len(features[number])) == ("failed", 0)
        else:
            assert status[number] == "ok"
            assert np.abs(features[number] - wanted[number]).max() <= 1e-5
