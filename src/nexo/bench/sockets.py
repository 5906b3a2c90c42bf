"""Connections of the load generator: opened blocking and checked, then non-blocking under load.

Knows bytes and sockets; not what they mean.
"""

from __future__ import annotations

import select
import socket
from typing import Final, final

from mypy_extensions import i64

from nexo.bench.dialects import BenchError, Dialect
from nexo.bench.wires import Wire

CONNECT_SECONDS_MAX: Final = 10.0
READ: Final = 0x001 | 0x010  # EPOLLIN, EPOLLHUP
WRITE: Final = 0x004  # EPOLLOUT


@final
class Connection:
    """One socket with what it still has to send and what it is waiting for."""

    __slots__ = ("fd", "outstanding", "received", "recv", "rest", "send", "sent_at", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        # Bound once: looking a method up costs as much as the rest of the loop around it.
        self.send = sock.send
        self.recv = sock.recv
        self.outstanding: i64 = 0
        self.sent_at: i64 = 0
        self.received: i64 = 0
        self.rest = b""
        self.unsent = b""

    def close(self) -> None:
        """Give the socket back."""
        self.sock.close()


def open_connection(host: str, port: int) -> Connection:
    """Connect, and say nothing."""
    try:
        sock = socket.create_connection((host, port), CONNECT_SECONDS_MAX)
    except OSError as error:
        raise BenchError(f"cannot connect to {host}:{port}: {error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(sock)


def connect(dialect: Dialect, host: str, port: int) -> Connection:
    """Connect, greet, and wait until the server is ready for this connection."""
    connection = open_connection(host, port)
    sock = connection.sock
    greeting = dialect.greeting()
    if greeting:
        sock.sendall(greeting)
        answer = b""
        while not answer.endswith(dialect.greeting_end()):
            answer += _receive(connection, 4096)
    return connection


def connect_many(dialect: Dialect, host: str, port: int, count: int) -> list[Connection]:
    """`count` connections, or BenchError with none left open."""
    connections: list[Connection] = []
    try:
        for _ in range(count):
            connections.append(connect(dialect, host, port))
    except BenchError:
        close_all(connections)
        raise
    return connections


def close_all(connections: list[Connection]) -> None:
    """Close every connection."""
    for connection in connections:
        connection.close()


def expect(connection: Connection, request: bytes, reply: bytes) -> None:
    """Send a request on a connection that is idle and blocking; its reply must be exactly `reply`."""
    connection.sock.sendall(request)
    answer = b""
    while len(answer) < len(reply):
        answer += _receive(connection, len(reply) - len(answer))
        if not reply.startswith(answer):
            raise BenchError(f"unexpected reply {answer[:200]!r}, not {reply[:200]!r}")


def exchange(connection: Connection, wire: Wire, steps: list[tuple[bytes, bytes]]) -> None:
    """Say each of these on a connection that is idle and blocking, and wait for its answer."""
    for request, wanted in steps:
        connection.sock.sendall(request)
        answer = b""
        while not answer or not wire.answered(answer, wanted):
            answer += _receive(connection, 65_536)


def _receive(connection: Connection, size: int) -> bytes:
    try:
        data = connection.recv(size)
    except TimeoutError:
        raise BenchError("the server did not answer in time") from None
    if not data:
        raise BenchError("the server closed the connection")
    return data


def push(poller: select.epoll, connection: Connection, data: bytes) -> None:
    """Send without waiting; what the kernel does not take waits for `push_rest`."""
    try:
        sent = connection.send(data)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        connection.unsent = data[sent:]
        poller.modify(connection.fd, READ | WRITE)


def push_more(poller: select.epoll, connection: Connection, data: bytes) -> None:
    """As `push`, behind what is still unsent."""
    if connection.unsent:
        connection.unsent += data
    else:
        push(poller, connection, data)


def push_rest(poller: select.epoll, connection: Connection) -> bool:
    """Send what waits; True when nothing is left of it."""
    if connection.unsent:
        try:
            sent = connection.send(connection.unsent)
        except BlockingIOError:
            return False
        connection.unsent = connection.unsent[sent:]
        if connection.unsent:
            return False
        poller.modify(connection.fd, READ)
    return True


def poller(connections: list[Connection]) -> select.epoll:
    """Make the connections non-blocking and watch them for input."""
    found = select.epoll()
    for connection in connections:
        connection.sock.setblocking(False)
        found.register(connection.fd, READ)
    return found


def by_fd(connections: list[Connection]) -> list[Connection]:
    """A table from file descriptor to connection; unused places hold the first connection."""
    table = [connections[0]] * (max(connection.fd for connection in connections) + 1)
    for connection in connections:
        table[connection.fd] = connection
    return table
