"""Sizes and durations as people write them: `512mb`, `500ms`. Knows nothing else."""

from __future__ import annotations

import re
from typing import Final

from nexo.limits import KIB, MIB

GIB: Final = 1024 * MIB

SIZES: Final[dict[str, int]] = {
    "": 1,
    "b": 1,
    "kb": KIB,
    "kib": KIB,
    "mb": MIB,
    "mib": MIB,
    "gb": GIB,
    "gib": GIB,
}
DURATIONS_MS: Final[dict[str, int]] = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}

_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", re.ASCII)


def parse_bytes(text: str) -> int:
    """`1024`, `64kb`, `1.5gb`: bytes, where a kb is 1,024 of them. ValueError for anything else."""
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None or found[2] not in SIZES:
        raise ValueError(f"{text!r} is not a size such as 4096, 64kb, 512mb or 2gb")
    return _times(found[1], SIZES[found[2]])


def parse_duration_ms(text: str, plain: str = "s") -> int:
    """`500ms`, `10s`, `5m`, `1.5h`, `7d`: milliseconds; a bare number counts in `plain`. ValueError otherwise."""
    found = _NUMBER.fullmatch(text.strip().lower())
    unit = plain if found is not None and not found[2] else found[2] if found is not None else ""
    if found is None or unit not in DURATIONS_MS:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 10s, 5m, 1h or 7d")
    return _times(found[1], DURATIONS_MS[unit])


def format_bytes(size: int) -> str:
    """The shortest spelling that `parse_bytes` reads back as the same number."""
    for unit, factor in (("gb", GIB), ("mb", MIB), ("kb", KIB)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _times(number: str, factor: int) -> int:
    # Whole numbers stay exact, however large.
    return int(number) * factor if "." not in number else round(float(number) * factor)
