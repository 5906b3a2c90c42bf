"""deploy/nginx.conf in front of a real broker: names, passwords, the dashboard, a write, and events as they come."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, Server, running

NGINX = os.environ.get("NGINX") or shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NAME = "nexo.example.org"

MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""

pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(NGINX is None, reason="no nginx (Debian: apt-get install nginx-light)"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), "--http-hosts", NAME) as server:
        yield server


@pytest.fixture
def proxy(broker: Server, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the name that nginx answers under."""
    port = free_port()
    site = (ROOT / "deploy/nginx.conf").read_text()
    for ours, theirs in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("127.0.0.1:8080", broker.http.removeprefix("http://")),
        ("/etc/nginx/nexo.passwords", f"{tmp_path}/passwords"),
    ):
        assert site.count(ours) == 1
        site = site.replace(ours, theirs)
    (tmp_path / "site.conf").write_text(site)
    (tmp_path / "passwords").write_text("ada:{PLAIN}lovelace\n")
    (tmp_path / "nginx.conf").write_text(
        ("user root;" if os.getuid() == 0 else "") + MAIN.format(folder=tmp_path)  # it reads in our folder
    )
    assert NGINX is not None
    arguments = [NGINX, "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    checked = subprocess.run([*arguments, "-t"], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    transport = httpx.HTTPTransport(retries=8)  # until it listens
    headers = {"Host": NAME}
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            transport=transport,
            headers=headers,
            auth=("ada", "lovelace"),
        ) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def test_it_passes_on_what_it_should(proxy: httpx.Client) -> None:
    assert proxy.get("/readyz").json() == {"status": "ok", "reasons": []}
    assert proxy.get("/").headers["content-type"].startswith("text/html")
    from_page = {"Origin": f"http://{NAME}"}
    assert proxy.post("/api/v1/queues", json={"name": "mail"}, headers=from_page).status_code == 201
    elsewhere = {"Origin": "http://elsewhere.example"}
    refused = proxy.post("/api/v1/queues", json={"name": "other"}, headers=elsewhere)
    assert refused.json()["code"] == "CROSS_SITE"


def test_nobody_without_a_password(proxy: httpx.Client) -> None:
    assert httpx.get(f"{proxy.base_url}/api/v1/overview", headers={"Host": NAME}).status_code == 401


def test_events_come_one_by_one(proxy: httpx.Client) -> None:
    with proxy.stream("GET", "/api/v1/pubsub/tail", params={"filter": "news"}, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        for number in range(3):
            message = {"topic": "news", "type": "str", "value": f"number {number}"}
            assert proxy.post("/api/v1/pubsub/publish", json=message).status_code == 200
            assert f"number {number}" in next(line for line in lines if "number" in line)
