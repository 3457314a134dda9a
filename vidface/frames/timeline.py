"""One time that never starts anew: where files were joined, each part comes after the one before.

MPEG transport and program streams (.ts, .m2ts, .vob, .mpg) and FLV can be joined by joining their bytes. The clock
then jumps back to where it was in the first file, and players read on. Tested in ``tests/frames/test_timeline.py``.
"""

from __future__ import annotations

from typing import Any

from av.packet import Packet

__all__ = ["Timeline"]

# Packets come in the order of their decoding times. Rounding and damage put one back by a few frames; a clock that
# starts anew goes further back, or to where it began before.
STEP_BACK_SECONDS = 0.25
STEP_TO_BEGIN_SECONDS = 0.1

# The clock of an MPEG stream has 33 bits at 90 kHz. FFmpeg takes a time that is far before the first for one after the
# clock's end, and puts it 26.5 hours later: right where the clock ran over, wrong where it starts anew.
STEP_AHEAD_SECONDS = 2**32 / 90_000


class Timeline:
    """Shifts the packets of one stream, in their order, so that time goes on.

    Args:
        unit: seconds of a tick.
    """

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self._shift = 0  # in ticks, of the part that is being read
        self._first = 0  # the first decoding time of this part as stored
        self._last: int | None = None  # and the last
        self._decoded = self._shown = 0  # where the packets so far end, shifted

    def place(self, packet: Packet[Any]) -> bool:
        """Shift one packet: a part begins where the packets before it end, both as they are decoded and as shown.

        Returns:
            Whether time starts anew with it.
        """
        stored, pts = packet.dts, packet.pts
        if stored is None:
            if self._shift and pts is not None:
                packet.pts = pts + self._shift
            return False
        shown = stored if pts is None else pts
        step = 0.0 if self._last is None else (stored - self._last) * self._unit
        to_begin = stored <= self._first and step < -STEP_TO_BEGIN_SECONDS
        anew = to_begin or step < -STEP_BACK_SECONDS or step > STEP_AHEAD_SECONDS
        if anew or self._last is None:
            self._first = stored
        if anew:
            self._shift = max(self._decoded - stored, self._shown - shown)
        self._last = stored
        duration = packet.duration or 0
        self._decoded = max(self._decoded, stored + duration + self._shift)
        self._shown = max(self._shown, shown + duration + self._shift)
        if self._shift:
            packet.dts = stored + self._shift
            if pts is not None:
                packet.pts = pts + self._shift
        return anew
