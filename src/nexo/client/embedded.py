"""A client without a socket: the real protocol and the real brokers, in this process and its event loop.

The same client as over TCP, whose bytes go through memory to a session of the server's own. So values,
limits and errors are the real ones, and what the server learns, this has too. Owns the pipe and the
driving of the node; the server's process, its listener and its configuration are not here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nexo._version import __version__
from nexo.brokers.journal import Journal
from nexo.client.client import DEFAULT_TIMEOUT_SECONDS, Client, open_client
from nexo.client.connection import Connection
from nexo.client.events import Announcer, Event
from nexo.client.greeting import Credentials
from nexo.client.link import Link
from nexo.client.opening import Opening
from nexo.limits import FRAME_BYTES_MAX, OUTPUT_HIGH_WATER_BYTES, OUTPUT_LOW_WATER_BYTES
from nexo.node import Driver, Node, make_node
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.session import NativeSession
from nexo.protocols.session import Session

TICK_SECONDS: Final = 0.02
"""How often deadlines are looked at while anyone is connected."""


class EmbeddedClient(Client):
    """A client of a broker in this process."""

    def __init__(self, connection: Connection, announcer: Announcer, broker: Broker) -> None:
        super().__init__(connection, announcer)
        self._broker = broker

    def connect(  # type: ignore[override]  # of a client that stands, it goes to the same broker
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        name: str = "",
        on_event: Callable[[Event], Awaitable[None] | None] | None = None,
    ) -> Opening[EmbeddedClient]:
        """Another client of the same broker, for as long as one is open."""
        return self._broker.connect(timeout=timeout, name=name, on_event=on_event)


def open_embedded(
    *,
    now: Callable[[], int] | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    name: str = "",
    on_event: Callable[[Event], Awaitable[None] | None] | None = None,
) -> Opening[EmbeddedClient]:
    """A client with a broker of its own in this process, and no socket: `await` it, or `async with` it.

    Its `connect` gives further clients of the same broker. `now` returns Unix time in milliseconds and
    never goes back: with it a test decides when keys expire. The other parameters are those of `connect`.
    Needs what the server needs (librt, mypy_extensions).
    """

    async def open() -> EmbeddedClient:
        return await Broker(now).connect(timeout=timeout, name=name, on_event=on_event)

    return Opening(open)


class Broker:
    """One node and whoever is connected to it. Also what its sessions tell of their end (Peers)."""

    address = "embedded"

    def __init__(self, now: Callable[[], int] | None) -> None:
        self._driver = LoopDriver(now or _clock())
        self._node = make_node(self._driver, Journal())
        self._info = ServerInfo(__version__, FRAME_BYTES_MAX)
        self._sessions: set[Session] = set()

    def connect(
        self,
        *,
        timeout: float,
        name: str,
        on_event: Callable[[Event], Awaitable[None] | None] | None,
    ) -> Opening[EmbeddedClient]:
        """A client of this broker."""

        async def open() -> EmbeddedClient:
            return await open_client(
                lambda connection, announcer: EmbeddedClient(connection, announcer, self),
                self,
                timeout=timeout,
                name=name,
                credentials=Credentials(),
                reconnect=None,
                on_event=on_event,
            )

        return Opening(open)

    async def dial(self, link: Link) -> None:
        """Connect a link to a session of its own."""
        near, far = Pipe(), Pipe()
        near.peer, far.peer = far, near
        session = NativeSession(self._node, far, self, self._info)
        near.protocol, far.protocol = link, session
        self._sessions.add(session)
        self._driver.run(self._node)
        far.set_write_buffer_limits(OUTPUT_HIGH_WATER_BYTES, OUTPUT_LOW_WATER_BYTES)
        link.connection_made(near)

    def closing(self, session: Session) -> None:
        """A session ends when its client has read; a client in the same loop reads."""

    def gone(self, session: Session) -> None:
        """A session has ended; with the last one the driver rests."""
        self._sessions.discard(session)
        if not self._sessions:
            self._driver.rest()


def _clock() -> Callable[[], int]:
    """Unix milliseconds that never go back: the wall's time once, then the monotonic clock's."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: (offset_ns + time.monotonic_ns()) // 1_000_000


class LoopDriver(Driver):
    """Ends the node's turns after the input of one round of the loop, and looks at its deadlines."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__()
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._node: Node | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False

    def now(self) -> int:
        return self._now()

    def turn_opened(self) -> None:
        self._schedule()

    def run(self, node: Node) -> None:
        """Drive a node, until `rest`."""
        self._node = node
        if self._timer is None:
            self._tick()

    def rest(self) -> None:
        """Nobody is connected: nothing needs to happen in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._node is not None and self._node.turn():
            self._schedule()

    def _tick(self) -> None:
        assert self._node is not None
        self._node.advance()
        # Messages and changes that the deadlines caused leave now.
        self._schedule()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)


class Pipe(asyncio.Transport):
    """One end of a connection in memory. What is written in one round of the loop arrives as one chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: Pipe
        self.protocol: Link | Session
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._full = False
        self._reading = True
        self._scheduled = False
        self._closing = False
        self._lost = False

    def write(self, data: Any) -> None:
        """Send bytes; to an end that has closed they are lost, as on a socket."""
        if self._closing or not data:
            return
        self._out.append(bytes(data))
        self._out_bytes += len(data)
        self._deliver_soon()
        if self._out_bytes > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the writer is told that this is full, and when that it is not any more. In bytes."""
        self._high = high or 64 * 1024
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes that the other end has not taken."""
        return self._out_bytes

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.peer._deliver_soon()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End the connection once the other end has what was written."""
        self._closing = True
        self._deliver_soon()

    def abort(self) -> None:
        """End the connection at once."""
        self._closing = True
        self._out.clear()
        self._out_bytes = 0
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        peer = self.peer
        if self._out and peer._reading and not peer._closing:
            data = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            peer.protocol.data_received(data)
        if self._full and self._out_bytes <= self._low:
            self._full = False
            self.protocol.resume_writing()
        if self._closing and (not self._out or peer._closing):
            self._lose()
            peer._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._closing = self._lost = True
            self._out.clear()
            self._loop.call_soon(self.protocol.connection_lost, None)
