"""Debian's Chromium in front of a real broker. A page fails its test by an error on the console, or a policy broken.

Without Chromium, or a dashboard that was built, these tests are skipped; with BROWSER_TESTS=1 they fail.

broker     a running broker with the dashboard, one for the tests of a module
page       a page of its own at the broker's address; `page.errors` are what its console complained about
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from tests.conftest import ROOT, Server, running

LISTENING = re.compile(r"HTTP API and dashboard on (\S+)")
BUILT = ROOT / "src/nexo/dashboard/index.html"
CHROMIUM = shutil.which("chromium")
WAIT_MS = 8_000
"""Until something is on the page; far more than it takes, on a machine that does much else."""


class Broker:
    """A broker by its HTTP address. `api` takes paths below /api/v1 and raises for what is refused."""

    def __init__(self, server: Server) -> None:
        found = LISTENING.search(server.log())
        assert found is not None, server.log()
        self.server = server
        self.url = found[1]
        self.http_port = int(self.url.rpartition(":")[2])
        self._client = httpx.Client(base_url=f"{self.url}/api/v1")

    def close(self) -> None:
        self._client.close()

    def api(self, method: str, path: str, body: Any = None) -> Any:
        if method != "GET" and body is None:
            body = {}
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = self._client.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def put(self, key: str, value: Any, kind: str = "str", **fields: Any) -> None:
        self.api("PUT", f"/store/keys/{key}", {"type": kind, "value": value, **fields})

    def push(self, queue: str, *values: Any, **fields: Any) -> list[int]:
        messages = [{"type": "json", "value": value, **fields} for value in values]
        return [
            one["id"]
            for one in self.api("POST", f"/queues/{queue}/messages", {"messages": messages})["messages"]
        ]

    def kill_letters(self, queue: str, count: int, reason: str) -> None:
        """Make dead letters of the next `count` messages."""
        got = self.api("POST", f"/queues/{queue}/receive", {"batch": count, "wait_ms": 1_000})["messages"]
        assert len(got) == count
        leases = [{"id": one["id"], "token": one["token"]} for one in got]
        self.api("POST", f"/queues/{queue}/nack", {"leases": leases, "mode": "fatal", "reason": reason})


def missing(reason: str) -> NoReturn:
    """Ends a test that cannot run here."""
    if os.environ.get("BROWSER_TESTS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if not BUILT.exists():
        missing("needs the dashboard's files: make dashboard, with Node.js 20.19 or later")
    with running(tmp_path_factory.mktemp("dashboard")) as server:
        started = Broker(server)
        yield started
        started.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser, one for all of these tests. Not longer: its driver runs a loop in this thread, where async tests
    want theirs."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        missing("needs Chromium: on Debian, apt-get install chromium")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def watched(page: Any) -> list[str]:
    """Errors of a page, as they come: of its console, its scripts, its policy."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


@pytest.fixture
def page(chromium: Any, broker: Broker) -> Iterator[Any]:
    context = chromium.new_context(base_url=broker.url, viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    opened.errors = watched(opened)
    yield opened
    errors = list(opened.errors)
    context.close()
    assert errors == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a broker of the test's own may keep its data."""
    return tmp_path
