"""Batches across brokers: writes that are gathered, and then done together. Meaning: docs/batch.md.

Owns what is gathered, the one frame that it becomes, and its answer. The payloads of commands are those that
they have alone (writes.py, pushing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from nexo.client.connection import Connection
from nexo.client.delivery import Delivery
from nexo.client.entries import Count, Written, read_count, read_int, read_written
from nexo.client.frames import U32, Reader, prefixed, string, u64
from nexo.client.job import Job
from nexo.client.member import GroupMessage
from nexo.client.outcome import Outcome
from nexo.client.pushing import batch, item, item_of
from nexo.client.queueinfo import Push, Pushed
from nexo.client.streaminfo import Publish, record_bytes
from nexo.client.tracing import carried, carried_by
from nexo.client.values import HeadersLike
from nexo.client.writes import (
    append,
    clearing,
    incr_key,
    incr_key_bounded,
    publication,
    put_key,
    read_pushed,
    records_of,
    remove_key,
    set_key,
)
from nexo.errors import InvalidArgumentError, LimitExceededError, ProtocolError
from nexo.limits import BATCH_COMMANDS_MAX
from nexo.protocols.native import opcodes as op

T = TypeVar("T")

_FLAGS: Final = b"\x00"


class Batch:
    """Writes to several brokers that the server does together: all of them, or none.

    `async with client.batch() as b:` gathers commands; nothing travels until the block ends, and nothing at all
    when it ends with an exception. Then the server checks every precondition and every command, and does all of
    them in one step. Each command gives an Outcome, whose `result` is there after the block.

    Leaving the block raises BatchRefusedError when one of them was refused: its `command` or `precondition` is
    the index of that one, its `reason` the error that it would have raised alone. StorageError when the disk
    refused; RequestTimeoutError and ConnectionClosedError when the answer did not come: all was done, or nothing.
    """

    def __init__(self, connection: Connection) -> None:
        self.store: BatchStore = BatchStore(self)
        self.pubsub: BatchPubSub = BatchPubSub(self)
        self._connection = connection
        self._preconditions: list[bytes] = []
        self._commands: list[bytes] = []
        self._outcomes: list[Outcome[Any]] = []
        self._acked: list[Delivery] = []
        self._ended = False

    def queue(self, name: str) -> BatchQueue:
        """A queue to push to, which must exist."""
        return BatchQueue(self, name)

    def stream(self, name: str) -> BatchStream:
        """A stream to append to, which must exist."""
        return BatchStream(self, name)

    def ack(self, delivery: Job | GroupMessage) -> Outcome[None]:
        """Ack a job or a group's message with the rest. One whose lease has ended refuses the batch, and so
        does one that was acked before."""
        outcome = self._add(*delivery._ack_alone(), _nothing)
        self._acked.append(delivery)
        return outcome

    def require(
        self,
        *,
        key: str | None = None,
        version: int | None = None,
        queue: str | None = None,
        stream: str | None = None,
        last_seq: int | None = None,
    ) -> int:
        """Refuse the batch unless something is so before it; the precondition's index.

        A `key` exists, or has this `version` (0: it does not exist). A `queue` exists. A `stream` exists, or its
        last sequence is `last_seq` (0: nothing was appended to it). One of them in each call.
        """
        given = (key is not None) + (queue is not None) + (stream is not None)
        if given != 1 or (version is not None and key is None) or (last_seq is not None and stream is None):
            raise InvalidArgumentError(
                "one of key (with a version or without), queue, and stream (with last_seq or without)"
            )
        self._check_open()
        if key is not None:
            kind, name = (op.REQUIRE_KEY if version is None else op.REQUIRE_VERSION), key
        elif queue is not None:
            kind, name = op.REQUIRE_QUEUE, queue
        else:
            kind, name = (op.REQUIRE_STREAM if last_seq is None else op.REQUIRE_LAST_SEQ), stream or ""
        number = b"" if version is None else u64(version, "a version")
        number += b"" if last_seq is None else u64(last_seq, "a last sequence")
        self._preconditions.append(bytes((kind,)) + string(name) + number)
        return len(self._preconditions) - 1

    @property
    def results(self) -> list[Any]:
        """The results of all commands, in their order. InvalidArgumentError while there are none."""
        return [outcome.result for outcome in self._outcomes]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._check_open()
        self._ended = True
        if error is None and (self._commands or self._preconditions):
            await self._send()

    async def _send(self) -> None:
        payload = b"".join(
            (
                _FLAGS,
                U32.pack(len(self._preconditions)),
                *self._preconditions,
                U32.pack(len(self._commands)),
                *self._commands,
            )
        )
        reader = Reader(await self._connection.data(op.BATCH, payload))
        if reader.u32() != len(self._outcomes):
            raise ProtocolError("the server answered another number of commands than the batch had")
        for delivery in self._acked:
            delivery._lender.settle(delivery)
        for outcome in self._outcomes:
            reader.u8()
            outcome.answered(reader.prefixed())

    def _check_open(self) -> None:
        if self._ended:
            raise InvalidArgumentError("the block of this batch has ended: begin another")

    def _add(self, opcode: int, payload: bytes, read: Callable[[bytes], T]) -> Outcome[T]:
        """One more command; `read` makes its result of its answer."""
        self._check_open()
        if len(self._commands) >= BATCH_COMMANDS_MAX:
            raise LimitExceededError(f"batch_commands_max is {BATCH_COMMANDS_MAX}")
        outcome = Outcome(len(self._outcomes), read)
        self._commands.append(bytes((opcode,)) + prefixed(payload))
        self._outcomes.append(outcome)
        return outcome

    def __repr__(self) -> str:
        return f"Batch(commands={len(self._commands)}, preconditions={len(self._preconditions)})"


class BatchStore:
    """The store in a batch. It has one map, `map`."""

    def __init__(self, batch: Batch) -> None:
        self.map: BatchMap = BatchMap(batch)


class BatchMap:
    """The map in a batch. Options are those of Map; a condition that does not hold refuses the batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        version: int | None = None,
    ) -> Outcome[None]:
        """Set a key; with `version` only if it has this one (0: is absent)."""
        return self._batch._add(op.MAP_SET, set_key(key, value, ttl, ttl_ms, version), _nothing)

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        expires_at_ms: int | None = None,
        keep_ttl: bool = False,
        if_absent: bool = False,
        if_present: bool = False,
        version: int | None = None,
        return_old: bool = False,
    ) -> Outcome[Written]:
        """Set a key under conditions; the key's new version."""
        payload = put_key(
            key, value, ttl, ttl_ms, expires_at_ms, keep_ttl, if_absent, if_present, version, return_old
        )
        return self._batch._add(op.MAP_SET, payload, lambda reply: read_written(reply, return_old))

    def delete(self, key: str) -> Outcome[None]:
        """Delete a key, if there is one."""
        return self._batch._add(op.MAP_DEL, string(key), _nothing)

    def remove(self, key: str, *, version: int | None = None) -> Outcome[bool]:
        """Delete a key, with `version` only if it has this one; whether there was one."""
        payload = remove_key(key, version)
        return self._batch._add(op.MAP_DELX, payload, lambda reply: read_written(reply, False).applied)

    def incr(self, key: str, delta: int = 1) -> Outcome[int]:
        """Add to a counter, which starts at 0; its new value."""
        return self._batch._add(op.MAP_INCR, incr_key(key, delta), read_int)

    def incr_bounded(
        self,
        key: str,
        delta: int = 1,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        saturate: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
    ) -> Outcome[Count]:
        """Add to a counter within bounds. A step past one refuses the batch, unless `saturate` lets it stop there."""
        payload = incr_key_bounded(key, delta, minimum, maximum, saturate, ttl, ttl_ms)
        return self._batch._add(op.MAP_INCRX, payload, read_count)


class BatchPubSub:
    """Publish and subscribe in a batch: what is published is sent when the batch is durable."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        retain: bool = False,
        ttl: float | None = None,
        ttl_ms: int | None = None,
        headers: HeadersLike = (),
    ) -> Outcome[None]:
        """Send a value to everyone whose filter matches; `retain` keeps it for later subscribers."""
        payload = publication(topic, value, retain, ttl, ttl_ms, carried(headers), False)
        return self._batch._add(op.PUB, payload, _nothing)

    def clear_retained(self, topic: str) -> Outcome[None]:
        """Forget the value that a topic keeps."""
        return self._batch._add(op.PUB, clearing(topic), _nothing)


class BatchQueue:
    """A queue in a batch."""

    def __init__(self, batch: Batch, name: str) -> None:
        self.name: str = name
        self._batch = batch
        self._name = string(name)

    def push(
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
    ) -> Outcome[Pushed]:
        """Push a message, with the options of `Queue.push`; its id, and whether it was a duplicate."""
        content = item(value, priority, delay_ms, at, dedup, group, carried(headers), ttl_ms)
        return self._batch._add(
            op.QUEUE_PUSHX, self._name + batch([content]), lambda reply: read_pushed(reply)[0]
        )

    def push_batch(self, items: Iterable[Any]) -> Outcome[list[Pushed]]:
        """Push values, or Push items with options of their own."""
        payload = self._name + batch(list(map(item_of, carried_by(items, Push))))
        return self._batch._add(op.QUEUE_PUSHX, payload, read_pushed)


class BatchStream:
    """A stream in a batch."""

    def __init__(self, batch: Batch, name: str) -> None:
        self.name: str = name
        self._batch = batch
        self._name = string(name)

    def publish(
        self,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: HeadersLike = (),
        expected_seq: int | None = None,
    ) -> Outcome[int]:
        """Append a record; its sequence. With `expected_seq` only if this is the last sequence by then."""
        payload = append(self._name, [record_bytes(value, key, carried(headers))], expected_seq)
        return self._batch._add(op.STREAM_EXTENDED, payload, _first_seq)

    def publish_batch(self, items: Iterable[Any], *, expected_seq: int | None = None) -> Outcome[list[int]]:
        """Append values, or Publish items with keys and headers; their sequences."""
        payload = append(self._name, records_of(carried_by(items, Publish)), expected_seq)
        return self._batch._add(op.STREAM_EXTENDED, payload, _sequences)


def _nothing(reply: bytes) -> None:
    """The result of a command whose success is all that there is to say."""


def _first_seq(reply: bytes) -> int:
    return Reader(reply).u64()


def _sequences(reply: bytes) -> list[int]:
    reader = Reader(reply)
    first = reader.u64()
    return list(range(first, first + reader.u32()))
