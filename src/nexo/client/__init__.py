"""The SDK: an async client, the source of truth; a blocking one generated from it; one without a socket.

    frames, values      bytes to frames and Python objects, and back
    link                one connection: writes gathered, answers matched with calls
    connection          the lasting one: timeouts, reconnection, what has to be restored
    store, watch        the store's commands and watches
    pubsub, routing, …  publish, subscribe, request and reply

Needs the standard library and msgspec. Knows the numbers of the protocol and the errors, nothing else of the
server; only `embedded` holds a real one.
"""

from __future__ import annotations

from nexo.client.client import Client, connect
from nexo.client.dialing import Reconnect
from nexo.client.entries import Count, Entry, Scanned, Written
from nexo.client.events import Connected, Disconnected, Event, Events, Reconnected
from nexo.client.greeting import ServerInfo
from nexo.client.message import Message
from nexo.client.pubsub import Pattern, PubSub, Topic
from nexo.client.store import Map, Store
from nexo.client.subscription import Subscription
from nexo.client.values import Headers
from nexo.client.watch import Change, Watch

__all__ = [
    "Change",
    "Client",
    "Connected",
    "Count",
    "Disconnected",
    "Entry",
    "Event",
    "Events",
    "Headers",
    "Map",
    "Message",
    "Pattern",
    "PubSub",
    "Reconnect",
    "Reconnected",
    "Scanned",
    "ServerInfo",
    "Store",
    "Subscription",
    "Topic",
    "Watch",
    "Written",
    "connect",
]
