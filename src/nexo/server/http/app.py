"""The HTTP side of a server: the table of all routes, the application made from it, and its life.

uvicorn speaks HTTP in the loop that runs the brokers, so that a handler calls them as a session does. Owns the
sockets and the order of an orderly end; what routes do is in the other modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from nexo.limits import HTTP_CONNECTIONS_MAX, KEY_BYTES_MAX
from nexo.server.accepting import Acceptor
from nexo.server.http import connections, pubsub, queues, slow, storage, store, streams
from nexo.server.http.access import Access
from nexo.server.http.connection import HttpConnection, PlainRefused
from nexo.server.http.guard import Guard
from nexo.server.http.metrics import Metrics
from nexo.server.http.openapi import Described
from nexo.server.http.overview import OverviewRoutes
from nexo.server.http.problems import Refused, answer_refused
from nexo.server.http.routing import Route, starlette_routes
from nexo.server.http.static import Static, no_such_route
from nexo.server.listener import HttpProtocol

log: Final = logging.getLogger("nexo.http")

HEAD_BYTES_MAX: Final = 4 * KEY_BYTES_MAX
"""Request line and headers: the longest key, percent-encoded, and the rest."""

RESOURCES: Final = [
    *store.ROUTES,
    *queues.ROUTES,
    *pubsub.ROUTES,
    *streams.ROUTES,
    *connections.ROUTES,
    *slow.ROUTES,
    *storage.ROUTES,
]
"""The routes that need nothing but the brokers."""


def routes(access: Access) -> list[Route]:
    """All routes of one server."""
    known = [*OverviewRoutes(access.monitor).routes(), *Metrics(access, access.monitor).routes(), *RESOURCES]
    known += Described(lambda: known).routes()
    return known


async def refused_by_router(request: Request, error: Exception) -> Response:
    """What the router itself refuses, as a problem document."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        response = answer_refused(
            Refused("METHOD_NOT_ALLOWED", f"{request.url.path} has no {request.method}")
        )
        response.headers.update(error.headers or {})
        return response
    return no_such_route(request)


def application(access: Access, hosts: set[str]) -> Guard:
    """The application that a server is given."""
    rest = StarletteRoute("/{rest:path}", Static().__call__, methods=["GET"])
    table = [*starlette_routes(routes(access), access), rest]
    starlette = Starlette(routes=table, exception_handlers={HTTPException: refused_by_router})
    return Guard(starlette, hosts, access.doorkeeper)


class _Uvicorn(uvicorn.Server):
    """uvicorn without hands on the signals, which are the broker's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """HTTP for one broker. `host` and `port` are where it listens, once `bind` has returned."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._socket: socket.socket | None = None
        self._uvicorn: _Uvicorn | None = None
        self._server: asyncio.Server | None = None
        self._acceptor: Acceptor | None = None
        self._running: asyncio.Task[None] | None = None
        self.host = ""
        self.port = 0
        access.monitor.http_connections = self.connections

    def connections(self) -> int:
        """Open connections."""
        return len(self._uvicorn.server_state.connections) if self._uvicorn is not None else 0

    async def bind(self, host: str, port: int) -> None:
        """Take the address, without answering yet. OSError when it is taken or not ours; its `filename` names it."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
        except OSError as error:
            if self._socket is not None:
                self._socket.close()
            reason = error.strerror or str(error)
            raise OSError(error.errno, reason, f"{host}:{port} for HTTP") from None
        self.host, self.port = self._socket.getsockname()[:2]

    async def start(self) -> None:
        """Answer requests."""
        assert self._socket is not None
        config = self.access.config
        hosts = {
            name.strip().lower() for name in (config.host, *config.http_hosts.split(",")) if name.strip()
        }
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                application(self.access, hosts),
                loop="none",
                http=HttpConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=HEAD_BYTES_MAX,
                limit_concurrency=HTTP_CONNECTIONS_MAX,
                timeout_graceful_shutdown=max(1, int(config.shutdown_seconds)),
            )
        )
        # The sockets are ours, uvicorn has the connections.
        self._running = asyncio.create_task(self._uvicorn.serve(sockets=[]))
        while not self._uvicorn.started and not self._running.done():
            await asyncio.sleep(0)
        if self._running.done():
            self._running.result()
        listener = self.access.listener
        if listener.certificates is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: self.connection(None, None), sock=self._socket, backlog=1024
            )
        else:
            self._acceptor = Acceptor(
                [self._socket], listener.certificates, self._accepted, listener.greeting_seconds
            )
            self._acceptor.start()
        listener.http = self
        address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        scheme = "https" if listener.tls_required else "http"
        log.info("HTTP API and dashboard on %s://%s", scheme, address)

    def _accepted(self, secure: bool, deadline: float) -> asyncio.Protocol:
        if self.access.listener.tls_required and not secure:
            return PlainRefused(deadline)
        return self.connection(deadline, None)

    def connection(
        self, deadline: float | None, ended: Callable[[HttpProtocol], None] | None
    ) -> HttpConnection:
        """A connection's protocol, whose first head must have come by `deadline`; see HttpHandler."""
        assert self._uvicorn is not None
        return HttpConnection(
            self._uvicorn.config,
            self._uvicorn.server_state,
            head_seconds=self.access.listener.greeting_seconds,
            deadline=deadline,
            ended=ended,
        )

    async def stop(self) -> None:
        """Accept no more, end event streams and long polls, answer what is under way, close."""
        self.access.closing.set()
        self.access.listener.http = None
        if self._server is not None:
            self._server.close()
        if self._acceptor is not None:
            self._acceptor.stop()
        if self._uvicorn is not None and self._running is not None:
            self._uvicorn.should_exit = True
            await self._running

    def abort(self) -> None:
        """Do not wait for anybody."""
        if self._uvicorn is not None:
            self._uvicorn.force_exit = True
