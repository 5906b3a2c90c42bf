"""A client of the HTTP API for each test, over a server that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.conftest import Server
from tests.server.http.kit import Api

NUMBERS = count()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    api = Api(server.http)
    with api.client:
        yield api


@pytest.fixture
def name() -> str:
    """A name that no other test of this process has."""
    return f"test-{next(NUMBERS)}"
