"""Files that are no sound video: one run over all of them, each between good clips, and a case for each kind.

The texts that pose as videos name another clip and a server of this machine; neither may be opened, which the system
itself is asked about (inotify).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import bad_clips as bad
import numpy as np
import pytest
from bad_clips import LARGE, LONG, POINTER
from command_line import SIDE, cells_of, frames_of, pooling_model, write_manifest, write_video
from fault_material import Extracted, extracted
from PIL import Image

from vidface.features.engines.isolated import Decoders, Limits
from vidface.features.engines.reading import ReadOptions, Video, VideoEnd

IN_OPEN = 0x20  # of <sys/inotify.h>
MOST = "66355200 pixels"  # the limit that a fault names
LFS = "a pointer of Git LFS, not the file itself: run `git lfs pull`"
TEXTS = {
    "playlist.mp4": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n"
    "#EXTINF:10,\n{file}\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\na=control:{url}\n",
    "addresses.mp4": "{url}\n{url}\nfile:{file}\n",
    "shortcut.mp4": "[InternetShortcut]\nURL={url}\n",
    "reference.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
    "<Period><BaseURL>{url}</BaseURL></Period></MPD>",
    "protocol.mp4": "concat:{file}|{url}",
    "subtitles.mp4": "WEBVTT\n\n00:00.000 --> 00:10.000\n{url}\n",
    "ffconcat.mp4": "ffconcat version 1.0\nfile '{file}'\n",
    "page.mp4": "<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
}
TEXTS |= {"playlist.m3u8": TEXTS["playlist.mp4"], "session.sdp": TEXTS["session.mp4"]}


class Bad(NamedTuple):
    """What writes a file, and what a run leaves: faults of these kinds, with these words, and rows that are so."""

    write: Callable[[Path], object]
    kinds: str
    words: str = ""
    rows: Callable[[np.ndarray], object] = lambda rows: len(rows) == 0


def half(rows: np.ndarray) -> bool:
    return LONG // 4 < len(rows) < LONG * 3 // 4


def ends(rows: np.ndarray, person: int = 7, frames: int = 4) -> bool:
    """Those of the first and the last picture."""
    return np.allclose(rows, cells_of(frames_of(person, frames)[[0, -1]]), atol=1e-5)


def mostly_right(rows: np.ndarray) -> bool:
    """All ten frames come out, and one of them is known to be made up in part."""
    far = np.abs(rows - cells_of(frames_of(4, 10))).max(axis=1) > 0.2
    return len(rows) == 10 and 1 <= far.sum() <= 6 and not far[:5].any()


def saved(form: str) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(frames_of(7, 1)[0]).save(path, format=form)


def twice(path: Path) -> None:
    path.write_bytes(2 * write_video(path, frames_of(7, 2)).read_bytes())


def pictures(side: int) -> list[Callable[[Path], object]]:
    return [bad.raw(bad.png(side, side)), bad.jpeg(side)]


WIDE = partial(bad.wide, aspect=Fraction(64, 45), frames=frames_of(0, 4))
OTHER = "a picture in the {} format: convert it to JPEG or PNG"
SIZE = f"{{0}}x{{0}} is more than {MOST}"
BAD = {
    "empty.mp4": Bad(Path.touch, "empty-file"),
    "missing.mp4": Bad(lambda path: None, "missing"),
    "index-in-front.mp4": Bad(partial(bad.halved, movflags="faststart"), "truncated", rows=half),
    "index-behind.mp4": Bad(bad.halved, "unreadable"),
    "cut.mkv": Bad(bad.halved, "truncated", rows=half),
    "bits.mp4": Bad(bad.flipped_bits, "concealed partial", rows=len),
    "concealed.mpg": Bad(bad.concealed, "concealed partial", "frames", mostly_right),
    "second.mp4": Bad(twice, "partial", "a second mov file begins at byte", partial(ends, frames=2)),
    "unreadable-image": Bad(
        bad.folder(bad.half_of_a_picture), "unreadable-image", "1.png", partial(ends, frames=3)
    ),
    "no-pictures": Bad(lambda path: (path.mkdir(), (path / "notes.txt").write_text("no")), "no-frames"),
    "sound.mp4": Bad(bad.only_sound, "no-frames", "no video stream"),
    "cover.mp4": Bad(bad.sound_with_cover, "no-frames", "no video stream"),
    "size.mp4": Bad(
        lambda path: write_video(path, np.full((3, 96, 64, 3), 90, np.uint8)), "wrong-size", "64x96"
    ),
    "wide.mp4": Bad(WIDE, "not-square", "setsar=1"),
    "webp.jpg": Bad(saved("WEBP"), "unreadable-image", OTHER.format("WebP")),
    "gif.gif": Bad(saved("GIF"), "not-a-video", OTHER.format("GIF")),
    "tiles.avif": Bad(bad.tiles, "not-a-video", "several tiles: convert it"),
    "large-vp8.webm": Bad(bad.large_vp8, "too-large", f"frames of 16383x16383 are over {MOST}"),
    "large-pngs.mov": Bad(bad.large_pngs, "too-large", f"frames of 16000x16000 are over {MOST}"),
    "large.avi": Bad(bad.large_by_header, "too-large", f"frames of 16000x16000 are over {MOST}"),
    "16000.png": Bad(pictures(LARGE)[0], "too-large", SIZE.format(LARGE)),
    "60000.png": Bad(pictures(60_000)[0], "too-large", SIZE.format(60_000)),
    "16000.jpg": Bad(pictures(LARGE)[1], "too-large", SIZE.format(LARGE)),
    "60000.jpg": Bad(pictures(60_000)[1], "too-large", SIZE.format(60_000)),
    "whole.png": Bad(bad.whole_png, "too-large", SIZE.format(LARGE)),
    "folder-16000": Bad(bad.folder(*pictures(LARGE)), "too-large", ".png", ends),
    "folder-60000": Bad(bad.folder(*pictures(60_000)), "too-large", ".png", ends),
    "profile.png": Bad(bad.large_text(b"iCCP"), "unreadable-image", "too large"),
    "text.png": Bad(bad.large_text(b"zTXt"), "unreadable-image", "too large"),
    "pointer.mp4": Bad(bad.raw(POINTER), "not-fetched", LFS),
    "pointer.mkv": Bad(bad.raw(POINTER), "not-fetched", LFS),
    "pointer.jpg": Bad(bad.raw(POINTER), "not-fetched", LFS),
    "a-pointer": Bad(bad.folder(bad.raw(POINTER)), "not-fetched", "1.png: " + LFS, partial(ends, frames=3)),
    "pointers": Bad(lambda path: (path.mkdir(), bad.raw(POINTER)(path / "0.jpg")), "not-fetched", LFS),
    "annex.mp4": Bad(bad.text("/annex/objects/SHA256E-s1--4d7a.mp4\n"), "not-fetched", "git annex get"),
}


class Watch:
    """Notices that a file is opened by anybody, and that a server of this process is called."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0.05)
        libc = ctypes.CDLL(None)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.handle, os.fsencode(file), IN_OPEN) >= 0

    def seen(self) -> tuple[bool, bool]:
        """Whether the file was opened, the server called, since the last look."""
        opened = called = False
        with contextlib.suppress(BlockingIOError):
            opened = bool(os.read(self.handle, 1 << 16))
        with contextlib.suppress(TimeoutError):
            self.server.accept()[0].close()
            called = True
        return opened, called


class Found(NamedTuple):
    """What one run left about all the bad files, and one with decord about the texts; ``seen`` by the watch."""

    left: Extracted
    by_decord: Extracted
    root: Path
    seen: tuple[bool, bool]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    if sys.platform != "linux":
        pytest.skip("who opens a file is told by Linux")
    watch = Watch(write_video(tmp_path_factory.mktemp("canary") / "canary.ts", frames_of(8, 4)))
    yield watch
    os.close(watch.handle)
    watch.server.close()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Found:
    """One run over all of them, with a good clip at the start, the end and between."""
    root = tmp_path_factory.mktemp("bad")
    port = watch.server.getsockname()[1]
    told = {"file": watch.file, "url": f"http://127.0.0.1:{port}/a.mp4", "port": port}
    for name, content in TEXTS.items():
        (root / name).write_text(content.format(**told) + "\n" * 40)
    for name, one in BAD.items():
        one.write(root / name)
    bad.many_frames(root / "many.mp4")
    rows = []
    for number, name in enumerate([*TEXTS, *BAD, "many.mp4"]):
        good = write_video(root / f"good-{number}.mp4", frames_of(number, 5)).name
        rows += [(good, good), (name, name)]
    model = pooling_model(root / "cells.onnx")
    watch.seen()
    listed = write_manifest(root / "manifest.csv", rows)
    left = extracted(listed, root / "features.h5", model, "--workers", 2, code=1)
    assert [*left.status] == [name for name, _ in rows] and left.ran.err == ""
    (root / "decord").mkdir()
    listed = write_manifest(root / "texts.csv", rows[: 2 * len(TEXTS)])
    options = ("--decoder", "decord", "--workers", 2)
    by_decord = extracted(listed, root / "decord" / "f.h5", model, *options, code=1)
    return Found(left, by_decord, root, watch.seen())


def test_the_good_ones_beside_them_do_not_notice(found: Found) -> None:
    """The exit code tells that there are faults, and every video is counted."""
    for left in (found.left, found.by_decord):
        good = [name for name in left.status if name.startswith("good-")]
        for name in good:
            expected = cells_of(frames_of(int(name[5:-4]), 5))
            assert left.status[name] == "ok" and np.allclose(left.rows[name], expected, atol=1e-5)
        assert set(left.faults) == {*left.status} - {*good, "many.mp4"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_poses_as_a_video(found: Found, name: str) -> None:
    for left in (found.left, found.by_decord):
        ((kind, detail),) = left.faults[name]
        assert (left.status[name], kind, len(left.rows[name])) == ("failed", "not-a-video", 0)
        assert "none of the known containers" in detail


def test_texts_that_pose_as_videos_open_no_other_file_and_no_connection(found: Found, watch: Watch) -> None:
    assert found.seen == (False, False)
    # The traps are real: FFmpeg, left alone with the list, opens the other clip and calls the server.
    options = {"allowed_extensions": "ALL", "extension_picky": "0"}
    options |= {"protocol_whitelist": "file,http,tcp,crypto,data"}
    with contextlib.suppress(av.error.FFmpegError), av.logging.Capture():
        trap = av.open(str(found.root / "playlist.m3u8"), options=options, timeout=0.5)
        list(trap.decode(video=0))
    assert watch.seen() == (True, True)
    with av.open(str(found.root / "ffconcat.mp4"), options={"safe": "0"}) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    assert watch.seen()[0]


@pytest.mark.parametrize("name", BAD)
def test_what_a_bad_file_leaves(found: Found, name: str) -> None:
    """A file without rows has failed, for one reason; of others what is good is read."""
    one, rows, faults = BAD[name], found.left.rows[name], found.left.faults[name]
    assert found.left.status[name] == ("partial" if len(rows) else "failed") and one.rows(rows)
    kinds = {kind for kind, _ in faults}
    assert kinds & set(one.kinds.split()) and (len(rows) or len(kinds) == 1)
    assert all(one.words in detail for kind, detail in faults if kind in one.kinds)
    if name.startswith("folder-"):
        assert [detail.partition(":")[0] for _, detail in faults] == ["1.png", "2.png"]


def test_frames_of_another_size_are_warned_of(found: Found) -> None:
    ((_, detail),) = found.left.faults["size.mp4"]
    assert detail.index("--faces detect") < detail.index("--resize")
    count = len(found.left.status)
    warning = (
        f"1 of {count} videos have frames that do not have the model's size: to find the faces in them, "
    )
    assert warning + "use --faces detect" in found.left.ran.json["warnings"]


def test_a_clip_of_very_many_frames(found: Found) -> None:
    """30,000 frames in a minute give 480 rows at 8 a second. A million of them only takes longer."""
    assert found.left.status["many.mp4"] == "ok"
    assert found.left.rows["many.mp4"].shape == (480, 48)
    assert np.allclose(found.left.rows["many.mp4"], cells_of(frames_of(5, 1)), atol=1e-5)


def end_of(path: Path, memory: int) -> VideoEnd:
    """How a decoding process with so much memory ends with a video, and that it goes on with another."""
    reading = ReadOptions("pyav", 8.0, False, (SIDE, SIDE), timeout=60.0)
    with Decoders(reading, Limits(bytes=memory)) as decoders:
        *_, end = decoders.read(Video("bad", path))
        *_, after = decoders.read(Video("good", path.with_name("good-0.mp4")))
    assert isinstance(end, VideoEnd) and isinstance(after, VideoEnd) and after.faults == []
    return end


def test_memory_does_not_grow_with_the_frames(found: Found) -> None:
    """24 bytes a frame in FFmpeg's index, and one batch: 100 MB are enough; the pixels would be 1.1 GB.

    FFmpeg allocates the table that a small file claims: if the limit prevents it, it is this video's fault.
    """
    assert end_of(found.root / "many.mp4", memory=100_000_000).faults == []
    absurd = bad.absurd_table(found.root / "absurd.mp4", 20_000_000)
    assert absurd.stat().st_size < 200_000
    kinds = {kind for kind, _ in end_of(absurd, memory=300_000_000).faults}
    assert kinds and kinds <= {"no-frames", "unreadable", "decoder-memory", "decoder-crashed"}


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


@pytest.mark.parametrize("name", ["large-pngs.mov", "large-vp8.webm", "large.avi", "whole.png", "60000.jpg"])
def test_an_absurd_size_is_refused_before_there_is_memory_for_it(found: Found, name: str) -> None:
    """16,000 x 16,000 are 256 MB in grey and 768 MB in colour; the process may grow by 30 MB, with no limit set."""
    assert (found.root / name).stat().st_size < 300_000
    words = [sys.executable, "-c", PEAK, str(found.root / name)]
    kind, kilobytes = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert kind == "too-large" and int(kilobytes) < 30_000
