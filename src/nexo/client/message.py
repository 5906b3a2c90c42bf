"""A message as a subscriber gets it. Its value is decoded when it is asked for, once."""

from __future__ import annotations

from typing import Any, Final

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.frames import U64, prefixed
from nexo.client.tracing import context_of
from nexo.client.values import NO_HEADERS, Headers, HeadersLike
from nexo.errors import InvalidArgumentError
from nexo.protocols.native import opcodes as op

_UNDECODED: Final = object()


class Message:
    """One message: `topic`, `data` and `headers`.

    A request is a message that its sender waits with: `reply` answers it.
    """

    __slots__ = ("_connection", "_data", "_request_id", "_type", "_value", "headers", "topic")

    def __init__(
        self,
        topic: str,
        value: bytes,
        headers: Headers = NO_HEADERS,
        request_id: int = 0,
        connection: Connection | None = None,
        type: Any = None,
    ) -> None:
        self.topic = topic
        self.headers = headers
        self._value = value
        self._request_id = request_id
        self._connection = connection
        self._type = type
        self._data: Any = _UNDECODED

    @property
    def data(self) -> Any:
        """The value that was published. InvalidArgumentError when it is not of the subscription's type."""
        if self._data is _UNDECODED:
            self._data = values.decode(self._value, self._type)
        return self._data

    @property
    def trace_context(self) -> Any:
        """The OpenTelemetry context that its headers carry, to be the parent of a span; None when there is none.
        A callback is called in a span that is its child already."""
        return context_of(self.headers)

    @property
    def is_request(self) -> bool:
        """Whether somebody waits for a reply."""
        return self._request_id != 0

    @property
    def size_bytes(self) -> int:
        """Bytes of topic, value and headers: what it takes of a subscription's bound."""
        size = len(self.topic) + len(self._value)
        return size + sum(len(name) + len(value) for name, value in self.headers) if self.headers else size

    async def reply(self, value: Any, *, headers: HeadersLike = ()) -> None:
        """Answer a request.

        ResourceNotFoundError when it was answered already or nobody waits any more; InvalidArgumentError
        when the message is no request.
        """
        if self._connection is None or self._request_id == 0:
            raise InvalidArgumentError(
                f"the message on {self.topic!r} is no request: nobody waits for a reply"
            )
        block = values.encode_headers(headers)
        extra = bytes((op.PUB_HEADERS,)) + prefixed(block) if block else b"\x00"
        payload = U64.pack(self._request_id) + extra + values.encode(value)
        await self._connection.call(op.PUB_REPLY, payload)

    def typed(self, type: Any) -> Message:
        """The same message for a subscription with a type."""
        return Message(self.topic, self._value, self.headers, self._request_id, self._connection, type)

    def __repr__(self) -> str:
        return f"Message(topic={self.topic!r}, data={self.data!r}, headers={tuple(self.headers)!r})"
