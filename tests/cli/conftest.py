"""One server for all tests that only talk to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.processes import Broker


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One server for all tests that only talk to one."""
    server = Broker()
    yield server
    if server.process.poll() is None:
        server.stop()
