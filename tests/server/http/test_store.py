"""Keys over HTTP."""

from __future__ import annotations

from http.client import HTTPConnection

import pytest

import nexo
from tests.conftest import Server
from tests.server.http.kit import Api

KEYS = "/v1/store/keys"


@pytest.mark.parametrize(
    ("type", "value", "shown"),
    [
        ("str", "héllo", "héllo"),
        ("str", "", ""),
        ("json", {"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        ("json", None, None),
        ("int", 7, 7),
        ("int", "-9223372036854775808", "-9223372036854775808"),
        ("int", (1 << 53) + 1, str((1 << 53) + 1)),
        ("bytes", "AP8=", "AP8="),
    ],
)
def test_a_value_comes_back_as_it_was(api: Api, name: str, type: str, value: object, shown: object) -> None:
    assert api.put(f"{KEYS}/{name}", {"type": type, "value": value})["created"]
    found = api.get(f"{KEYS}/{name}")
    assert (found["type"], found["value"], found["key"]) == (type, shown, name)
    assert found["expires_at"] == 0 and found["ttl_ms"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "str"},
        {"type": "float", "value": 1},
        {"type": "str", "value": 1},
        {"type": "int", "value": "x"},
        {"type": "int", "value": True},
        {"type": "int", "value": 1 << 63},
        {"type": "bytes", "value": "!"},
        {"type": "str", "value": "x", "ttl_ms": 0},
        {"type": "str", "value": "x", "ttl_ms": 1 << 60},
        {"type": "str", "value": "x", "ttl_ms": 1, "keep_ttl": True},
        {"type": "str", "value": "x", "if_version": -1},
        {"type": "str", "value": "x", "tttl_ms": 1},
        [],
    ],
)
def test_what_is_no_value(api: Api, name: str, body: object) -> None:
    assert api.put(f"{KEYS}/{name}", body, 400)["code"] == "INVALID_ARGUMENT"
    assert api.get(f"{KEYS}/{name}", 404)["code"] == "RESOURCE_NOT_FOUND"


def test_text_that_is_not_json(api: Api, name: str) -> None:
    answer = api.client.put(
        f"/api{KEYS}/{name}", content=b'{"type": ', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and "the body" in answer.json()["detail"]


def test_ttl_and_versions(api: Api, name: str) -> None:
    path = f"{KEYS}/{name}"
    first = api.put(path, {"type": "str", "value": "a", "ttl_ms": 60_000, "if_version": 0})
    assert first["created"] and 0 < api.get(path)["ttl_ms"] <= 60_000
    refused = api.put(path, {"type": "str", "value": "b", "if_version": 0}, 412)
    assert refused["code"] == "VERSION_MISMATCH" and refused["details"] == {"version": first["version"]}
    second = api.put(path, {"type": "str", "value": "b", "if_version": first["version"], "keep_ttl": True})
    assert not second["created"] and second["version"] > first["version"]
    assert api.get(path)["expires_at"] > 0
    api.put(path, {"type": "str", "value": "c"})
    assert api.get(path)["expires_at"] == 0
    assert api.delete(path, 412, if_version=1)["details"]["version"] > second["version"]
    assert api.delete(path)["deleted"]
    assert api.delete(path, 404)["code"] == "RESOURCE_NOT_FOUND"


def test_a_key_that_is_not_text(api: Api) -> None:
    assert api.put(f"{KEYS}/%FF", {"type": "str", "value": ""}, 400)["code"] == "INVALID_ARGUMENT"
    assert api.get(f"{KEYS}/%FF", 404)["code"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("quoted", ["a%2Fb", "%2F", "a%20b", "%00%2e", "%E2%82%AC", "a%3Fb%23c", "100%25"])
def test_any_text_is_a_key(api: Api, quoted: str) -> None:
    api.put(f"{KEYS}/{quoted}", {"type": "str", "value": quoted})
    found = api.get(f"{KEYS}/{quoted}")
    assert found["value"] == quoted
    assert api.get(f"{KEYS}/{found['path']}")["value"] == quoted
    api.delete(f"{KEYS}/{found['path']}")
    api.get(f"{KEYS}/{quoted}", 404)


def test_the_longest_key(api: Api) -> None:
    """As long as it gets in an address: each byte takes three."""
    body, headers = '{"type": "str", "value": "x"}', {"Content-Type": "application/json"}
    for size, status in ((65_536, 200), (65_538, 422)):
        path = "/api" + KEYS + "/" + "%C3%A9" * (size // 2)
        connection = HTTPConnection(api.address.removeprefix("http://"), timeout=30)
        connection.request("PUT", path, body, headers)
        assert connection.getresponse().status == status
        connection.close()


def test_ten_thousand_keys_in_pages(api: Api, server: Server) -> None:
    with nexo.blocking.connect(port=server.port) as client:
        client.store.map.set_many({f"many:{number:05}": number for number in range(10_000)})
    page = api.get(KEYS, prefix="many:", limit=1000, values="true")
    assert page["count"] == 10_000 and len(page["items"]) == 1000 and page["items"][7]["value"] == 7
    assert "value" not in api.get(KEYS, prefix="many:", limit=1)["items"][0]
    found = api.every(KEYS, prefix="many:", limit=999)
    assert [one["key"] for one in found] == [f"many:{number:05}" for number in range(10_000)]
    assert api.get(KEYS, prefix="none:") == {"items": [], "next": None, "count": 0}


def test_long_values_are_shortened(api: Api, name: str) -> None:
    for type, value in (("str", "é" * 100), ("json", ["x" * 100]), ("bytes", "AAAA" * 50)):
        api.put(f"{KEYS}/{name}:{type}", {"type": type, "value": value})
        short = api.get(f"{KEYS}/{name}:{type}", value_bytes_max=11)
        assert short["truncated"] and short["bytes"] >= 100
        assert len(short["value"]) <= 16 and isinstance(short["value"], str)
        assert "truncated" not in api.get(f"{KEYS}/{name}:{type}", value_bytes_max=1000)
    assert len(api.get(KEYS, prefix=name, values="true", value_bytes_max=5)["items"]) == 3


@pytest.mark.parametrize(
    "parameters", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"values": "yes"}, {"cursor": "a"}]
)
def test_parameters_that_are_none(api: Api, parameters: dict[str, object]) -> None:
    assert api.get(KEYS, 400, **parameters)["code"] == "INVALID_ARGUMENT"
