"""What a stream was created with: its options, their defaults and bounds, and how two definitions differ.

Knows neither records nor groups. Where 0 means "no limit", the table says so.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from nexo.brokers.journal import FSYNC, LEVELS
from nexo.errors import InvalidArgumentError, ResourceConfigConflictError
from nexo.limits import TTL_MS_MAX

BYTES_MAX: Final = 1 << 62
COUNT_MAX: Final = 1 << 31

OPTIONS: Final[list[tuple[str, int, int, int]]] = [
    # name, default, least, most
    ("max_age_ms", 7 * 24 * 3_600_000, 0, TTL_MS_MAX),  # 0: no limit
    ("max_bytes", 1 << 30, 0, BYTES_MAX),  # 0: no limit
    ("max_records", 0, 0, BYTES_MAX),  # 0: no limit
    ("max_ack_pending", 10_000, 1, COUNT_MAX),
    ("ack_wait_ms", 30_000, 1, TTL_MS_MAX),
    ("max_deliveries", 5, 0, COUNT_MAX),  # 0: no limit
    ("backoff_ms", 1_000, 0, TTL_MS_MAX),  # before the second delivery after a nack; then doubled
    ("backoff_max_ms", 900_000, 0, TTL_MS_MAX),
    ("group_idle_ms", 0, 0, TTL_MS_MAX),  # 0: groups stay
    ("durability", FSYNC, 0, FSYNC),
]


@final
class Definition:
    """The options of one stream; `durability` is a level of the journal."""

    __slots__ = (
        "ack_wait_ms",
        "backoff_max_ms",
        "backoff_ms",
        "durability",
        "group_idle_ms",
        "max_ack_pending",
        "max_age_ms",
        "max_bytes",
        "max_deliveries",
        "max_records",
    )

    def __init__(self, options: list[int]) -> None:
        self.max_age_ms: i64 = options[0]
        self.max_bytes: i64 = options[1]
        self.max_records: i64 = options[2]
        self.max_ack_pending: i64 = options[3]
        self.ack_wait_ms: i64 = options[4]
        self.max_deliveries: i64 = options[5]
        self.backoff_ms: i64 = options[6]
        self.backoff_max_ms: i64 = options[7]
        self.group_idle_ms: i64 = options[8]
        self.durability: i64 = options[9]

    def options(self) -> list[int]:
        """The values in the order of OPTIONS."""
        return [
            self.max_age_ms,
            self.max_bytes,
            self.max_records,
            self.max_ack_pending,
            self.ack_wait_ms,
            self.max_deliveries,
            self.backoff_ms,
            self.backoff_max_ms,
            self.group_idle_ms,
            self.durability,
        ]


def complete(given: dict[str, int]) -> Definition:
    """The definition that takes the defaults for what is not given. Raises InvalidArgumentError."""
    check(given)
    return Definition([given.get(name, default) for name, default, _, _ in OPTIONS])


def check(given: dict[str, int]) -> None:
    """Refuses an option that does not exist or is out of range with InvalidArgumentError."""
    left = set(given)
    for name, _, least, most in OPTIONS:
        if name in given:
            left.discard(name)
            if not least <= given[name] <= most:
                raise InvalidArgumentError(f"{name} is {given[name]}: it lies between {least} and {most}")
    if left:
        raise InvalidArgumentError(f"a stream has no option {', '.join(sorted(left))}")


def compare(name: bytes, given: dict[str, int], actual: Definition) -> None:
    """Raises ResourceConfigConflictError where a given option differs from the existing definition."""
    known = dict(zip([option[0] for option in OPTIONS], actual.options(), strict=True))
    text = name.decode(errors="replace")
    differences = [
        {"path": option, "requested": _shown(option, value), "actual": _shown(option, known[option])}
        for option, value in given.items()
        if value != known[option]
    ]
    if differences:
        details: dict[str, Any] = {
            "resourceKind": "stream",
            "resourceName": text,
            "requested": {option: _shown(option, value) for option, value in given.items()},
            "actual": {option: _shown(option, known[option]) for option in given},
            "differences": differences,
        }
        paths = ", ".join(str(one["path"]) for one in differences)
        raise ResourceConfigConflictError(f"stream {text} exists with another {paths}", details)


def _shown(option: str, value: int) -> int | str:
    return LEVELS[value] if option == "durability" else value
