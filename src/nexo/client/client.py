"""The client: one connection, and the brokers behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from os import PathLike, fspath
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self, TypeVar

from nexo.client.backupinfo import Backup, BackupProgress
from nexo.client.batch import Batch
from nexo.client.connection import Connection
from nexo.client.dialing import Dialer, Reconnect, SocketDialer
from nexo.client.events import Announcer, Event, Events
from nexo.client.greeting import Credentials
from nexo.client.opening import Opening
from nexo.client.pubsub import PubSub
from nexo.client.queues import Queues
from nexo.client.routing import Router
from nexo.client.server import Server
from nexo.client.store import Store
from nexo.client.streams import Streams
from nexo.client.tls import Tls, handshakes
from nexo.client.watch import Watches
from nexo.errors import InvalidArgumentError
from nexo.protocols.native import opcodes as op

C = TypeVar("C", bound="Client")

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7654
DEFAULT_TIMEOUT_SECONDS: Final = 10.0


class Client:
    """A connection to a Nexo server, which any number of tasks may use at once. `connect` makes it.

    `store`, `pubsub`, `queue` and `stream` are the brokers, `batch` is for several of them together; `server` is
        the server as such; `events` tells of connections that are lost and found again,
    and of alarms of the server.
    """

    def __init__(self, connection: Connection, announcer: Announcer) -> None:
        router = Router(connection)
        watches = Watches(connection)
        connection.restorers = (router, watches)
        self._connection = connection
        self.events = Events(announcer)
        self.store = Store(connection, watches)
        self.pubsub = PubSub(connection, router)
        self.queue = Queues(connection)
        self.stream = Streams(connection)
        self.server = Server(connection)

    @classmethod
    def connect(
        cls,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        tls: bool | SSLContext | Tls = False,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        name: str = "",
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        reconnect: bool | Reconnect = True,
        on_event: Callable[[Event], Awaitable[None] | None] | None = None,
    ) -> Opening[Client]:
        """As `nexo.connect`."""
        return connect(
            host=host,
            port=port,
            tls=tls,
            timeout=timeout,
            name=name,
            user=user,
            password=password,
            token=token,
            reconnect=reconnect,
            on_event=on_event,
        )

    def batch(self) -> Batch:
        """Writes to several brokers that are done together, all of them or none: `async with` it."""
        return Batch(self._connection)

    async def ping(self) -> None:
        """Wait for an answer of the server: it is there, and has done everything sent before."""
        await self._connection.call(op.PING, b"")

    async def backup(
        self,
        path: str | PathLike[str],
        *,
        on_progress: Callable[[BackupProgress], Awaitable[None] | None] | None = None,
    ) -> Backup:
        """Make a backup of the server's data directory in a file of ours, while the server goes on.

        It holds everything that was confirmed before the call. `path` is a file that is not there yet, or a
        directory, in which the file gets the name `nexo-TIME-BATCH.tar`. Every byte is checked on its way, and the
        file is on disk when this returns; else there is none. `nexo restore` takes it. `on_progress` is called
        with a BackupProgress, at most ten times a second. Needs crc32c, as the server does.

        StorageError when a disk refuses, theirs or ours, or when the file is there already; NotAvailableError from
        a broker that keeps nothing on disk; LimitExceededError while too many backups are under way.
        """
        # Imported here so that a client that makes none needs msgspec alone.
        from nexo.client.backup import pull

        return await pull(self._connection, fspath(path), on_progress)

    async def close(self) -> None:
        """Let what was written leave, then end. Calls fail with ConnectionClosedError from now on.

        Subscriptions and watches end. Closing twice does nothing.
        """
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open_client(
    make: Callable[[Connection, Announcer], C],
    dialer: Dialer,
    *,
    timeout: float,
    name: str,
    credentials: Credentials,
    reconnect: Reconnect | None,
    on_event: Callable[[Event], Awaitable[None] | None] | None,
) -> C:
    """A client whose first connection stands. Errors as `connect`."""
    announcer = Announcer(on_event)
    connection = Connection(
        dialer, announcer, timeout=timeout, name=name, credentials=credentials, reconnect=reconnect
    )
    client = make(connection, announcer)
    await connection.open()
    return client


def connect(
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    tls: bool | SSLContext | Tls = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    name: str = "",
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    reconnect: bool | Reconnect = True,
    on_event: Callable[[Event], Awaitable[None] | None] | None = None,
) -> Opening[Client]:
    """A client of the server at `host` and `port`: `await` it, or `async with` it.

    `tls` True makes it a TLS connection, to a server whose certificate the system trusts; a Tls says more, an
    SSLContext everything. `timeout`, in seconds, bounds the first connection and each call. A lost connection is sought again
    for ever; a Reconnect says how, False not to. With False the first attempt to connect must succeed,
    else attempts are made until the timeout. `name` is what the server's log calls the client. `user` and
    `password`, or `token`, say who it is. `on_event` is called with Connected, Disconnected, Reconnected
    and Alarm.

    NotConnectedError when there is no connection in time, NotAuthorizedError for wrong credentials,
    InvalidArgumentError for a timeout that is none, and for files of `tls` that cannot be used.
    """
    credentials = Credentials(user, password, token)
    policy = reconnect if isinstance(reconnect, Reconnect) else Reconnect() if reconnect else None
    if not timeout > 0:
        raise InvalidArgumentError(f"a timeout of {timeout} s")
    dialer = SocketDialer(host, port, handshakes(tls, host))

    async def open() -> Client:
        return await open_client(
            Client,
            dialer,
            timeout=timeout,
            name=name,
            credentials=credentials,
            reconnect=policy,
            on_event=on_event,
        )

    return Opening(open)
