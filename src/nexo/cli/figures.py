"""How sizes, times and rates look in a cell that a person reads at a glance. Knows no command."""

from __future__ import annotations

from typing import Final

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: float) -> str:
    """Bytes in the unit in which they have at most four digits."""
    for unit in UNITS[:-1]:
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"


def span(ms: float) -> str:
    """A time in its two largest units."""
    seconds = int(ms // 1000)
    for unit, of, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= of:
            return f"{seconds // of}{unit}{seconds % of // part}{smaller}"
    return f"{seconds}s"


def number(count: float) -> str:
    """A count with its thousands apart."""
    return f"{count:,.0f}"


def rate(before: float | None, after: float, seconds: float) -> float:
    """What came each second; 0 for what was not there before, or has begun to count anew."""
    if before is None or seconds <= 0 or after < before:
        return 0.0
    return (after - before) / seconds
