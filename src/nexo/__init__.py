"""Nexo: one process, four brokers, one port. This is what a program imports.

    import asyncio, nexo

    async def main() -> None:
        async with nexo.connect() as client:
            await client.store.map.set("user:7", {"name": "Ada"}, ttl=60)
            print(await client.store.map.get("user:7"))

    asyncio.run(main())

`nexo.connect` is the async client, `nexo.blocking.connect` the same for programs without an event loop, and
`nexo.embedded` the same with a broker of its own and no socket, for tests. docs/sdk.md has more.

Needs msgspec and the standard library. The client is imported when it is first used: the server and
`nexo --help` do without it.
"""

from __future__ import annotations

from nexo import _pure  # noqa: F401  # first: it decides how everything after it is imported

# isort: split
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nexo._version import __version__
from nexo.errors import (
    AlarmError,
    BatchRefusedError,
    ConfigError,
    ConnectionClosedError,
    FencedError,
    InternalError,
    InvalidArgumentError,
    LimitExceededError,
    MemoryLimitError,
    NexoError,
    NoRespondersError,
    NotAuthorizedError,
    NotAvailableError,
    NotConnectedError,
    NotMemberError,
    PreconditionFailedError,
    ProtocolError,
    ReplyTimeoutError,
    RequestTimeoutError,
    ResourceConfigConflictError,
    ResourceNotFoundError,
    SequenceMismatchError,
    ServerError,
    SlowConsumerError,
    StorageError,
    TooOldError,
    VersionMismatchError,
)

if TYPE_CHECKING:
    from nexo.client import (
        DLQ,
        DLS,
        Alarm,
        Backup,
        BackupProgress,
        Batch,
        BatchMap,
        BatchPubSub,
        BatchQueue,
        BatchStore,
        BatchStream,
        BusyQueue,
        BusyStream,
        BusyTopic,
        Change,
        Client,
        Connected,
        ConnectionInfo,
        Count,
        DeadLetter,
        DeadLetters,
        DeadRecord,
        Disconnected,
        Entry,
        Event,
        Events,
        Group,
        GroupConsumer,
        GroupInfo,
        GroupMessage,
        GroupMessages,
        Headers,
        Job,
        JobConsumer,
        Jobs,
        Lag,
        Last,
        Map,
        MapCreated,
        MapInfo,
        Message,
        Outcome,
        Pattern,
        Producer,
        Publish,
        PubSub,
        Push,
        Pushed,
        Queue,
        QueueDefinition,
        QueueInfo,
        Queues,
        Reconnect,
        Reconnected,
        Record,
        Redriven,
        Scanned,
        Server,
        ServerStatus,
        SettingInfo,
        StatusAlarm,
        Store,
        StoredMessage,
        Stream,
        StreamDefinition,
        StreamInfo,
        Streams,
        Subscription,
        Tls,
        Top,
        Topic,
        Watch,
        Worker,
        Written,
        blocking,
        connect,
        last,
    )
    from nexo.client.embedded import EmbeddedClient
    from nexo.client.opening import Opening

__all__ = [
    "DLQ",
    "DLS",
    "Alarm",
    "AlarmError",
    "Backup",
    "BackupProgress",
    "Batch",
    "BatchMap",
    "BatchPubSub",
    "BatchQueue",
    "BatchRefusedError",
    "BatchStore",
    "BatchStream",
    "BusyQueue",
    "BusyStream",
    "BusyTopic",
    "Change",
    "Client",
    "ConfigError",
    "Connected",
    "ConnectionClosedError",
    "ConnectionInfo",
    "Count",
    "DeadLetter",
    "DeadLetters",
    "DeadRecord",
    "Disconnected",
    "Entry",
    "Event",
    "Events",
    "FencedError",
    "Group",
    "GroupConsumer",
    "GroupInfo",
    "GroupMessage",
    "GroupMessages",
    "Headers",
    "InternalError",
    "InvalidArgumentError",
    "Job",
    "JobConsumer",
    "Jobs",
    "Lag",
    "Last",
    "LimitExceededError",
    "Map",
    "MapCreated",
    "MapInfo",
    "MemoryLimitError",
    "Message",
    "NexoError",
    "NoRespondersError",
    "NotAuthorizedError",
    "NotAvailableError",
    "NotConnectedError",
    "NotMemberError",
    "Outcome",
    "Pattern",
    "PreconditionFailedError",
    "Producer",
    "ProtocolError",
    "PubSub",
    "Publish",
    "Push",
    "Pushed",
    "Queue",
    "QueueDefinition",
    "QueueInfo",
    "Queues",
    "Reconnect",
    "Reconnected",
    "Record",
    "Redriven",
    "ReplyTimeoutError",
    "RequestTimeoutError",
    "ResourceConfigConflictError",
    "ResourceNotFoundError",
    "Scanned",
    "SequenceMismatchError",
    "Server",
    "ServerError",
    "ServerStatus",
    "SettingInfo",
    "SlowConsumerError",
    "StatusAlarm",
    "StorageError",
    "Store",
    "StoredMessage",
    "Stream",
    "StreamDefinition",
    "StreamInfo",
    "Streams",
    "Subscription",
    "Tls",
    "TooOldError",
    "Top",
    "Topic",
    "VersionMismatchError",
    "Watch",
    "Worker",
    "Written",
    "__version__",
    "blocking",
    "connect",
    "embedded",
    "last",
]


def embedded(
    *,
    now: Callable[[], int] | None = None,
    timeout: float = 10.0,
    name: str = "",
    on_event: Callable[[Event], Awaitable[None] | None] | None = None,
) -> Opening[EmbeddedClient]:
    """A client with a broker of its own in this process, and no socket: `await` it, or `async with` it.

    Its `connect` gives further clients of the same broker. `now` returns Unix time in milliseconds and
    never goes back: with it a test decides when keys expire. The other parameters are those of `connect`.
    Needs what the server needs (librt, mypy_extensions).
    """
    from nexo.client.embedded import open_embedded

    return open_embedded(now=now, timeout=timeout, name=name, on_event=on_event)


def __getattr__(name: str) -> Any:
    """The client's names, imported at their first use."""
    if name == "blocking":
        found: Any = import_module("nexo.client.blocking")
    elif name in __all__:
        found = getattr(import_module("nexo.client"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
