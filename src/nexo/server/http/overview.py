"""The state of the whole server in one document, its last hour, and a live feed of it, over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.responses import Response

from nexo.server.http.permissions import anybody, monitor
from nexo.server.http.routing import EVENT_STREAM, Call, Route, answer
from nexo.server.http.sse import Source, event, respond
from nexo.server.monitor import Monitor

FEED_SECONDS: Final = 1.0
"""From one event of the feed to the next."""


class Feed(Source):
    """An overview each second, the first at once."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._next = time.monotonic()

    async def next(self) -> bytes:
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + FEED_SECONDS
        return event("overview", self._monitor.overview())


class OverviewRoutes:
    """Handlers that need the monitor."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    async def overview(self, call: Call) -> Response:
        return answer(self._monitor.overview())

    async def history(self, call: Call) -> Response:
        return answer(self._monitor.history())

    async def events(self, call: Call) -> Response:
        return respond(call.access, Feed(self._monitor))

    async def livez(self, call: Call) -> Response:
        return answer({"status": "ok"})

    async def readyz(self, call: Call) -> Response:
        reasons = self._monitor.reasons()
        return answer({"status": "unready" if reasons else "ok", "reasons": reasons}, 503 if reasons else 200)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/livez", self.livez, anybody, "Whether the process answers"),
            Route("GET", "/readyz", self.readyz, anybody, "Whether traffic may come, and why not"),
            Route("GET", "/api/v1/overview", self.overview, monitor, "The whole server in one document"),
            Route("GET", "/api/v1/overview/history", self.history, monitor, "The last hour, in columns"),
            Route(
                "GET", "/api/v1/events", self.events, monitor, "An overview each second", media=EVENT_STREAM
            ),
        ]
