"""What every request passes before it gets to a route: whose page sent it, and under which name it came.

A page of another site can have a browser send requests to a server on the same machine; RFC 6454 (Origin)
and a check of Host (against DNS names that are pointed here) keep it from being answered. Knows no route.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response

from nexo.server.http.problems import Refused, answer_refused

Scope = MutableMapping[str, Any]
Application = Callable[
    [Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]

SAFE: Final = ("GET", "HEAD", "OPTIONS")
PROBES: Final = ("/livez", "/readyz")
"""Answered under any name: they tell nothing, and probes use names of their own."""

SECURITY: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
]
"""On every answer."""


class Guard:
    """Checks requests and hands them on, with the path as it came: names in it are decoded by handlers alone."""

    def __init__(self, application: Application, hosts: set[str]) -> None:
        self._application = application
        self._hosts = {"localhost", *hosts}

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        scope["path"] = scope["raw_path"].decode("ascii")

        async def send_secured(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY]
            await send(message)

        try:
            self.check(scope["method"], scope["path"], Headers(scope=scope))
        except Refused as refused:
            response: Response = answer_refused(refused)
            await response(scope, receive, send_secured)
            return
        await self._application(scope, receive, send_secured)

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raises Refused."""
        host = headers.get("host", "")
        if path not in PROBES and not self.knows(host):
            raise Refused(
                "WRONG_HOST", f"this server is not called {host!r}: the setting http_hosts adds names"
            )
        if method in SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused("CROSS_SITE", f"a page of {origin} may not change anything here")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # Only JSON needs a browser's preflight, which is not answered. No page can send DELETE without one.
        if kind != "application/json" and (kind or method != "DELETE"):
            raise Refused("UNSUPPORTED_MEDIA_TYPE", "send Content-Type: application/json")

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server; addresses always do, since nobody else's names lead to them."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True
