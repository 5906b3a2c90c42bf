"""Connections of the broker's own port over HTTP: who is there, and closing one."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from nexo.errors import ResourceNotFoundError
from nexo.server.http.permissions import admin, monitor
from nexo.server.http.routing import Call, Route, answer, page
from nexo.server.http.store import LISTED
from nexo.server.listener import Peer

CONNECTIONS: Final = "/api/v1/connections"


def described(peer: Peer) -> dict[str, object]:
    """A connection for an answer."""
    session = peer.session
    subscriptions = session.subscriptions.values() if session is not None else ()
    waiting = int(session.outbox.bytes) if session is not None else 0
    return {
        "id": peer.id,
        "protocol": session.protocol if session is not None else "http",
        "address": peer.address,
        "account": session.login.account if session is not None else "",
        "tls": peer.tls,
        "certificate": peer.certificate,
        "name": session.name.decode(errors="replace") if session is not None else "",
        "since": peer.since,
        "subscriptions": len(subscriptions),
        "pending_bytes": waiting + peer.output.get_write_buffer_size(),
        "dropped": sum(int(one.dropped) for one in subscriptions),
        "blocked": session.blocked if session is not None else False,
    }


async def listed(call: Call) -> Response:
    after, limit = call.number("after", 0), call.limit()
    some = [peer for peer in call.access.listener.peers() if peer.id > after][: limit + 1]
    return page(
        [described(peer) for peer in some[:limit]], str(some[limit - 1].id) if len(some) > limit else None
    )


async def close(call: Call) -> Response:
    id = call.id("id")
    call.access.begin()
    if not call.access.listener.close(id, "closed by an operator"):
        raise ResourceNotFoundError(f"there is no connection {id}")
    return answer({"closed": True})


ROUTES: Final = [
    Route("GET", CONNECTIONS, listed, monitor, "Connections, the oldest first", LISTED),
    Route(
        "DELETE", CONNECTIONS + "/{id}", close, admin, "Close a connection in order", audit="connection.close"
    ),
]
