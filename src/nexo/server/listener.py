"""Accepts connections on one port and hands each to the protocol that its first bytes ask for.

Owns what belongs to connections as such: how many there are, how long a greeting may take, and who
is still closing. Knows the protocols, not the brokers' commands.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol, cast

from nexo.errors import LimitExceededError, NotAuthorizedError, ProtocolError
from nexo.limits import OUTPUT_HIGH_WATER_BYTES, OUTPUT_LOW_WATER_BYTES
from nexo.node import Node
from nexo.protocols.logins import Login
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.frames import error_frame
from nexo.protocols.native.opcodes import VERSION
from nexo.protocols.native.session import NativeSession
from nexo.protocols.session import Output, Session
from nexo.server.accepting import Acceptor, bound
from nexo.server.origins import Origin, Origins
from nexo.server.tls import Certificates, certificate_name

log: Final = logging.getLogger("nexo.listener")

HTTP_METHODS: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC")
NATIVE_ONLY: Final = "this port speaks the Nexo native protocol"
TLS_ONLY: Final = "this server takes TLS connections only (tls_mode is required)"


def http_refusal(text: str) -> bytes:
    """400 with a text, after which the connection closes."""
    body = f"{text}\n".encode()
    head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def refusal(first: bytes) -> bytes:
    """A short answer, in the peer's own language where it has one, to a greeting that is not ours."""
    if first[:4] in HTTP_METHODS:
        return http_refusal(f"{NATIVE_ONLY}, not HTTP (the setting http is off)")
    if first[:1] == b"\x16":
        return b"\x15\x03\x03\x00\x02\x02\x28"  # TLS alert: fatal, handshake failure (RFC 8446, 6.2)
    if is_resp(first):
        return f"-ERR {NATIVE_ONLY}, not RESP\r\n".encode()
    kind = (
        "not MQTT" if first[:1] == b"\x10" else f"whose first byte is 0x{VERSION:02x}, not 0x{first[0]:02x}"
    )
    return f"nexo: {NATIVE_ONLY}, {kind}\r\n".encode()


def is_resp(first: bytes) -> bool:
    """Whether a greeting looks like Redis'."""
    return first[:1] in b"*" or first[:4].upper() in (b"PING", b"HELL", b"AUTH", b"INFO")


def plain_refusal(first: bytes) -> bytes:
    """As `refusal`, to a peer that must use TLS and does not."""
    if first[0] == VERSION:
        return error_frame(0, NotAuthorizedError(f"{TLS_ONLY}: connect with tls=True or --tls"))
    if first[:4] in HTTP_METHODS:
        return http_refusal(f"{TLS_ONLY}: ask with https://")
    return f"{'-ERR ' if is_resp(first) else 'nexo: '}{TLS_ONLY}\r\n".encode()


def undecided(first: bytes) -> bool:
    """Whether what has come may still become a method of HTTP."""
    return len(first) < 4 and any(method.startswith(first) for method in HTTP_METHODS)


class HttpProtocol(Protocol):
    """What the listener knows of an HTTP connection: it is an asyncio protocol."""

    def connection_made(self, transport: asyncio.Transport) -> None: ...
    def data_received(self, data: bytes) -> None: ...


class HttpHandler(Protocol):
    """Who serves HTTP. A connection's `ended` is called when it is lost; `deadline` is that of its first head."""

    def connection(self, deadline: float, ended: Callable[[HttpProtocol], None]) -> HttpProtocol: ...


class Peer:
    """One connection that has a protocol; `session` is None for HTTP.

    `id` counts connections; `since` is node time in ms; `certificate` is whom its certificate names.
    """

    __slots__ = ("address", "certificate", "ending", "greeting", "id", "output", "session", "since", "tls")

    def __init__(
        self, id: int, session: Session | None, output: asyncio.Transport, since: int, greeting: Greeting
    ) -> None:
        self.id = id
        self.session = session
        self.output: Output = output
        self.address = named(output.get_extra_info("peername"))
        self.since = since
        self.tls = output.get_extra_info("sslcontext") is not None
        self.certificate = certificate_name(output) if self.tls else ""
        self.greeting = greeting
        self.ending: asyncio.TimerHandle | None = None


class Greeting(asyncio.Protocol):
    """A connection whose protocol is not known yet. One byte decides; HTTP and RESP show four.

    `deadline` is the loop's time by which its first command must be complete; None counts from now. `refused`:
    it is not TLS and has to be.
    """

    def __init__(self, listener: Listener, deadline: float | None = None, *, refused: bool = False) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._deadline = deadline
        self._refused = refused
        self._timer: asyncio.TimerHandle | None = None
        self._session: Session | None = None
        self._first = b""
        self.origin: Origin | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's; they only behave like them.
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.admit(self, self._transport):
            return
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._listener.greeting_seconds
        self._timer = loop.call_at(self._deadline, self._expire)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None and self._deadline is not None
        if self._transport.is_closing():
            return
        data = self._first + data
        if undecided(data):
            self._first = data
        elif self._refused:
            self._refuse(plain_refusal(data))
        elif data[0] == VERSION:
            self._session = self._listener.open_session(self, self._transport)
            if self._session is not None:
                self._session.data_received(data)
        elif data[:4] in HTTP_METHODS and self._listener.http is not None:
            self.cancel()  # HTTP keeps the deadline from here on
            self._listener.open_http(self, self._transport, self._deadline, data)
        else:
            self._refuse(refusal(data))

    def eof_received(self) -> bool:
        """The peer sends no more: what it has sent may be too short to tell a protocol by."""
        if self._first and self._transport is not None and not self._transport.is_closing():
            self._refuse(plain_refusal(self._first) if self._refused else refusal(self._first))
        return False

    def _refuse(self, answer: bytes) -> None:
        assert self._transport is not None
        self._transport.write(answer)
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
        elif self._session.parked:  # its login is looked at
            self._timer = asyncio.get_running_loop().call_later(self._listener.greeting_seconds, self._expire)
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


def host_of(address: object) -> str:
    """The part of a socket's address that is the same for all connections of a machine; "" for one that has none."""
    return str(address[0]) if isinstance(address, tuple) else str(address or "")


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
        certificates: Certificates | None = None,
        tls_required: bool = False,
        origins: Origins,
    ) -> None:
        self.greeting_seconds = greeting_seconds
        self.certificates = certificates
        self.tls_required = tls_required
        # Set while HTTP is served.
        self.http: HttpHandler | None = None
        self._node = node
        self._info = info
        self._connections_max = connections_max
        self._closing_seconds = closing_seconds
        self._origins = origins
        self._greetings: set[Greeting] = set()
        self._sessions: dict[Session, Peer] = {}
        self._http_peers: dict[HttpProtocol, Peer] = {}
        self._last_peer = 0
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.accepted = 0
        self._refused = 0

    async def bind(self, host: str, port: int) -> tuple[str, int]:
        """Take the address, without accepting yet; returns it. OSError when it is taken or not ours."""
        if self.certificates is not None:
            sockets = await bound(host, port)
            self._acceptor = Acceptor(sockets, self.certificates, self._greet, self.greeting_seconds)
            address = sockets[0].getsockname()
            return str(address[0]), int(address[1])
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Greeting(self), host, port, backlog=1024, start_serving=False
        )
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def start(self) -> None:
        """Accept connections."""
        if self._acceptor is not None:
            self._acceptor.start()
        else:
            assert self._server is not None
            await self._server.start_serving()

    def _greet(self, secure: bool, deadline: float) -> Greeting:
        return Greeting(self, deadline, refused=self.tls_required and not secure)

    @property
    def connections_max(self) -> int:
        return self._connections_max

    def peers(self) -> list[Peer]:
        """The connections that have a protocol, the oldest first."""
        found = [*self._sessions.values(), *self._http_peers.values()]
        found.sort(key=lambda peer: peer.id)
        return found

    def close(self, id: int, reason: str) -> bool:
        """Close one connection in order: its client is told, and may read what was written. False: no such one."""
        for peer in self.peers():
            if peer.id == id:
                if peer.session is not None:
                    peer.session.going_away(0, reason)
                    peer.session.finish()
                else:
                    peer.output.close()
                return True
        return False

    def renew_logins(self, renewed: Callable[[Login], Login | None]) -> None:
        """Accounts have changed: each connection goes on with what its login is worth now, or is closed in order."""
        for session in list(self._sessions):
            login = renewed(session.login)
            try:
                if login is not None:
                    session.admit(login)
            except LimitExceededError:
                login = None
            if login is None:
                log.info("%s is closed: what it may do has changed", session.address)
                session.going_away(0, "the account has changed: log in again")
                session.finish()

    @property
    def connections(self) -> int:
        """Connections that are open, greeted or not, those in a handshake included."""
        return self._admitted + (self._acceptor.pending if self._acceptor is not None else 0)

    @property
    def _admitted(self) -> int:
        return len(self._greetings) + len(self._sessions) + len(self._http_peers)

    @property
    def refused(self) -> int:
        """Connections that were one too many, ever."""
        return self._refused + (self._acceptor.refused if self._acceptor is not None else 0)

    def admit(self, greeting: Greeting, transport: asyncio.Transport) -> bool:
        """Count a new connection, or refuse it with an error frame when there are too many."""
        try:
            # Those in a handshake are bounded by themselves, and this one is still among them.
            if self._admitted >= self._connections_max:
                raise LimitExceededError(f"connections_max is {self._connections_max}")
            host = host_of(transport.get_extra_info("peername"))
            greeting.origin = self._origins.enter(host, int(self._node.driver.now()))
        except LimitExceededError as error:
            self._refuse(transport, error)
            return False
        self._greetings.add(greeting)
        self._empty.clear()
        self.accepted += 1
        transport.set_write_buffer_limits(high=OUTPUT_HIGH_WATER_BYTES, low=OUTPUT_LOW_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that vanished without a word is found by the kernel's probes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return True

    def _refuse(self, transport: asyncio.Transport, error: LimitExceededError) -> None:
        self._refused += 1
        transport.write(error_frame(0, error))
        transport.close()

    def open_session(self, greeting: Greeting, transport: asyncio.Transport) -> Session | None:
        """Make the connection a native one; the caller hands over the bytes that have come already. None: refused.

        The greeting's deadline runs on until the first command is complete, and who it is is known.
        """
        try:
            session = NativeSession(self._node, transport, self, self._info)
        except LimitExceededError as error:  # the account of who has not logged in has too many connections
            self._refuse(transport, error)
            return None
        session.address = named(transport.get_extra_info("peername"))
        self._greetings.discard(greeting)
        peer = self._peer(session, transport, greeting)
        self._sessions[session] = peer
        assert greeting.origin is not None
        session.limit(None, self._origins.limiter(greeting.origin, peer.since))
        transport.set_protocol(session)  # type: ignore[arg-type]  # called like a Protocol, without being one
        certified = self._info.logins.by_certificate(peer.certificate)
        try:
            if certified is not None:
                session.admit(certified)
        except LimitExceededError as error:
            self._refuse(transport, error)
            return None
        return session

    def open_http(
        self, greeting: Greeting, transport: asyncio.Transport, deadline: float, data: bytes
    ) -> None:
        """Make the connection one of HTTP, and hand over the bytes that have come already."""
        assert self.http is not None
        protocol = self.http.connection(deadline, self._http_gone)
        self._http_peers[protocol] = self._peer(None, transport, greeting)
        self._greetings.discard(greeting)
        self._check_empty()
        transport.set_protocol(cast(asyncio.BaseProtocol, protocol))
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _peer(self, session: Session | None, transport: asyncio.Transport, greeting: Greeting) -> Peer:
        self._last_peer += 1
        return Peer(self._last_peer, session, transport, int(self._node.driver.now()), greeting)

    def _http_gone(self, protocol: HttpProtocol) -> None:
        peer = self._http_peers.pop(protocol, None)
        if peer is not None:
            self._leave(peer.greeting)

    # Told by sessions.

    def closing(self, session: Session) -> None:
        """A session wants to end: its peer has a while to read what was written to it."""
        peer = self._sessions.get(session)
        if peer is not None:
            loop = asyncio.get_running_loop()
            peer.ending = loop.call_later(self._closing_seconds, peer.output.abort)

    def gone(self, session: Session) -> None:
        """A session's connection has ended."""
        peer = self._sessions.pop(session, None)
        if peer is not None:
            # A timer would hold on to the connection's memory until its time, for each one of a crowd.
            if peer.ending is not None:
                peer.ending.cancel()
            peer.greeting.cancel()
            self._leave(peer.greeting)
        self._check_empty()

    def forget(self, greeting: Greeting) -> None:
        """A connection ended before it had a protocol."""
        self._greetings.discard(greeting)
        self._leave(greeting)
        self._check_empty()

    def _leave(self, greeting: Greeting) -> None:
        if greeting.origin is not None:
            self._origins.leave(greeting.origin, int(self._node.driver.now()))
            greeting.origin = None

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
        if self._acceptor is not None:
            self._acceptor.stop()
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
        for peer in self.peers():
            peer.output.abort()
        for greeting in list(self._greetings):
            greeting.abort()
