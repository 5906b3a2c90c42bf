"""What tests of the storage leave open is closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.archives import close_all


@pytest.fixture(autouse=True)
def everything_is_closed() -> Iterator[None]:
    yield
    close_all()
