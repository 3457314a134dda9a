"""What the fuzzer of containers has found, kept; and that it would find what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidface.errors import MediaError
from vidface.frames import DECODERS, ReadReport, read_frames

FUZZER = Path(__file__).resolve().parents[2] / "tools" / "fuzz_containers.py"

# A program stream whose one picture is tagged with colours that FFmpeg knows no way to turn into RGB.
UNKNOWN_COLOURS = bytes.fromhex(
    "000001ba000001e007df3100037bb11100035f91000001b304004013ffffe000000001b500000100000f000001b52d276eae000001018ff9"
)


@pytest.mark.parametrize("decoder", DECODERS)
def test_colours_that_cannot_be_turned_into_rgb(tmp_path: Path, decoder: str) -> None:
    """An error of FFmpeg's scaler came through, which would have cost a decoding process."""
    (tmp_path / "a.mpg").write_bytes(UNKNOWN_COLOURS)
    with pytest.raises(MediaError) as error:
        list(read_frames(tmp_path / "a.mpg", decoder=decoder, fps=None, report=ReadReport()))
    assert error.value.kind == {"pyav": "no-frames", "decord": "decoder-refused"}[decoder]
    assert "cannot be turned into RGB" in str(error.value)


PLANTED = """
import ctypes, os, socket, sys
if "--work" in sys.argv:
    import numpy as np
    import vidface.frames
    from vidface.errors import MediaError
    from vidface.frames import Frame
    libc = ctypes.PyDLL(None)

    def read_frames(path, *, fps, report):
        data = path.read_bytes()
        if data.startswith(b"RIFF"):
            raise KeyError("planted")
        if data.startswith(b"\\x1a\\x45\\xdf\\xa3"):
            file = libc.open(os.fsencode(path.with_name("canary.mp4")), 0)  # unseen by Python
            os.close(file)
        if data.startswith(b"FLV"):
            socket.socket().close()
        if data.startswith(b"OggS"):
            yield Frame(np.zeros((4, 4, 3), np.float32), 0.0)
        if data.startswith(b"\\x47"):
            yield Frame(np.zeros((4, 4, 3), np.uint8), 1.0)
            yield Frame(np.zeros((4, 4, 3), np.uint8), 0.5)
        if data.startswith(b"\\x30\\x26\\xb2"):
            raise MediaError("planted", "a kind that nobody knows")
        if data.startswith(b"\\xff\\xd8"):
            os.abort()
        raise MediaError("no-frames", "nothing")

    vidface.frames.read_frames = read_frames
"""


def run(folder: Path, seconds: float, code: int, env: dict[str, str] | None = None) -> list[str]:
    words = [sys.executable, str(FUZZER), "--seconds", str(seconds), "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="who opens a file is told by Linux")
def test_the_fuzzer_finds_what_is_planted(tmp_path: Path) -> None:
    """Each kind of finding, from the seeds alone; what does not end the process is made as short as it can be."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(PLANTED)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    said = "\n".join(run(tmp_path / "fuzz", 0.01, code=1, env=env))
    for words in (
        *("found: KeyError at sitecustomize.py:", "found: canary.mp4 was opened", "found: socket."),
        *("found: a frame of float32", "found: a frame at 0.5 after one at 1.0", "found: the kind planted"),
        "found: the process died",
    ):
        assert words in said, words
    found = tmp_path / "fuzz" / "found"
    contents = {path.read_bytes() for path in found.iterdir() if path.suffix == ".mp4"}
    assert {b"RIFF", b"\x1a\x45\xdf\xa3", b"FLV", b"OggS", b"\x47", b"\x30\x26\xb2"} <= contents


def test_a_short_look_with_the_fuzzer(tmp_path: Path) -> None:
    """A second of it runs, gets on, and finds nothing."""
    said = run(tmp_path, 1.0, code=0)
    assert said[-1].endswith("findings 0") and not any(line.startswith("found") for line in said)
    assert len(list((tmp_path / "corpus").iterdir())) > 15
