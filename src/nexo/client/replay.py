"""Which of the server's messages are retained ones that it repeats for one new subscription.

They look like any other. Owns the stretch of the server's output in which they stand; knows nothing of
who else could get them.
"""

from __future__ import annotations

import asyncio

from nexo.client.connection import Connection
from nexo.client.link import Link, Reply
from nexo.client.matching import matches
from nexo.client.message import Message
from nexo.client.subscription import Subscriber
from nexo.limits import OUTPUT_HIGH_WATER_BYTES
from nexo.protocols.native import opcodes as op


class Replay:
    """The retained messages that the server repeats for one subscription: a stretch of its output.

    They follow its answer to SUB and end before its answer to the PING that was sent along. While the
    connection takes what is written to it, nothing that was published meanwhile can stand between; it
    may once OUTPUT_HIGH_WATER_BYTES were waiting, and so must have come, since SUB was sent.
    """

    def __init__(self, subscriber: Subscriber, link: Link | None) -> None:
        self._subscriber = subscriber
        self._sent_on = link
        self._sent_at = link.received_bytes if link is not None else 0
        self.link: Link | None = None

    def begin(self, link: Link | None) -> None:
        """The answer to SUB has come."""
        self.link = link
        if link is not self._sent_on:
            self._sent_at = 0

    def takes(self, message: Message) -> bool:
        """Whether a message is one of them; then its subscription has it now."""
        link = self.link
        if link is None or link.received_bytes - self._sent_at >= OUTPUT_HIGH_WATER_BYTES:
            return False
        if message.is_request or not matches(self._subscriber.filter, message.topic):
            return False
        self._subscriber.deliver(message)
        return True


class Answer:
    """Waits for an answer as a future does, and acts on it at once, before the next frame is looked at."""

    def __init__(
        self, replays: Replays, replay: Replay, begins: bool, future: asyncio.Future[Reply] | None
    ) -> None:
        self._replays = replays
        self._replay = replay
        self._begins = begins
        self._future = future

    def done(self) -> bool:
        """Never: what was asked for is done at the server, whether or not anybody waits here."""
        return False

    def set_result(self, result: Reply, /) -> None:
        """The server has answered."""
        if self._begins:
            self._replays.begin(self._replay)
        else:
            self._replays.finish(self._replay)
        if self._future is not None and not self._future.done():
            self._future.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """It has refused, or there will be no answer."""
        self._replays.finish(self._replay)
        if self._future is not None and not self._future.done():
            self._future.set_exception(exception)


class Replays:
    """The replays of one client; as answers come in the order of the requests, at most one is on at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._current: Replay | None = None

    async def ask(self, subscriber: Subscriber) -> None:
        """Subscribe, with a mark behind; done when the server has confirmed it."""
        connection = self._connection
        link = connection.link
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        replay = Replay(subscriber, link)
        if link is not None:
            link.flush()  # so that the two travel in one piece
        connection.start(*subscriber.request(), Answer(self, replay, True, future))
        connection.start(op.PING, b"", Answer(self, replay, False, None))
        await future

    def begin(self, replay: Replay) -> None:
        """Retained messages follow."""
        replay.begin(self._connection.link)
        self._current = replay

    def finish(self, replay: Replay) -> None:
        """They are over."""
        if self._current is replay:
            self._current = None

    def take(self, message: Message) -> bool:
        """Whether a message was one of them, and so has gone where it belongs."""
        return self._current is not None and self._current.takes(message)
