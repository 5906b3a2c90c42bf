"""One queue: pushing, receiving, consuming, and what an operator does with it. Meaning: docs/queue.md.

Owns what each method's options mean on the wire. What was received is in leases.py, who is called in running.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final, Literal, overload

import msgspec

from nexo.client.connection import Connection
from nexo.client.dlq import DLQ
from nexo.client.frames import string
from nexo.client.iterating import Deliveries, Hand
from nexo.client.job import Job
from nexo.client.leases import Leases
from nexo.client.lending import WAIT_MS_DEFAULT, checked_consumer
from nexo.client.pushing import batch, item, item_of, plain_item
from nexo.client.queueinfo import (
    Push,
    Pushed,
    QueueDefinition,
    QueueInfo,
    State,
    Status,
    StoredMessage,
    admin_answer,
    stored_message,
)
from nexo.client.running import Consumer, Runner
from nexo.client.tracing import sending
from nexo.client.values import HeadersLike
from nexo.client.writes import read_pushed
from nexo.protocols.native import opcodes as op

JobCallback = Callable[[Job], Awaitable[object] | object]

_ONE: Final = b"\x00\x00\x00\x01"


class Jobs(Deliveries[Job]):
    """The jobs of a queue, one after another: `async with` it and iterate over it.

    Asking for the next job acks the one before, unless the program has settled it. Leaving the block acks
    the one in hand; with an exception it is nacked, and the exception is the reason; cancelled, it goes back
    without counting. Whatever was fetched ahead goes back. Without a block the loop cannot tell why it was
    left: what is in hand then counts as failed. `async with job:` or settling the job is exact.

    The iteration goes on after a lost connection, and ends when it is stopped or the client is closed.
    """

    async def __anext__(self) -> Job:
        return await self._hand.next()


class JobConsumer(Consumer[Job]):
    """A function that is called with jobs, until `stop`; `error` is what ended it, if anything did."""


class Queue:
    """A queue of a server. `status` says whether the call that gave it created it or found it.

    Every method may raise, beside what it names itself: ResourceNotFoundError when the queue was deleted,
    InvalidArgumentError and LimitExceededError for what the server does not take, RequestTimeoutError,
    NotConnectedError and ConnectionClosedError.
    """

    def __init__(self, connection: Connection, definition: QueueDefinition, status: Status) -> None:
        self.name: str = definition.name
        self.definition: QueueDefinition = definition
        self.status: Status = status
        self.dlq = DLQ(connection, definition.name)
        self._connection = connection
        self._name = string(definition.name)
        self._received = self._leases(None, heartbeat=False)

    def _leases(self, type: Any, heartbeat: bool) -> Leases:
        """For a consumer of its own."""
        return Leases(self._connection, self.name, type, heartbeat)

    # Pushing.

    @overload
    async def push(
        self,
        value: Any,
        *,
        priority: int = 0,
        delay_ms: int = 0,
        at: datetime | None = None,
        dedup: str | bytes | None = None,
        group: str | bytes | None = None,
        headers: HeadersLike = (),
        ttl_ms: int | None = None,
        want_id: Literal[True],
    ) -> int: ...
    @overload
    async def push(
        self,
        value: Any,
        *,
        priority: int = 0,
        delay_ms: int = 0,
        at: datetime | None = None,
        dedup: str | bytes | None = None,
        group: str | bytes | None = None,
        headers: HeadersLike = (),
        ttl_ms: int | None = None,
        want_id: bool = False,
    ) -> int | None: ...

    async def push(
        self,
        value: Any,
        *,
        priority: int = 0,
        delay_ms: int = 0,
        at: datetime | None = None,
        dedup: str | bytes | None = None,
        group: str | bytes | None = None,
        headers: HeadersLike = (),
        ttl_ms: int | None = None,
        want_id: bool = False,
    ) -> int | None:
        """Push a message; done when it is as safe as the queue's durability promises.

        `priority` is 0 to 255, higher first. It is not lent before `delay_ms` have passed, or before the
        time `at`. Within the queue's dedup window a second push with the same `dedup` key does nothing, so
        such a push is repeated when the connection breaks. Messages of one `group` are lent one at a time,
        in order. After `ttl_ms` the message expires. With `want_id` its id is returned, which costs a
        little; a duplicate's is that of the first.
        """
        with sending("push", self.name) as trace:
            headers = trace.headers(headers)
            plain = dedup is None and group is None and ttl_ms is None and at is None
            if plain and not (priority or delay_ms or headers):
                content = plain_item(value)
            else:
                content = item(value, priority, delay_ms, at, dedup, group, headers, ttl_ms)
            payload = self._name + _ONE + content
            if not want_id:
                if dedup is None:
                    await self._connection.call(op.QUEUE_PUSH, payload)
                else:
                    await self._connection.repeated(op.QUEUE_PUSH, payload)
                return None
            return (await self._push_for_ids(payload, dedup is not None))[0].id

    @overload
    async def push_batch(self, items: Iterable[Any], *, want_ids: Literal[True]) -> list[Pushed]: ...
    @overload
    async def push_batch(self, items: Iterable[Any], *, want_ids: bool = False) -> list[Pushed] | None: ...

    async def push_batch(self, items: Iterable[Any], *, want_ids: bool = False) -> list[Pushed] | None:
        """Push values, or Push items with options of their own, in one step: all or none. At most 10,000.

        When all have dedup keys the push is repeated when the connection breaks. With `want_ids` the ids are
        returned, and which of them were duplicates.
        """
        given = list(items)
        if not given:
            return [] if want_ids else None
        with sending("push", self.name, len(given)) as trace:
            payload = self._name + batch(list(map(item_of, trace.items(given, Push))))
            again = all(isinstance(one, Push) and one.dedup is not None for one in given)
            if want_ids:
                return await self._push_for_ids(payload, again)
            if again:
                await self._connection.repeated(op.QUEUE_PUSH, payload)
            else:
                await self._connection.call(op.QUEUE_PUSH, payload)
            return None

    async def _push_for_ids(self, payload: bytes, again: bool) -> list[Pushed]:
        push = self._connection.repeated if again else self._connection.data
        return read_pushed(await push(op.QUEUE_PUSHX, payload))

    # Consuming.

    async def receive(self, count: int = 1, wait_ms: int = 0, *, type: Any = None) -> list[Job]:
        """Borrow up to `count` jobs, waiting up to `wait_ms` for the first; none when there are none.

        Each is to be settled before its lease runs out. `type` decodes JSON values as that type. When the
        call is cancelled, whatever the server still lends to it goes back.
        """
        leases = self._received if type is None else self._leases(type, heartbeat=False)
        return await leases.request(count, wait_ms)

    def consume(
        self,
        *,
        batch_size: int = 10,
        wait_ms: int = WAIT_MS_DEFAULT,
        heartbeat: bool = True,
        type: Any = None,
    ) -> Jobs:
        """The jobs of the queue, one after another, for ever: see Jobs for when each is settled.

        `batch_size` are fetched at a time. `heartbeat` extends the leases of what was fetched while it is
        worked on. `type` decodes JSON values as that type. ResourceNotFoundError from the iteration when
        the queue is deleted.
        """
        checked_consumer(batch_size, wait_ms)
        return Jobs(Hand(self._leases(type, heartbeat), batch_size, wait_ms))

    async def subscribe(
        self,
        callback: JobCallback,
        *,
        batch_size: int = 50,
        wait_ms: int = WAIT_MS_DEFAULT,
        concurrency: int = 5,
        heartbeat: bool = True,
        type: Any = None,
    ) -> JobConsumer:
        """Call a function, plain or async, with each job: acked when it returns, nacked with the exception's
        text when it raises, unless it has settled the job itself.

        Up to `concurrency` calls run at once; up to `batch_size` jobs are borrowed ahead. `heartbeat` extends
        their leases meanwhile. `type` decodes JSON values as that type.
        """
        checked_consumer(batch_size, wait_ms, concurrency)
        runner = Runner(
            self._leases(type, heartbeat),
            callback,
            batch_size=batch_size,
            wait_ms=wait_ms,
            concurrency=concurrency,
        )
        await runner.start()
        return JobConsumer(runner)

    # For operators.

    async def describe(self) -> QueueInfo:
        """All options, what the queue holds, and what it has done."""
        info: QueueInfo = admin_answer(await self._admin("describe"), QueueInfo)
        return info

    async def browse(
        self, state: State = "ready", *, limit: int | None = None, type: Any = None
    ) -> AsyncIterator[StoredMessage]:
        """The messages in a state, oldest first, at most `limit`; nothing is lent. They are read page by page
        while others push and consume."""
        after = 0
        left = limit
        while left is None or left > 0:
            asked = 1000 if left is None else min(1000, left)
            page = admin_answer(await self._admin("browse", state=state, after=after, limit=asked))
            for shown in page["messages"]:
                yield stored_message(shown, type)
            after = page["after"]
            if not after:
                return
            if left is not None:
                left -= len(page["messages"])

    async def get(self, id: int, *, type: Any = None) -> StoredMessage:
        """One message, whatever its state. ResourceNotFoundError when there is none of this id."""
        return stored_message(admin_answer(await self._admin("get", id=id)), type)

    async def remove(self, id: int) -> bool:
        """Delete one message, whatever its state; False when there is none of this id."""
        return bool(admin_answer(await self._admin("remove", id=id))["removed"])

    async def pause(self, ms: int | None = None) -> None:
        """Lend nothing for so many milliseconds, or until `resume`. Pushes and acks go on."""
        await self._admin("pause", **({} if ms is None else {"ms": ms}))

    async def resume(self) -> None:
        """Lend again."""
        await self._admin("resume")

    async def purge(self) -> int:
        """Delete all messages but the dead letters; how many there were."""
        return int(admin_answer(await self._admin("purge"))["removed"])

    async def _admin(self, action: str, **arguments: Any) -> bytes:
        payload = self._name + string(action) + (msgspec.json.encode(arguments) if arguments else b"")
        return await self._connection.data(op.QUEUE_ADMIN, payload)

    def __repr__(self) -> str:
        return f"Queue(name={self.name!r})"
