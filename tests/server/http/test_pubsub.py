"""Pub/Sub over HTTP, with native clients on the other side."""

from __future__ import annotations

import time

import pytest

import nexo
from tests.conftest import Server
from tests.server.http.kit import Api

PUBSUB = "/v1/pubsub"


def publish(api: Api, topic: str, value: str, **more: object) -> int:
    body = {"topic": topic, "type": "str", "value": value, **more}
    receivers: int = api.post(f"{PUBSUB}/publish", body)["receivers"]
    return receivers


def topic(api: Api, name: str) -> dict[str, object] | None:
    found = [one for one in api.every(f"{PUBSUB}/topics", prefix=name) if one["topic"] == name]
    return found[0] if found else None


def test_who_listens_to_what(api: Api, server: Server, name: str) -> None:
    with nexo.blocking.connect(port=server.port) as client:
        subscriptions = [
            client.pubsub.subscribe(f"{name}/+/t"),
            client.pubsub.subscribe(f"{name}/#"),
            client.pubsub.subscribe(f"{name}/#", group="workers"),
        ]
        shown = topic(api, f"{name}/+/t")
        assert shown is not None
        assert (shown["subscribers"], shown["groups"], shown["pattern"]) == (1, [], True)
        both = topic(api, f"{name}/#")
        assert both is not None
        assert (both["subscribers"], both["groups"]) == (1, [{"name": "workers", "members": 1}])
        assert publish(api, f"{name}/1/t", "hi", headers={"k": "v"}) == 2
        for filter in (f"{name}/+/t", f"{name}/#"):  # the group's member stands under the second
            given = topic(api, filter)
            assert given is not None and given["delivered"] == 1
        message = next(iter(subscriptions[0]))
        assert message.data == "hi" and message.headers.get("k") == b"v"


def test_retained_values(api: Api, name: str) -> None:
    publish(api, f"{name}/a", "old", retain=True)
    publish(api, f"{name}/a", "new", retain=True, ttl_ms=60_000, headers=[{"name": "k", "value": "v"}])
    shown = topic(api, f"{name}/a")
    assert shown is not None and shown["subscribers"] == 0 and not shown["pattern"]
    retained = shown["retained"]
    assert isinstance(retained, dict)
    assert retained["value"] == "new" and retained["expires_at"] > 0 and retained["bytes"] == 3
    assert retained["headers"] == [{"name": "k", "value": "v"}]
    path = f"{PUBSUB}/retained/{name}%2Fa"
    assert api.delete(path) == {"cleared": True}
    assert api.delete(path, 404)["code"] == "RESOURCE_NOT_FOUND"
    assert topic(api, f"{name}/a") is None


def test_topics_in_pages(api: Api, name: str) -> None:
    names = sorted(f"{name}/{number:03}/é x" for number in range(120))
    for one in names:
        publish(api, one, "v", retain=True)
    assert [one["topic"] for one in api.every(f"{PUBSUB}/topics", prefix=f"{name}/", limit=50)] == names


@pytest.mark.parametrize(
    "body",
    [
        {"topic": "", "type": "str", "value": ""},
        {"topic": "a/#", "type": "str", "value": ""},
        {"topic": "a", "type": "str"},
        {"topic": "a", "type": "str", "value": "", "retain": True, "ttl_ms": 0},
    ],
)
def test_what_is_no_message(api: Api, body: object) -> None:
    assert api.post(f"{PUBSUB}/publish", body, 400)["code"] == "INVALID_ARGUMENT"
    assert api.delete(f"{PUBSUB}/retained/a%2F%23", 400)["code"] == "INVALID_ARGUMENT"
    assert api.get(f"{PUBSUB}/tail", 400, filter="a/#/b")["code"] == "INVALID_ARGUMENT"


def test_a_tail_has_what_is_published_and_ends_with_its_reader(api: Api, name: str) -> None:
    publish(api, f"{name}/kept", "before", retain=True)
    other = Api(api.address)
    with other.events(f"{PUBSUB}/tail", filter=f"{name}/#", retained="true") as events:
        first = next(events)
        assert (first.name, first.data["topic"], first.data["value"]) == ("message", f"{name}/kept", "before")
        assert publish(api, f"{name}/live", "é\nline", headers={"a": "b"}) == 1
        second = next(events)
        assert second.data["value"] == "é\nline" and second.data["headers"] == [{"name": "a", "value": "b"}]
        assert second.data["at"] > 0 and second.data["bytes"] == 7
    gone_within(api, f"{name}/#")


def gone_within(api: Api, name: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while topic(api, name) is not None:
        assert time.monotonic() < deadline, "the subscription of a tail that nobody reads is still there"
        time.sleep(0.01)


def test_a_tail_that_is_not_read_loses_the_oldest_and_is_told(api: Api, server: Server, name: str) -> None:
    other = Api(api.address)
    with (
        other.events(f"{PUBSUB}/tail", filter=name) as events,
        nexo.blocking.connect(port=server.port) as client,
    ):
        padding = "x" * 20_000
        for number in range(3_000):
            client.pubsub.topic(name).publish(f"{number} {padding}")
        shown = topic(api, name)
        assert shown is not None and shown["dropped"]
        last, lost, seen = -1, 0, 0
        for event in events:
            if event.name == "dropped":
                lost += event.data["messages"]
                continue
            number = int(event.data["value"].split()[0])
            assert number > last
            last = number
            seen += 1
            if number == 2_999:
                break
        assert lost > 0 and seen + lost == 3_000
