"""What an answer over HTTP waits for, on a journal whose disk moves when told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.types import Message

from nexo.brokers.journal import MEMORY
from nexo.brokers.message import STRING
from nexo.protocols.logins import NOBODY
from nexo.server.http.access import LOGIN, Access
from nexo.server.http.routing import Call
from nexo.server.http.streams import append
from tests.brokers.batchkit import NAME, Bench


def posted(bench: Bench, body: object) -> Call:
    """A POST to the bench's stream, as a handler gets it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    scope = {
        "type": "http",
        "headers": [],
        "query_string": b"",
        "path_params": {"stream": NAME.decode()},
        LOGIN: NOBODY,
    }
    nobody: Any = None  # the server's other parts, which no append asks
    return Call(Request(scope, receive), Access(bench.node, *[nobody] * 9))


@pytest.mark.asyncio
async def test_an_append_after_a_batch_is_answered_when_it_can_be_read() -> None:
    """What follows records of a batch of level fsync is shown after them, so it is confirmed after them."""
    bench = Bench(stream=MEMORY)
    bench.batch(bench.append(b"r"), bench.push(b"kept"))
    batch = bench.turn()
    answer = asyncio.ensure_future(append(posted(bench, {"records": [{"type": "str", "value": "after"}]})))
    await asyncio.sleep(0)
    last = bench.turn()
    bench.reach(last, batch - 1)
    await asyncio.sleep(0)
    assert not answer.done()
    assert bench.values() == []
    bench.reach(last, last)
    response = await answer
    assert json.loads(cast(bytes, response.body)) == {"first_seq": 2, "count": 1}
    assert bench.values() == [b"r", bytes([STRING]) + b"after"]
