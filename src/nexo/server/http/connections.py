"""Connections of the broker's own port over HTTP: who is there, and closing one."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from nexo.server.http.permissions import admin, monitor
from nexo.server.http.routing import Call, Route, answer, page
from nexo.server.http.store import LISTED

CONNECTIONS: Final = "/api/v1/connections"


async def listed(call: Call) -> Response:
    after, limit = call.number("after", 0), call.limit()
    found, more = call.access.operations.connections(after, limit, call.text("filter"))
    return page(found, str(found[-1]["id"]) if more else None)


async def close(call: Call) -> Response:
    id = call.id("id")
    call.access.begin()
    call.access.operations.close(id)
    return answer({"closed": True})


ROUTES: Final = [
    Route(
        "GET",
        CONNECTIONS,
        listed,
        monitor,
        "Connections, the oldest first",
        {"filter": "a part of the name, address or protocol", **LISTED},
    ),
    Route(
        "DELETE", CONNECTIONS + "/{id}", close, admin, "Close a connection in order", audit="connection.close"
    ),
]
