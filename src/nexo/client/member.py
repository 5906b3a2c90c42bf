"""A membership of a consumer group: joining, fetching, settling, joining again. Layouts: docs/protocol.md.

A seek fences every member, a lost connection ends its memberships: this one then joins anew and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from nexo.client.acks import Acks
from nexo.client.connection import Connection
from nexo.client.delivery import Delivery, clipped
from nexo.client.events import log
from nexo.client.frames import I64, U32, U64, Reader, prefixed, string, u32, u64
from nexo.client.lending import TRANSIENT, Lender
from nexo.client.queueinfo import utc
from nexo.client.record import read_body
from nexo.client.values import Headers
from nexo.errors import FencedError, NotMemberError, ProtocolError, ServerError
from nexo.protocols.native import opcodes as op

_HEAD: Final = Struct(">QQQI")  # seq, receipt, attempts
_RECEIPT_BYTES: Final = 24  # seq and receipt: how a message is named when it is settled


class Seat:
    """One generation of a membership, which settles what it was lent."""

    def __init__(self, member: Member, consumer: bytes, generation: int) -> None:
        self.member = member
        self.connection = member.connection
        # What every command of this membership begins with, after stream and group.
        self.head = member.names + consumer + U64.pack(generation)
        self.acks: Acks[GroupMessage] = Acks(member.connection, self._ack_request, _refused, self._failed)

    def _ack_request(self, messages: list[GroupMessage]) -> tuple[int, bytes]:
        receipts = [message._receipt for message in messages]
        return op.STREAM_ACK_MANY, b"".join((self.head, U32.pack(len(receipts)), *receipts))

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, FencedError | NotMemberError):
            self.member.fenced(self)

    def nack(
        self, messages: list[GroupMessage], reason: str, delay_ms: int | None, release: bool = False
    ) -> bytes:
        """The payload of a NACK, or of a RELEASE."""
        delay = I64.pack(op.BY_POLICY) if delay_ms is None else u64(delay_ms, "a delay in ms")
        receipts = b"".join(message._receipt for message in messages)
        return b"".join(
            (
                bytes((op.STREAMX_RELEASE if release else op.STREAMX_NACK,)),
                self.head,
                delay,
                b"" if release else string(clipped(reason)),
                U32.pack(len(messages)),
                receipts,
            )
        )

    def post_nack(self, messages: list[GroupMessage], reason: str, release: bool = False) -> None:
        """Nack or release without waiting for the answer: a refused one is lent anew already."""
        if messages:
            self.connection.post(op.STREAM_EXTENDED, self.nack(messages, reason, None, release))


def _refused(reply: bytes, messages: list[GroupMessage]) -> Iterable[int]:
    """Which messages an ACK_MANY or a NACK has refused, by their places."""
    reader = Reader(reply)
    refused = {reader.u64() for _ in range(reader.u32())}
    return [place for place, message in enumerate(messages) if message.seq in refused] if refused else ()


class GroupMessage(Delivery):
    """A record that is lent to a member of a group: `data`, `seq`, `key`, `headers`, `attempts`.

    It comes again, to any member, when it is not settled within the stream's ack_wait_ms. `attempts` counts
    this delivery, too. Entered with `async with`, it is acked at the end of the block, or nacked with the exception
    that left it as the reason.
    """

    __slots__ = ("_receipt", "_seat", "attempts", "key", "seq", "timestamp_ms")

    def __init__(
        self,
        seat: Seat,
        receipt: bytes,
        seq: int,
        attempts: int,
        timestamp_ms: int,
        key: bytes | None,
        headers: Headers,
        value: bytes,
        type: Any,
    ) -> None:
        super().__init__(seat.member, headers, value, type)
        self.seq = seq
        self.attempts = attempts
        self.timestamp_ms = timestamp_ms
        self.key = key
        self._receipt = receipt
        self._seat = seat

    @property
    def _number(self) -> int:
        return self.seq

    @property
    def timestamp(self) -> datetime:
        """When it was appended, by the server's clock; in milliseconds it is `timestamp_ms`."""
        return utc(self.timestamp_ms)

    async def ack(self) -> None:
        """It is done; returns when the server has made sure of that. FencedError when it is lent anew."""
        future = self._seat.acks.add(self)
        self._lender.settle(self)
        try:
            await future
        except NotMemberError as error:
            raise FencedError(str(error)) from None

    def _ack_alone(self) -> tuple[int, bytes]:
        return self._seat._ack_request([self])

    async def nack(self, reason: str = "", *, delay_ms: int | None = None, release: bool = False) -> None:
        """It is not done. It comes again after the stream's backoff, or after `delay_ms`, until it has been
        delivered max_deliveries times; then it is a dead letter of the group, with the reason.

        `release` gives it back without counting the delivery, at once unless there is a delay.
        FencedError when it is lent anew.
        """
        payload = self._seat.nack([self], reason, delay_ms, release)
        self._lender.settle(self)
        try:
            reply = await self._seat.connection.data(op.STREAM_EXTENDED, payload)
        except NotMemberError as error:
            raise FencedError(str(error)) from None
        if Reader(reply).u32():
            raise FencedError(f"the lease of sequence {self.seq} has ended")

    def __repr__(self) -> str:
        return f"GroupMessage(seq={self.seq}, key={self.key!r}, attempts={self.attempts})"


class Member(Lender[GroupMessage]):
    """One consumer of a group, across all its memberships."""

    def __init__(self, connection: Connection, stream: str, group: str, type: Any) -> None:
        super().__init__(connection, f"the consumer of group {group!r} of stream {stream!r}", stream, group)
        self.names = string(stream) + string(group)
        self._type = type
        self._seat: Seat | None = None

    async def start(self) -> None:
        """Join, so that the group is there. ResourceNotFoundError when there is no such stream."""
        await self._join()

    async def _join(self) -> Seat:
        reader = Reader(await self.connection.repeated(op.STREAM_JOIN, self.names))
        reader.u64()
        generation = reader.u64()
        self._seat = Seat(self, prefixed(reader.prefixed()), generation)
        return self._seat

    async def request(self, count: int, wait_ms: int) -> list[GroupMessage]:
        """One FETCH, after joining if need be."""
        while True:
            seat = self._seat or await self._join()
            seat.acks.flush()
            payload = bytes((op.STREAMX_FETCH,)) + seat.head + u32(count, "a batch") + u32(wait_ms, "a wait")
            patience = wait_ms / 1000 + self.connection.timeout
            try:
                reply = await self.connection.data(op.STREAM_EXTENDED, payload, timeout=patience)
            except (FencedError, NotMemberError) as error:
                # After a seek, or on a new connection. What was lent before comes again.
                log.info("%s joins again: %s", self.what, error)
                self.fenced(seat)
                continue
            return read_messages(seat, reply, self._type)

    def fenced(self, seat: Seat) -> None:
        """A generation has ended: what was fetched with it comes again, or is passed over after a seek."""
        if seat is self._seat:
            self._seat = None
            self.held.clear()

    def interrupted(self) -> None:
        """The membership ended with its connection."""
        self._seat = None

    def post_ack(self, item: GroupMessage) -> None:
        item._seat.acks.post(item)
        self.settle(item)

    def post_nack(self, item: GroupMessage, reason: str) -> None:
        item._seat.post_nack([item], reason)
        self.settle(item)

    def give_back(self, items: list[GroupMessage]) -> None:
        """Release what was not handled: others get it at once, and it does not count."""
        for item in items:
            self.settle(item)
        if self._seat is not None:
            self._seat.post_nack([item for item in items if item._seat is self._seat], "", True)

    async def finish(self) -> None:
        """Wait until acks are confirmed, then leave."""
        seat, self._seat = self._seat, None
        if seat is None or self.connection.closed is not None:
            return
        await self.confirm(seat.acks)
        if self.connection.link is not None:
            try:
                await self.connection.call(op.STREAM_LEAVE, seat.head)
            except (*TRANSIENT, ServerError):
                return  # it is no member any more, which is what was wanted


def read_messages(seat: Seat, reply: bytes, type: Any) -> list[GroupMessage]:
    """The answer of FETCH. ProtocolError when it is not one."""
    messages: list[GroupMessage] = []
    position = 4
    try:
        for _ in range(U32.unpack_from(reply)[0]):
            seq, _, _, attempts = _HEAD.unpack_from(reply, position)
            receipt = reply[position : position + _RECEIPT_BYTES]
            timestamp, key, value, headers, position = read_body(reply, position + _HEAD.size)
            messages.append(GroupMessage(seat, receipt, seq, attempts, timestamp, key, headers, value, type))
    except StructError:
        raise ProtocolError("a payload of the server ends early") from None
    if position != len(reply):
        raise ProtocolError("a payload of the server does not end where it should")
    return messages
