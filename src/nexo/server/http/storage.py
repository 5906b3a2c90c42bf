"""The data directory over HTTP: what an operator asks before it fills up. Knows neither files nor the log."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from nexo.errors import StorageError
from nexo.server.http.permissions import monitor
from nexo.server.http.routing import Call, Route, answer


async def describe(call: Call) -> Response:
    node = call.access.node
    state = "fenced" if node.fenced else "full" if node.fault else "ok"
    try:
        shown = call.access.keeper.described()
    except OSError as error:
        raise StorageError(f"the data directory cannot be read: {error.strerror or error}") from None
    return answer({"state": state, "fault": node.fault, **shown})


ROUTES: Final = [
    Route(
        "GET",
        "/api/v1/storage",
        describe,
        monitor,
        "Log files, what lives in them, the snapshot, and what is due",
    )
]
