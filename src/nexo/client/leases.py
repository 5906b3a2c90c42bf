"""The leases of one consumer of a queue: receiving jobs, keeping them alive, giving them back.

A receive whose caller has gone away is not forgotten: the jobs that the server lends to it are given back.
Layouts: docs/protocol.md.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from nexo.client.acks import Acks
from nexo.client.connection import Connection
from nexo.client.events import log
from nexo.client.frames import U32, Reader, string, u32
from nexo.client.job import RELEASED, Job, read_jobs, refused, settle_nack
from nexo.client.lending import Lender
from nexo.client.link import Reply
from nexo.errors import NexoError
from nexo.protocols.native import opcodes as op

BEATS_PER_LEASE: Final = 3
"""How often a lease is extended before it would have run out: two extensions may be lost."""
JOBS_PER_REQUEST_MAX: Final = 10_000
"""deliveries_per_receive_max: what one SETTLE may name."""


class Receiving:
    """A receive under way: what the link gives the answer to."""

    def __init__(self, leases: Leases, future: asyncio.Future[list[Job]]) -> None:
        self._leases = leases
        self._future = future
        self._answered = False

    def done(self) -> bool:
        return self._answered

    def set_result(self, result: Reply, /) -> None:
        """Jobs, for whoever waits for them; else they go back."""
        self._answered = True
        try:
            jobs = read_jobs(self._leases, result or b"\x00\x00\x00\x00", self._leases.type)
        except NexoError as error:
            self.set_exception(error)
            return
        if not self._future.done():
            self._future.set_result(jobs)
        elif jobs:
            self._leases.post(RELEASED, jobs)

    def set_exception(self, exception: BaseException, /) -> None:
        """No jobs."""
        self._answered = True
        if not self._future.done():
            self._future.set_exception(exception)


class Leases(Lender[Job]):
    """What one consumer has from one queue. With `heartbeat` the leases do not run out while it has them."""

    def __init__(self, connection: Connection, queue: str, type: Any, heartbeat: bool) -> None:
        super().__init__(connection, f"the consumer of queue {queue!r}", queue)
        self.name = string(queue)
        self.type = type
        self.acks: Acks[Job] = Acks(connection, self._ack_request, lambda reply, _: refused(reply))
        self._loop = connection.loop
        self._heartbeat = heartbeat
        self._lease_ms = 0
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """ResourceNotFoundError when there is no such queue."""
        reader = Reader(await self.connection.repeated(op.QUEUE_DESCRIBE, self.name))
        reader.prefixed()
        self._lease_ms = reader.u64()

    # Receiving.

    async def request(self, count: int, wait_ms: int) -> list[Job]:
        """One RECEIVE. When it is cancelled, what the server lends to it goes back without counting."""
        payload = self.name + u32(min(count, JOBS_PER_REQUEST_MAX), "a batch") + u32(wait_ms, "a wait in ms")
        future: asyncio.Future[list[Job]] = self._loop.create_future()
        self.acks.flush()
        connection = self.connection
        correlation = connection.start(
            op.QUEUE_RECEIVE,
            payload,
            Receiving(self, future),
            timeout=wait_ms / 1000 + connection.timeout,
        )
        try:
            jobs = await future
        except asyncio.CancelledError:
            connection.withdraw(correlation)
            raise
        if jobs and self._heartbeat and self._timer is None:
            self._timer = self._loop.call_later(self._lease_ms / 1000 / BEATS_PER_LEASE, self._beat)
        return jobs

    def _beat(self) -> None:
        """Extend what is out; once more, as long as anything is."""
        self._timer = None
        if not self.held:
            return
        self._timer = self._loop.call_later(self._lease_ms / 1000 / BEATS_PER_LEASE, self._beat)
        if self.connection.link is not None:
            action = bytes((op.SETTLE_EXTEND,)) + self._lease_ms.to_bytes(8, "big")
            self.post(action, list(self.held))

    # Settling.

    def _ack_request(self, jobs: list[Job]) -> tuple[int, bytes]:
        leases = [job._lease for job in jobs]
        return op.QUEUE_SETTLE, b"".join((self.name, bytes((op.SETTLE_ACK,)), U32.pack(len(leases)), *leases))

    def post(self, action: bytes, jobs: list[Job]) -> None:
        """Settle jobs, or extend their leases, without waiting for the answer; refusals are logged."""
        for start in range(0, len(jobs), JOBS_PER_REQUEST_MAX):
            some = jobs[start : start + JOBS_PER_REQUEST_MAX]
            payload = b"".join((self.name, action, U32.pack(len(some)), *(job._lease for job in some)))
            if self.connection.link is not None:
                try:
                    self.connection.start(op.QUEUE_SETTLE, payload, Posted(self, some))
                except NexoError as error:
                    log.warning("%s: %s", self.what, error)

    def refused(self, jobs: list[Job]) -> None:
        """The leases of these have ended: they are, or will be, lent anew."""
        for job in jobs:
            self.held.pop(job, None)
        log.warning("%s has lost its lease on %s", self.what, ", ".join(map(repr, jobs[:10])))

    def post_ack(self, item: Job) -> None:
        self.acks.post(item)
        self.settle(item)

    def post_nack(self, item: Job, reason: str) -> None:
        self.post(settle_nack(reason, None, False, False), [item])
        self.settle(item)

    def give_back(self, items: list[Job]) -> None:
        """Release jobs: they come again without having been counted."""
        for job in items:
            self.settle(job)
        self.post(RELEASED, items)

    async def finish(self) -> None:
        """Wait until acks are confirmed; extend nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.connection.closed is None:
            await self.confirm(self.acks)


class Posted:
    """A SETTLE whose answer only tells which leases have ended."""

    def __init__(self, leases: Leases, jobs: list[Job]) -> None:
        self._leases = leases
        self._jobs = jobs

    def done(self) -> bool:
        return False

    def set_result(self, result: Reply, /) -> None:
        places = refused(result or b"")
        if places:
            self._leases.refused([self._jobs[place] for place in places if place < len(self._jobs)])

    def set_exception(self, exception: BaseException, /) -> None:
        """With a lost connection the leases are gone anyway; the consumer learns of it where it waits."""
        log.info("%s: %s", self._leases.what, exception)
