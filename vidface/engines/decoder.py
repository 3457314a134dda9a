"""The program of a decoding process: videos are named on stdin, their frames go to stdout (see `vidface.engines.wire`).

    python -m vidface.engines.decoder '{"decoder": "pyav", ...}'

It is started by `vidface.engines.isolated`, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from vidface.engines.reading import Block, Reading, Video, VideoEnd, read_video
from vidface.engines.wire import send
from vidface.errors import UsageError

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def main() -> None:
    """Read videos until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # What a library prints must not get among the messages: it goes to stderr.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 16)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    options = json.loads(sys.argv[1])
    reading = Reading(**{**options, "input_size": tuple(options["input_size"])})
    for line in sys.stdin:
        task = json.loads(line)
        to_skip = task["skip"]
        try:
            for message in read_video(Video(task["video_id"], Path(task["path"])), reading):
                if isinstance(message, Block) and to_skip > 0:
                    to_skip -= len(message.pixels)
                else:
                    send(messages, message)
        except BrokenPipeError:
            return
        except UsageError as error:
            send(messages, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one video, and is listed
            words = " ".join(f"{type(error).__name__}: {error}".split())
            send(messages, VideoEnd([("decoder-crashed", f"the decoder failed: {words}")], lost=True))
            return


if __name__ == "__main__":
    main()
