"""Streams over HTTP."""

from __future__ import annotations

import time

import pytest

import nexo
from tests.conftest import Server
from tests.server.http.kit import Api

STREAMS = "/v1/streams"


@pytest.fixture
def stream(api: Api, name: str) -> str:
    """The path of a stream of level memory."""
    api.post(STREAMS, {"name": name, "options": {"durability": "memory", "max_deliveries": 1}}, 201)
    return f"{STREAMS}/{name}"


def append(api: Api, stream: str, *values: str, **more: object) -> int:
    records = [{"type": "str", "value": value, **more} for value in values]
    first: int = api.post(f"{stream}/records", {"records": records}, 201)["first_seq"]
    return first


def test_a_stream_from_birth_to_end(api: Api, name: str) -> None:
    made = api.post(STREAMS, {"name": name, "options": {"max_records": 100}}, 201)
    assert made["max_records"] == 100 and made["durability"] == "fsync" and made["records"] == 0
    assert api.post(STREAMS, {"name": name})["name"] == name
    conflict = api.post(STREAMS, {"name": name, "options": {"max_records": 7}}, 409)
    assert conflict["details"]["differences"][0]["path"] == "max_records"
    path = f"{STREAMS}/{name}"
    assert append(api, path, "a", "b") == 1
    described = api.get(path)
    assert (described["first_seq"], described["last_seq"], described["records"]) == (1, 2, 2)
    assert name in [one["name"] for one in api.every(STREAMS, prefix=name, limit=1)]
    assert api.delete(path) == {"deleted": True}
    assert api.get(path, 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.delete(path, 404)["code"] == "RESOURCE_NOT_FOUND"


def test_records_by_place(api: Api, stream: str) -> None:
    append(api, stream, *(str(number) for number in range(1, 251)), key="k", headers={"h": "1"})
    records = f"{stream}/records"
    assert [one["value"] for one in api.every(records, limit=99)] == [str(n) for n in range(1, 251)]
    page = api.get(records, **{"from": 17, "limit": 2})
    assert [one["seq"] for one in page["items"]] == [17, 18] and page["next"] == "18"
    assert (page["first_seq"], page["last_seq"]) == (1, 250)
    first = page["items"][0]
    assert (first["key"], first["headers"], first["bytes"]) == ("k", [{"name": "h", "value": "1"}], 2)
    assert [one["seq"] for one in api.get(records, last=3)["items"]] == [248, 249, 250]
    assert api.get(records, last=3)["next"] is None
    assert api.get(records, time=first["timestamp"])["items"][0]["seq"] == 1
    assert api.get(records, time=first["timestamp"] + 3_600_000)["items"] == []
    assert api.get(records, **{"from": 9_999})["items"] == []
    assert api.get(records, 400, last=1, time=1)["code"] == "INVALID_ARGUMENT"
    assert api.get(records, 400, last="x")["code"] == "INVALID_ARGUMENT"


def test_conditional_appends(api: Api, stream: str) -> None:
    records = [{"type": "int", "value": 1}]
    assert api.post(f"{stream}/records", {"records": records, "expected_seq": 0}, 201)["first_seq"] == 1
    refused = api.post(f"{stream}/records", {"records": records, "expected_seq": 0}, 409)
    assert refused["code"] == "SEQUENCE_MISMATCH" and refused["details"] == {"actual": 1}
    for body, status in (
        ({"records": []}, 400), ({"records": records, "expected_seq": -1}, 400), ({}, 400),
        ({"records": [{"type": "str", "value": "", "key": "k" * 70_000}]}, 422),
    ):  # fmt: skip
        api.post(f"{stream}/records", body, status)
    assert api.get(stream)["last_seq"] == 1


def test_following(api: Api, stream: str) -> None:
    append(api, stream, "a", "b")
    other = Api(api.address)
    with other.events(f"{stream}/follow", **{"from": 2}) as events:
        event = next(events)
        assert (event.name, event.id, event.data["value"]) == ("record", "2", "b")
        append(api, stream, "c")
        assert next(events).data["seq"] == 3
    with other.events(f"{stream}/follow", {"Last-Event-ID": "2"}, **{"from": 1}) as events:
        assert next(events).data["seq"] == 3
    with other.events(f"{stream}/follow", last=1) as events:
        assert next(events).data["seq"] == 3
    with other.events(f"{stream}/follow") as events:
        append(api, stream, "d")
        assert next(events).data["value"] == "d"
        api.delete(stream)
        assert next(events).name == "end"
        assert list(events) == []


def test_groups(api: Api, server: Server, stream: str, name: str) -> None:
    append(api, stream, *"abcdef")
    group = f"{stream}/groups/billing"
    with nexo.blocking.connect(port=server.port) as client:
        with client.stream.get(name).group("billing").consume(batch_size=3) as messages:
            first = next(messages)
            shown = api.get(group)
            assert (shown["leased"], shown["members"], shown["idle_since"]) == (3, 1, 0)
            assert shown["lag_messages"] == 6 and shown["lag_ms"] >= 0
            first.ack()
            for _ in range(2):
                next(messages).nack("broken")
            dead = api.every(f"{group}/dead", limit=1)
            assert [(one["seq"], one["reason"], one["attempts"]) for one in dead] == [
                (2, "broken", 1),
                (3, "broken", 1),
            ]
            assert dead[0]["value"] == "b" and dead[0]["died_at"] > 0
            after = api.get(f"{group}/dead", limit=1)["next"]
    assert api.post(f"{group}/dead/2/redrive") == {"seq": 7}
    assert [one["seq"] for one in api.get(f"{group}/dead", after=after)["items"]] == [3], (
        "none is passed over"
    )
    assert api.post(f"{group}/dead/2/redrive", None, 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.delete(f"{group}/dead/3") == {"removed": True}
    assert api.delete(f"{group}/dead/3", 404)["code"] == "RESOURCE_NOT_FOUND"
    assert [one["name"] for one in api.every(f"{stream}/groups")] == ["billing"]
    for body, floor in (
        ({"to": "beginning"}, 0), ({"to": "end"}, 7), ({"seq": 4}, 3), ({"time": 1}, 0), ({"seq": 999}, 7),
    ):  # fmt: skip
        assert api.post(f"{group}/seek", body)["ack_floor"] == floor
    for body in ({}, {"to": "middle"}, {"to": "end", "seq": 1}, {"seq": -1}):
        assert api.post(f"{group}/seek", body, 400)["code"] == "INVALID_ARGUMENT"
    assert api.delete(group) == {"deleted": True}
    for path in (group, f"{group}/dead"):
        assert api.get(path, 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.post(f"{group}/seek", {"to": "end"}, 404)["code"] == "RESOURCE_NOT_FOUND"


def test_every_route_says_that_there_is_no_such_stream(api: Api) -> None:
    for path in ("records", "follow", "groups", "groups/g", "groups/g/dead"):
        assert api.get(f"{STREAMS}/nowhere/{path}", 404)["code"] == "RESOURCE_NOT_FOUND"
    api.post(f"{STREAMS}/nowhere/records", {"records": [{"type": "int", "value": 1}]}, 404)
    api.post(f"{STREAMS}/nowhere/groups/g/dead/1/redrive", None, 404)
    for path in ("groups/g", "groups/g/dead/1"):
        assert api.delete(f"{STREAMS}/nowhere/{path}", 404)["code"] == "RESOURCE_NOT_FOUND"
    for body in (
        {"name": ""},
        {"name": "x", "options": {"colour": 1}},
        {"name": "x", "options": {"max_bytes": "1"}},
    ):
        assert api.post(STREAMS, body, 400)["code"] == "INVALID_ARGUMENT"


def test_a_follower_that_goes_away_waits_no_longer(api: Api, stream: str) -> None:
    before = api.get("/v1/overview")["connections"]["http"]
    other = Api(api.address)
    with other.events(f"{stream}/follow") as events:
        append(api, stream, "x")
        next(events)
    other.client.close()
    deadline = time.monotonic() + 10
    while api.get("/v1/overview")["connections"]["http"] > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert append(api, stream, "y") == 2
