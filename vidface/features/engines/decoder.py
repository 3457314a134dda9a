"""The program of a decoding process: videos are named on stdin, messages of `vidface.features.engines.wire` come back.

It is started by `vidface.features.engines.isolated` alone, and ends with the process that started it, however that
ends: on Linux at once, whatever the decoder is at, elsewhere after the video that it is at. Before it hears of the
first video it gives up what `vidface.features.engines.confine` lists.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from vidface.errors import VidfaceError
from vidface.features.engines.confine import confine
from vidface.features.engines.reading import Block, Message, Video, VideoEnd, read_video, reading_from_json
from vidface.features.engines.wire import Begun, send
from vidface.frames.read import load_decoder

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def main() -> None:
    """Read videos until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    told = json.loads(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != told["parent"]:  # it was gone before it could be told
        return
    reading = reading_from_json(told["reading"])
    with contextlib.suppress(ImportError):  # said of the first video that needs it: folders of images do not
        load_decoder(reading.decoder)
    if reading.faces is not None:  # in the time of the start, not of the first video
        from vidface.features.engines.detection import load_detector

        with contextlib.suppress(VidfaceError):
            load_detector(reading.faces)
    # Up to here what is printed tells why a process does not start. From here on it is a decoder's chatter.
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    confine(told["memory"])
    with (
        os.fdopen(told["answers"], "wb", buffering=1 << 16) as messages,
        contextlib.suppress(BrokenPipeError),
    ):
        for line in sys.stdin:
            task = json.loads(line)
            send(messages, Begun())
            video = Video(task["video_id"], Path(task["path"]))
            try:
                for message in without_known(read_video(video, reading), task["known"]):
                    send(messages, message)
                    if isinstance(message, VideoEnd) and message.lost:
                        return  # nobody knows what state this process is in
            except VidfaceError as error:
                send(messages, error)
                return


def without_known(messages: Iterator[Message], known: int) -> Iterator[Message]:
    """Leave out the first ``known`` rows; blocks need not be cut as they were the first time.

    Blocks that nothing is left of come all the same: they tell that the decoder is not hung.
    """
    for message in messages:
        if isinstance(message, Block):
            yield message.after(known)
            known = max(0, known - len(message.times))
        else:
            yield message


if __name__ == "__main__":
    main()
