"""The broker goes away while somebody looks, and comes back: the page says so, and goes on by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running
from tests.dashboard.conftest import BUILT, WAIT_MS, Broker, missing, watched

pytestmark = [pytest.mark.debian, pytest.mark.slow]


def test_gone_and_back(chromium: Any, folder: Path) -> None:
    if not BUILT.exists():
        missing("needs the dashboard's files: make dashboard, with Node.js 20.19 or later")
    page = chromium.new_page()
    page.set_default_timeout(WAIT_MS)
    errors = watched(page)
    with running(folder) as server:
        broker = Broker(server)
        broker.api("POST", "/queues", {"name": "kept"})
        broker.push("kept", 1, 2)
        page.goto(f"{broker.url}/#/queues")
        page.get_by_role("link", name="kept").wait_for()
        page.get_by_text("Live").wait_for()
        assert errors == []
        broker.close()
    alert = page.get_by_role("alert").filter(has_text="The broker does not answer")
    alert.wait_for()
    assert page.get_by_role("link", name="kept").is_visible(), "what was known stays on the page"
    with running(folder, "--http-port", str(broker.http_port)) as server:
        broker = Broker(server)
        alert.wait_for(state="detached")
        page.get_by_text("Live").wait_for()
        broker.push("kept", 3)
        page.get_by_role("row", name="kept").get_by_text("3", exact=True).wait_for()
        broker.close()
        page.close()
    # What a browser says by itself about a server that is not there; nothing else.
    assert all("ERR_" in error for error in errors), errors
