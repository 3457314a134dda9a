"""``--shard I/N``: part I of N of a run, for machines that share the work without knowing of each other."""

from __future__ import annotations

from vidface.errors import UsageError

Shard = tuple[int, int]  # (I, N), 1 <= I <= N


def parse_shard(text: str) -> Shard:
    """Read ``I/N``, e.g. ``2/4``; anything but 1 <= I <= N is a UsageError."""
    part, _, parts = text.partition("/")
    if all(number.isascii() and number.isdecimal() and len(number) <= 9 for number in (part, parts)):
        shard = int(part), int(parts)
        if 1 <= shard[0] <= shard[1]:
            return shard
    raise UsageError(f"shard {text!r}: say I/N with 1 <= I <= N, e.g. 2/4 for the second of four")


def shard_text(shard: Shard | None) -> str | None:
    """The opposite of `parse_shard`; None, no shard, stays None."""
    return None if shard is None else f"{shard[0]}/{shard[1]}"


def shard_range(total: int, shard: Shard | None, what: str) -> range:
    """The numbers of the shard's share of ``total`` things, which ``what`` names in the plural.

    The shares follow each other, differ by at most one, and none is empty: more shards than things is a UsageError.
    """
    if shard is None:
        return range(total)
    part, parts = shard
    if parts > total:
        raise UsageError(f"shard {part}/{parts}: more shards than {what} ({total}): say at most I/{total}")
    return range(total * (part - 1) // parts, total * part // parts)
