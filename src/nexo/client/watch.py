"""Watches: the changes of keys as they happen, resumed from the last one seen after a reconnection.

Owns what is watched and from where each watch would go on. Layouts: docs/protocol.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final, Literal, Self

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.frames import U32, Reader, string, u64
from nexo.client.inbox import Inbox
from nexo.errors import ConnectionClosedError, NexoError, NotConnectedError, ProtocolError, ServerError
from nexo.limits import CHANGES_BYTES_MAX, CHANGES_MAX
from nexo.protocols.native import opcodes as op

Kind = Literal["set", "deleted", "expired", "evicted"]
KINDS: Final[dict[int, Kind]] = {
    op.CHANGE_SET: "set",
    op.CHANGE_DELETED: "deleted",
    op.CHANGE_EXPIRED: "expired",
    op.CHANGE_EVICTED: "evicted",
}


class Change:
    """One change of one key: `kind` is "set", "deleted", "expired" or "evicted".

    `expires_at_ms` is a Unix time in milliseconds or None, of a key that was set.
    """

    __slots__ = ("_type", "_value", "expires_at_ms", "key", "kind", "version")

    def __init__(
        self, kind: Kind, key: str, version: int, expires_at_ms: int | None, value: bytes, type: Any
    ) -> None:
        self.kind: Kind = kind
        self.key = key
        self.version = version
        self.expires_at_ms = expires_at_ms
        self._value = value
        self._type = type

    @property
    def value(self) -> Any:
        """What the key was set to; None if it was not set. InvalidArgumentError when it is not of the
        watch's type."""
        return values.decode(self._value, self._type) if self._value else None

    @property
    def topic(self) -> str:
        """The key, under the name that an inbox knows."""
        return self.key

    @property
    def size_bytes(self) -> int:
        """What it takes of an inbox's bound."""
        return len(self.key) + len(self._value)

    def __repr__(self) -> str:
        return f"Change(kind={self.kind!r}, key={self.key!r}, version={self.version})"


class Watch:
    """The changes of a key or a prefix: `async with` it, then iterate over it. Awaiting it starts it, too.

    Every change is given once, in the order of their versions. After a reconnection the watch goes on
    from the last change it has received; when the server no longer has all that happened since, its
    consumer gets a TooOldError. A consumer that lets 65,536 changes or 64 MiB wait gets a
    SlowConsumerError after those: it may watch again from the last version it has seen.
    """

    def __init__(self, watches: Watches, watcher: Watcher) -> None:
        self._watches = watches
        self._watcher = watcher

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if not self._watcher.started:
            self._watcher.started = True
            await self._watches.start(self._watcher)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        await self
        return await self._watcher.inbox.get()

    async def stop(self) -> None:
        """Watch no longer; the iteration ends, and what waited is forgotten."""
        self._watcher.started = True
        self._watcher.inbox.clear()
        self._watcher.inbox.end()
        await self._watches.stop(self._watcher)


class Watcher:
    """A watch as Watches has it: what it asks for, how far it has come, what waits for its consumer."""

    def __init__(self, key: str, prefix: bool, from_version: int | None, type: Any) -> None:
        self.started = False
        self.standing = False
        self.correlation = 0
        self.inbox: Inbox[Change] = Inbox(CHANGES_MAX, CHANGES_BYTES_MAX, op.DISCONNECT, lambda _: None)
        self._name = string(key)
        self._prefix = prefix
        self._type = type
        self._after = from_version

    def request(self) -> bytes:
        """The payload of MAP_WATCH, from where this watch stands."""
        flags = self._prefix * op.WATCH_PREFIX
        if self._after is None:
            return self._name + bytes((flags,))
        return self._name + bytes((flags | op.WATCH_FROM,)) + u64(self._after, "a version")

    def began(self, version: int) -> None:
        """The server watches; without a version to go on from, from this one."""
        self.standing = True
        if self._after is None:
            self._after = version

    def take(self, reader: Reader) -> None:
        """Take the changes in an event."""
        for _ in range(reader.u32()):
            kind, version, key = reader.u8(), reader.u64(), reader.string()
            expires_at, value = reader.u64(), reader.prefixed()
            if kind not in KINDS:
                raise ProtocolError(f"the server sent a change of unknown kind {kind}")
            self.inbox.put(Change(KINDS[kind], key, version, expires_at or None, value, self._type))
            self._after = version


class Watches:
    """All watches of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._running: dict[int, Watcher] = {}

    async def start(self, watch: Watcher) -> None:
        """Ask the server to watch. TooOldError when it cannot go on from the version."""
        connection = self._connection
        watch.correlation = correlation = connection.reserve()
        # Known before the answer is: the first event may come in the same chunk.
        self._running[correlation] = watch
        started = False
        try:
            reply = await connection.call(op.MAP_WATCH, watch.request(), correlation=correlation)
            watch.began(Reader(reply or b"").u64())
            started = True
        finally:
            if not started:
                self.give_up(watch)

    async def stop(self, watch: Watcher) -> None:
        """Tell the server, if it watches."""
        if self._drop(watch) and self._connection.link is not None:
            try:
                await self._connection.call(op.MAP_UNWATCH, U32.pack(watch.correlation))
            except (ServerError, ConnectionClosedError, NotConnectedError):
                return  # it does not watch any more, which is what was wanted

    def give_up(self, watch: Watcher) -> None:
        """As `stop`, without waiting for the answer."""
        if self._drop(watch):
            self._connection.post(op.MAP_UNWATCH, U32.pack(watch.correlation))

    def _drop(self, watch: Watcher) -> bool:
        """Forget a watch; False when that was done before."""
        if self._running.pop(watch.correlation, None) is None:
            return False
        self._connection.release(watch.correlation)
        return True

    # For the connection.

    def received(self, kind: int, code: int, correlation: int, payload: bytes) -> bool:
        """Take an event of a watch; one for a watch that has just been stopped is dropped."""
        if kind != op.EVENT or code != op.MAP_WATCH:
            return False
        watch = self._running.get(correlation)
        if watch is not None:
            watch.take(Reader(payload))
            if watch.inbox.ended:
                self.give_up(watch)
        return True

    async def restore(self, connection: Connection) -> int:
        """Watch again what was watched; how many watches that were."""
        standing = [watch for watch in self._running.values() if watch.standing]
        answers = await asyncio.gather(
            *(connection.restoring(op.MAP_WATCH, watch.request(), watch.correlation) for watch in standing),
            return_exceptions=True,
        )
        restored = 0
        for watch, answer in zip(standing, answers, strict=True):
            if isinstance(answer, ServerError):
                # TooOldError above all: the consumer alone can decide what to do.
                self._drop(watch)
                watch.inbox.end(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                watch.began(Reader(answer or b"").u64())
                restored += 1
        return restored

    def lost(self, error: ServerError | None) -> None:
        """The watches are told what they miss when there is a connection again."""

    def closed(self, error: NexoError | None) -> None:
        """End all watches."""
        running, self._running = self._running, {}
        for watch in running.values():
            watch.inbox.end(error)
