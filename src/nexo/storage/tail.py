"""Torn or damaged: the verdict on a bad place in the last file of a log. Knows bytes, no file.

A crash may leave the end of the last file unwritten, and the operating system may have written a later sector
before an earlier one. That is a *torn tail*: nobody was told that it is on disk, and it is cut. *Damage* is
when bytes that were on disk have changed, and nothing may be cut without being asked. The rules, in order:

    1. A later record says that the bad batch was on disk when it was made: damage.
    2. A whole record follows, and no sector of the bad place is missing (missing sectors read as zeros): damage.
    3. Otherwise the tail is torn.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.storage.format import HEAD_BYTES, head_fields, is_head, is_whole

SECTOR_BYTES: Final = 512
"""A disk writes such a piece whole or not at all; ours may be larger, none is smaller."""


def damage(data: bytes, start: i64, seed: i64, batch: i64) -> str:
    """Why the bad place at `start` is damage; empty when it is a torn tail.

    `data` is the whole file, `seed` its header's crc, `batch` the number that should stand at `start`.
    """
    offset = next_head(data, start, seed, batch)
    whole: i64 = -1
    while offset >= 0:
        _, found, behind = head_fields(data, offset)
        if found - 1 - behind >= batch:
            return f"batch {found} at byte {offset} was written when this one was already on disk"
        if whole < 0 and is_whole(data, offset):
            whole = offset
            if not has_hole(data, start, offset):
                return f"batch {found} at byte {offset} is whole"
        offset = next_head(data, offset + HEAD_BYTES - 1, seed, found)
    return ""


def next_head(data: bytes, start: i64, seed: i64, batch: i64) -> i64:
    """Offset after `start` of the next head of a record of this file above `batch`, -1 when there is none."""
    last: i64 = len(data) - HEAD_BYTES
    above: int = batch
    most: int = batch + (len(data) - start) // HEAD_BYTES + 1
    low, high = (above + 1).to_bytes(8, "big"), most.to_bytes(8, "big")
    same = 0
    while same < 8 and low[same] == high[same]:
        same += 1
    common = low[:same]  # searching for it is quick, and few places have it
    offset: i64 = start + 1
    while True:
        offset = data.find(common, offset + 8) - 8
        if offset < 0 or offset > last:
            return -1
        if is_head(data, offset, seed):
            _, found, _ = head_fields(data, offset)
            if above < found <= most:
                return offset
        offset += 1


def has_hole(data: bytes, start: i64, end: i64) -> bool:
    """Whether a sector between two offsets reads as zeros, not counting the one that `end` lies in."""
    sector = start // SECTOR_BYTES
    while sector < end // SECTOR_BYTES:
        begin = max(start, sector * SECTOR_BYTES)
        if not data[begin : (sector + 1) * SECTOR_BYTES].strip(b"\0"):
            return True
        sector += 1
    return False
