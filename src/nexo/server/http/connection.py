"""One connection of HTTP: uvicorn's protocol, with a bound on the time that the head of a request may take.

Owns that deadline; what a request is, and flow control, are uvicorn's. How large a head may be is set in app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from nexo.server.listener import TLS_ONLY, HttpProtocol, http_refusal
from nexo.server.tls import certificate_name


class HttpConnection(H11Protocol):
    """Ends a peer whose first head is not complete by `deadline` (None: `head_seconds` from now), or a later one
    within `head_seconds` of its first byte. The time between requests is uvicorn's to bound.

    Requests find whom the client's certificate names in `request.state.certificate`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        *,
        head_seconds: float,
        deadline: float | None,
        ended: Callable[[HttpProtocol], None] | None,
    ) -> None:
        state: dict[str, Any] = {"certificate": ""}
        super().__init__(config, server_state, state)
        self._head_seconds = head_seconds
        self._deadline = deadline
        self._ended = ended
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.app_state["certificate"] = certificate_name(transport)
        deadline = self._deadline or self.loop.time() + self._head_seconds
        self._head_timer = self.loop.call_at(deadline, self._head_expired)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_complete()
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended(self)

    def _watch_head(self) -> None:
        """Have the deadline run exactly while a head is incomplete."""
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._head_complete()
        elif self._head_timer is None and self.conn.trailing_data[0]:
            # What came with the end of the request before has started uvicorn's own timer, which is for silence.
            self._unset_keepalive_if_required()
            self._head_timer = self.loop.call_later(self._head_seconds, self._head_expired)

    def _head_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_expired(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        body = f"no complete request head within {self._head_seconds:g} seconds\n".encode()
        head = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)
        self.transport.close()


class PlainRefused(asyncio.Protocol):
    """A connection without TLS where it is required: told so once it has said something, closed at `deadline`."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_at(self._deadline, transport.close)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(http_refusal(f"{TLS_ONLY}: ask with https://"))
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
