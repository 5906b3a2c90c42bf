"""Queues over HTTP."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from nexo.limits import HTTP_SEARCH_MESSAGES_MAX
from tests.server.http.kit import Api

QUEUES = "/v1/queues"


def text(value: str, **more: object) -> dict[str, object]:
    return {"type": "str", "value": value, **more}


@pytest.fixture
def queue(api: Api, name: str) -> str:
    """The path of a queue of level memory."""
    api.post(QUEUES, {"name": name, "options": {"durability": "memory"}}, 201)
    return f"{QUEUES}/{name}"


def push(api: Api, queue: str, *messages: dict[str, object]) -> list[int]:
    return [one["id"] for one in api.post(f"{queue}/messages", {"messages": messages}, 201)["messages"]]


def received(api: Api, queue: str, batch: int = 10, wait_ms: int = 0) -> list[dict[str, object]]:
    found: list[dict[str, object]] = api.post(f"{queue}/receive", {"batch": batch, "wait_ms": wait_ms})[
        "messages"
    ]
    return found


def leases(messages: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{"id": one["id"], "token": one["token"]} for one in messages]


def test_search_looks_into_value_headers_group_and_reason(api: Api, queue: str) -> None:
    ids = push(
        api,
        queue,
        text("nothing"),
        text("a needle in text"),
        {"type": "json", "value": {"to": ["needle"]}},
        {"type": "bytes", "value": "AG5lZWRsZQ=="},
        text("x", headers={"trace": "needle"}),
        text("x", group="needle"),
        {"type": "int", "value": 4711},
    )
    found = api.get(f"{queue}/messages", state="ready", contains="needle")
    assert [one["id"] for one in found["items"]] == ids[1:6]
    assert (found["next"], found["looked_at"]) == (None, 7)
    assert [one["id"] for one in api.get(f"{queue}/messages", contains="471")["items"]] == ids[6:]
    first = api.get(f"{queue}/messages", contains="needle", limit=2)
    assert [one["id"] for one in first["items"]] == ids[1:3]
    rest = api.get(f"{queue}/messages", contains="needle", after=first["next"])
    assert [one["id"] for one in rest["items"]] == ids[3:6]
    api.post(
        f"{queue}/nack", {"leases": leases(received(api, queue, 1)), "mode": "fatal", "reason": "550 lost"}
    )
    assert [one["id"] for one in api.get(f"{queue}/messages", state="dead", contains="550")["items"]] == ids[
        :1
    ]
    assert api.get(f"{queue}/messages", state="dead", contains="551")["items"] == []


def test_a_search_looks_at_a_bounded_number_and_goes_on(api: Api, queue: str) -> None:
    for _ in range(21):
        push(api, queue, *[text("hay")] * 500)
    (last,) = push(api, queue, text("needle"))
    found = api.get(f"{queue}/messages", contains="needle")
    assert (found["items"], found["looked_at"]) == ([], HTTP_SEARCH_MESSAGES_MAX)
    found = api.get(f"{queue}/messages", contains="needle", after=found["next"])
    assert ([one["id"] for one in found["items"]], found["next"]) == ([last], None)


def test_a_queue_from_birth_to_end(api: Api, name: str) -> None:
    made = api.post(QUEUES, {"name": name, "options": {"max_deliveries": 3}}, 201)
    assert made["max_deliveries"] == 3 and made["durability"] == "fsync" and not made["paused"]
    assert api.post(QUEUES, {"name": name, "options": {"max_deliveries": 3}})["name"] == name
    conflict = api.post(QUEUES, {"name": name, "options": {"max_deliveries": 4}}, 409)
    assert conflict["code"] == "RESOURCE_CONFIG_CONFLICT"
    assert conflict["details"]["differences"][0]["path"] == "max_deliveries"
    path = f"{QUEUES}/{name}"
    (id,) = push(api, path, text("x"))
    assert api.get(path)["ready"] == 1 and api.get(path)["oldest_age_ms"] >= 0
    (message,) = received(api, path)
    assert message["id"] == id and message["attempt"] == 1 and message["value"] == "x"
    assert api.post(f"{path}/ack", {"leases": leases([message])}) == {"refused": []}
    assert api.get(path)["acked"] == 1
    assert api.delete(path) == {"deleted": True}
    for call in (api.get, api.delete):
        assert call(path, 404)["code"] == "RESOURCE_NOT_FOUND"


def test_lists_in_pages(api: Api) -> None:
    for number in range(25):
        api.post(QUEUES, {"name": f"page/{number:02} ü", "options": {"durability": "memory"}}, 201)
    found = api.every(QUEUES, prefix="page/", limit=7)
    assert [one["name"] for one in found] == [f"page/{number:02} ü" for number in range(25)]
    assert api.get(f"{QUEUES}/page%2F03%20%C3%BC")["name"] == "page/03 ü"
    api.delete(f"{QUEUES}/page%2F03%20%C3%BC")


def test_messages_in_every_state(api: Api, queue: str) -> None:
    headers = [{"name": "a", "value": "1"}, {"name": "a", "base64": "/w=="}]
    ids = push(
        api,
        queue,
        text("ready", headers=headers, priority=3),
        text("later", delay_ms=60_000),
        text("g1", group="g", headers={"k": "v"}),
        text("g2", group="g"),
        text("expires", ttl_ms=60_000),
    )
    shown = {
        state: api.get(f"{queue}/messages", state=state)["items"] for state in ("ready", "held", "delayed")
    }
    assert [one["id"] for one in shown["ready"]] == [ids[0], ids[2], ids[4]]
    assert [one["id"] for one in shown["held"]] == [ids[3]]
    assert [one["id"] for one in shown["delayed"]] == [ids[1]] and shown["delayed"][0]["due_at"] > 0
    first = api.get(f"{queue}/messages/{ids[0]}")
    assert first == shown["ready"][0]
    assert first["headers"] == headers and first["priority"] == 3 and first["state"] == "ready"
    assert shown["ready"][1]["headers"] == [{"name": "k", "value": "v"}] and shown["ready"][1]["group"] == "g"
    assert shown["ready"][2]["expires_at"] > 0
    (lent,) = received(api, queue, 1)
    assert lent["id"] == ids[0] and lent["headers"] == headers
    assert [one["id"] for one in api.get(f"{queue}/messages", state="leased")["items"]] == [ids[0]]
    assert api.get(f"{queue}/messages", state="dead")["items"] == []
    assert "leased" in api.get(f"{queue}/messages", 400, state="gone")["detail"]
    assert api.delete(f"{queue}/messages/{ids[1]}") == {"removed": True}
    assert api.delete(f"{queue}/messages/{ids[1]}", 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.get(f"{queue}/messages/{ids[1]}", 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.get(f"{queue}/messages/x", 400)["code"] == "INVALID_ARGUMENT"
    assert api.post(f"{queue}/purge")["removed"] == 4


def test_many_messages_in_pages(api: Api, queue: str) -> None:
    ids = push(api, queue, *(text(str(number)) for number in range(2_500)))
    assert [one["id"] for one in api.every(f"{queue}/messages", limit=1000, value_bytes_max=2)] == ids


def test_refusals_and_dead_letters(api: Api, queue: str) -> None:
    push(api, queue, *(text(str(number)) for number in range(6)))
    lent = received(api, queue)
    nack = f"{queue}/nack"
    assert api.post(nack, {"leases": leases(lent[:1]), "mode": "release"}) == {"refused": []}
    assert (
        api.post(nack, {"leases": leases(lent[1:2]), "delay_ms": 60_000, "reason": "later"})["refused"] == []
    )
    assert api.post(nack, {"leases": leases(lent[2:]), "mode": "fatal", "reason": "broken"})["refused"] == []
    again = api.post(nack, {"leases": leases(lent[2:4])})
    assert again["refused"] == [one["id"] for one in lent[2:4]]
    wrong = [{"id": 1, "token": "x"}, {"id": -5, "token": "1"}, {"id": 1 << 70, "token": "9" * 30}]
    assert api.post(f"{queue}/ack", {"leases": wrong})["refused"] == [1, -5, 1 << 70]
    dead = api.every(f"{queue}/messages", state="dead", limit=3)
    assert [one["id"] for one in dead] == [one["id"] for one in lent[2:]]
    assert all(one["state"] == "dead" and one["reason"] == "broken" and one["died_at"] > 0 for one in dead)
    assert api.get(f"{queue}/messages/{dead[0]['id']}") == dead[0]
    assert api.post(f"{queue}/redrive", {"ids": [dead[0]["id"], 99_999, -1]}) == {"moved": 1}
    assert api.post(f"{queue}/redrive", {"reason": "other"}) == {"moved": 0}
    assert api.post(f"{queue}/redrive", {"ids": [1], "reason": "x"}, 400)["code"] == "INVALID_ARGUMENT"
    assert api.post(f"{queue}/redrive", {"died_until": -1}, 400)["code"] == "INVALID_ARGUMENT"
    assert api.post(f"{queue}/redrive", {"ids": list(range(1001))}, 422)["code"] == "LIMIT_EXCEEDED"
    assert api.post(f"{queue}/redrive") == {"moved": 3}
    assert api.get(queue)["redriven"] == 4 and api.get(queue)["dead_letters"] == 0


def test_dead_letters_that_go_between_pages_shift_nothing(api: Api, queue: str) -> None:
    push(api, queue, *(text(str(number)) for number in range(5)))
    lent = received(api, queue)
    api.post(f"{queue}/nack", {"leases": leases(lent), "mode": "fatal"})
    first = api.get(f"{queue}/messages", state="dead", limit=2)
    assert api.post(f"{queue}/redrive", {"ids": [one["id"] for one in first["items"]]}) == {"moved": 2}
    rest = api.every(f"{queue}/messages", state="dead", after=first["next"], limit=2)
    assert [one["id"] for one in rest] == [one["id"] for one in lent[2:]]


def test_many_dead_letters_come_back_and_go(api: Api, queue: str) -> None:
    for _ in range(2):
        push(api, queue, *(text("x") for _ in range(2_500)))
        lent = received(api, queue, 10_000)
        api.post(f"{queue}/nack", {"leases": leases(lent), "mode": "fatal"})
        assert api.get(queue)["dead_letters"] == len(lent)
        if len(lent) == 2_500:
            assert api.post(f"{queue}/redrive") == {"moved": 2_500}
    assert api.post(f"{queue}/purge", {"state": "dead"}) == {"removed": 5_000}


def test_pause_and_resume(api: Api, queue: str) -> None:
    push(api, queue, text("x"))
    assert api.post(f"{queue}/pause", {"ms": 60_000})["paused_until"] > 0
    assert received(api, queue) == []
    assert api.post(f"{queue}/pause")["paused_until"] == -1
    assert api.post(f"{queue}/pause", {"ms": -1}, 400)["code"] == "INVALID_ARGUMENT"
    assert not api.post(f"{queue}/resume")["paused"]
    assert len(received(api, queue)) == 1


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("messages", {"messages": [text("x", priority=256)]}, 400),
        ("messages", {"messages": [text("x", delay_ms=-1)]}, 400),
        ("messages", {"messages": [text("x", ttl_ms=0)]}, 400),
        ("messages", {"messages": [text("x", headers=[{"name": "a"}])]}, 400),
        ("messages", {"messages": [text("x", headers=[{"name": "", "value": ""}])]}, 400),
        ("messages", {"messages": [text("x", headers=[{"name": "a", "value": "v" * 70_000}])]}, 422),
        ("messages", {"messages": [text("x")] * 10_001}, 422),
        ("messages", {"message": []}, 400),
        ("receive", {"batch": 0}, 422),
        ("receive", {"batch": 10_001}, 422),
        ("receive", {"wait_ms": 60_001}, 422),
        ("ack", {"leases": [{"id": 1, "token": "1"}] * 10_001}, 422),
        ("nack", {"leases": [], "mode": "angry"}, 400),
        ("nack", {"leases": [], "delay_ms": -2}, 400),
        ("purge", {"state": "ready"}, 400),
    ],
)
def test_what_is_refused(api: Api, queue: str, what: str, body: object, status: int) -> None:
    api.post(f"{queue}/{what}", body, status)
    assert api.get(queue)["messages"] == 0


def test_every_route_says_that_there_is_no_such_queue(api: Api) -> None:
    for what, body in (
        ("messages", {"messages": [text("x")]}), ("receive", {}), ("ack", {"leases": []}), ("nack", {"leases": []}),
        ("pause", {}), ("resume", {}), ("purge", {}), ("redrive", {}),
    ):  # fmt: skip
        assert api.post(f"{QUEUES}/nowhere/{what}", body, 404)["code"] == "RESOURCE_NOT_FOUND"
    for path in ("messages", "messages/1"):
        assert api.get(f"{QUEUES}/nowhere/{path}", 404)["code"] == "RESOURCE_NOT_FOUND"
    api.delete(f"{QUEUES}/nowhere/messages/1", 404)
    assert api.post(QUEUES, {"name": ""}, 400)["code"] == "INVALID_ARGUMENT"
    assert api.post(QUEUES, {"name": "x", "options": {"colour": 1}}, 400)["code"] == "INVALID_ARGUMENT"


def waiting(api: Api, queue: str, count: int) -> None:
    deadline = time.monotonic() + 10
    while api.get(queue)["waiting_consumers"] != count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_long_poll_is_answered_when_a_message_comes(api: Api, queue: str) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(received(Api(api.address), queue, 5, 30_000)))
    thread.start()
    waiting(api, queue, 1)
    push(api, queue, text("x"))
    thread.join(10)
    assert len(found) == 1
    assert received(api, queue, 1, 50) == []


def test_one_who_goes_away_while_waiting_gets_nothing(api: Api, queue: str) -> None:
    host, _, port = api.address.removeprefix("http://").partition(":")
    body = b'{"wait_ms": 60000}'
    with socket.create_connection((host, int(port))) as gone:
        gone.sendall(
            b"POST /api%s/receive HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (queue.encode(), len(body), body)
        )
        waiting(api, queue, 1)
    waiting(api, queue, 0)
    push(api, queue, text("x"))
    (message,) = received(api, queue)
    assert message["attempt"] == 1


def test_a_long_poll_ends_with_its_queue(api: Api, queue: str) -> None:
    answers: list[int] = []

    def wait() -> None:
        answer = Api(api.address).client.post(f"/api{queue}/receive", json={"wait_ms": 30_000})
        answers.append(answer.status_code)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting(api, queue, 1)
    api.delete(queue)
    thread.join(10)
    assert answers == [404]
