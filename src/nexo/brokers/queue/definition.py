"""What a queue is told to be: its options, their bounds and defaults, and how two definitions differ.

`OPTIONS` is the one table; a new option is a line there and a field of Definition. Knows no queue.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from nexo.brokers.journal import FSYNC, LEVELS
from nexo.errors import InvalidArgumentError, ResourceConfigConflictError
from nexo.limits import (
    COUNT_MAX,
    DEAD_LETTERS_DEFAULT,
    DEAD_RETENTION_MS_DEFAULT,
    DEDUP_WINDOW_MS_DEFAULT,
    DEDUP_WINDOW_MS_MAX,
    DELIVERIES_DEFAULT,
    LEASE_MS_MAX,
    TTL_MS_MAX,
    VISIBILITY_TIMEOUT_MS_DEFAULT,
)

# Backoff.
NO_BACKOFF: Final = 0
FIXED: Final = 1
EXPONENTIAL: Final = 2

# Overflow.
REJECT: Final = 0
DROP_OLDEST: Final = 1
DEAD_LETTER_OLDEST: Final = 2

# What becomes of a message whose time to live is over.
DROP: Final = 0
DEAD_LETTER: Final = 1

PERCENT: Final = 100
_DELIVERIES_MAX: Final = 0xFFFF_FFFF  # an unsigned 32-bit number on the native wire


@final
class Option:
    """One option: a number with bounds, or one of a few words, whose number is their place."""

    __slots__ = ("default", "highest", "lowest", "words")

    def __init__(self, default: int, lowest: int, highest: int, words: tuple[str, ...] = ()) -> None:
        self.default = default
        self.lowest = lowest
        self.highest = highest
        self.words = words

    def number(self, name: str, given: object) -> int:
        """The number for what a user gave. Raises InvalidArgumentError."""
        if self.words:
            if isinstance(given, str) and given in self.words:
                return self.words.index(given)
            raise InvalidArgumentError(f"{name} {given!r}: it is one of {', '.join(self.words)}")
        if not isinstance(given, int) or isinstance(given, bool):
            raise InvalidArgumentError(f"{name} {given!r}: it is an integer")
        if not self.lowest <= given <= self.highest:
            raise InvalidArgumentError(f"{name} {given}: it is {self.lowest} to {self.highest}")
        return given

    def shown(self, number: int) -> int | str:
        """What a user would have given for the number."""
        return self.words[number] if self.words else number


def _words(*words: str, default: int = 0) -> Option:
    return Option(default, 0, len(words) - 1, words)


OPTIONS: Final[dict[str, Option]] = {
    "visibility_timeout_ms": Option(VISIBILITY_TIMEOUT_MS_DEFAULT, 1, LEASE_MS_MAX),
    "max_deliveries": Option(DELIVERIES_DEFAULT, 1, _DELIVERIES_MAX),
    "durability": Option(FSYNC, 0, len(LEVELS) - 1, LEVELS),
    "backoff": _words("none", "fixed", "exponential"),
    "backoff_ms": Option(1_000, 1, TTL_MS_MAX),
    "backoff_max_ms": Option(900_000, 1, TTL_MS_MAX),
    "backoff_jitter_percent": Option(20, 0, PERCENT),
    "dedup_window_ms": Option(DEDUP_WINDOW_MS_DEFAULT, 1, DEDUP_WINDOW_MS_MAX),
    "messages_max": Option(0, 0, COUNT_MAX),
    "bytes_max": Option(0, 0, COUNT_MAX),
    "overflow": _words("reject", "drop_oldest", "dead_letter"),
    "in_flight_max": Option(0, 0, COUNT_MAX),
    "on_expiry": _words("drop", "dead_letter"),
    "dead_retention_ms": Option(DEAD_RETENTION_MS_DEFAULT, 1, TTL_MS_MAX),
    "dead_letters_max": Option(DEAD_LETTERS_DEFAULT, 1, COUNT_MAX),
}
"""Every option with its default. 0 is "no limit" for messages_max, bytes_max and in_flight_max."""


@final
class Definition:
    """All options of one queue, as numbers."""

    __slots__ = (
        "backoff",
        "backoff_jitter_percent",
        "backoff_max_ms",
        "backoff_ms",
        "bytes_max",
        "dead_letters_max",
        "dead_retention_ms",
        "dedup_window_ms",
        "in_flight_max",
        "level",
        "limited",
        "max_deliveries",
        "messages_max",
        "numbers",
        "on_expiry",
        "overflow",
        "visibility_timeout_ms",
    )

    def __init__(self, given: dict[str, object]) -> None:
        numbers = {name: option.default for name, option in OPTIONS.items()}
        numbers.update(read(given))
        self.numbers = numbers
        self.visibility_timeout_ms: i64 = numbers["visibility_timeout_ms"]
        self.max_deliveries: i64 = numbers["max_deliveries"]
        self.level: i64 = numbers["durability"]
        self.backoff: i64 = numbers["backoff"]
        self.backoff_ms: i64 = numbers["backoff_ms"]
        self.backoff_max_ms: i64 = numbers["backoff_max_ms"]
        self.backoff_jitter_percent: i64 = numbers["backoff_jitter_percent"]
        self.dedup_window_ms: i64 = numbers["dedup_window_ms"]
        self.messages_max: i64 = numbers["messages_max"]
        self.bytes_max: i64 = numbers["bytes_max"]
        self.overflow: i64 = numbers["overflow"]
        self.in_flight_max: i64 = numbers["in_flight_max"]
        self.on_expiry: i64 = numbers["on_expiry"]
        self.dead_retention_ms: i64 = numbers["dead_retention_ms"]
        self.dead_letters_max: i64 = numbers["dead_letters_max"]
        self.limited = self.messages_max > 0 or self.bytes_max > 0

    def shown(self) -> dict[str, object]:
        """All options as a user would give them."""
        return {name: option.shown(self.numbers[name]) for name, option in OPTIONS.items()}

    def retry_ms(self, attempts: i64, random: i64) -> i64:
        """How long a message that failed for the nth time stays away. `random` is any number above 0."""
        delay = self.backoff_ms
        if self.backoff == NO_BACKOFF:
            return 0
        if self.backoff == FIXED:
            return delay
        highest = self.backoff_max_ms
        while attempts > 1 and delay < highest:
            delay *= 2
            attempts -= 1
        if delay > highest:
            delay = highest
        # Jitter shortens, so that the cap stays one.
        spread = delay // PERCENT * self.backoff_jitter_percent
        spread += delay % PERCENT * self.backoff_jitter_percent // PERCENT
        return delay - random % (spread + 1)


def read(given: dict[str, object]) -> dict[str, int]:
    """The numbers for options that a user gave. Raises InvalidArgumentError, for unknown ones, too."""
    numbers: dict[str, int] = {}
    for name, value in given.items():
        option = OPTIONS.get(name)
        if option is None:
            raise InvalidArgumentError(f"{name!r} is no option of a queue; there are {', '.join(OPTIONS)}")
        numbers[name] = option.number(name, value)
    return numbers


def compare(name: str, actual: Definition, given: dict[str, object]) -> None:
    """Raises ResourceConfigConflictError when a queue has an option otherwise than it is given here."""
    wanted = read(given)
    differing = [option for option, number in wanted.items() if number != actual.numbers[option]]
    if not differing:
        return
    shown = actual.shown()
    details = {
        "resourceKind": "queue",
        "resourceName": name,
        "requested": {option: OPTIONS[option].shown(number) for option, number in wanted.items()},
        "actual": {option: shown[option] for option in wanted},
        "differences": [
            {
                "path": option,
                "requested": OPTIONS[option].shown(wanted[option]),
                "actual": shown[option],
            }
            for option in differing
        ],
    }
    listed = ", ".join(f"{option} is {shown[option]}" for option in differing)
    raise ResourceConfigConflictError(f"queue {name!r} exists with another definition: {listed}", details)
