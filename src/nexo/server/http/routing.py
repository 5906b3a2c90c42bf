"""Routes as data: what each is called, takes and answers; and how a handler is run.

A route's table entry is what the router, the checks and the description for programs are made from. Knows
no broker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from nexo.errors import (
    ConnectionClosedError,
    InternalError,
    InvalidArgumentError,
    NexoError,
    NotAuthorizedError,
)
from nexo.limits import HTTP_BODY_BYTES_MAX, HTTP_PAGE_DEFAULT, HTTP_PAGE_MAX
from nexo.protocols.audit import OK, Action
from nexo.protocols.grants import Grants
from nexo.protocols.stopwatch import SlowRun
from nexo.server.http.access import LOGIN, Access
from nexo.server.http.problems import Refused, answer_error, answer_login, answer_refused
from nexo.server.http.values import TRACEPARENT, TRACEPARENT_FORM, TRACESTATE, quoted, unquoted
from nexo.server.listener import named

log: Final = logging.getLogger("nexo.http")

NUMBER_MAX: Final = (1 << 63) - 1
DATA: Final = "data"
"""In place of an administrative action: the route is what programs do with data all day."""
EVENT_STREAM: Final = "text/event-stream"
PAGED: Final = ("after", "limit")
"""Parameters of every list."""

Body = TypeVar("Body")


class Call:
    """One request to one route: its names, parameters and body, checked as they are asked for."""

    def __init__(self, request: Request, access: Access) -> None:
        self.request = request
        self.access = access
        self.grants: Grants = request.scope[LOGIN].grants
        self.given: object = None  # the body, once it has been asked for

    def name(self, parameter: str) -> bytes:
        """A name in the path."""
        return unquoted(self.request.path_params[parameter])

    def id(self, parameter: str) -> int:
        """A number in the path. One that is none names nothing."""
        text = self.request.path_params[parameter]
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise InvalidArgumentError(f"{parameter} {text!r}: it is a positive integer")
        return int(text)

    def text(self, parameter: str, default: str = "") -> str:
        return self.request.query_params.get(parameter, default)

    def number(self, parameter: str, default: int, most: int = NUMBER_MAX) -> int:
        """A parameter that is an integer from 0 to `most`."""
        text = self.request.query_params.get(parameter)
        if text is None:
            return default
        if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > most:
            raise InvalidArgumentError(f"{parameter} {text!r}: it is an integer from 0 to {most}")
        return int(text)

    def flag(self, parameter: str) -> bool:
        text = self.request.query_params.get(parameter, "false")
        if text not in ("true", "false"):
            raise InvalidArgumentError(f"{parameter} {text!r}: it is true or false")
        return text == "true"

    def after(self) -> bytes:
        """The name after which a page begins."""
        return unquoted(self.text("after"))

    def limit(self) -> int:
        """How many items a page has at most."""
        limit = self.number("limit", HTTP_PAGE_DEFAULT)
        if not 1 <= limit <= HTTP_PAGE_MAX:
            raise InvalidArgumentError(f"limit {limit}: http_page_max is {HTTP_PAGE_MAX}, and 1 the least")
        return limit

    async def body(self, kind: type[Body]) -> Body:
        """The body, decoded and checked; an empty one counts as {}."""
        data = await read_body(self.request)
        try:
            body = msgspec.json.decode(data or b"{}", type=kind)
            self.given = body
            return body
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(f"the body: {error}") from None

    def resource(self) -> str:
        """What the request is about: the names in its path, or the name that its body gives."""
        names = [unquoted(part).decode(errors="replace") for part in self.request.path_params.values()]
        return "/".join(names) or str(getattr(self.given, "name", ""))

    def trace_context(self) -> list[tuple[bytes, bytes]]:
        """The trace context of the request, as headers of a message; empty when it has none."""
        headers = self.request.headers
        parent = headers.get("traceparent", "")
        if not TRACEPARENT_FORM.fullmatch(parent):
            return []
        state = ",".join(headers.getlist("tracestate"))
        carried = [(TRACEPARENT, parent.encode())]
        return [*carried, (TRACESTATE, state.encode())] if state else carried

    def address(self) -> str:
        """Where the client is, as people write it."""
        return named(self.request.scope.get("client"))

    async def until(self, future: asyncio.Future[Any]) -> bool:
        """Wait for a future; False when the client has gone, or the server closes, before it is done."""
        gone = asyncio.ensure_future(disconnected(self.request))
        closing = asyncio.ensure_future(self.access.closing.wait())
        try:
            await asyncio.wait({future, gone, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            closing.cancel()
        return future.done()


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request that needs none: nothing, or {}."""


async def read_body(request: Request) -> bytes:
    """The whole body, unless it is too long."""
    parts: list[bytes] = []
    size = 0
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > HTTP_BODY_BYTES_MAX:
        raise too_large(int(declared))
    async for part in request.stream():
        size += len(part)
        if size > HTTP_BODY_BYTES_MAX:
            raise too_large(size)
        parts.append(part)
    return b"".join(parts)


def too_large(size: int) -> Refused:
    return Refused("BODY_TOO_LARGE", f"a body of {size} bytes: http_body_bytes_max is {HTTP_BODY_BYTES_MAX}")


async def disconnected(request: Request) -> None:
    """Returns when the client has gone. The body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


Handler = Callable[[Call], Awaitable[Response]]
Need = Callable[[Call], None]
"""What a route needs to be allowed: raises NotAuthorizedError (see permissions.py)."""


class Route(NamedTuple):
    """One method of one path. `body` is a Struct or None; `query` the parameters there are, with what they mean.

    `audit` is the administrative action that it is, DATA for one that changes data alone, empty for one that reads.
    `waits`: it takes as long as there is nothing to answer, so its time says nothing.
    """

    method: str
    path: str
    handler: Handler
    needs: Need
    summary: str
    query: Mapping[str, str] = MappingProxyType({})
    body: Any = None
    status: int = 200
    media: str = "application/json"
    audit: str = ""
    waits: bool = False


def answer(result: object, status: int = 200) -> Response:
    """A JSON value as the answer."""
    return Response(
        msgspec.json.encode(result), status, {"Cache-Control": "no-store"}, media_type="application/json"
    )


def page(items: list[dict[str, object]], next: str | None, **more: object) -> Response:
    """One page of a list."""
    return answer({"items": items, "next": next, **more})


def named_page(names: list[bytes], limit: int) -> tuple[list[bytes], str | None]:
    """The names of a page, of which one more was asked for, and where the next page begins."""
    shown = names[:limit]
    return shown, quoted(shown[-1]) if len(names) > limit else None


class Endpoint:
    """Runs a route's handler: every error that it can meet becomes an answer here."""

    def __init__(self, route: Route, access: Access) -> None:
        self._route = route
        self._access = access

    async def __call__(self, request: Request) -> Response:
        call = Call(request, self._access)
        began = time.monotonic_ns()
        result = ConnectionClosedError.__name__
        try:
            unknown = sorted(set(request.query_params) - set(self._route.query))
            if unknown:
                raise InvalidArgumentError(f"unknown parameters: {', '.join(unknown)}")
            self._route.needs(call)
            response = await self._route.handler(call)
            result = OK
            return response
        except NotAuthorizedError as error:
            result = type(error).__name__
            # Who has no name may still get one: a browser then asks for it.
            return answer_error(error) if request.scope[LOGIN].account else answer_login(str(error))
        except NexoError as error:
            result = type(error).__name__
            return answer_error(error)
        except Refused as refused:
            result = refused.code
            return answer_refused(refused)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            result = InternalError.__name__
            log.exception("%s %s failed", self._route.method, self._route.path)
            return answer_error(InternalError("internal error; the server's log says more"))
        finally:
            self._audit(call, result)
            if not self._route.waits and self._route.media != EVENT_STREAM:
                self._measure(call, (time.monotonic_ns() - began) // 1000)

    def _measure(self, call: Call, took_us: int) -> None:
        route, access = self._route, self._access
        access.took(route.method, route.path, took_us)
        if 0 < access.slow.limit_us <= took_us:
            name = f"{route.method} {route.path}"
            access.slow.slow(
                SlowRun({name: 1}, call.resource(), "http", call.address(), "", call.grants.account, took_us)
            )

    def _audit(self, call: Call, result: str) -> None:
        if self._route.audit not in ("", DATA):
            action = Action(
                self._route.audit, call.resource(), "http", call.address(), "", call.grants.account, result
            )
            self._access.auditor.done(action)


def starlette_routes(routes: list[Route], access: Access) -> list[StarletteRoute]:
    """The routes for the router."""
    return [
        StarletteRoute(route.path, Endpoint(route, access).__call__, methods=[route.method])
        for route in routes
    ]
