"""The lasting connection behind a client: calls go in, links come and go.

Owns the first connection, reconnection, and that everything is restored before other calls go on. What is
restored belongs to Pub/Sub and to the watches; how bytes reach a server is the Dialer's business.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from nexo.client.calls import Calls
from nexo.client.dialing import Dialer, Reconnect, reason_of
from nexo.client.events import Alarm, Announcer, Connected, Disconnected, Reconnected, log
from nexo.client.frames import Reader, request
from nexo.client.greeting import Credentials, ServerInfo, hello, read_hello
from nexo.client.link import Link, Reply, is_refusal
from nexo.errors import (
    ConnectionClosedError,
    NexoError,
    NotConnectedError,
    ServerError,
)
from nexo.limits import FRAME_BYTES_MAX
from nexo.protocols.native import opcodes as op

CLOSE_SECONDS_MAX: Final = 2.0
"""How long a closing client waits for its last requests to leave."""


class Restorer(Protocol):
    """What has state at the server: it takes the server's messages, and is restored on a new link."""

    def received(self, kind: int, code: int, correlation: int, payload: bytes) -> bool:
        """Take a frame; False when it is not for this one. ProtocolError when it cannot be read."""

    async def restore(self, connection: Connection) -> int:
        """Say again what the server must know, with `Connection.restoring`; returns how much that was."""

    def lost(self, error: ServerError | None) -> None:
        """The connection is gone; `error` is what the server said of it before, if anything."""

    def closed(self, error: NexoError | None) -> None:
        """There will be no more messages: the program closed the client (None), or it is given up."""


class Connection(Calls):
    """One client's way to its server."""

    def __init__(
        self,
        dialer: Dialer,
        announcer: Announcer,
        *,
        timeout: float,
        name: str,
        credentials: Credentials,
        reconnect: Reconnect | None,
    ) -> None:
        super().__init__(dialer.address, timeout)
        self.server = ServerInfo()
        # The subscriptions and the watches, in this order.
        self.restorers: tuple[Restorer, ...] = ()
        self._dialer = dialer
        self._announcer = announcer
        self._hello = hello(name, credentials)
        self._reconnect = reconnect
        self._keeper: asyncio.Task[None] | None = None
        # How often it was waited before an attempt since a connection held for a while.
        self._rests = 0
        self._standing_since = 0.0

    async def open(self) -> None:
        """The first connection. NotConnectedError when there is none within the timeout; with
        reconnection off, when the first attempt fails. NotAuthorizedError for wrong credentials."""
        try:
            async with asyncio.timeout(self.timeout):
                await self._connect(self._reconnect)
        except TimeoutError:
            error = self._unreachable()
            self._end(error)
            raise error from None
        except NexoError as error:
            self._end(error)
            raise
        except asyncio.CancelledError:
            self._end(ConnectionClosedError("connecting was cancelled"))
            raise
        self._announcer.add(Connected(self.address))

    async def _connect(self, policy: Reconnect | None) -> tuple[int, list[int]]:
        """A link, greeted and restored: how many attempts it took, and what was restored."""
        attempts = 0
        while True:
            attempts += 1
            try:
                restored = await self._attempt()
            except (OSError, NexoError) as error:
                if isinstance(error, NexoError) and is_refusal(error):
                    raise
                self._reason = reason_of(error)
            else:
                self._standing_since = self._loop.time()
                return attempts, restored
            if policy is None or attempts == policy.attempts_max:
                raise self._unreachable()
            await self._rest(policy)

    async def _rest(self, policy: Reconnect) -> None:
        await asyncio.sleep(policy.wait_seconds(self._rests))
        self._rests += 1

    async def _attempt(self) -> list[int]:
        link = Link(self)
        try:
            async with asyncio.timeout(self.timeout):
                self._reason = "connecting takes too long"
                await self._dialer.dial(link)
                self._reason = "the server does not answer"
                self._restoring = link
                self.server = read_hello(await self.restoring(op.HELLO, self._hello))
                self._frame_bytes_max = self.server.limits.get("frame_bytes_max", FRAME_BYTES_MAX)
                restored = [await restorer.restore(self) for restorer in self.restorers]
            if link.lost.done():
                raise NotConnectedError("the server closed the connection")
            self._link = link
        except TimeoutError:
            raise NotConnectedError(self._reason) from None
        finally:
            self._restoring = None
            if self._link is not link:
                link.abort("it could not be used")
        self.writable()
        return restored

    async def _keep(self, policy: Reconnect) -> None:
        """Runs while there is no link."""
        try:
            if self._loop.time() - self._standing_since > policy.longest_seconds:
                self._rests = 0
            else:
                await self._rest(policy)  # the connection did not hold: the server is to be spared
            attempts, restored = await self._connect(policy)
        except NexoError as error:
            log.error("gave up connecting to %s: %s", self.address, error)
            self._end(error)
            return
        finally:
            self._keeper = None
        subscriptions, watches = restored
        log.info(
            "connected to %s again; %d subscriptions and %d watches restored",
            self.address,
            subscriptions,
            watches,
        )
        self._announcer.add(Reconnected(attempts, subscriptions, watches))

    def restoring(self, opcode: int, payload: bytes, correlation: int = 0) -> asyncio.Future[Reply]:
        """As `call`, on the link that is being restored, ahead of all calls that wait."""
        link = self._restoring
        assert link is not None, "only within Restorer.restore"
        future: asyncio.Future[Reply] = self._loop.create_future()
        if link.lost.done():
            future.set_exception(ConnectionClosedError("the server closed the connection"))
        else:
            correlation = correlation or self.next_id()
            link.send(correlation, request(opcode, correlation, payload), (float("inf"), future))
        return future

    def received(self, kind: int, code: int, correlation: int, payload: bytes) -> None:
        """A push or an event of the server. ProtocolError when it cannot be read."""
        for restorer in self.restorers:
            if restorer.received(kind, code, correlation, payload):
                return
        if code == op.ALARM:
            self._alarmed(Reader(payload))
        elif code == op.GOING_AWAY and self._reconnect is not None:
            link, self._link = self._link, None
            if link is not None:
                self._leaving = link
                self._lose("the server is going away")
                link.leave()

    def _alarmed(self, reader: Reader) -> None:
        raised = reader.u8() != 0
        alarm = Alarm(reader.string(), raised, reader.u64(), reader.u64(), reader.string())
        log.warning("%s: %s", self.address, alarm.message)
        self._announcer.add(alarm)

    def lost(self, link: Link, reason: str) -> None:
        """A link has ended; of one that was not in use, others know already."""
        if link is self._leaving:
            self._leaving = None
        if link is self._link:
            self._link = None
            for restorer in self.restorers:
                restorer.lost(link.error)
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        self._reason = reason
        if self._closed is not None:
            return
        self._announcer.add(Disconnected(reason))
        if self._reconnect is None:
            self._end(NotConnectedError(f"not connected to {self.address}: {reason}"))
        else:
            log.warning("lost the connection to %s: %s", self.address, reason)
            self._keeper = self._loop.create_task(self._keep(self._reconnect), name="nexo-reconnect")

    def _end(self, error: NexoError, *, asked: bool = False) -> None:
        """No link will come any more: whatever waits learns why."""
        if self._closed is not None:
            return
        self._close_calls(error)
        for restorer in self.restorers:
            restorer.closed(None if asked else error)
        self._announcer.close()

    async def close(self) -> None:
        """Let what was written leave, then end. Calls that wait fail with ConnectionClosedError."""
        closed = ConnectionClosedError("the client is closed")
        self._end(closed, asked=True)
        self._closed = closed
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        links = self._links()
        for link in links:
            link.close("the client is closed")
        if links:
            await asyncio.wait([link.lost for link in links], timeout=CLOSE_SECONDS_MAX)
        for link in links:
            if not link.lost.done():
                link.abort("the client is closed")
