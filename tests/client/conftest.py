"""A client for each test, over a server that the tests of a module share; keys and topics do not meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

import nexo
from tests.client.surfaces import SURFACES, opened
from tests.conftest import Server

NUMBERS = count()


@pytest.fixture
def name() -> str:
    """A name that no other test of this process has."""
    return f"test-{next(NUMBERS)}"


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest) -> str:
    """Each of the four clients in turn."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def client(surface: str, server: Server) -> AsyncIterator[nexo.Client]:
    """A client of each kind."""
    async with opened(surface, server.port) as one:
        if surface in ("async", "blocking"):
            await one.store.map.clear_all()
        yield one


@pytest_asyncio.fixture
async def sdk(server: Server) -> AsyncIterator[nexo.Client]:
    """The async client over a socket."""
    async with nexo.connect(port=server.port, name="tests") as one:
        await one.store.map.clear_all()
        yield one
