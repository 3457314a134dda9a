"""What the fuzzer of containers has found, kept; and that it would find what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clips import refusal
from processes import python_path

from vidface.frames import DECODERS, demux

FUZZER = Path(__file__).resolve().parents[2] / "tools" / "fuzz_containers.py"

# A program stream whose one picture is tagged with colours that FFmpeg knows no way to turn into RGB.
UNKNOWN_COLOURS = bytes.fromhex(
    "000001ba000001e007df3100037bb11100035f91000001b304004013ffffe000000001b500000100000f000001b52d276eae000001018ff9"
)


@pytest.mark.parametrize("decoder", DECODERS)
def test_colours_that_cannot_be_turned_into_rgb(tmp_path: Path, decoder: str) -> None:
    """An error of FFmpeg's scaler came through, which would have cost a decoding process."""
    (tmp_path / "a.mpg").write_bytes(UNKNOWN_COLOURS)
    kind = {"pyav": "no-frames", "decord": "decoder-refused"}[decoder]
    assert refusal(tmp_path / "a.mpg", "cannot be turned into RGB", decoder) == kind


# An AVI whose lists are displaced by a byte, so that the name "movi" is taken for a length: (bytes, zeros behind them).
DISPLACED = (
    ("52494646a6360000415649204c495354ec1100006864726c6176696838000000409c", 10),
    ("1009000003", 7),
    ("01000000000010004000000040", 19),
    ("4c495354941000007374726c7374726838000000766964734d4a5047", 12),
    ("0100000019", 7),
    ("030028bcc50c0000ffffffff", 8),
    ("40004000737472662800000072000000400000007374636f", 308),
    ("4c4953541a000092494e464f0e0000004c617666", 974),
    ("4c4953544c2000006d6f76693030", 0),
)


def test_a_length_of_gigabytes_in_a_small_avi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg asked Python for 1.8 GB at once, which made room for them before it looked at the file of 1,500 bytes."""
    path = tmp_path / "a.avi"
    path.write_bytes(b"".join(bytes.fromhex(text) + bytes(zeros) for text, zeros in DISPLACED))
    with demux._InPieces(path) as file:
        assert file.read(1 << 50) == path.read_bytes() and file.read(1 << 50) == b""
    asked: list[int] = []

    class Asked(demux._InPieces):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            if asked[-1] > 1 << 30:
                raise OSError("that is what was looked for")
            return super().read(size)

    monkeypatch.setattr(demux, "_InPieces", Asked)
    assert refusal(path) == "unreadable"
    assert max(asked) > 1 << 30, "the trap is real"


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
    env = {**os.environ, "PYTHONPATH": python_path(tmp_path / "site")}
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
