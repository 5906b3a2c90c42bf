"""Slow commands over HTTP: the latest of them."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from nexo.server.http.permissions import monitor
from nexo.server.http.routing import Call, Route, answer


async def listed(call: Call) -> Response:
    slow = call.access.slow
    return answer(
        {"items": list(reversed(slow.kept)), "count": slow.count, "limit_ms": int(slow.limit_us) // 1000}
    )


ROUTES: Final = [Route("GET", "/api/v1/slow", listed, monitor, "The latest slow commands, the newest first")]
