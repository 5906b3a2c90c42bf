"""A job: a message that a queue has lent, and how it is settled. Layouts: docs/protocol.md."""

from __future__ import annotations

from datetime import datetime
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Any, Final

from nexo.client.delivery import Delivery, clipped
from nexo.client.frames import I64, U32, string, u64
from nexo.client.queueinfo import utc
from nexo.client.values import NO_HEADERS, Headers, decode_headers
from nexo.errors import FencedError, InvalidArgumentError, ProtocolError
from nexo.protocols.native import opcodes as op

if TYPE_CHECKING:
    from nexo.client.leases import Leases

_HEAD: Final = Struct(">QQQIBQH")  # id, token, attempts, priority, enqueued at, size of the group key
_LEASE_BYTES: Final = 24


class Job(Delivery):
    """A message that is lent to this client: `data`, `id`, `attempts`, `priority`, `group`, `headers`.

    It comes back when it is not settled in time: `ack`, `nack`, or `extend` it. `attempts` counts this
    delivery, too. `id` is unique in its queue. Entered with `async with`, it is acked at the end of the block, or
    nacked with the exception that left it as the reason.
    """

    __slots__ = (
        "_lease", "_leases", "attempts", "enqueued_at_ms", "group", "id", "priority",
    )  # fmt: skip

    def __init__(
        self,
        leases: Leases,
        lease: bytes,
        id: int,
        attempts: int,
        priority: int,
        enqueued_at_ms: int,
        group: str | None,
        headers: Headers,
        value: bytes,
        type: Any,
    ) -> None:
        super().__init__(leases, headers, value, type)
        self.id = id
        self.attempts = attempts
        self.priority = priority
        self.enqueued_at_ms = enqueued_at_ms
        self.group = group
        self._lease = lease
        self._leases = leases

    @property
    def enqueued_at(self) -> datetime:
        """When it was pushed, by the server's clock; in milliseconds it is `enqueued_at_ms`."""
        return utc(self.enqueued_at_ms)

    @property
    def _number(self) -> int:
        return self.id

    async def ack(self) -> None:
        """It is done; returns when the server has made sure of that. FencedError when the lease has ended."""
        future = self._leases.acks.add(self)
        self._lender.settle(self)
        await future

    async def nack(
        self, reason: str = "", *, delay_ms: int | None = None, release: bool = False, fatal: bool = False
    ) -> None:
        """It is not done. It comes back after the queue's backoff, or after `delay_ms`, until it has been
        delivered max_deliveries times; then it is a dead letter, with the reason.

        `release` gives it back without counting the delivery, `fatal` makes it a dead letter at once.
        FencedError when the lease has ended.
        """
        if release and fatal:
            raise InvalidArgumentError("either release or fatal")
        if fatal and delay_ms is not None:
            raise InvalidArgumentError("a dead letter has no delay")
        action = settle_nack(reason, delay_ms, release, fatal)
        self._lender.settle(self)
        await self._settle(action)

    def _ack_alone(self) -> tuple[int, bytes]:
        return self._leases._ack_request([self])

    async def extend(self, ms: int) -> None:
        """Let the lease run out `ms` milliseconds from now. FencedError when it has ended already."""
        await self._settle(bytes((op.SETTLE_EXTEND,)) + u64(ms, "a lease in ms"))

    async def _settle(self, action: bytes) -> None:
        leases = self._leases
        payload = leases.name + action + U32.pack(1) + self._lease
        if refused(await leases.connection.data(op.QUEUE_SETTLE, payload)):
            raise FencedError(
                "the lease has ended: it ran out, was settled, or another delivery has followed"
            )

    def __repr__(self) -> str:
        return f"Job(id={self.id}, attempts={self.attempts}, priority={self.priority})"


def settle_nack(reason: str, delay_ms: int | None, release: bool, fatal: bool) -> bytes:
    """The action of SETTLE and its fields."""
    delay = I64.pack(op.BY_POLICY) if delay_ms is None else u64(delay_ms, "a delay in ms")
    if release:
        return bytes((op.SETTLE_RELEASE,)) + (I64.pack(0) if delay_ms is None else delay)
    if fatal:
        return bytes((op.SETTLE_FATAL,)) + string(clipped(reason))
    return bytes((op.SETTLE_FAILED,)) + delay + string(clipped(reason))


RELEASED: Final = settle_nack("", None, True, False)


def refused(reply: bytes) -> list[int]:
    """Which of a SETTLE's deliveries, by their places, were refused. ProtocolError if it is no such answer."""
    try:
        count = U32.unpack_from(reply)[0]
        return [U32.unpack_from(reply, 4 + 5 * place)[0] for place in range(count)]
    except StructError:
        raise ProtocolError("a payload of the server ends early") from None


def read_jobs(leases: Leases, reply: bytes, type: Any) -> list[Job]:
    """The answer of RECEIVE. ProtocolError when it is not one."""
    jobs: list[Job] = []
    head_bytes = _HEAD.size
    position = 4
    try:
        for _ in range(U32.unpack_from(reply)[0]):
            _, id, _, attempts, priority, enqueued_at, size = _HEAD.unpack_from(reply, position)
            lease = reply[position : position + _LEASE_BYTES]
            position += head_bytes
            group = reply[position : position + size].decode(errors="replace") if size else None
            position += size
            size = U32.unpack_from(reply, position)[0]
            position += 4
            headers = decode_headers(reply[position : position + size]) if size else NO_HEADERS
            position += size
            size = U32.unpack_from(reply, position)[0]
            position += 4
            value = reply[position : position + size]
            position += size
            jobs.append(Job(leases, lease, id, attempts, priority, enqueued_at, group, headers, value, type))
    except StructError:
        raise ProtocolError("a payload of the server ends early") from None
    if position != len(reply):
        raise ProtocolError("a payload of the server does not end where it should")
    return jobs
