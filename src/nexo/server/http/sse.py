"""Server-sent events: a response that is written as things happen, until the client goes or the server closes.

A source says what comes next and is closed when its response ends, however that comes about. Format:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.responses import StreamingResponse

from nexo.server.http.access import Access

PING_SECONDS: Final = 15.0
"""Silence after which a comment is sent: proxies close what says nothing, and a client that has gone is found."""
PING: Final = b": ping\n\n"
RETRY: Final = b"retry: 2000\n\n"


class Source:
    """Where the events of one response come from."""

    async def next(self) -> bytes:
        """What is sent next, one event or some; b"" when that was all. May be cancelled while it waits."""
        raise NotImplementedError

    def close(self) -> None:
        """Nobody listens any more. Called once, and may not wait: the task may be cancelled already."""


def event(name: str, data: object, id: int = 0) -> bytes:
    """One event with JSON as its data, which has no line breaks; `id` 0 is none."""
    head = f"id: {id}\nevent: {name}\ndata: " if id else f"event: {name}\ndata: "
    return head.encode() + msgspec.json.encode(data) + b"\n\n"


def respond(access: Access, source: Source) -> StreamingResponse:
    """The response that sends a source's events."""
    return StreamingResponse(
        _sent(access, source),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _sent(access: Access, source: Source) -> AsyncIterator[bytes]:
    closing = asyncio.ensure_future(access.closing.wait())
    changed = asyncio.ensure_future(access.accounts_changed.wait())
    following: asyncio.Future[bytes] | None = None
    try:
        yield RETRY
        while not closing.done() and not changed.done():
            if following is None:
                following = asyncio.ensure_future(source.next())
            waiting: set[asyncio.Future[Any]] = {following, closing, changed}
            await asyncio.wait(waiting, timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                data = following.result()
                following = None
                if not data:
                    return
                yield data
            elif not closing.done() and not changed.done():
                yield PING
    finally:
        closing.cancel()
        changed.cancel()
        if following is not None:
            following.cancel()
        source.close()
