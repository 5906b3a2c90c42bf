"""What protocols ask of a server as such for the people who run it, and what a node alone can answer.

The server has the implementation of the rest. Knows no protocol: an answer is a value that JSON can say.
"""

from __future__ import annotations

from heapq import nlargest
from itertools import islice
from typing import Any, Final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.queue.queue import Queue
from nexo.brokers.stream.stream import Stream
from nexo.errors import NotAvailableError
from nexo.limits import TOP_LOOKED_AT_MAX
from nexo.node import Node
from nexo.protocols.session import Output, Session

HTTP: Final = "http"
"""The protocol of connections that have no session."""
EMBEDDED: Final = "this broker is embedded in a program: it has no "


def totals(node: Node) -> dict[str, object]:
    """What each broker holds, and what it has done since the start."""
    store, pubsub = node.store, node.pubsub
    queues, streams = node.queues.counts(), node.streams.counts()
    return {
        "store": {
            "keys": len(store),
            "version": int(store.version),
            "expired": int(store.expired),
            "evicted": int(store.evicted),
            "rejected": int(store.rejected),
        },
        "queues": {
            "queues": len(node.queues),
            "ready": int(queues.ready),
            "leased": int(queues.leased),
            "delayed": int(queues.delayed),
            "held": int(queues.held),
            "dead": int(queues.dead_letters),
            "waiting": int(queues.waiting),
            "bytes": int(queues.bytes),
            "pushed": int(queues.done.pushed),
            "delivered": int(queues.done.delivered),
            "redelivered": int(queues.done.redelivered),
            "acked": int(queues.done.acked),
            "nacked": int(queues.done.nacked),
            "expired": int(queues.done.expired),
            "died": int(queues.done.dead),
            "dropped": int(queues.done.dropped),
            "redriven": int(queues.done.redriven),
        },
        "pubsub": {
            "subscriptions": int(pubsub.subscriptions),
            "retained": int(pubsub.retained_count),
            "published": int(pubsub.published),
            "delivered": int(pubsub.delivered),
            "dropped": int(pubsub.dropped),
            "no_receiver": int(pubsub.no_receiver),
        },
        "streams": {
            "streams": int(streams.streams),
            "records": int(streams.records),
            "bytes": int(streams.bytes),
            "groups": int(streams.groups),
            "members": int(streams.members),
            "pending": int(streams.leased),
            "dead": int(streams.dead_letters),
            "appended": int(streams.appended),
            "delivered": int(streams.done.delivered),
            "redelivered": int(streams.done.redelivered),
            "acked": int(streams.done.acked),
            "nacked": int(streams.done.nacked),
            "expired": int(streams.done.expired),
            "missed": int(streams.done.missed),
        },
    }


def described(
    session: Session | None, output: Output, id: int, address: str, since: i64
) -> dict[str, object]:
    """A connection: who it is, what it has moved, and what waits for it; without a session it is one of HTTP.

    Times are node time in ms.
    """
    if session is None:
        return {
            "id": id,
            "protocol": HTTP,
            "address": address,
            "account": "",
            "name": "",
            "since": int(since),
            "subscriptions": 0,
            "received_bytes": 0,
            "sent_bytes": 0,
            "pending_bytes": output.get_write_buffer_size(),
            "dropped": 0,
            "blocked": False,
        }
    subscriptions = session.subscriptions.values()
    return {
        "id": id,
        "protocol": session.protocol,
        "address": address,
        "account": session.login.account,
        "name": session.name.decode(errors="replace"),
        "since": int(since),
        "subscriptions": len(subscriptions),
        "received_bytes": int(session.received_bytes),
        "sent_bytes": int(session.sent_bytes),
        "pending_bytes": int(session.outbox.bytes) + output.get_write_buffer_size(),
        "dropped": sum([int(one.dropped) for one in subscriptions]),
        "blocked": session.blocked,
    }


def queue_activity(queue: Queue) -> int:
    counters = queue.parts.counters
    return int(counters.pushed + counters.delivered)


def stream_activity(stream: Stream) -> int:
    return int(stream.last_seq) + delivered(stream)


def delivered(stream: Stream) -> int:
    return sum([int(group.delivered) for group in stream.groups.values()])


def busiest_queues(node: Node, limit: i64) -> list[dict[str, object]]:
    """The queues that have moved most since the start, and their counters: rates are differences of two answers."""
    queues = node.queues
    found = nlargest(limit, [queues.find(name) for name in queues.names()], key=queue_activity)
    return [
        {
            "name": queue.name.decode(errors="replace"),
            "ready": int(queue.parts.backlog.ready.count),
            "leased": int(queue.parts.leases.count),
            "dead": len(queue.parts.dead),
            "pushed": int(queue.parts.counters.pushed),
            "delivered": int(queue.parts.counters.delivered),
            "acked": int(queue.parts.counters.acked),
        }
        for queue in found
    ]


def busiest_streams(node: Node, limit: i64) -> list[dict[str, object]]:
    """As `busiest_queues`, of streams; `appended` is the last sequence."""
    streams = node.streams
    found = nlargest(limit, [streams.find(name) for name in streams.names()], key=stream_activity)
    return [
        {
            "name": stream.name.decode(errors="replace"),
            "records": int(max(0, stream.last_seq - stream.first_seq + 1)),
            "bytes": int(stream.blocks.bytes),
            "groups": len(stream.groups),
            "appended": int(stream.last_seq),
            "delivered": delivered(stream),
        }
        for stream in found
    ]


def busiest_topics(node: Node, limit: i64) -> list[dict[str, object]]:
    """Filters that somebody subscribes to, those with most waiting first. Messages are not counted by topic."""
    pubsub = node.pubsub
    found: list[tuple[int, int, bytes]] = []
    # A topic's audience is looked up one by one, so not for more than a turn has time for.
    for name in islice(pubsub.filters(), TOP_LOOKED_AT_MAX):
        audience = pubsub.audience(name)
        found.append((int(audience.pending_bytes), int(audience.subscribers), name))
    found.sort(reverse=True)
    shown: list[dict[str, object]] = []
    for pending, subscribers, name in found[:limit]:
        shown.append(
            {
                "name": name.decode(errors="replace"),
                "subscribers": subscribers,
                "pending_bytes": pending,
                "dropped": int(pubsub.audience(name).dropped),
            }
        )
    return shown


@mypyc_attr(allow_interpreted_subclasses=True)
class Operations:
    """The server as its operators see it. This one is of a node alone, in a program: no process, no port."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def status(self) -> dict[str, Any]:
        """The whole server in one document; of a node alone, its brokers."""
        reasons = [self.node.fault] if self.node.fault else []
        return {"at": int(self.node.now), "ready": not reasons, "reasons": reasons, **totals(self.node)}

    def top(self, limit: i64) -> dict[str, Any]:
        """The status, and the busiest of each kind, at most `limit` of them."""
        return {
            "status": self.status(),
            "queues": busiest_queues(self.node, limit),
            "streams": busiest_streams(self.node, limit),
            "topics": busiest_topics(self.node, limit),
            "clients": self.busiest_clients(limit),
        }

    def busiest_clients(self, limit: i64) -> list[dict[str, object]]:
        """Connections that have moved most bytes."""
        return []

    def connections(self, after: i64, limit: i64, filter: str) -> tuple[list[dict[str, object]], bool]:
        """Connections with greater ids, the oldest first, and whether there are more. `filter` is a part of the
        name, address or protocol.
        """
        raise NotAvailableError(EMBEDDED + "connections")

    def connection(self, id: i64) -> dict[str, object]:
        """One connection. Raises ResourceNotFoundError."""
        raise NotAvailableError(EMBEDDED + "connections")

    def close(self, id: i64) -> None:
        """Close a connection in order. Raises ResourceNotFoundError."""
        raise NotAvailableError(EMBEDDED + "connections")

    def config(self) -> list[dict[str, object]]:
        """The settings in force, and where each comes from."""
        raise NotAvailableError(EMBEDDED + "configuration")
