"""How much of a stream is kept: by age, by bytes, by number of records, in whole blocks.

Functions over a definition and an index; they drop nothing. Readers are not asked: one that is behind what
is kept goes on with the oldest that is there.
"""

from __future__ import annotations

from mypy_extensions import i64

from nexo.brokers.stream.blocks import Blocks
from nexo.brokers.stream.definition import Definition


def excess(kept: Definition, blocks: Blocks, visible: i64, end: i64, now: i64) -> i64:
    """How many of the oldest blocks are to go. `visible` is the last visible sequence, `end` the next one.

    What is not visible yet stays. The bounds in bytes and records leave the newest block, which may be larger
    than they are.
    """
    index = blocks.index
    count: i64 = 0
    left = blocks.bytes
    while count < len(index):
        spare = count + 1 < len(index)
        last = index.first(count + 1) - 1 if spare else end - 1
        if last > visible or not (
            (kept.max_age_ms != 0 and index.time(count) + kept.max_age_ms <= now)
            or (spare and kept.max_bytes != 0 and left > kept.max_bytes)
            or (spare and kept.max_records != 0 and end - index.first(count) > kept.max_records)
        ):
            break
        left -= index.size(count)
        count += 1
    return count


def next_check(kept: Definition, blocks: Blocks, end: i64) -> i64:
    """When to look again: at once (1) if a bound is passed, at the age of the oldest block, or never (0)."""
    index = blocks.index
    if len(index) == 0:
        return 0
    if len(index) > 1 and (
        (kept.max_bytes != 0 and blocks.bytes > kept.max_bytes)
        or (kept.max_records != 0 and end - index.first(0) > kept.max_records)
    ):
        return 1
    return index.time(0) + kept.max_age_ms if kept.max_age_ms != 0 else 0
