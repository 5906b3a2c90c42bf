"""The examples of the documents are run as they stand there, one after another, against a real server."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from types import CodeType, FunctionType
from typing import Any

import pytest

import nexo
from tests.conftest import ROOT, Server

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONNECT = re.compile(r"(nexo(?:\.blocking)?\.connect)\(")
NEVER_END = ("async for job in jobs",)
"""Examples of consumers that go on for ever: these are only compiled."""

PREPARED = {
    "store.md": """
import nexo
client = await nexo.connect()
store = client.store.map
await store.set("config", {})
changed = {"debug": False}
async def one_change():
    await asyncio.sleep(0.05)
    await client.store.map.set("config:x", 1)
    await asyncio.sleep(0.05)
    await client.close()
""",
    "pubsub.md": """
import nexo
client = await nexo.connect()
await client.pubsub.subscribe("rpc/sum", lambda message: message.reply(sum(message.data)))
""",
}
"""What the examples of a page take for granted."""


def compiled(source: str, page: str) -> CodeType:
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    return code


async def run(source: str, page: str, names: dict[str, Any]) -> None:
    result = FunctionType(compiled(source, page), names)()
    if inspect.isawaitable(result):
        await result


@pytest.mark.asyncio
@pytest.mark.parametrize("page", ["sdk.md", "store.md", "pubsub.md", "batch.md"])
async def test_the_examples_run(page: str, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async with nexo.connect(port=server.port) as client:
        await client.store.map.clear_all()
    text = (ROOT / "docs" / page).read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) > 3
    names: dict[str, Any] = {"asyncio": asyncio}
    # The first example of a page opens a client and closes it; those after it take one for granted.
    for block in [blocks[0], PREPARED.get(page, ""), *blocks[1:]]:
        program = CONNECT.sub(rf"\1(port={server.port}, ", block)
        if any(words in block for words in NEVER_END):
            compiled(program, page)
            continue
        if "async for change in changes" in block:
            names["ending"] = asyncio.ensure_future(names["one_change"]())
        async with asyncio.timeout(10):
            await run(program, page, names)
    if page == "pubsub.md":
        assert "sensors/kitchen/temperature 21.5\n6\n" in capsys.readouterr().out
    if page == "batch.md":
        told = capsys.readouterr().out
        assert "turnover 31\nparcel" in told
        assert "1 None PreconditionFailedError" in told
    if page == "store.md":
        assert "set config:x 1" in capsys.readouterr().out
