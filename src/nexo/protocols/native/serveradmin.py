"""SERVER_ADMIN: what the people who run a server ask it, as JSON both ways. Actions and fields: docs/protocol.md."""

from __future__ import annotations

from typing import Final

from nexo.errors import InvalidArgumentError
from nexo.protocols.native.channel import Channel
from nexo.protocols.native.frames import Payload
from nexo.protocols.native.jsonadmin import Arguments, answer
from nexo.protocols.operations import Operations

PAGE_MAX: Final = 1_000
"""Connections in one answer, and of each kind in that of `top`."""


def administer(channel: Channel, payload: Payload) -> None:
    """Run one action and answer with JSON."""
    action = payload.string("the action").decode(errors="replace")
    arguments = Arguments(payload.json_object("the arguments"))
    operations = channel.server.operations
    if operations is None:
        operations = Operations(channel.node)
    if action == "status":
        arguments.finish()
        answer(channel, operations.status())
    elif action == "top":
        limit = min(max(arguments.number("limit", 100), 1), PAGE_MAX)
        arguments.finish()
        answer(channel, operations.top(limit))
    elif action == "connections":
        after = arguments.number("after", 0)
        limit = min(max(arguments.number("limit", PAGE_MAX), 1), PAGE_MAX)
        filter = arguments.text("filter", "")
        arguments.finish()
        found, more = operations.connections(after, limit, filter)
        answer(channel, {"connections": found, "after": found[-1]["id"] if more else 0})
    elif action == "connection":
        id = arguments.number("id", 0)
        arguments.finish()
        answer(channel, operations.connection(id))
    elif action == "close":
        id = arguments.number("id", 0)
        arguments.finish()
        operations.close(id)
        answer(channel, {"closed": True})
    elif action == "config":
        arguments.finish()
        answer(channel, operations.config())
    else:
        raise InvalidArgumentError(
            f"unknown action {action!r}: status, top, connections, connection, close, config"
        )
