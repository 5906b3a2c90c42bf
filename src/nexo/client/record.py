"""A record of a stream as it is read, and how pages of records are read. Layouts: docs/protocol.md."""

from __future__ import annotations

from datetime import datetime
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple

from nexo.client import values
from nexo.client.frames import U32
from nexo.client.queueinfo import utc
from nexo.client.tracing import context_of
from nexo.client.values import NO_HEADERS, Headers, decode_headers
from nexo.errors import ProtocolError

_UNDECODED: Final = object()
_PAGE: Final = Struct(">QQQI")  # next seq, first seq, last seq, runs
_RUN: Final = Struct(">QII")  # first seq, records, bytes
_TIME_AND_SIZE: Final = Struct(">QH")


class Record:
    """One record: `seq`, `data`, `key` (bytes or None), `headers`, and when it was appended."""

    __slots__ = ("_data", "_type", "_value", "headers", "key", "seq", "timestamp_ms")

    def __init__(
        self, seq: int, timestamp_ms: int, key: bytes | None, headers: Headers, value: bytes, type: Any
    ) -> None:
        self.seq = seq
        self.timestamp_ms = timestamp_ms
        self.key = key
        self.headers = headers
        self._value = value
        self._type = type
        self._data: Any = _UNDECODED

    @property
    def data(self) -> Any:
        """The value. InvalidArgumentError when it is not of the type that was asked for."""
        if self._data is _UNDECODED:
            self._data = values.decode(self._value, self._type)
        return self._data

    @property
    def value(self) -> Any:
        """The same as `data`."""
        return self.data

    @property
    def trace_context(self) -> Any:
        """The OpenTelemetry context that its headers carry, to be the parent of a span; None when there is none."""
        return context_of(self.headers)

    @property
    def timestamp(self) -> datetime:
        """When it was appended, by the server's clock; in milliseconds it is `timestamp_ms`."""
        return utc(self.timestamp_ms)

    def __repr__(self) -> str:
        return f"Record(seq={self.seq}, key={self.key!r})"


class Page(NamedTuple):
    """An answer of READ: records, and where the next page begins."""

    next_seq: int
    first_seq: int
    last_seq: int
    records: list[Record]


def read_page(reply: bytes, type: Any) -> Page:
    """The answer of READ. ProtocolError when it is not one."""
    records: list[Record] = []
    try:
        next_seq, first_seq, last_seq, runs = _PAGE.unpack_from(reply)
        position = _PAGE.size
        for _ in range(runs):
            seq, count, size = _RUN.unpack_from(reply, position)
            position += _RUN.size
            end = position + size
            for number in range(seq, seq + count):
                timestamp, key, value, headers, position = read_body(reply, position)
                records.append(Record(number, timestamp, key, headers, value, type))
            if position != end:
                raise ProtocolError("a run of records does not end where it should")
    except StructError:
        raise ProtocolError("a payload of the server ends early") from None
    return Page(next_seq, first_seq, last_seq, records)


def read_body(reply: bytes, position: int) -> tuple[int, bytes | None, bytes, Headers, int]:
    """Timestamp, key, value and headers of a record, and where what follows begins. Raises struct.error."""
    timestamp, size = _TIME_AND_SIZE.unpack_from(reply, position)
    position += _TIME_AND_SIZE.size
    key = reply[position : position + size] if size else None
    position += size
    size = U32.unpack_from(reply, position)[0]
    position += U32.size
    value = reply[position : position + size]
    position += size
    size = U32.unpack_from(reply, position)[0]
    position += U32.size
    headers = decode_headers(reply[position : position + size]) if size else NO_HEADERS
    return timestamp, key, value, headers, position + size
