"""Frames: where pixels come from. A video file or a folder of frames in, RGB pictures with their times out.

``containers`` tells a video from its first bytes, ``demux`` opens it safely, ``pyav`` and ``decord_reader`` decode it,
``folder`` reads frames that are images already, ``sampling`` chooses frames by time, ``write`` makes clips. What a
viewer would see is made by ``picture``, ``orientation`` and ``joined``, by the rules of docs/frames.md.
"""

from __future__ import annotations

from vidface.frames.frame import Frame, ReadReport, fit_frame
from vidface.frames.read import DECODERS, read_frames

__all__ = ["DECODERS", "Frame", "ReadReport", "fit_frame", "read_frames"]
