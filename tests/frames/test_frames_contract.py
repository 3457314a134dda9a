"""One contract for every decoder: the right frame at the right time, or a refusal by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import GOP, HEIGHT, WIDTH, Clip, numbered, read, read_number, refusal

from vidface.frames import DECODERS

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
X265 = "log-level=none:pools=none:frame-threads=1:keyint=12:bframes=3"
UNEVEN = [float(time) for time in np.cumsum([0] + [0.02, 0.3, 0.04, 0.1, 0.04, 0.04, 0.5] * 7)]
PLAIN = {"qmin": "2", "qmax": "2"}

CLIPS = [
    Clip("b_frames.mp4", options=GOP),
    Clip("index_first.mp4", options=GOP, container={"movflags": "faststart"}),
    Clip("fragments.mp4", options=GOP, container={"movflags": "frag_keyframe+empty_moov"}),
    Clip("quicktime.mov", options=GOP),
    Clip("open_gop.mp4", options=OPEN_GOP, frames=120),
    Clip("open_gop.mkv", options=OPEN_GOP, frames=120),
    Clip("open_gop_hevc.mkv", codec="libx265", options={"x265-params": X265 + ":open-gop=1"}),
    Clip("uneven.mp4", options=GOP, times=UNEVEN),
    Clip("uneven.mkv", options=GOP, times=UNEVEN),
    Clip("edit_list.mp4", options=GOP, first=17),
    Clip("starts_late.mp4", options=GOP, start=1.5, audio_seconds=5.0),
    Clip("starts_late.mkv", options=GOP, start=1.5),
    Clip("transport.ts", options=GOP),
    Clip("transport_open_gop.ts", options=OPEN_GOP),
    Clip("bluray.m2ts", options=GOP, format="mpegts", container={"mpegts_m2ts_mode": "1"}),
    Clip("program.mpg", codec="mpeg2video", options={"g": "12", "bf": "2", "b": "2000k"}, format="mpeg"),
    Clip("bare.m2v", codec="mpeg2video", options={"g": "12", "bf": "2", "b": "2000k"}, format="mpeg2video"),
    Clip("odd.mp4", pix_fmt="yuv444p", width=161, height=97),
    Clip(
        "odd.webm",
        codec="libvpx-vp9",
        width=161,
        height=97,
        options={"deadline": "realtime", "cpu-used": "8"},
    ),
    Clip("turned_90.mp4", turn=90, options=GOP),
    Clip("turned_180.mp4", turn=180, options=GOP),
    Clip("turned_270.mp4", turn=270, options=GOP),
    Clip("turned_90.mkv", turn=90, options=GOP),
    Clip("one_frame.mp4", frames=1),
    Clip("one_frame.mkv", frames=1),
    Clip("one_frame.ts", frames=1),
    Clip("one_frame.avi", codec="mpeg4", frames=1),
    Clip("ten_bit.mp4", pix_fmt="yuv420p10le", options=GOP),
    Clip("ten_bit_hevc.mp4", codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": X265}),
    Clip("interlaced.mp4", options={"x264-params": "tff=1:bframes=2:keyint=12"}),
    Clip("mpeg4.mp4", codec="mpeg4", options={"bf": "2", "g": "12", "b": "2000k"}),
    Clip("mpeg4.avi", codec="mpeg4", options={"bf": "2", "g": "12", "b": "2000k"}),
    Clip("h264.avi", options=GOP, decord=False),  # AVI has no presentation times
    Clip("mjpeg.avi", codec="mjpeg", pix_fmt="yuvj420p", full_range=True, options=PLAIN),
    Clip("vp8.webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "b": "1000k"}),
    Clip("vp8.ogg", codec="libvpx", format="ogg", options={"b": "1000k"}),
    Clip("flash.flv", options=GOP),
    Clip("windows.wmv", codec="wmv2", options={"b": "2000k"}, decord=False),  # Matroska cannot hold it
    Clip("long_sound.mp4", options=GOP, audio_seconds=4.0),
    Clip("long_sound.mkv", options=GOP, audio_seconds=4.0),
    Clip("short_sound.mkv", options=GOP, audio_seconds=0.5),
    Clip("slow.mp4", rate=5, options=GOP),
    Clip("fast.mkv", rate=60, options=GOP, frames=120),
    Clip("bt709.mp4", matrix="bt709"),
    Clip("bt709_full_range.mp4", matrix="bt709", full_range=True),
    Clip("bt601.mkv", matrix="bt601"),
    Clip("untagged_full_range.mp4", full_range=True),
    Clip("rgb.mp4", codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"}, lossless=True),
    Clip("ffv1.mkv", codec="ffv1", pix_fmt="bgr0", lossless=True),
    Clip("png.mov", codec="png", pix_fmt="rgb24", lossless=True, decord=False),  # Matroska cannot hold it
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def write_once(clip: Clip, folder: Path) -> Path:
    path = folder / clip.name
    return path if path.exists() else clip.write(folder)


def on_screen(shown: list[tuple[int, float]], fps: float, last: float) -> list[tuple[int, float]]:
    """The naive search: for every instant, the last frame whose time has come."""
    found: list[tuple[int, float]] = []
    for k in range(int((shown[-1][1] + last) * fps) + 2):
        if k / fps >= shown[-1][1] + last - 0.002:
            break
        frame = [one for one in shown if one[1] <= k / fps + 0.0015][-1]
        if frame not in found:
            found.append(frame)
    return found


@pytest.mark.parametrize("fps", [None, 8.0])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
@pytest.mark.parametrize("decoder", DECODERS)
def test_right_frames_at_right_times_or_refused(
    decoder: str, clip: Clip, fps: float | None, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_once(clip, folder)
    capfd.readouterr()
    if decoder == "decord" and not clip.decord:
        assert refusal(path, "use --decoder pyav", decoder, fps) == "decoder-refused"
        return
    frames, report = read(path, decoder, fps)

    shown = clip.expected()
    expected = shown if fps is None else on_screen(shown, fps, last=1 / clip.rate)
    assert [read_number(frame.pixels) for frame in frames] == [number for number, _ in expected]
    times = [frame.pts_seconds for frame in frames]
    np.testing.assert_allclose(times, [time for _, time in expected], atol=clip.time_error)
    assert report.faults == []
    assert report.decoded == len(shown)
    for frame in frames:
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.shape == (clip.height, clip.width, 3)
        assert frame.pixels.flags.c_contiguous
    if clip.lossless:
        for frame, (number, _) in zip(frames, expected, strict=True):
            assert (frame.pixels == numbered(number)).all()
    assert capfd.readouterr() == ("", ""), "decoders print nothing"


# Chroma of 10-bit and of interlaced video is scaled in two ways.
SAME_CHROMA = [clip for clip in CLIPS if clip.decord and not clip.name.startswith(("ten_bit", "interlaced"))]


@pytest.mark.parametrize("clip", SAME_CHROMA, ids=lambda clip: clip.name)
def test_both_decoders_give_the_same_pixels(clip: Clip, folder: Path) -> None:
    path = write_once(clip, folder)
    ours, theirs = (read(path, decoder, 8.0)[0] for decoder in DECODERS)
    assert [frame.pts_seconds for frame in ours] == [frame.pts_seconds for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_real_clips_are_whole(decoder: str, shared_data: Path) -> None:
    counts = {}
    for path in sorted((shared_data / "clips").glob("*.mp*")):
        frames, report = read(path, decoder, 8.0)
        assert report.faults == []
        counts[path.name[:4]] = (report.decoded, len(frames))
    assert counts == {"grid": (75, 24), "shor": (275, 74)}  # 3.0 s at 25 fps, 9.18 s at 29.97 fps


def test_the_test_can_tell_pictures_apart() -> None:
    """What the contract rests on: a number, its mirror image, its turn and its swapped colours all differ."""
    picture = numbered(300)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert read_number(picture) == 300
    assert read_number(numbered(301)) == 301
    assert read_number(picture[:, ::-1]) != 300
    assert read_number(picture[::-1]) != 300
    assert read_number(picture[:, :, ::-1]) is None
