"""An idempotent producer: what it publishes is in the stream once, however often it had to be sent.

Its appends carry its id and rising numbers, by which the server knows what it has already. One is under way
at a time, so that none can overtake another when the connection breaks; what is published meanwhile goes
with the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final

from nexo.client.connection import Connection
from nexo.client.frames import U32, U64, Reader, string, u64
from nexo.client.pushing import key as key_element
from nexo.client.streaminfo import record_bytes
from nexo.client.tracing import sending
from nexo.client.values import HeadersLike
from nexo.errors import NexoError
from nexo.limits import MIB, PRODUCER_ID_BYTES_MAX
from nexo.protocols.native import opcodes as op

APPEND_BYTES_MAX: Final = 4 * MIB
"""Records in one append, in bytes; a larger one goes alone."""
RECORDS_PER_APPEND_MAX: Final = 10_000


class Pending:
    """Records to append together, and who waits for their sequences."""

    __slots__ = ("count", "future", "number", "records")

    def __init__(self, records: bytes, count: int, number: int | None, future: asyncio.Future[int]) -> None:
        self.records = records
        self.count = count
        self.number = number
        self.future = future


class Producer:
    """A publisher of one stream that may repeat itself. `id` names it in the stream; one program at a time
    uses an id. Publishing is safe across lost connections, within the client's timeout.

    Appends are numbered from the time of the producer's making. A program that numbers them itself, by
    their place in its source for example, may publish one again after it was restarted, too.
    """

    def __init__(self, connection: Connection, stream: str, id: str) -> None:
        self.id = id
        self._connection = connection
        self._stream = stream
        self._head = bytes((op.STREAMX_APPEND,)) + string(stream) + bytes((op.APPEND_PRODUCER,))
        self._head += key_element(id, "a producer's id", PRODUCER_ID_BYTES_MAX)
        self._number = time.time_ns() // 1000
        self._pending: deque[Pending] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def publish(
        self,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: HeadersLike = (),
        number: int | None = None,
    ) -> int:
        """Append a record; its sequence. `number` must be above those before; one that the stream has seen
        gives the sequence of then, and appends nothing.

        InvalidArgumentError for a number below the last that the stream does not remember.
        """
        with sending("publish", self._stream) as trace:
            return await self._append(record_bytes(value, key, trace.headers(headers)), 1, number)

    async def _append(self, records: bytes, count: int, number: int | None) -> int:
        if number is not None:
            u64(number, "a producer's number")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append(Pending(records, count, number, future))
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())
        return await future

    async def _send(self) -> None:
        try:
            while self._pending:
                batch = self._next_batch()
                try:
                    first = await self._send_batch(batch)
                except NexoError as error:
                    for pending in batch:
                        if not pending.future.done():
                            pending.future.set_exception(error)
                    continue
                for pending in batch:
                    if not pending.future.done():
                        pending.future.set_result(first)
                    first += pending.count
        finally:
            self._sender = None

    def _next_batch(self) -> list[Pending]:
        """What goes into one append: all that waits, as far as it fits; a numbered one alone."""
        batch = [self._pending.popleft()]
        size, count = len(batch[0].records), batch[0].count
        while batch[0].number is None and self._pending and self._pending[0].number is None:
            size += len(self._pending[0].records)
            count += self._pending[0].count
            if size > APPEND_BYTES_MAX or count > RECORDS_PER_APPEND_MAX:
                break
            batch.append(self._pending.popleft())
        return batch

    async def _send_batch(self, batch: list[Pending]) -> int:
        number = batch[0].number
        if number is None:
            number = self._number + 1
        self._number = max(self._number, number)
        count = sum(pending.count for pending in batch)
        payload = b"".join(
            (self._head, U64.pack(number), U32.pack(count), *(pending.records for pending in batch))
        )
        return Reader(await self._connection.repeated(op.STREAM_EXTENDED, payload)).u64()
