"""The first bytes decide: only containers that hold their own data reach FFmpeg."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import av
import pytest
from clips import Clip, read, refusal
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidface.frames import DECODERS, demux
from vidface.frames.containers import container_of, demuxer_for


@pytest.mark.parametrize(
    ("name", "options", "demuxer"),
    [
        ("a.mp4", {}, "mov"),
        ("a.mov", {}, "mov"),
        ("a.mkv", {}, "matroska"),
        ("a.webm", {"codec": "libvpx"}, "matroska"),
        ("a.avi", {"codec": "mpeg4"}, "avi"),
        ("a.ts", {}, "mpegts"),
        ("a.m2ts", {"format": "mpegts", "container": {"mpegts_m2ts_mode": "1"}}, "mpegts"),
        ("a.mpg", {"codec": "mpeg2video", "format": "mpeg"}, "mpeg"),
        ("a.m2v", {"codec": "mpeg2video", "format": "mpeg2video"}, "mpegvideo"),
        ("a.flv", {}, "flv"),
        ("a.ogv", {"codec": "libvpx", "format": "ogg"}, "ogg"),
        ("a.wmv", {"codec": "wmv2"}, "asf"),
    ],
)
def test_the_name_does_not_matter(name: str, options: dict, demuxer: str, tmp_path: Path) -> None:
    path = Clip(name, frames=3, **options).write(tmp_path)
    renamed = path.rename(tmp_path / "clip.txt")
    assert demuxer_for(renamed) == demuxer
    assert len(read(renamed)[0]) == 3


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=12, max_size=400))
def test_no_text_passes_for_a_container(text: str) -> None:
    data = text.encode()
    found = container_of(data, len(data))
    assert found is None or data.startswith((b"OggS", b"FLV\x01")) or set(data[::188]) == {0x47}


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_a_picture_by_the_name_of_something_else_is_named(kind: str, suffix: str, tmp_path: Path) -> None:
    """As browsers save JPEG pictures: photo.jfif."""
    path = tmp_path / "photo.jfif"
    Image.new("RGB", (8, 8)).save(path, kind)
    assert refusal(path, f"it is a {kind} picture: let its name end in {suffix}") == "not-a-video"


@pytest.mark.parametrize("decoder", DECODERS)
def test_files_that_are_none(decoder: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")  # reading it would wait for ever
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "capital g.mp4").write_bytes(b"G" * 500)  # packets of a transport stream begin so
    names = {"pipe": {"not-a-video"}, "loop": {"missing", "unreadable"}, "capital g": {"unreadable"}}
    for name, kinds in names.items():
        path = tmp_path / f"{name}.mp4"
        assert refusal(path, str(path), decoder) in kinds


def test_a_track_in_another_file_is_not_opened(tmp_path: Path) -> None:
    """A QuickTime file may say that its frames lie elsewhere, by an alias record: then there are none."""
    other = Clip("other.mov", frames=10).write(tmp_path)
    data = bytearray(other.read_bytes())
    at = data.index(b"url \x00\x00\x00\x01") - 4  # the reference "in this file", 12 bytes
    target = os.fsencode(other)
    target += bytes(len(target) % 2)
    path = struct.pack(">HH", 2, len(target)) + target  # 2: an absolute path
    body = b"alis" + bytes(4 + 150) + path + struct.pack(">HH", 0xFFFF, 0)
    data[at : at + 12] = struct.pack(">I", 4 + len(body)) + body
    # All boxes around it grow. The index lies behind the frames, so no offset in it changes.
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = data.rindex(box, 0, at + 8) - 4
        (size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, size + 4 + len(body) - 12)
    # Its own copy of the frames is wiped: whatever is decoded now comes from the other file.
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    linked = tmp_path / "linked.mov"
    linked.write_bytes(data)

    follow = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.logging.Capture(), av.open(str(linked), container_options=follow) as unsafe:
        assert len(list(unsafe.decode(video=0))) == 10, "the reference itself is good"
    assert refusal(linked) == "no-frames"


def test_whatever_ffmpeg_wants_to_open_is_refused(tmp_path: Path) -> None:
    """Even a demuxer that would follow a reference only meets our refusal, as no opener is left to it."""
    with pytest.raises(PermissionError, match="may not open another file"):
        demux._refuse_open("other.mp4", 1, {})
    with demux.open_video(Clip("a.mp4", frames=3).write(tmp_path)) as video:
        assert video.container.io_open is demux._refuse_open
        assert not isinstance(video.container.file, str)
