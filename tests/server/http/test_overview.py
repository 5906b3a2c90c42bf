"""The overview, its history and feed, health, connections, metrics."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import nexo
from nexo.errors import ConnectionClosedError, NotConnectedError
from nexo.server import monitor
from nexo.server.app import Server as Broker
from nexo.server.config import resolve
from nexo.server.http import metrics
from tests.conftest import ROOT, Server
from tests.server.http.kit import Api

COUNTS = ("store", "queues", "pubsub", "streams")


def test_health(api: Api) -> None:
    assert api.get("/livez") == {"status": "ok"}
    assert api.get("/readyz") == {"status": "ok", "reasons": []}


def test_the_overview_counts_what_happens(api: Api, server: Server, name: str) -> None:
    before = api.get("/v1/overview")
    assert before["ready"] and before["storage"]["state"] == "ok" and before["version"]
    assert before["memory"]["rss_bytes"] > 10_000_000 and before["connections"]["http"] >= 1
    with nexo.blocking.connect(port=server.port) as client:
        client.store.map.set(name, 1)
        queue = client.queue.create(name)
        queue.push("x")
        client.stream.create(name).publish("x")
        client.pubsub.topic(name).publish("nobody")
        time.sleep(monitor.FRESH_SECONDS)
        after = api.get("/v1/overview")
    assert after["connections"]["open"] == before["connections"]["open"] + 1
    assert after["at"] > before["at"] and after["uptime_ms"] > before["uptime_ms"]
    grown = {
        f"{part}.{field}": after[part][field] - before[part][field]
        for part in COUNTS
        for field in after[part]
        if after[part][field] != before[part][field]
    }
    assert grown.pop("queues.bytes") > 0 and grown.pop("streams.bytes") > 0
    assert grown == {
        "store.keys": 1, "store.version": 1, "queues.queues": 1, "queues.ready": 1, "queues.pushed": 1,
        "streams.streams": 1, "streams.records": 1, "streams.appended": 1, "pubsub.published": 1,
        "pubsub.no_receiver": 1,
    }  # fmt: skip
    assert after["storage"]["files"] == 1 and after["storage"]["last_sync_ms"] >= 0
    assert after["storage"]["synced_batch"] > before["storage"]["synced_batch"]


def test_totals_do_not_shrink_when_something_is_deleted(api: Api, server: Server, name: str) -> None:
    with nexo.blocking.connect(port=server.port) as client:
        queue, stream = client.queue.create(name), client.stream.create(name)
        queue.push("x")
        stream.publish("x")
        (job,) = queue.receive(1)
        job.ack()
        with stream.group("g").consume() as messages:
            next(messages).ack()
        time.sleep(monitor.FRESH_SECONDS)
        before = api.get("/v1/overview")
        api.delete(f"/v1/queues/{name}")
        api.delete(f"/v1/streams/{name}")
        time.sleep(monitor.FRESH_SECONDS)
        after = api.get("/v1/overview")
    for part, fields in {
        "queues": ("pushed", "delivered", "acked"),
        "streams": ("appended", "delivered", "acked"),
    }.items():
        assert all(before[part][field] > 0 for field in fields)
        assert {field: after[part][field] for field in fields} == {
            field: before[part][field] for field in fields
        }
    assert scraped(api)["nexo_queues_pushed"][()] == after["queues"]["pushed"]


def test_dead_letters_give_an_alarm(api: Api, name: str) -> None:
    api.post("/v1/queues", {"name": name, "options": {"durability": "memory"}}, 201)
    api.post(f"/v1/queues/{name}/messages", {"messages": [{"type": "int", "value": 1}]}, 201)
    (lent,) = api.post(f"/v1/queues/{name}/receive")["messages"]
    api.post(
        f"/v1/queues/{name}/nack", {"leases": [{"id": lent["id"], "token": lent["token"]}], "mode": "fatal"}
    )
    time.sleep(monitor.FRESH_SECONDS)
    (alarm,) = api.get("/v1/overview")["alarms"]
    assert (alarm["level"], alarm["code"]) == ("warning", "dead_letters") and alarm["message"].startswith(
        "1 "
    )


def test_the_feed_sends_an_overview_each_second(api: Api) -> None:
    with Api(api.address).events("/v1/events") as events:
        began = time.monotonic()
        first, second = next(events), next(events)
        assert 0.5 < time.monotonic() - began < 5
    assert first.name == second.name == "overview"
    assert first.data["at"] < second.data["at"] and first.data.keys() == api.get("/v1/overview").keys()


def test_the_history_is_in_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SAMPLE_MS", 1)
    monkeypatch.setattr(monitor, "LOOK_SECONDS", 0.02)

    async def life() -> dict[str, Any]:
        broker = Broker(resolve(None, {}, {"port": 0, "http_port": 0, "data_dir": str(tmp_path)}))
        await broker.start()
        assert broker.http is not None
        api = Api(f"http://{broker.http.host}:{broker.http.port}")
        try:
            while True:
                found: dict[str, Any] = await asyncio.to_thread(api.get, "/v1/overview/history")
                if len(found["series"].get("at", [])) > 2:
                    return found
                await asyncio.sleep(0.02)
        finally:
            api.client.close()
            await broker.stop()

    found = asyncio.run(life())
    series = found["series"]
    assert found["interval_ms"] == 1
    assert {
        "at",
        "connections.open",
        "memory.rss_bytes",
        "storage.last_sync_ms",
        "queues.pushed",
    } <= series.keys()
    assert len({len(column) for column in series.values()}) == 1
    assert series["at"] == sorted(series["at"]) and None not in series["storage.last_sync_ms"]


def test_storage(api: Api, server: Server, name: str) -> None:
    with nexo.blocking.connect(port=server.port) as client:
        queue = client.queue.create(name)
        before = api.get("/v1/storage")
        queue.push_batch(["x" * 1_000] * 3)
        after = api.get("/v1/storage")
    assert before["state"] == "ok" and before["epoch"] == 1 and before["snapshot"] is None
    assert after["batch"] > before["batch"] and after["synced_batch"] >= after["batch"] - 1
    assert after["last_sync_ms"] >= 0 and after["last_sync_ago_ms"] >= 0 and after["free_bytes"] > 0
    (file,) = after["files"]
    assert file["name"] == "log-0000000001.nexo" and not file["complete"]
    assert file["bytes"] == (Path(after["folder"]) / file["name"]).stat().st_size == after["bytes"]
    assert file["live_bytes"] - before["files"][0]["live_bytes"] > 3_000
    assert after["dead_bytes"] == 0 and after["housekeeping"]["state"] == "rest"
    assert after["housekeeping"]["files_to_replay"] == 0 and not after["housekeeping"]["dirty"]


def test_connections(api: Api, server: Server) -> None:
    with nexo.blocking.connect(port=server.port, name="worker-3", reconnect=False) as client:
        client.pubsub.subscribe("a/b")
        client.pubsub.subscribe("a/c")
        (found,) = [one for one in api.every("/v1/connections", limit=1) if one["name"] == "worker-3"]
        assert (found["protocol"], found["subscriptions"], found["pending_bytes"]) == ("native", 2, 0)
        client.store.map.set("counted", "x" * 5_000)
        client.store.map.get("counted")
        (later,) = [one for one in api.every("/v1/connections") if one["name"] == "worker-3"]
        for direction in ("received_bytes", "sent_bytes"):
            assert 5_000 < later[direction] - found[direction] < 5_200
        assert (
            re.fullmatch(r"127\.0\.0\.1:\d+", found["address"])
            and found["since"] > 0
            and not found["blocked"]
        )
        assert api.delete(f"/v1/connections/{found['id']}") == {"closed": True}
        deadline = time.monotonic() + 10
        while pings(client):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert api.delete(f"/v1/connections/{found['id']}", 404)["code"] == "RESOURCE_NOT_FOUND"
    assert api.delete("/v1/connections/first", 400)["code"] == "INVALID_ARGUMENT"


def pings(client: Any) -> bool:
    try:
        client.ping()
    except (ConnectionClosedError, NotConnectedError):
        return False
    return True


def scraped(api: Api) -> dict[str, dict[tuple[str, ...], float]]:
    families = list(text_string_to_metric_families(api.get("/metrics")))
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in families
    }


def test_metrics(api: Api, name: str) -> None:
    api.post("/v1/queues", {"name": f'{name} "\\ü', "options": {"durability": "memory"}}, 201)
    api.post(f"/v1/queues/{name}%20%22%5C%C3%BC/messages", {"messages": [{"type": "int", "value": 1}]}, 201)
    api.post("/v1/streams", {"name": name, "options": {"durability": "memory"}}, 201)
    api.post(f"/v1/streams/{name}/records", {"records": [{"type": "int", "value": 1}]}, 201)
    time.sleep(monitor.FRESH_SECONDS)
    found = scraped(api)
    assert found["nexo_ready"][()] == 1 and found["nexo_resident_memory_bytes"][()] > 10_000_000
    assert found["nexo_queue_ready"][f'{name} "\\ü',] == 1
    assert found["nexo_queue_pushed"][f'{name} "\\ü',] == 1
    assert found["nexo_stream_appended"][name,] == 1
    assert found["nexo_metrics_resources_left_out"][()] == 0
    api.delete(f"/v1/streams/{name}")


def test_only_so_many_resources_have_metrics(api: Api) -> None:
    for number in range(metrics.HTTP_METRIC_RESOURCES_MAX + 7):
        api.post("/v1/queues", {"name": f"0-{number:04}", "options": {"durability": "memory"}}, 201)
    queues = len(api.every("/v1/queues", limit=1000))
    found = scraped(api)
    assert len(found["nexo_queue_ready"]) == metrics.HTTP_METRIC_RESOURCES_MAX
    assert found["nexo_metrics_resources_left_out"][()] == queues - metrics.HTTP_METRIC_RESOURCES_MAX


def test_the_page_lists_the_metrics() -> None:
    page = (ROOT / "docs/http-api.md").read_text()
    listed = dict(re.findall(r"^\| `(nexo_\w+)` \| (\w+) \|", page, re.MULTILINE))
    tables = (metrics.METRICS, metrics.QUEUE_METRICS, metrics.STREAM_METRICS, metrics.GROUP_METRICS)
    known = {
        one.name + ("_total" if one.kind == "counter" else ""): one.kind for table in tables for one in table
    }
    others = (*metrics.HISTOGRAMS, metrics.REQUESTS, metrics.LEFT_OUT)
    assert listed == {**known, **{one.name: one.kind for one in others}}


def test_histograms(api: Api, name: str) -> None:
    def counts() -> dict[str, float]:
        families = text_string_to_metric_families(api.get("/metrics"))
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in families
            if family.type == "histogram"
            for sample in family.samples
        }

    before = counts()
    api.post("/v1/queues", {"name": name}, 201)
    api.post(f"/v1/queues/{name}/messages", {"messages": [{"type": "int", "value": 1}] * 2}, 201)
    lent = api.post(f"/v1/queues/{name}/receive", {"batch": 2})["messages"]
    api.post(f"/v1/queues/{name}/nack", {"leases": [_lease(lent[0])], "mode": "failed", "delay_ms": 0})
    api.post(f"/v1/queues/{name}/receive")
    api.post(f"/v1/queues/{name}/ack", {"leases": [_lease(lent[1])]})
    after = counts()
    grown = {one: after[one] - before.get(one, 0) for one in after}
    assert grown["nexo_queue_delivery_seconds_count[]"] == 2
    assert grown["nexo_queue_ack_seconds_count[]"] == 1 and 0 < after["nexo_queue_ack_seconds_sum[]"] < 60
    assert grown["nexo_turn_seconds_count[]"] > 0 and after["nexo_turn_seconds_sum[]"] > 0
    assert grown["nexo_storage_sync_seconds_count[]"] > 0
    route = "[('method', 'POST'), ('path', '/api/v1/queues/{queue}/messages')]"
    assert grown[f"nexo_http_request_seconds_count{route}"] == 1
    assert not any("receive" in one or "events" in one for one in after)


def _lease(message: dict[str, Any]) -> dict[str, Any]:
    return {"id": message["id"], "token": message["token"]}
