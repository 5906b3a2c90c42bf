"""Peers that take their time with the head of a request, on the HTTP port and on the main one; HTTP on the main one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Server, running
from tests.server.http.kit import Api

SECONDS_MAX = 8.0
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), "--greeting-seconds", "1") as started:
        yield started


@pytest.fixture(params=["http port", "main port"])
def port(request: pytest.FixtureRequest, hasty: Server) -> int:
    return hasty.port if request.param == "main port" else int(hasty.http.rpartition(":")[2])


def connected(port: int) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port))
    one.settimeout(SECONDS_MAX)
    return one


def trickle(one: socket.socket, data: bytes) -> None:
    """A byte a tenth of a second, until the other side has had enough."""
    try:
        for byte in data:
            one.sendall(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        pass


def all_of(one: socket.socket) -> bytes:
    found = b""
    try:
        while data := one.recv(4096):
            found += data
    except ConnectionResetError:
        pass
    return found


def answered(one: socket.socket) -> bytes:
    found = b""
    while b'"ok"' not in found:
        data = one.recv(4096)
        assert data, found
        found += data
    return found


def test_a_first_head_that_trickles(port: int) -> None:
    began = time.monotonic()
    with connected(port) as one:
        thread = threading.Thread(target=trickle, args=(one, b"GET /" + b"x" * 200))
        thread.start()
        answer = all_of(one)
        assert time.monotonic() - began < SECONDS_MAX
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408 ") and b"within 1 seconds" in answer


def test_silence(port: int) -> None:
    began = time.monotonic()
    with connected(port) as one:
        assert b"within 1 seconds" in all_of(one)
    assert time.monotonic() - began < SECONDS_MAX


@pytest.mark.parametrize("together", [True, False])
def test_a_second_head_that_trickles(port: int, together: bool) -> None:
    """Its time counts from its first byte, which may come with the request before."""
    with connected(port) as one:
        one.sendall(REQUEST + (b"GET /livez" if together else b""))
        assert answered(one).startswith(b"HTTP/1.1 200 ")
        if not together:
            one.sendall(b"GET /livez")
        thread = threading.Thread(target=trickle, args=(one, b"x" * 200))
        thread.start()
        assert all_of(one).startswith(b"HTTP/1.1 408 ")
        thread.join()


def test_a_connection_that_is_kept_outlives_the_deadline(port: int) -> None:
    with connected(port) as one:
        for _ in range(3):
            one.sendall(REQUEST)
            answered(one)
            time.sleep(0.6)


def test_a_head_that_is_too_long(port: int) -> None:
    with connected(port) as one:
        try:
            one.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20))
        except ConnectionError:
            return
        assert all_of(one)[:13] in (b"HTTP/1.1 400 ", b"")


def test_the_api_on_the_main_port(hasty: Server) -> None:
    """The same application, in the list of connections, under the same limits."""
    api = Api(f"http://127.0.0.1:{hasty.port}")
    api.post("/v1/queues", {"name": "q"}, 201)
    items: list[dict[str, Any]] = api.get("/v1/connections")["items"]
    assert [one["protocol"] for one in items] == ["http"]
    assert api.get("/v1/overview")["connections"]["open"] == 1
    with api.events("/v1/events") as events:
        assert next(events).name == "overview"


def test_the_first_bytes_one_by_one(hasty: Server) -> None:
    with connected(hasty.port) as one:
        for byte in REQUEST[:6]:
            one.sendall(bytes([byte]))
            time.sleep(0.02)
        one.sendall(REQUEST[6:])
        assert answered(one).startswith(b"HTTP/1.1 200 ")
