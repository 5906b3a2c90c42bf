"""What the JSON commands of operators share: arguments by name and type, and values as JSON."""

from __future__ import annotations

from typing import Any, final

import msgspec
from mypy_extensions import i64

from nexo.brokers.message import JSON, STRING, is_int_value, read_int
from nexo.errors import InvalidArgumentError
from nexo.limits import PAGE_BYTES_MAX
from nexo.protocols.native.channel import Channel


@final
class Arguments:
    """The JSON arguments of one action, each asked for by name and type; what nobody asked for is an error."""

    def __init__(self, given: dict[str, object]) -> None:
        self.given = given

    def number(self, name: str, default: i64) -> i64:
        """An integer of 63 bits, or -1."""
        value = self.given.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 1 << 63:
            raise InvalidArgumentError(f"{name} {value!r}: it is an integer that is not negative")
        return value

    def text(self, name: str, default: str) -> str:
        value = self.given.pop(name, default)
        if not isinstance(value, str):
            raise InvalidArgumentError(f"{name} {value!r}: it is text")
        return value

    def flag(self, name: str) -> bool:
        value = self.given.pop(name, False)
        if not isinstance(value, bool):
            raise InvalidArgumentError(f"{name} {value!r}: it is true or false")
        return value

    def finish(self) -> None:
        if self.given:
            raise InvalidArgumentError(f"unknown arguments: {', '.join(sorted(self.given))}")


def answer(channel: Channel, result: Any) -> None:
    """Answer with a JSON value."""
    channel.data(bytes((JSON,)) + msgspec.json.encode(result))


def answer_at(channel: Channel, level: i64, result: Any) -> None:
    """As `answer`, once what was done is durable at this level."""
    channel.data_at(level, bytes((JSON,)) + msgspec.json.encode(result))


def page_length(sizes: list[int]) -> int:
    """How many messages of these sizes one page shows: at least one, so that whoever pages gets on."""
    total = 0
    for place, size in enumerate(sizes):
        total += size
        if total > PAGE_BYTES_MAX and place > 0:
            return place
    return len(sizes)


def shown_value(value: bytes) -> dict[str, object]:
    """`type` and `value`: text and JSON as they are, an integer as a number, bytes as base64."""
    content = value[1:]
    kind = value[0] if value else -1
    if is_int_value(value):
        return {"type": "int", "value": int(read_int(value))}
    try:
        if kind == STRING:
            return {"type": "str", "value": content.decode()}
        if kind == JSON:
            return {"type": "json", "value": msgspec.json.decode(content)}
    except (UnicodeDecodeError, msgspec.DecodeError):
        pass  # a value that is not what its type says: shown as the bytes that it is
    return {"type": "bytes", "value": content}
