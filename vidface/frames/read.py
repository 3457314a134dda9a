"""The one way in: a path of any kind, read by the decoder asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from vidface.errors import MediaError, UsageError
from vidface.frames.folder import SUFFIXES, read_folder, read_picture
from vidface.frames.frame import Frame, ReadReport

DECODERS: tuple[str, ...] = ("pyav", "decord")


def read_frames(
    path: Path,
    *,
    decoder: str = "pyav",
    fps: float | None = 8.0,
    folder_frames: int | None = None,
    film: bool = False,
    report: ReadReport,
) -> Iterator[Frame]:
    """Read a video file, a folder of frames, or a picture, one frame at a time.

    A video is sampled by presentation time: the frame on screen at every k / fps, each frame at most once (see
    ``vidface.frames.sampling``). A folder is taken in natural order of its file names; a picture, told by its
    suffix (.jpg, .jpeg, .png), is a clip of one frame. Several threads may read at once, each its own video.

    Args:
        path: a video file, a folder of JPEG and PNG images, or one such image.
        decoder: ``pyav`` or ``decord``; a folder needs neither. Both give the same frames at the same times,
            or ``decord`` refuses.
        fps: frames a second to take, above 0; None takes every frame.
        folder_frames: of a folder at most so many images, evenly spaced; None takes it whole.
        film: frames are whole scenes, not cut-out faces: those of a video that are interlaced are deinterlaced.
        report: filled while the frames are taken, complete when the iterator ends.

    Yields:
        Frames in order of time. Damage that leaves frames usable is added to ``report.faults``; after an error
        the frames handed out stay good and the reading ends.

    Raises:
        UsageError: at once, for an unknown decoder or fps, or a machine where decord and decord2 are mixed.
        MediaError: at once or while iterating, where there is no usable frame: ``missing``, ``empty-file``,
            ``not-a-video``, ``unreadable``, ``no-frames``, ``unreadable-image`` (no image of the folder can be
            read), ``too-large`` (frames of more than ``vidface.frames.frame.MAX_PIXELS`` pixels),
            ``decoder-refused``.
        MemoryError: while iterating, where a frame needs more than this process may have; no damage of the video's.
    """
    if decoder not in DECODERS:
        raise UsageError(f"unknown decoder {decoder!r}: take one of {', '.join(DECODERS)}")
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a number above 0, or all frames: {fps}")
    try:
        is_folder = path.is_dir()
    except OSError as error:  # of a folder above that may not be entered
        raise MediaError("unreadable", f"{path}: {error.strerror or error}") from None
    if is_folder:
        return read_folder(path, most=folder_frames, report=report)
    if path.suffix.lower() in SUFFIXES:
        return read_picture(path, report=report)
    # The decoders are imported where they are used: FFmpeg is heavy, and decord may be absent or unusable.
    if decoder == "decord":
        from vidface.frames.decord_reader import read_with_decord

        return read_with_decord(path, fps=fps, film=film, report=report)
    from vidface.frames.pyav import read_with_pyav

    return read_with_pyav(path, fps=fps, film=film, report=report)


def load_decoder(name: str) -> None:
    """Import a decoder before the first video needs it.

    Raises:
        ImportError: it is not there, or does not fit this machine.
    """
    import vidface.frames.pyav  # noqa: F401 - decord is led by it

    if name == "decord":
        import decord  # noqa: F401
