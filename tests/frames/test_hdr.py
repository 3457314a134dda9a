"""HDR video (PQ and HLG, BT.2020) comes as the SDR picture it shows: computed here from the standards' formulas."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import read, refusal

WHITE = 203.0  # cd/m2 of SDR's white in HDR (ITU-R BT.2408)
PQ, HLG, BT2020 = 16, 18, 9  # of ITU-T H.273
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
LUMA = np.array([0.2627, 0.6780, 0.0593])


def patches() -> np.ndarray:
    """uint8 [64, 256, 3]: a ramp of greys above skin tones and moderate colours, as SDR."""
    pixels = np.zeros((64, 256, 3), np.uint8)
    pixels[:32] = np.linspace(16, 235, 16).astype(np.uint8).repeat(16)[np.newaxis, :, np.newaxis]
    colours = [(224, 172, 140), (141, 85, 60), (90, 60, 45), (120, 150, 110), (70, 90, 150), (200, 190, 90)]
    for place, colour in enumerate(colours):
        pixels[32:, 40 * place : 40 * (place + 1)] = colour
    return pixels


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084's inverse EOTF."""
    y = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100's HLG for a display of 1000 cd/m2: back through its OOTF of gamma 1.2, then the OETF."""
    shown = nits / 1000
    scene = shown * np.maximum(shown @ LUMA, 1e-9)[..., np.newaxis] ** (1 / 1.2 - 1)
    upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)


def planes(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """uint16 [3, H, W]: 10 bits in limited range, BT.2020 with constant coefficients."""
    light = (pixels / 255.0) ** 2.4 @ TO_2020.T * WHITE  # BT.1886
    signal = pq(light) if transfer == PQ else hlg(light)
    luma = signal @ LUMA
    blue, red = (signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746
    return np.stack([64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red]).round().astype(np.uint16)


def write(path: Path, transfer: int, codec: str) -> Path:
    options = {"x265-params": "log-level=none:lossless=1:pools=none"} if codec == "libx265" else {}
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=8, options=options)
        stored = planes(patches(), transfer)
        stream.height, stream.width = stored.shape[1:]
        stream.pix_fmt = "yuv444p10le"
        context = stream.codec_context
        context.colorspace = context.color_primaries = BT2020
        context.color_trc, context.color_range = transfer, 1
        for number in range(3):
            picture = av.VideoFrame(stored.shape[2], stored.shape[1], "yuv444p10le")
            for plane, values in zip(picture.planes, stored, strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                rows[:, : values.shape[1]] = values
                plane.update(rows.tobytes())
            picture.colorspace = picture.color_primaries = BT2020
            picture.color_trc, picture.color_range = transfer, 1
            picture.pts, picture.time_base = number, Fraction(1, 8)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mp4", "libx265")])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_becomes_the_picture_it_shows(transfer: int, name: str, codec: str, tmp_path: Path) -> None:
    frames, report = read(write(tmp_path / name, transfer, codec))
    assert len(frames) == 3 and report.faults == []
    difference = np.abs(frames[1].pixels.astype(int) - patches())
    assert difference.mean() < 3 and difference.max() < 16
    levels = frames[1].pixels[16, 8::16].mean(axis=1)
    assert (np.diff(levels) > 5).all(), "greys stay in order and apart"


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_decord_refuses_hdr_by_name(transfer: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", transfer, "libx265")
    assert refusal(path, "tones of HDR: use --decoder pyav", "decord") == "decoder-refused"
