"""A consumer group of a stream: consuming, its place, how far it is behind, its dead letters."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nexo.client.connection import Connection
from nexo.client.frames import U64, Reader, prefixed, string, u64
from nexo.client.iterating import Deliveries, Hand
from nexo.client.lending import WAIT_MS_DEFAULT, checked_consumer
from nexo.client.member import GroupMessage, Member
from nexo.client.queueinfo import admin_answer, shown_value
from nexo.client.running import Consumer, Runner
from nexo.client.streaminfo import DeadRecord, GroupInfo, GroupPlace, Lag, Last, place, place_bytes
from nexo.client.values import decode_headers
from nexo.errors import InvalidArgumentError, ResourceNotFoundError, ServerError
from nexo.protocols.native import opcodes as op

GroupCallback = Callable[[GroupMessage], Awaitable[object] | object]


class GroupMessages(Deliveries[GroupMessage]):
    """The messages of a group, one after another: `async with` it and iterate over it.

    Asking for the next message acks the one before, unless the program has settled it. Leaving the block
    acks the one in hand; with an exception it is nacked, and the exception is the reason. Whatever was
    fetched ahead goes back. Without a block the loop cannot tell why it was left: what is in hand then counts
    as failed. `async with message:` or settling the message is exact.

    The iteration goes on after a lost connection and after a seek, and ends when it is stopped or the client
    is closed.
    """

    async def __anext__(self) -> GroupMessage:
        return await self._hand.next()


class GroupConsumer(Consumer[GroupMessage]):
    """A function that is called with messages, until `stop`; `error` is what ended it, if anything did."""


class DLS:
    """What a group has given up. A dead letter is named by the sequence of its record."""

    def __init__(self, connection: Connection, stream: str, group: str) -> None:
        self._connection = connection
        self._names = string(stream) + string(group)

    async def peek(self, limit: int = 100, offset: int = 0, *, type: Any = None) -> list[DeadRecord]:
        """Up to `limit` (at most 1,000) dead letters after the first `offset`, in the order of their deaths.

        `type` decodes JSON values as that type. ResourceNotFoundError when the group does not exist.
        """
        arguments = msgspec.json.encode({"offset": offset, "limit": limit})
        payload = bytes((op.STREAMX_ADMIN,)) + self._names + string("dead") + arguments
        answer = admin_answer(await self._connection.data(op.STREAM_EXTENDED, payload))
        return [
            DeadRecord(
                seq=shown["seq"],
                data=shown_value(shown, type),
                reason=shown["reason"],
                attempts=shown["attempts"],
                key=b64decode(shown["key"]) or None,
                headers=decode_headers(b64decode(shown["headers"])),
                timestamp=shown["timestamp"],
                died_at=shown["died_at"],
            )
            for shown in answer["messages"]
        ]

    async def move_to_stream(self, seq: int) -> None:
        """Append a dead letter to the stream again, under a new sequence and for all groups.

        ResourceNotFoundError when there is none of this sequence.
        """
        await self._connection.call(op.STREAM_MOVE_TO_STREAM, self._names + u64(seq, "a sequence"))

    async def delete(self, seq: int) -> None:
        """Delete a dead letter, if there is one of this sequence."""
        await self._connection.call(op.STREAM_DELETE_DLS, self._names + u64(seq, "a sequence"))

    async def purge(self) -> int:
        """Delete all dead letters; how many there were."""
        return Reader(await self._connection.data(op.STREAM_PURGE_DLS, self._names)).u32()


class Group:
    """A group of consumers that share a stream's records. It is there from the first that consumes, and
    begins at the beginning of the stream."""

    def __init__(self, connection: Connection, stream: str, name: str) -> None:
        self.stream: str = stream
        self.name: str = name
        self.dls = DLS(connection, stream, name)
        self._connection = connection
        self._names = string(stream) + string(name)

    def consume(
        self, *, batch_size: int = 100, wait_ms: int = WAIT_MS_DEFAULT, type: Any = None
    ) -> GroupMessages:
        """The messages of the group, one after another, for ever: see GroupMessages for when each is settled.

        `batch_size` are fetched at a time, and must be done within the stream's ack_wait_ms. `type` decodes
        JSON values as that type. ResourceNotFoundError from the iteration when the stream does not exist.
        """
        checked_consumer(batch_size, wait_ms)
        return GroupMessages(
            Hand(Member(self._connection, self.stream, self.name, type), batch_size, wait_ms)
        )

    async def subscribe(
        self,
        callback: GroupCallback,
        *,
        batch_size: int = 100,
        wait_ms: int = WAIT_MS_DEFAULT,
        concurrency: int = 1,
        type: Any = None,
    ) -> GroupConsumer:
        """Call a function, plain or async, with each message: acked when it returns, nacked with the
        exception's text when it raises, unless it has settled the message itself.

        Up to `concurrency` calls run at once; messages with the same key go one after another all the same.
        Up to `batch_size` messages are fetched ahead. `type` decodes JSON values as that type.
        ResourceNotFoundError when the stream does not exist.
        """
        checked_consumer(batch_size, wait_ms, concurrency)
        runner = Runner(
            Member(self._connection, self.stream, self.name, type),
            callback,
            batch_size=batch_size,
            wait_ms=wait_ms,
            concurrency=concurrency,
        )
        await runner.start()
        return GroupConsumer(runner)

    async def seek(self, target: GroupPlace) -> None:
        """Let the group go on from "beginning", "end", a sequence, or the first record of a time.

        What is out is fenced and comes again where the new place says so. A group that is not there yet is
        made, so that it can begin at the end.
        """
        if isinstance(target, Last):
            raise InvalidArgumentError("a group cannot seek to the last n: give a sequence")
        payload = bytes((op.STREAMX_SEEK,)) + self._names + place_bytes(*place(target))
        try:
            await self._connection.call(op.STREAM_EXTENDED, payload)
        except ResourceNotFoundError:
            await self._make()
            await self._connection.call(op.STREAM_EXTENDED, payload)

    async def _make(self) -> None:
        reader = Reader(await self._connection.data(op.STREAM_JOIN, self._names))
        reader.u64()
        generation, consumer = reader.u64(), reader.prefixed()
        try:
            await self._connection.call(
                op.STREAM_LEAVE, self._names + prefixed(consumer) + U64.pack(generation)
            )
        except ServerError:
            return  # it is no member any more, which is what was wanted

    async def describe(self) -> GroupInfo:
        """How far the group is, and what is out. ResourceNotFoundError when it does not exist."""
        payload = bytes((op.STREAMX_ADMIN,)) + self._names + string("group")
        info: GroupInfo = admin_answer(await self._connection.data(op.STREAM_EXTENDED, payload), GroupInfo)
        return info

    async def lag(self) -> Lag:
        """How far the group is behind. ResourceNotFoundError when it does not exist."""
        info = await self.describe()
        return Lag(info.lag_messages, info.lag_ms)

    def __repr__(self) -> str:
        return f"Group(stream={self.stream!r}, name={self.name!r})"
