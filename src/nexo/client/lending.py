"""Where consumers take their deliveries from: what all lenders have in common.

A lender asks for deliveries across reconnections, knows which are out, and gets them back. Queue and group
are its two kinds. Knows no message's meaning.
"""

from __future__ import annotations

import asyncio
from typing import Final, Generic, TypeVar

from nexo.client.acks import Acks
from nexo.client.connection import Connection
from nexo.client.delivery import Delivery
from nexo.client.events import log
from nexo.client.link import Link
from nexo.errors import ConnectionClosedError, InvalidArgumentError, NotConnectedError, RequestTimeoutError

D = TypeVar("D", bound=Delivery)

WAIT_MS_DEFAULT: Final = 20_000
"""How long a consumer's request for messages waits at the server before it is made anew."""

TRANSIENT: Final = (ConnectionClosedError, NotConnectedError, RequestTimeoutError)
"""Errors after which a consumer goes on as soon as there is a connection again."""


class Lender(Generic[D]):
    """Lends deliveries to one consumer. `what` names it in messages for a person, `source` is its queue or stream."""

    def __init__(self, connection: Connection, what: str, source: str, group: str = "") -> None:
        self.connection = connection
        self.what = what
        self.source = source
        self.group = group
        # What is out and not settled, in the order in which it was lent.
        self.held: dict[D, None] = {}
        # The connection that they were lent on: with it they go.
        self._link: Link | None = None

    async def start(self) -> None:
        """Make sure that there is something to lend from. ResourceNotFoundError when there is not."""
        raise NotImplementedError

    async def take(self, count: int, wait_ms: int) -> list[D]:
        """Up to `count` deliveries, waiting for the first of them; none when that took `wait_ms`.

        Goes on by itself when the connection is lost; ConnectionClosedError or NotConnectedError when there
        will be no other. May be cancelled: nothing that the server lends is lost then.
        """
        while True:
            try:
                items = await self.request(count, wait_ms)
            except TRANSIENT as error:
                if self.connection.closed is not None:
                    raise
                log.info("%s waits for the next connection: %s", self.what, error)
                if not isinstance(error, RequestTimeoutError):
                    self.held.clear()  # with the connection its leases have ended
                    self.interrupted()
            else:
                self._link = self.connection.link
                for item in items:
                    self.held[item] = None
                return items

    def holds(self, item: D) -> bool:
        """Whether a delivery that was fetched ahead is still ours; if not, it comes again."""
        if self._link is not self.connection.link:
            self.held.clear()
        return item in self.held

    async def request(self, count: int, wait_ms: int) -> list[D]:
        """One request for deliveries."""
        raise NotImplementedError

    def interrupted(self) -> None:
        """A request found the connection lost."""

    def settle(self, item: D) -> None:
        """A delivery is settled, and no longer out."""
        item.settled = True
        self.held.pop(item, None)

    def post_ack(self, item: D) -> None:
        """Ack without waiting for the answer; a failure is logged."""
        raise NotImplementedError

    def post_nack(self, item: D, reason: str) -> None:
        """Nack without waiting for the answer."""
        raise NotImplementedError

    def give_back(self, items: list[D]) -> None:
        """Deliveries that were not handled, without waiting for the answer."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Wait until what was settled is confirmed, then end."""
        raise NotImplementedError

    async def confirm(self, acks: Acks[D]) -> None:
        """Wait for acks, within the client's timeout."""
        try:
            async with asyncio.timeout(self.connection.timeout):
                await acks.settled()
        except TimeoutError:
            log.warning("%s ends without knowing whether its last acks arrived", self.what)


def checked_consumer(batch_size: int, wait_ms: int, concurrency: int = 1) -> None:
    """InvalidArgumentError for numbers with which nothing would be consumed."""
    for name, number in (("batch_size", batch_size), ("wait_ms", wait_ms), ("concurrency", concurrency)):
        if not 1 <= number < 1 << 32:
            raise InvalidArgumentError(f"{name} of {number}: 1 to 2^32 - 1")
