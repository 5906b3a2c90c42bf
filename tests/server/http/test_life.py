"""The HTTP side begins and ends with its server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from nexo.server.http.static import Static
from tests.conftest import Server
from tests.server.http.kit import Api
from tests.surroundings import environment

STOP_SECONDS_MAX = 8


def test_event_streams_and_long_polls_do_not_hold_up_the_end(new_server: Server) -> None:
    api = Api(new_server.http)
    api.post("/v1/queues", {"name": "q"}, 201)
    answers: list[object] = []
    thread = threading.Thread(
        target=lambda: answers.append(Api(api.address).post("/v1/queues/q/receive", {"wait_ms": 60_000}))
    )
    thread.start()
    with Api(api.address).events("/v1/events") as events:
        next(events)
        while not api.get("/v1/queues/q")["waiting_consumers"]:
            time.sleep(0.01)
        began = time.monotonic()
        assert new_server.stop() == 0
        assert time.monotonic() - began < STOP_SECONDS_MAX
        assert all(event.name == "overview" for event in events)
    thread.join(10)
    assert answers == [{"messages": []}]
    assert "Traceback" not in new_server.log()


def test_what_was_confirmed_over_http_is_there_after_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path)
    api = Api(server.http)
    api.post("/v1/queues", {"name": "q"}, 201)
    api.post("/v1/queues/q/messages", {"messages": [{"type": "str", "value": "kept"}]}, 201)
    api.post("/v1/streams", {"name": "s"}, 201)
    api.post("/v1/streams/s/records", {"records": [{"type": "str", "value": "kept"}]}, 201)
    server.process.kill()
    server.process.wait()
    server = Server(tmp_path)
    api = Api(server.http)
    assert api.post("/v1/queues/q/receive")["messages"][0]["value"] == "kept"
    assert api.get("/v1/streams/s/records")["items"][0]["value"] == "kept"
    assert server.stop() == 0


def test_it_can_be_turned_off(start_server: Callable[..., Server]) -> None:
    server = start_server("--http", "off")
    with pytest.raises(AssertionError, match="no HTTP address"):
        _ = server.http


def test_names_that_a_setting_adds(start_server: Callable[..., Server]) -> None:
    server = start_server("--http-hosts", "nexo, Nexo.Example.org")
    client = httpx.Client(base_url=server.http, trust_env=False)
    for host, status in (("nexo:8080", 200), ("nexo.example.org", 200), ("example.org", 421)):
        assert client.get("/api/v1/overview", headers={"Host": host}).status_code == status


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "nexo",
                "serve",
                "--port",
                "0",
                "--http-port",
                str(port),
                "--data-dir",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=30,
        )
    assert done.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port} for HTTP" in done.stderr


class Site:
    """The static files alone, asked without a socket."""

    def __init__(self, folder: Path) -> None:
        self.application = Starlette(routes=[Route("/{rest:path}", Static(folder).__call__)])

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._get(path))

    async def _get(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)


@pytest.fixture
def dashboard(tmp_path: Path) -> Site:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>the dashboard")
    (tmp_path / "assets/main-1a2b.js").write_text("1")
    (tmp_path.parent / "secret.txt").write_text("secret")
    (tmp_path / "link.txt").symlink_to(tmp_path.parent / "secret.txt")
    return Site(tmp_path)


def test_the_files_of_a_dashboard(dashboard: Site) -> None:
    for path in ("/", "/queues", "/queues/jobs", "/index.html"):
        page = dashboard.get(path)
        assert page.text.endswith("the dashboard") and page.headers["cache-control"] == "no-cache"
        assert page.headers["content-type"].startswith("text/html")
    script = dashboard.get("/assets/main-1a2b.js")
    assert "immutable" in script.headers["cache-control"]
    assert script.headers["content-type"].startswith("text/javascript")
    for path in (
        "/assets/other.js",
        "/api/v1/x",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/link.txt",
        "/favicon.ico",
    ):
        assert dashboard.get(path).status_code == 404, path


def test_a_server_without_a_dashboard_says_so(tmp_path: Path) -> None:
    client = Site(tmp_path / "none")
    page = client.get("/")
    assert page.status_code == 200 and "not built" in page.text
    assert client.get("/queues").status_code == 404
