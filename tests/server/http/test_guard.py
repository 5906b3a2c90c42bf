"""What is refused before a route is asked: foreign pages, foreign names, bodies that are too long."""

from __future__ import annotations

import socket

import pytest

from tests.server.http.kit import Api

PATH = "/api/v1/store/keys/guarded"
BODY = b'{"type": "str", "value": "x"}'
JSON = "application/json"


def put(api: Api, headers: dict[str, str], body: bytes = BODY) -> tuple[int, str]:
    answer = api.client.put(PATH, content=body, headers={"Content-Type": JSON, **headers})
    return answer.status_code, answer.json().get("code", "")


def test_pages_of_other_sites_change_nothing(api: Api) -> None:
    own = api.address
    assert put(api, {"Origin": own}) == (200, "")
    for origin in ("http://example.org", "null", own.replace("127.0.0.1", "localhost"), f"{own}1", "http://"):
        assert put(api, {"Origin": origin}) == (403, "CROSS_SITE")
    assert api.client.delete(PATH, headers={"Origin": "http://example.org"}).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b", ""]
)
def test_only_json(api: Api, kind: str) -> None:
    assert put(api, {"Content-Type": kind}) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert put(api, {"Content-Type": "application/json; charset=utf-8"}) == (200, "")


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org", "", "[", "a b"]
)
def test_names_that_are_not_ours(api: Api, host: str) -> None:
    for path in ("/api/v1/overview", "/metrics", "/", "/docs"):
        answer = api.client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "WRONG_HOST"), path
    assert api.client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "10.1.2.3"])
def test_names_that_are(api: Api, host: str) -> None:
    assert api.client.get("/api/v1/overview", headers={"Host": host}).status_code == 200


def test_long_bodies(api: Api) -> None:
    most = 10 * 1024 * 1024
    assert put(api, {}, b" " * most + BODY) == (413, "BODY_TOO_LARGE")
    # Without a length, the body is counted as it comes; the server need not take the rest.
    host, _, port = api.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.settimeout(20)
        raw.sendall(
            b"PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" % PATH.encode()
        )
        try:
            for _ in range(most // 65_536 + 1):
                raw.sendall(b"10000\r\n%s\r\n" % (b" " * 65_536))
        except OSError:
            pass
        assert raw.recv(65_536).startswith(b"HTTP/1.1 413 ")
    assert api.get("/livez") == {"status": "ok"}


def test_paths_and_methods_that_are_not_there(api: Api) -> None:
    for path in ("/api/v1/nothing", "/api/v1/queues/a/b/c", "/nothing.js", "/api"):
        assert api.get(path, 404)["code"] == "NO_SUCH_ROUTE"
    assert api.post("/nothing", {}, 405)["code"] == "METHOD_NOT_ALLOWED"
    assert api.post("/v1/overview", {}, 405)["code"] == "METHOD_NOT_ALLOWED"
    answer = api.client.request("PATCH", PATH, content=b"{}", headers={"Content-Type": JSON})
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]


def test_every_answer_tells_browsers_what_they_may(api: Api) -> None:
    for path in ("/", "/docs", "/api/v1/overview", "/nothing.js", "/metrics"):
        headers = api.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_bytes_that_are_not_http(api: Api) -> None:
    host, _, port = api.address.removeprefix("http://").partition(":")
    for garbage in (
        b"\x09\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 9,
        b"\xff" * 99,
    ):
        with socket.create_connection((host, int(port))) as raw:
            raw.settimeout(10)
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    for path in (
        "/api/v1/store/keys/%zz",
        "/%00",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//x",
        "/\\x",
    ):
        with socket.create_connection((host, int(port))) as raw:
            raw.settimeout(10)
            raw.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
            answer = b""
            while piece := raw.recv(4096):
                answer += piece
            assert answer.split()[1] in (b"200", b"400", b"404"), path
            assert b"root:" not in answer
    assert api.get("/livez") == {"status": "ok"}
