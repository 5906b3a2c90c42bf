"""What `make test-dist` has built. The tests run what a machine gets, and nothing of this checkout.

executable     dist/nexo
wheel          the wheel in dist/
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.surroundings import ROOT

DIST = ROOT / "dist"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("DIST_TESTS"):
        return
    for item in items:
        if Path(item.path).is_relative_to(ROOT / "tests/dist"):
            item.add_marker(
                pytest.mark.skip(reason="`make test-dist` runs them, once it has built what they test")
            )


@pytest.fixture(scope="session")
def executable() -> Path:
    return DIST / "nexo"


@pytest.fixture(scope="session")
def wheel() -> Path:
    (found,) = DIST.glob("nexo_broker-*.whl")
    return found
