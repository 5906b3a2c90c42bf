"""Accepts connections on one port and hands each to the protocol that its first bytes ask for.

Owns what belongs to connections as such: how many there are, how long a greeting may take, and who
is still closing. Knows the protocols, not the brokers' commands.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, cast

from nexo.errors import LimitExceededError, ProtocolError
from nexo.limits import OUTPUT_HIGH_WATER_BYTES, OUTPUT_LOW_WATER_BYTES
from nexo.node import Node
from nexo.protocols.logins import Login
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.frames import error_frame
from nexo.protocols.native.opcodes import VERSION
from nexo.protocols.native.session import NativeSession
from nexo.protocols.session import Output, Session

log: Final = logging.getLogger("nexo.listener")

HTTP_METHODS: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")
NATIVE_ONLY: Final = "this port speaks the Nexo native protocol"


def refusal(first: bytes) -> bytes:
    """A short answer, in the peer's own language where it has one, to a greeting that is not ours."""
    if first[:4] in HTTP_METHODS:
        body = f"{NATIVE_ONLY}, not HTTP\n".encode()
        return (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
            % (
                len(body),
                body,
            )
        )
    if first[:1] == b"\x16":
        return b"\x15\x03\x03\x00\x02\x02\x28"  # TLS alert: fatal, handshake failure (RFC 8446, 6.2)
    if first[:1] in b"*" or first[:4].upper() in (b"PING", b"HELL", b"AUTH", b"INFO"):
        return f"-ERR {NATIVE_ONLY}, not RESP\r\n".encode()
    kind = (
        "not MQTT" if first[:1] == b"\x10" else f"whose first byte is 0x{VERSION:02x}, not 0x{first[0]:02x}"
    )
    return f"nexo: {NATIVE_ONLY}, {kind}\r\n".encode()


class Peer:
    """One connection that has a protocol. `id` counts connections; `since` is node time in ms."""

    __slots__ = ("id", "output", "session", "since")

    def __init__(self, id: int, session: Session, output: Output, since: int) -> None:
        self.id = id
        self.session = session
        self.output = output
        self.since = since


class Greeting(asyncio.Protocol):
    """A connection whose protocol is not known yet. One byte decides; HTTP and RESP show four."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._session: Session | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's; they only behave like them.
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.admit(self, self._transport):
            return
        self._timer = asyncio.get_running_loop().call_later(self._listener.greeting_seconds, self._expire)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if data[0] == VERSION:
            self._session = self._listener.open_session(self, self._transport)
            self._session.data_received(data)
        else:
            self._transport.write(refusal(data))
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.cancel()
        self._listener.forget(self)

    def cancel(self) -> None:
        """Stop the greeting's deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _expire(self) -> None:
        self._timer = None
        if self._transport is None or self._transport.is_closing():
            return
        if self._session is None:
            reason = f"nexo: no greeting within {self._listener.greeting_seconds:g} seconds\r\n"
            self._transport.write(reason.encode())
            self._transport.close()
        elif not self._session.started or not self._session.admitted():
            wanted = "complete command" if self._session.admitted() else "login"
            reason = f"no {wanted} within {self._listener.greeting_seconds:g} seconds"
            self._transport.write(error_frame(0, ProtocolError(reason)))
            self._session.finish()


def named(address: object) -> str:
    """A socket's address as people write it; "" for one that has none."""
    if not isinstance(address, tuple):
        return str(address or "")
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """All connections of one node, and the sockets they came in by."""

    def __init__(
        self,
        node: Node,
        info: ServerInfo,
        *,
        connections_max: int,
        greeting_seconds: float,
        closing_seconds: float,
    ) -> None:
        self.greeting_seconds = greeting_seconds
        self._node = node
        self._info = info
        self._connections_max = connections_max
        self._closing_seconds = closing_seconds
        self._greetings: set[Greeting] = set()
        self._sessions: dict[Session, Peer] = {}
        self._last_peer = 0
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.accepted = 0
        self.refused = 0

    async def bind(self, host: str, port: int) -> tuple[str, int]:
        """Take the address, without accepting yet; returns it. OSError when it is taken or not ours."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Greeting(self), host, port, backlog=1024, start_serving=False
        )
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def start(self) -> None:
        """Accept connections."""
        assert self._server is not None
        await self._server.start_serving()

    @property
    def connections_max(self) -> int:
        return self._connections_max

    def peers(self) -> list[Peer]:
        """The connections that have a protocol, the oldest first."""
        return list(self._sessions.values())

    def close(self, id: int, reason: str) -> bool:
        """Close one connection in order: its client is told, and may read what was written. False: no such one."""
        for peer in self._sessions.values():
            if peer.id == id:
                peer.session.going_away(0, reason)
                peer.session.finish()
                return True
        return False

    def renew_logins(self, renewed: Callable[[Login], Login | None]) -> None:
        """Accounts have changed: each connection goes on with what its login is worth now, or is closed in order."""
        for session in list(self._sessions):
            login = renewed(session.login)
            if login is not None:
                session.admit(login)
            else:
                log.info("%s is closed: what it may do has changed", session.address)
                session.going_away(0, "the account has changed: log in again")
                session.finish()

    @property
    def connections(self) -> int:
        """Connections that are open, greeted or not."""
        return len(self._greetings) + len(self._sessions)

    def admit(self, greeting: Greeting, transport: asyncio.Transport) -> bool:
        """Count a new connection, or refuse it with an error frame when there are too many."""
        self._greetings.add(greeting)
        self._empty.clear()
        if self.connections > self._connections_max:
            self.refused += 1
            reason = f"connections_max is {self._connections_max}"
            transport.write(error_frame(0, LimitExceededError(reason)))
            transport.close()
            return False
        self.accepted += 1
        transport.set_write_buffer_limits(high=OUTPUT_HIGH_WATER_BYTES, low=OUTPUT_LOW_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that vanished without a word is found by the kernel's probes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return True

    def open_session(self, greeting: Greeting, transport: asyncio.Transport) -> Session:
        """Make the connection a native one; the caller hands over the bytes that have come already.

        The greeting's deadline runs on until the first command is complete, and who it is is known.
        """
        session = NativeSession(self._node, transport, self, self._info)
        session.address = named(transport.get_extra_info("peername"))
        self._greetings.discard(greeting)
        self._last_peer += 1
        self._sessions[session] = Peer(self._last_peer, session, transport, int(self._node.driver.now()))
        transport.set_protocol(session)  # type: ignore[arg-type]  # called like a Protocol, without being one
        return session

    # Told by sessions.

    def closing(self, session: Session) -> None:
        """A session wants to end: its peer has a while to read what was written to it."""
        peer = self._sessions.get(session)
        if peer is not None:
            asyncio.get_running_loop().call_later(self._closing_seconds, peer.output.abort)

    def gone(self, session: Session) -> None:
        """A session's connection has ended."""
        self._sessions.pop(session, None)
        self._check_empty()

    def forget(self, greeting: Greeting) -> None:
        """A connection ended before it had a protocol."""
        self._greetings.discard(greeting)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self._sessions and not self._greetings:
            self._empty.set()

    # Stopping.

    async def stop(self, seconds: float) -> None:
        """Accept no more, tell every client, let them read for at most `seconds`, then close.

        What was read before is answered: commands run to completion as they are read.
        """
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.going_away(int(seconds * 1000), "the server is shutting down")
        for session in list(self._sessions):
            session.finish()
        for greeting in list(self._greetings):
            greeting.abort()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            log.warning("%d connections did not read their last answers in time", self.connections)
            self.abort()

    def abort(self) -> None:
        """Drop every connection at once."""
        for peer in list(self._sessions.values()):
            peer.output.abort()
        for greeting in list(self._greetings):
            greeting.abort()
