"""Accepts connections that may be TLS: looks at the first byte of each, without taking it, before a protocol is made.

TLS cannot be started through the loop once bytes have been read, so the first byte is only peeked at on the bare
socket (MSG_PEEK); the loop then makes either a plain transport or one that does the handshake. Owns connections
until they have a transport. Knows no protocol: `make` gives one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from nexo.limits import HANDSHAKES_MAX
from nexo.server.tls import HANDSHAKE, Certificates

log: Final = logging.getLogger("nexo.accepting")

ACCEPTED_AT_ONCE: Final = 128
"""Connections accepted before the loop does something else."""
REST_SECONDS: Final = 1.0
"""How long no connection is accepted when there is no file descriptor for one."""

Make = Callable[[bool, float], asyncio.Protocol]
"""Makes a protocol: whether the connection is TLS, and the loop's time by which its greeting must be complete."""


class Acceptor:
    """Accepts on bound sockets. `seconds` bounds the time to the end of the greeting, the handshake included."""

    def __init__(
        self, sockets: list[socket.socket], certificates: Certificates, make: Make, seconds: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._certificates = certificates
        self._make = make
        self._seconds = seconds
        self._opening: set[asyncio.Task[None]] = set()
        self.refused = 0

    @property
    def pending(self) -> int:
        """Connections whose first byte or handshake is awaited."""
        return len(self._opening)

    def start(self) -> None:
        """Accept connections."""
        for one in self._sockets:
            one.setblocking(False)
            one.listen(1024)
            self._loop.add_reader(one.fileno(), self._accept, one)

    def stop(self) -> None:
        """Accept no more, and drop those that have no protocol yet."""
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one.fileno())
                one.close()
        for task in self._opening:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no connection can be accepted for a while: %s", error)
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(REST_SECONDS, self._resume, listening)
                return
            if len(self._opening) >= HANDSHAKES_MAX:
                self.refused += 1
                connection.close()
                continue
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    async def _open(self, connection: socket.socket) -> None:
        """From a bare socket to a connection with a protocol, or to its end."""
        deadline = self._loop.time() + self._seconds
        try:
            connection.setblocking(False)
            secure = await self._first_byte(connection, deadline) == HANDSHAKE
            if secure:
                # A handshake that ends in time leaves a moment of the deadline, one that does not has none to spend.
                await self._loop.connect_accepted_socket(
                    lambda: self._make(True, deadline),
                    connection,
                    ssl=self._certificates.context,
                    ssl_handshake_timeout=max(0.001, deadline - self._loop.time()),
                )
            else:
                # One that has said nothing as well: its protocol tells it that its time is over.
                await self._loop.connect_accepted_socket(lambda: self._make(False, deadline), connection)
        except OSError as error:
            log.debug("a connection ended before its first command: %s", error)
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _first_byte(self, connection: socket.socket, deadline: float) -> int | None:
        """The first byte, which stays unread; None when there is none in time, or the peer has ended."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        first = connection.recv(1, socket.MSG_PEEK)
                    except (BlockingIOError, InterruptedError):
                        await self._readable(connection)
                    else:
                        return first[0] if first else None
        except TimeoutError:
            return None

    async def _readable(self, connection: socket.socket) -> None:
        number = connection.fileno()
        future: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(number, _told, future)
        try:
            await future
        finally:
            self._loop.remove_reader(number)


def _told(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets for all addresses of a name, bound and not yet listening. OSError when one is taken or not ours."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets
