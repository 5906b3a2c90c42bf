"""The SDK: an async client, the source of truth; a blocking one generated from it; one without a socket.

    frames, values      bytes to frames and Python objects, and back
    link                one connection: writes gathered, answers matched with calls
    connection          the lasting one: timeouts, reconnection, what has to be restored
    store, watch        the store's commands and watches
    pubsub, routing, …  publish, subscribe, request and reply
    queues, queue, job, leases, dlq         push, receive, consume, dead letters
    streams, stream, record, producer       publish and read
    group, member                           consumer groups
    lending, delivery, iterating, running   what consumers of both have in common
    batch, outcome      writes that are done together; writes: the payloads that they share with single ones
    worker              a program that handles jobs until it is told to end
    server, serverinfo  the server as such, for those who run it
    backup, backupinfo  a backup of the server, pulled into a file

Needs the standard library and msgspec. Knows the numbers of the protocol and the errors, nothing else of the
server; only `embedded` holds a real one, and `backup` knows the storage's archives.
"""

from __future__ import annotations

from nexo.client.backupinfo import Backup, BackupProgress
from nexo.client.batch import Batch, BatchMap, BatchPubSub, BatchQueue, BatchStore, BatchStream
from nexo.client.client import Client, connect
from nexo.client.dialing import Reconnect
from nexo.client.dlq import DLQ
from nexo.client.entries import Count, Entry, MapCreated, MapInfo, Scanned, Written
from nexo.client.events import Alarm, Connected, Disconnected, Event, Events, Reconnected
from nexo.client.group import DLS, Group, GroupConsumer, GroupMessages
from nexo.client.job import Job
from nexo.client.member import GroupMessage
from nexo.client.message import Message
from nexo.client.outcome import Outcome
from nexo.client.producer import Producer
from nexo.client.pubsub import Pattern, PubSub, Topic
from nexo.client.queue import JobConsumer, Jobs, Queue
from nexo.client.queueinfo import (
    DeadLetter,
    DeadLetters,
    Push,
    Pushed,
    QueueDefinition,
    QueueInfo,
    Redriven,
    StoredMessage,
)
from nexo.client.queues import Queues
from nexo.client.record import Record
from nexo.client.server import Server
from nexo.client.serverinfo import (
    BusyQueue,
    BusyStream,
    BusyTopic,
    ConnectionInfo,
    ServerStatus,
    SettingInfo,
    StatusAlarm,
    Top,
)
from nexo.client.store import Map, Store
from nexo.client.stream import Stream
from nexo.client.streaminfo import (
    DeadRecord,
    GroupInfo,
    Lag,
    Last,
    Publish,
    StreamDefinition,
    StreamInfo,
    last,
)
from nexo.client.streams import Streams
from nexo.client.subscription import Subscription
from nexo.client.tls import Tls
from nexo.client.values import Headers
from nexo.client.watch import Change, Watch
from nexo.client.worker import Worker

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
    "BatchStore",
    "BatchStream",
    "BusyQueue",
    "BusyStream",
    "BusyTopic",
    "Change",
    "Client",
    "Connected",
    "ConnectionInfo",
    "Count",
    "DeadLetter",
    "DeadLetters",
    "DeadRecord",
    "Disconnected",
    "Entry",
    "Event",
    "Events",
    "Group",
    "GroupConsumer",
    "GroupInfo",
    "GroupMessage",
    "GroupMessages",
    "Headers",
    "Job",
    "JobConsumer",
    "Jobs",
    "Lag",
    "Last",
    "Map",
    "MapCreated",
    "MapInfo",
    "Message",
    "Outcome",
    "Pattern",
    "Producer",
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
    "Scanned",
    "Server",
    "ServerStatus",
    "SettingInfo",
    "StatusAlarm",
    "Store",
    "StoredMessage",
    "Stream",
    "StreamDefinition",
    "StreamInfo",
    "Streams",
    "Subscription",
    "Tls",
    "Top",
    "Topic",
    "Watch",
    "Worker",
    "Written",
    "connect",
    "last",
]
