"""The server as such: what it is, how it does, who is connected. Layout: docs/protocol.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from nexo.client.connection import Connection
from nexo.client.frames import string
from nexo.client.queueinfo import admin_answer
from nexo.client.serverinfo import ConnectionInfo, ConnectionPage, ServerStatus, SettingInfo, Top
from nexo.protocols.native import opcodes as op


class Server:
    """The server of a client, for those who run it. What an embedded broker has not raises NotAvailableError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def name(self) -> str:
        """The name that the server gave at the latest connection."""
        return self._connection.server.name

    @property
    def version(self) -> str:
        """Its version."""
        return self._connection.server.version

    @property
    def limits(self) -> dict[str, int]:
        """Its bounds by name, such as `frame_bytes_max`."""
        return self._connection.server.limits

    async def status(self) -> ServerStatus:
        """The whole server in one document: whether it is ready, its memory, disk and loop, what its brokers hold."""
        status: ServerStatus = await self._ask("status", ServerStatus)
        return status

    async def top(self, limit: int = 100) -> Top:
        """The status, and at most `limit` of the busiest queues, streams, topics and clients."""
        top: Top = await self._ask("top", Top, limit=limit)
        return top

    async def connections(self, filter: str = "") -> AsyncIterator[ConnectionInfo]:
        """Those connected, the oldest first; with a filter, those with it in their name, address or protocol."""
        after = 0
        while True:
            page: ConnectionPage = await self._ask("connections", ConnectionPage, after=after, filter=filter)
            for one in page.connections:
                yield one
            after = page.after
            if not after:
                return

    async def connection(self, id: int) -> ConnectionInfo:
        """One connection. ResourceNotFoundError when there is none with this id."""
        info: ConnectionInfo = await self._ask("connection", ConnectionInfo, id=id)
        return info

    async def close_connection(self, id: int) -> None:
        """Close a connection in order; a client that reconnects comes back. ResourceNotFoundError without one."""
        await self._ask("close", None, id=id)

    async def config(self) -> list[SettingInfo]:
        """The settings in force, and where each comes from."""
        settings: list[SettingInfo] = await self._ask("config", list[SettingInfo])
        return settings

    async def _ask(self, action: str, type: Any, **arguments: object) -> Any:
        payload = string(action) + msgspec.json.encode(arguments)
        return admin_answer(await self._connection.data(op.SERVER_ADMIN, payload), type)
