"""The arithmetic of counters: 64-bit integers that never wrap, with bounds.

Knows what a step of a counter may be, and nothing of the table that holds it.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from nexo.brokers.entry import Entry
from nexo.brokers.message import is_int_value, read_int
from nexo.errors import InvalidArgumentError

I64_MIN: Final = -(1 << 63)
I64_MAX: Final = (1 << 63) - 1


def counter(entry: Entry | None) -> i64:
    """The number that an entry holds; 0 for none. Raises InvalidArgumentError if it is not an INT."""
    if entry is None:
        return 0
    if not is_int_value(entry.value):
        raise InvalidArgumentError("the value is not an integer")
    return read_int(entry.value)


def overflows(number: i64, delta: i64) -> bool:
    """Asked before adding: a compiled sum would wrap round."""
    if delta > 0:
        return number > I64_MAX - delta
    return number < I64_MIN - delta


def added(number: i64, delta: i64) -> i64:
    """The sum. Raises InvalidArgumentError when it does not fit into 64 bits."""
    if overflows(number, delta):
        raise InvalidArgumentError(f"{number} {delta:+} is outside the range of a 64-bit integer")
    return number + delta


def step(number: i64, delta: i64, minimum: i64, maximum: i64, saturate: bool) -> i64:
    """What may be added to `number`: `delta`, less when it saturates, 0 when a bound is in the way."""
    bound = maximum if delta > 0 else minimum
    if overflows(number, delta):
        if not saturate and (bound == I64_MAX if delta > 0 else bound == I64_MIN):
            raise InvalidArgumentError(f"{number} {delta:+} is outside the range of a 64-bit integer")
    else:
        target = number + delta
        if minimum <= target <= maximum:
            return delta
        if target < minimum if delta > 0 else target > maximum:
            return 0  # on the way to the bounds, but not yet within them
    # From here on the bound lies between the two, or behind the number.
    if not saturate or (bound <= number if delta > 0 else bound >= number):
        return 0
    return bound - number
