"""Values and messages that the four brokers share.

A *value* is a byte string whose first byte is its type and whose rest is its content: the
`any` of the native protocol. Brokers never look inside, except where a counter is an INT.
This module knows no protocol beyond that one byte, and no socket.
"""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64, mypyc_attr

RAW: Final = 0x00
STRING: Final = 0x01
JSON: Final = 0x02
INT: Final = 0x03

INT_VALUE_BYTES: Final = 9


def int_value(number: i64) -> bytes:
    """The value that holds a signed 64-bit integer."""
    out = BytesWriter()
    out.append(INT)
    write_i64_be(out, number)
    return out.getvalue()


def is_int_value(value: bytes) -> bool:
    """Whether `read_int` may be called on this value."""
    return len(value) == INT_VALUE_BYTES and value[0] == INT


def read_int(value: bytes) -> i64:
    """The integer in a value for which `is_int_value` holds."""
    return read_i64_be(value, 1)


@final
@mypyc_attr(acyclic=True)
class Message:
    """One published message, shared by everything that delivers it.

    `topic` is UTF-8, `value` a typed value, `headers` the encoded header block (b"" for none),
    `request_id` is 0 except for a request that waits for a reply.
    """

    __slots__ = ("headers", "request_id", "topic", "value")

    def __init__(self, topic: bytes, value: bytes, headers: bytes, request_id: i64) -> None:
        self.topic = topic
        self.value = value
        self.headers = headers
        self.request_id = request_id
