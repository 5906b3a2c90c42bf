"""How a client reaches a server, and how often it tries."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Protocol

import msgspec

from nexo.client.link import Link
from nexo.client.tls import Handshakes, tls_reason


class Reconnect(msgspec.Struct, frozen=True, kw_only=True):
    """How a lost connection is sought again: waits that double, drawn at random below that (full jitter).

    `first_seconds` bounds the first wait, `longest_seconds` every other; `attempts_max` None is for ever.
    """

    first_seconds: float = 0.05
    longest_seconds: float = 5.0
    attempts_max: int | None = None

    def wait_seconds(self, attempt: int) -> float:
        """The wait before another attempt; they are counted from 0."""
        return random.uniform(0, min(self.longest_seconds, self.first_seconds * 2 ** min(attempt, 32)))


class Dialer(Protocol):
    """Makes transports to one server."""

    address: str

    async def dial(self, link: Link) -> None:
        """Connect a link. OSError when that fails."""


class SocketDialer:
    """Connects to a host and a port; a name with several addresses is tried one after another."""

    def __init__(self, host: str, port: int, tls: Handshakes | None = None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def dial(self, link: Link) -> None:
        """Connect a link. OSError when that fails."""
        loop = asyncio.get_running_loop()
        if self._tls is None:
            await loop.create_connection(lambda: link, self._host, self._port)
        else:
            await loop.create_connection(
                lambda: link,
                self._host,
                self._port,
                ssl=self._tls.context,
                server_hostname=self._tls.server_hostname,
            )


def reason_of(error: Exception) -> str:
    """Why an attempt failed, in words for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    return str(error) or type(error).__name__
