"""What every request passes before it gets to a route: whose page sent it, under which name it came, and who asks.

A page of another site can have a browser send requests to a server on the same machine; RFC 6454 (Origin)
and a check of Host (against DNS names that are pointed here) keep it from being answered. Knows no route.
"""

from __future__ import annotations

import asyncio
import ipaddress
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response

from nexo.errors import NotAuthorizedError, ServerError
from nexo.protocols.logins import NOBODY, Login, Logins, LoginWaiter
from nexo.server.http.access import LOGIN
from nexo.server.http.problems import Refused, answer_error, answer_login, answer_refused
from nexo.server.listener import named

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


class _Asking(LoginWaiter):
    """A request that waits for its login."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome: asyncio.Future[Login] = asyncio.get_running_loop().create_future()

    def logged_in(self, login: Login) -> None:
        if not self.outcome.done():
            self.outcome.set_result(login)

    def login_refused(self, error: ServerError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


def credentials(header: str) -> tuple[bytes | None, bytes]:
    """User and password of Basic (RFC 7617), or None and the token of Bearer (RFC 6750). Raises NotAuthorizedError."""
    scheme, _, content = header.partition(" ")
    if scheme.lower() == "bearer":
        return None, content.strip().encode()
    if scheme.lower() != "basic":
        raise NotAuthorizedError("Authorization is Basic with user and password, or Bearer with a token")
    try:
        user, colon, password = a2b_base64(content.strip(), strict_mode=True).partition(b":")
    except (Base64Error, ValueError):
        raise NotAuthorizedError("Authorization: Basic has no base64") from None
    if not colon:
        raise NotAuthorizedError("Authorization: Basic has no password")
    return user, password


class Guard:
    """Checks requests and hands them on, with the path as it came: names in it are decoded by handlers alone."""

    def __init__(self, application: Application, hosts: set[str], logins: Logins) -> None:
        self._application = application
        self._logins = logins
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

        response: Response | None = None
        try:
            headers = Headers(scope=scope)
            self.check(scope["method"], scope["path"], headers)
            scope[LOGIN] = await self.login(scope, headers)
        except Refused as refused:
            response = answer_refused(refused)
        except NotAuthorizedError as error:
            response = answer_login(str(error))
        except ServerError as error:
            response = answer_error(error)
        await (response or self._application)(scope, receive, send_secured)

    async def login(self, scope: Scope, headers: Headers) -> Login:
        """Who asks. Raises ServerError; NotAuthorizedError for who may do nothing unless it shows who it is."""
        given = headers.get("authorization")
        nobody = self._logins.nobody
        if given is None or scope["path"] in PROBES or nobody is NOBODY:
            certified = self._logins.by_certificate(scope.get("state", {}).get("certificate", ""))
            if certified is not None:
                return certified
            if nobody.grants.permissions or scope["path"] in PROBES:
                return nobody
            raise NotAuthorizedError("this server has accounts: log in")
        user, secret = credentials(given)
        address = named(scope.get("client"))
        asking = _Asking()
        if user is None:
            self._logins.by_token(asking, secret, address)
        else:
            self._logins.by_password(asking, user, secret, address)
        return await asking.outcome

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
