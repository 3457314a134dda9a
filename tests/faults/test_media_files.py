"""Files that are no sound video: one run over all of them, each between good clips, and a test for each kind.

The texts that pose as videos name another clip and a server of this machine; neither may be opened, which the system
itself is asked about (inotify). What is only damaged stands in test_videos.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from command_line import (
    SIDE,
    Ran,
    cells_of,
    frames_of,
    pooling_model,
    read_features,
    read_lines,
    vidface,
    write_folder,
    write_manifest,
    write_video,
)
from PIL import Image

from vidface.features.engines.isolated import Decoders, Limits
from vidface.features.engines.reading import ReadOptions, Video, VideoEnd

IN_OPEN = 0x20  # of <sys/inotify.h>
LARGE = 16_000  # pixels a side
MOST = "66355200 pixels"  # the limit that a fault names
MANY = 30_000  # frames

TEXTS = {
    "playlist": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n"
    "#EXTINF:10,\n{file}\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\na=control:{url}\n",
    "addresses": "{url}\n{url}\nfile:{file}\n",
    "shortcut": "[InternetShortcut]\nURL={url}\n",
    "reference": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
    "<Period><BaseURL>{url}</BaseURL></Period></MPD>",
    "protocol": "concat:{file}|{url}",
    "subtitles": "WEBVTT\n\n00:00.000 --> 00:10.000\n{url}\n",
}


class Watch:
    """Notices that a file is opened by anybody, and that a server of this process is called."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        libc = ctypes.CDLL(None)
        self._handle = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._handle, os.fsencode(file), IN_OPEN) >= 0

    def was_opened(self) -> bool:
        """Whether it was, since the last look."""
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self._handle, 1 << 16))
        return False

    def was_called(self) -> bool:
        self.server.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            self.server.accept()[0].close()
            return True
        return False

    def close(self) -> None:
        os.close(self._handle)
        self.server.close()


class Found(NamedTuple):
    """What one run left about all the bad files; ``called`` and ``opened`` of the others that they name."""

    ran: Ran
    root: Path
    status: dict[str, str]
    rows: dict[str, np.ndarray]
    faults: dict[str, list[tuple[str, str]]]
    opened: bool
    called: bool

    def check(self, name: str, kind: str, words: str = "") -> None:
        """It is lost, for one reason."""
        assert (self.status[name], len(self.rows[name])) == ("failed", 0)
        ((found, detail),) = self.faults[name]
        assert (found, words in detail) == (kind, True), (found, detail)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of that size, by its header, with these chunks behind it; grey, 8 bits."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def rows_of(width: int, height: int) -> tuple[bytes, bytes]:
    """The pixels of such a PNG, all black: a thousandth of them."""
    deflate = zlib.compressobj(9)
    parts = [deflate.compress(bytes((width + 1) * 100)) for _ in range(height // 100)]
    return b"IDAT", b"".join([*parts, deflate.flush()])


def jpeg(path: Path, width: int, height: int) -> None:
    """A JPEG that claims another size than it has."""
    Image.fromarray(frames_of(0, 1)[0]).save(path, format="JPEG")
    path.write_bytes(resized_jpegs(path.read_bytes(), width, height))


def resized_jpegs(data: bytes, width: int, height: int) -> bytes:
    new, at, count = bytearray(data), 0, 0
    while (at := new.find(b"\xff\xc0\x00\x11\x08", at)) >= 0:
        new[at + 5 : at + 9] = struct.pack(">HH", height, width)
        at, count = at + 9, count + 1
    assert count
    return bytes(new)


def coded(path: Path, codec: str, form: str, frames: np.ndarray, **container: str) -> Path:
    """A video of another codec than the usual."""
    with av.logging.Capture(), av.open(str(path), "w", container_options=container) as out:
        stream: Any = out.add_stream(codec, rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = form
        stream.codec_context.thread_count = 1
        for index, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)
            picture.pts = index
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def large_vp8(path: Path) -> None:
    """The first picture of a WebM says that it is 16,383 pixels a side; the container says 112."""
    data = bytearray(coded(path, "libvpx", "yuv420p", frames_of(1, 3)).read_bytes())
    at = data.index(b"\x9d\x01\x2a")  # start code of a key frame; its width and height follow
    data[at + 3 : at + 7] = struct.pack("<HH", 16_383, 16_383)
    path.write_bytes(data)


def large_pngs(path: Path) -> None:
    """A QuickTime file of PNG pictures, small and good but for the sizes that they claim."""
    data = bytearray(coded(path, "png", "rgb24", frames_of(1, 3)).read_bytes())
    at = 0
    while (at := data.find(b"IHDR", at)) >= 0:
        data[at + 4 : at + 12] = struct.pack(">II", LARGE, LARGE)
        data[at + 17 : at + 21] = struct.pack(">I", zlib.crc32(data[at : at + 17]))
        at += 21
    path.write_bytes(data)


def large_by_header(path: Path) -> None:
    """The header of an AVI and its pictures claim the size alike."""
    data = bytearray(coded(path, "mjpeg", "yuvj420p", frames_of(1, 3)).read_bytes())
    at = data.index(b"strf") + 12
    data[at : at + 8] = struct.pack("<II", LARGE, LARGE)
    path.write_bytes(resized_jpegs(bytes(data), LARGE, LARGE))


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as out:
        add_sound(out, out.add_stream("aac", rate=48_000, layout="mono"))


def add_sound(out: Any, stream: Any) -> None:
    for begin in range(0, 48_000, 960):
        sound = av.AudioFrame(format="fltp", layout="mono", samples=960)
        sound.planes[0].update(bytes(4 * 960))
        sound.sample_rate, sound.pts, sound.time_base = 48_000, begin, Fraction(1, 48_000)
        out.mux(stream.encode(sound))
    out.mux(stream.encode(None))


def sound_with_cover(path: Path) -> None:
    """A picture that is a cover is no video."""
    cover = path.with_suffix(".png.txt")
    Image.fromarray(frames_of(0, 1)[0]).save(cover, format="PNG")
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=48_000, layout="mono")
        picture: Any = out.add_stream("png", rate=1)
        picture.width = picture.height = SIDE
        picture.pix_fmt = "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        packet: Any = av.Packet(cover.read_bytes())
        packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        add_sound(out, stream)
        out.mux(packet)


def concealed(path: Path) -> None:
    """One picture of ten is broken: the decoder makes up a part of it, says so, and goes on."""
    data = bytearray(coded(path, "mpeg2video", "yuv420p", frames_of(4, 10)).read_bytes())
    starts = [at for at in range(len(data) - 4) if data[at : at + 4] == b"\x00\x00\x01\x00"]  # of pictures
    middle = (starts[5] + starts[6]) // 2
    data[middle : middle + 12] = bytes(range(12))
    path.write_bytes(data)


def many_frames(path: Path) -> None:
    """30,000 frames at 500 a second: one picture, and then packets that say that nothing has changed."""
    frame = frames_of(5, 1)[0]
    with av.logging.Capture(), av.open(str(path), "w") as out:
        stream: Any = out.add_stream(
            "libx264rgb", rate=500, options={"preset": "ultrafast", "qp": "0", "g": "1000000", "bf": "0"}
        )
        stream.width = stream.height = SIDE
        stream.pix_fmt = "rgb24"
        stream.codec_context.thread_count = 1
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        made = []
        for index in range(40):
            picture.pts = index
            made += stream.encode(picture)
        made += stream.encode(None)
        first, *rest = [
            bytes(packet) for packet in made[:17]
        ]  # their frame numbers count up to 16, and begin again
        for index in range(MANY):
            packet = av.Packet(first if index == 0 else rest[(index - 1) % 16])
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 500)
            packet.is_keyframe = index == 0
            out.mux(packet)


def absurd_table(path: Path, count: int) -> None:
    """An mp4 of some kilobytes whose table of frames claims many millions, of one byte each."""
    data = bytearray(write_video(path, frames_of(6, 5)).read_bytes())
    sizes, chunks = data.index(b"stsz"), data.index(b"stsc")
    struct.pack_into(">II", data, sizes + 8, 1, count)
    struct.pack_into(">I", data, chunks + 16, count)
    path.write_bytes(data)


def write_bad(root: Path, watch: Watch) -> dict[str, str]:
    """All bad files; the paths by name."""
    told = {"file": watch.file, "url": f"http://127.0.0.1:{watch.port}/a.mp4", "port": watch.port}
    paths = {}
    for name, text in TEXTS.items():
        paths[name] = f"{name}.mp4"
        (root / paths[name]).write_text(text.format(**told) + "\n" * 40)
    # A name that would have a player take the text for what it is.
    for name, suffix in (("playlist", "m3u8"), ("session", "sdp")):
        paths[f"{name}-{suffix}"] = f"{name}.{suffix}"
        (root / f"{name}.{suffix}").write_text((root / paths[name]).read_text())
    for name, write in {
        **{"large-vp8": large_vp8, "large-pngs": large_pngs, "large-avi": large_by_header},
        **{"sound": only_sound, "cover": sound_with_cover, "concealed": concealed, "many": many_frames},
    }.items():
        suffix = {"large-vp8": "webm", "large-pngs": "mov", "large-avi": "avi", "concealed": "mpg"}.get(
            name, "mp4"
        )
        paths[name] = f"{name}.{suffix}"
        write(root / paths[name])
    for side in (LARGE, 60_000):
        paths |= {
            f"png-{side}": f"{side}.png",
            f"jpeg-{side}": f"{side}.jpg",
            f"folder-{side}": f"folder-{side}",
        }
        jpeg(root / f"{side}.jpg", side, side)
        (root / f"{side}.png").write_bytes(png(side, side))
        folder = write_folder(root / f"folder-{side}", frames_of(7, 4))
        (folder / "1.png").write_bytes((root / f"{side}.png").read_bytes())
        (folder / "2.png").write_bytes((root / f"{side}.jpg").read_bytes())
    (root / "whole.png").write_bytes(png(LARGE, LARGE, rows_of(LARGE, LARGE)))
    profile = b"icc\0\0" + zlib.compress(bytes(200_000_000), 9)
    pixels = b"IDAT", zlib.compress(bytes((SIDE + 1) * SIDE))
    (root / "profile.png").write_bytes(png(SIDE, SIDE, (b"iCCP", profile), pixels))
    (root / "text.png").write_bytes(png(SIDE, SIDE, (b"zTXt", profile), pixels))
    return {**paths, "png-whole": "whole.png", "profile": "profile.png", "text": "text.png"}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    if sys.platform != "linux":
        pytest.skip("who opens a file is told by Linux")
    canary = write_video(tmp_path_factory.mktemp("canary") / "canary.ts", frames_of(8, 4))
    watch = Watch(canary)
    yield watch
    watch.close()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Found:
    """One run over all of them, with a good clip at the start, the end and between."""
    root = tmp_path_factory.mktemp("bad")
    bad = write_bad(root, watch)
    good = {
        f"good-{n}": write_video(root / f"good-{n}.mp4", frames_of(n, 5)).name for n in range(len(bad) + 1)
    }
    names = [name for pair in zip(good, [*bad, ""], strict=True) for name in pair if name]
    manifest = write_manifest(root / "manifest.csv", [(name, (good | bad)[name]) for name in names])
    model = pooling_model(root / "cells.onnx")
    watch.was_opened()
    ran = vidface("extract", manifest, "-o", root / "features.h5", "--model", model, "--json", "--workers", 2)
    ids, status, rows = read_features(root / "features.h5")
    assert ids == names
    faults: dict[str, list[tuple[str, str]]] = {}
    for fault in read_lines(root / "faults.jsonl"):
        assert "\n" not in fault["detail"] and fault["stage"] == "extract"
        faults.setdefault(fault["video"], []).append((fault["kind"], fault["detail"]))
    by_id = dict(zip(ids, rows, strict=True))
    return Found(
        *(ran, root, dict(zip(ids, status, strict=True)), by_id, faults),
        opened=watch.was_opened(),
        called=watch.was_called(),
    )


def test_the_good_ones_beside_them_do_not_notice(found: Found) -> None:
    """The exit code tells that there are faults, and every video is counted."""
    good = [name for name in found.status if name.startswith("good-")]
    assert len(good) > 25 and found.ran.code == 1 and found.ran.err == ""
    for name in good:
        expected = cells_of(frames_of(int(name.removeprefix("good-")), 5))
        assert found.status[name] == "ok" and np.allclose(found.rows[name], expected, atol=1e-5)
        assert name not in found.faults
    assert sum(found.ran.json["status"].values()) == len(found.status)
    assert sum(found.ran.json["faults"].values()) == sum(len(faults) for faults in found.faults.values())
    assert set(found.faults) == {name for name in found.status if name not in good} - {"many"}


@pytest.mark.parametrize("name", [*TEXTS, "playlist-m3u8", "session-sdp"])
def test_a_text_that_poses_as_a_video(found: Found, name: str) -> None:
    found.check(name, "not-a-video", "none of the known containers")


def test_texts_that_pose_as_videos_open_no_other_file_and_no_connection(found: Found, watch: Watch) -> None:
    assert (found.opened, found.called) == (False, False)
    # The traps are real: FFmpeg, left alone with the list, opens the other clip and calls the server.
    with contextlib.suppress(av.error.FFmpegError), av.logging.Capture():
        options = {
            "allowed_extensions": "ALL",
            "extension_picky": "0",
            "protocol_whitelist": "file,http,tcp,crypto,data",
        }
        with av.open(str(found.root / "playlist.m3u8"), options=options, timeout=0.5) as container:
            list(container.decode(video=0))
    assert watch.was_opened() and watch.was_called()


@pytest.mark.parametrize("name", ["large-vp8", "large-pngs", "large-avi"])
def test_a_video_of_absurd_size(found: Found, name: str) -> None:
    """By the header of the file, or only by that of its pictures."""
    size = 16_383 if name == "large-vp8" else LARGE
    found.check(name, "too-large", f"frames of {size}x{size} are over {MOST}")


@pytest.mark.parametrize("side", [LARGE, 60_000])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_of_absurd_size(found: Found, kind: str, side: int) -> None:
    found.check(f"{kind}-{side}", "too-large", f"{side}x{side} is more than {MOST}")


def test_a_png_that_unpacks_to_a_thousand_times_its_size(found: Found) -> None:
    """It is whole: somebody who decodes it gets 256 MB out of 250 kB."""
    assert (found.root / "whole.png").stat().st_size < 300_000
    found.check("png-whole", "too-large", f"{LARGE}x{LARGE}")


@pytest.mark.parametrize("side", [LARGE, 60_000])
def test_a_folder_with_pictures_of_absurd_size(found: Found, side: int) -> None:
    """The others are read."""
    name = f"folder-{side}"
    assert found.status[name] == "partial"
    assert np.allclose(found.rows[name], cells_of(frames_of(7, 4)[[0, 3]]), atol=1e-5)
    assert [(kind, detail.partition(":")[0]) for kind, detail in found.faults[name]] == [
        ("too-large", "1.png"),
        ("too-large", "2.png"),
    ]


@pytest.mark.parametrize("name", ["profile", "text"])
def test_a_png_whose_text_unpacks_to_200_mb(found: Found, name: str) -> None:
    assert (found.root / f"{name}.png").stat().st_size < 300_000
    found.check(name, "unreadable-image", "too large")


@pytest.mark.parametrize("name", ["sound", "cover"])
def test_a_file_of_sound_alone(found: Found, name: str) -> None:
    """A cover picture is no video either."""
    found.check(name, "no-frames", "no video stream")


def test_concealed_damage_is_counted(found: Found) -> None:
    """All ten frames come out, and one of them is known to be made up in part."""
    assert found.status["concealed"] == "partial" and len(found.rows["concealed"]) == 10
    (fault,) = (detail for kind, detail in found.faults["concealed"] if kind == "concealed")
    assert fault.startswith("of 10 frames ")
    expected = cells_of(frames_of(4, 10))
    far = np.abs(found.rows["concealed"] - expected).max(axis=1) > 0.2
    assert 1 <= far.sum() <= 6 and not far[:5].any()


def test_a_clip_of_very_many_frames(found: Found) -> None:
    """30,000 frames in a minute give 480 rows at 8 a second. A million of them only takes longer."""
    assert found.status["many"] == "ok" and "many" not in found.faults
    assert found.rows["many"].shape == (480, 48)
    assert np.allclose(found.rows["many"], cells_of(frames_of(5, 1)), atol=1e-5)


def end_of(path: Path, memory: int) -> VideoEnd:
    """How a decoding process with so much memory ends with a video, and that it goes on with another."""
    reading = ReadOptions("pyav", 8.0, False, (SIDE, SIDE), timeout=60.0)
    with Decoders(reading, Limits(bytes=memory)) as decoders:
        *_, end = decoders.read(Video("bad", path))
        *_, after = decoders.read(Video("good", path.parent / "good-0.mp4"))
    assert isinstance(end, VideoEnd) and isinstance(after, VideoEnd) and after.faults == []
    return end


def test_memory_does_not_grow_with_the_frames(found: Found) -> None:
    """24 bytes a frame in FFmpeg's index, and one batch: 100 MB are enough, where the pixels would be 1.1 GB."""
    assert end_of(found.root / "many.mp4", memory=100_000_000).faults == []


PEAK = """
import resource, sys
from pathlib import Path
import vidface.frames.pyav
from vidface.errors import MediaError
from vidface.frames import ReadReport, read_frames
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(read_frames(Path(sys.argv[1]), report=ReadReport()))
except MediaError as error:
    print(error.kind, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    "name", ["large-pngs.mov", "large-vp8.webm", "large-avi.avi", "whole.png", "60000.jpg"]
)
def test_an_absurd_size_is_refused_before_there_is_memory_for_it(found: Found, name: str) -> None:
    """16,000 x 16,000 are 256 MB in grey and 768 MB in colour; the process may grow by 30 MB, with no limit set."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(found.root / name)], capture_output=True, text=True, check=True
    )
    kind, kilobytes = done.stdout.split()
    assert kind == "too-large" and int(kilobytes) < 30_000


def test_a_small_file_that_claims_twenty_million_frames(found: Found) -> None:
    """FFmpeg makes room for a table of them: where the limit of memory stands in the way, it is this video's fault."""
    absurd_table(found.root / "absurd.mp4", 20_000_000)
    assert (found.root / "absurd.mp4").stat().st_size < 200_000
    kinds = {kind for kind, _ in end_of(found.root / "absurd.mp4", memory=300_000_000).faults}
    assert kinds and kinds <= {"no-frames", "unreadable", "decoder-memory", "decoder-crashed"}
