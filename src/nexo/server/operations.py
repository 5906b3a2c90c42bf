"""The answers to operators' questions, whichever door they come in by: HTTP or the native protocol."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Any

from nexo.errors import ResourceNotFoundError
from nexo.protocols.operations import HTTP, Operations, described
from nexo.server.config import SETTINGS

if TYPE_CHECKING:
    from nexo.server.config import Effective
    from nexo.server.listener import Listener, Peer
    from nexo.server.monitor import Monitor


def shown(peer: Peer) -> dict[str, object]:
    """A connection for an answer."""
    return described(peer.session, peer.output, peer.id, peer.address, peer.since) | {
        "tls": peer.tls,
        "certificate": peer.certificate,
    }


def _moved(peer: Peer) -> int:
    session = peer.session
    return int(session.received_bytes + session.sent_bytes) if session is not None else 0


def _texts(peer: Peer) -> tuple[str, ...]:
    """What a filter looks into."""
    session = peer.session
    if session is None:
        return peer.address, HTTP
    return session.name.decode(errors="replace"), peer.address, session.protocol, session.login.account


class ServerOperations(Operations):
    """Those of a server: its process, its connections, its settings."""

    def __init__(self, monitor: Monitor, listener: Listener, effective: Effective) -> None:
        super().__init__(monitor.node)
        self._monitor = monitor
        self._listener = listener
        self._effective = effective

    def status(self) -> dict[str, Any]:
        return {**self._monitor.overview(), "reasons": self._monitor.reasons()}

    def busiest_clients(self, limit: int) -> list[dict[str, object]]:
        return [shown(peer) for peer in nlargest(limit, self._listener.peers(), key=_moved)]

    def connections(self, after: int, limit: int, filter: str) -> tuple[list[dict[str, object]], bool]:
        some = []
        for peer in self._listener.peers():
            if peer.id > after and any(filter in text for text in _texts(peer)):
                some.append(peer)
                if len(some) > limit:
                    break
        return [shown(peer) for peer in some[:limit]], len(some) > limit

    def connection(self, id: int) -> dict[str, object]:
        for peer in self._listener.peers():
            if peer.id == id:
                return shown(peer)
        raise ResourceNotFoundError(f"there is no connection {id}")

    def close(self, id: int) -> None:
        if not self._listener.close(id, "closed by an operator"):
            raise ResourceNotFoundError(f"there is no connection {id}")

    def config(self) -> list[dict[str, object]]:
        config, sources = self._effective.config, self._effective.sources
        return [{"name": name, "value": getattr(config, name), "source": sources[name]} for name in SETTINGS]
