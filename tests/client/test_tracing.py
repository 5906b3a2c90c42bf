"""Traces across messages, with the real OpenTelemetry SDK: spans, their parents, and what the headers carry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import nexo
from tests.client.test_docs import BLOCK, CONNECT, run
from tests.conftest import ROOT, Server
from tests.server.http.kit import Api

EXPORTER = InMemorySpanExporter()
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True, scope="module")
def provider() -> None:
    """OpenTelemetry has one for the whole process."""
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(made)


@pytest.fixture(autouse=True)
def nothing_before() -> Iterator[None]:
    EXPORTER.clear()
    yield
    EXPORTER.clear()


def in_span(name: str) -> Any:
    return trace.get_tracer("tests").start_as_current_span(name)


def spans() -> dict[str, ReadableSpan]:
    return {span.name: span for span in EXPORTER.get_finished_spans()}


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert child.parent is not None and parent.context is not None and child.context is not None
    return (
        child.parent.span_id == parent.context.span_id and child.context.trace_id == parent.context.trace_id
    )


async def span_named(name: str) -> ReadableSpan:
    """The span, once it has ended: it does after its handler has."""
    async with asyncio.timeout(10):
        while name not in spans():
            await asyncio.sleep(0.001)
    return spans()[name]


@pytest.mark.asyncio
async def test_a_queue(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    with in_span("root"):
        id = await queue.push("x", want_id=True)
    seen = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def handle(job: Any) -> None:
        with in_span("inside"):
            loop.call_soon_threadsafe(seen.set_result, job.headers)

    consumer = await queue.subscribe(handle)
    headers = await asyncio.wait_for(seen, 10)
    process = await span_named(f"process {name}")
    await consumer.stop()
    push = spans()[f"push {name}"]
    assert (
        is_child(push, spans()["root"]) and is_child(process, push) and is_child(spans()["inside"], process)
    )
    assert (push.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert push.context is not None
    sent = push.context
    form = b"00-%032x-%016x-%02x"
    assert headers.get("traceparent") == form % (sent.trace_id, sent.span_id, sent.trace_flags)
    assert dict(push.attributes or {}) == {
        "messaging.system": "nexo", "messaging.operation.name": "push", "messaging.operation.type": "send",
        "messaging.destination.name": name,
    }  # fmt: skip
    assert dict(process.attributes or {}) == {
        "messaging.system": "nexo", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": name, "messaging.message.id": str(id),
    }  # fmt: skip


@pytest.mark.asyncio
async def test_a_batch_of_messages(client: nexo.Client, name: str) -> None:
    queue = await client.queue.create(name, durability="memory")
    with in_span("root"):
        await queue.push_batch(["a", nexo.Push(value="b", headers={"k": "v"}, priority=1)])
        await queue.push("own", headers={"traceparent": PARENT}, priority=2)
    push = next(
        span
        for span in EXPORTER.get_finished_spans()
        if "messaging.batch.message_count" in (span.attributes or {})
    )
    assert (push.attributes or {})["messaging.batch.message_count"] == 2 and push.context is not None
    own, b, a = await queue.receive(3, 1000)
    assert own.headers.get("traceparent") == PARENT.encode()
    assert b.headers.get("k") == b"v" and b.priority == 1
    for job in (a, b):
        found = trace.get_current_span(job.trace_context).get_span_context()
        assert found.span_id == push.context.span_id and found.is_remote
    for job in (own, a, b):
        await job.ack()


@pytest.mark.asyncio
async def test_a_topic(client: nexo.Client, name: str) -> None:
    seen: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def told(message: Any) -> None:
        with in_span("inside"):
            loop.call_soon_threadsafe(seen.set_result, message.headers.get("traceparent"))

    async with client.pubsub.subscribe(name) as iterated:
        called = await client.pubsub.subscribe(name, told)
        with in_span("root"):
            await client.pubsub.topic(name).publish("x")
        assert await asyncio.wait_for(seen, 10)
        message = await anext(iterated)
        process = await span_named(f"process {name}")
        await called.stop()
    publish = spans()[f"publish {name}"]
    assert (
        is_child(publish, spans()["root"])
        and is_child(process, publish)
        and is_child(spans()["inside"], process)
    )
    assert publish.context is not None
    assert trace.get_current_span(message.trace_context).get_span_context().span_id == publish.context.span_id


@pytest.mark.asyncio
async def test_a_request(sdk: nexo.Client, name: str) -> None:
    async def answer(message: nexo.Message) -> None:
        await message.reply(message.data + 1)

    responder = await sdk.pubsub.subscribe(name, answer)
    with in_span("root"):
        assert (await sdk.pubsub.topic(name).request(1)).data == 2
    process = await span_named(f"process {name}")
    await responder.stop()
    assert is_child(process, spans()[f"request {name}"])


@pytest.mark.asyncio
async def test_a_stream(client: nexo.Client, name: str) -> None:
    stream = await client.stream.create(name, durability="memory")
    with in_span("root"):
        await stream.publish("a")
        await stream.publish_batch(["b", nexo.Publish(value="c", key="k")])
        await stream.producer("p").publish("d")
    sent = {
        span.context.span_id
        for span in EXPORTER.get_finished_spans()
        if span.name == f"publish {name}" and span.context
    }
    assert len(sent) == 3
    read = [record async for record in stream.read()]
    assert [record.data for record in read] == ["a", "b", "c", "d"] and read[2].key == b"k"
    assert {trace.get_current_span(one.trace_context).get_span_context().span_id for one in read} == sent
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    consumer = await stream.group("g").subscribe(lambda message: loop.call_soon_threadsafe(done.set))
    await asyncio.wait_for(done.wait(), 10)
    process = await span_named(f"process {name}")
    await consumer.stop()
    assert (process.attributes or {})["messaging.consumer.group.name"] == "g"
    assert process.parent is not None and process.parent.span_id in sent


@pytest.mark.asyncio
async def test_a_batch_across_brokers(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    stream = await sdk.stream.create(name, durability="memory")
    with in_span("root") as root:
        async with sdk.batch() as batch:
            batch.queue(name).push("a")
            batch.queue(name).push_batch(["b"])
            batch.stream(name).publish("c")
            batch.stream(name).publish_batch(["d"])
    jobs = await queue.receive(2, 1000)
    items = [*jobs, *[record async for record in stream.read()]]
    assert [one.data for one in items] == ["a", "b", "c", "d"]
    for one in items:
        found = trace.get_current_span(one.trace_context).get_span_context()
        assert found.span_id == root.get_span_context().span_id
    for job in jobs:
        await job.ack()


@pytest.mark.asyncio
async def test_a_failing_handler_is_the_spans_error(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory", max_deliveries=1)
    await queue.push("x")

    async def fail(job: nexo.Job) -> None:
        raise ValueError("no such mailbox")

    with in_span("starting"):
        consumer = await queue.subscribe(fail)
    process = await span_named(f"process {name}")
    await consumer.stop()
    assert process.status.status_code == StatusCode.ERROR and "no such mailbox" in (
        process.status.description or ""
    )
    assert process.parent is None, "a message without context begins a trace, whoever started the consumer"


@pytest.mark.asyncio
async def test_outside_of_a_span_nothing_is_added(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push("x")
    (job,) = await queue.receive(1, 1000)
    assert not job.headers and job.trace_context is None
    await job.ack()
    assert not EXPORTER.get_finished_spans()


@pytest.mark.asyncio
async def test_a_context_that_is_none(sdk: nexo.Client, name: str) -> None:
    queue = await sdk.queue.create(name, durability="memory")
    await queue.push("x", headers={"traceparent": b"\xff", "k": b"\xfe"})
    (job,) = await queue.receive(1, 1000)
    assert job.trace_context is None
    await job.ack()


def test_without_the_library_nothing_is_imported(server: Server) -> None:
    code = (
        "import sys, nexo\n"
        f"with nexo.blocking.connect(port={server.port}) as client:\n"
        "    queue = client.queue.create('bare', durability='memory')\n"
        "    queue.push('x', headers={'traceparent': 'y'})\n"
        "    (job,) = queue.receive(1, 1000)\n"
        "    print(job.trace_context, job.headers.get('traceparent'))\n"
        "    job.ack()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "None b'y'\n[]\n"


def test_http_carries_the_context_of_a_request(server: Server, name: str) -> None:
    api = Api(server.http)
    api.client.headers.update({"traceparent": PARENT, "tracestate": "a=1"})
    api.post("/v1/queues", {"name": name, "options": {"durability": "memory"}}, 201)
    message = {"type": "int", "value": 1}
    own = {"name": "traceparent", "value": "mine"}
    api.post(f"/v1/queues/{name}/messages", {"messages": [message, {**message, "headers": [own]}]}, 201)
    api.client.headers["traceparent"] = "00-" + 32 * "0" + "-00f067aa0ba902b7-01"
    api.post(f"/v1/queues/{name}/messages", {"messages": [message]}, 201)
    lent = api.post(f"/v1/queues/{name}/receive", {"batch": 3})["messages"]
    carried = [{"name": "traceparent", "value": PARENT}, {"name": "tracestate", "value": "a=1"}]
    assert [one["headers"] for one in lent] == [carried, [own], []]
    api.client.headers["traceparent"] = PARENT
    api.post("/v1/streams", {"name": name, "options": {"durability": "memory"}}, 201)
    api.post(f"/v1/streams/{name}/records", {"records": [message]}, 201)
    (record,) = api.get(f"/v1/streams/{name}/records")["items"]
    assert record["headers"] == carried
    api.post("/v1/pubsub/publish", {"topic": name, **message, "retain": True})
    (topic,) = api.get("/v1/pubsub/topics", prefix=name)["items"]
    assert topic["retained"]["headers"] == carried
    api.client.close()


@pytest.mark.asyncio
async def test_the_examples_of_the_page(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there; the provider is this module's, since a process has one."""
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    first, second = BLOCK.findall((ROOT / "docs/tracing.md").read_text())
    names: dict[str, Any] = {"asyncio": asyncio}
    first = first.replace("exporter = InMemorySpanExporter()", "exporter = EXPORTER")
    names["EXPORTER"] = EXPORTER
    await run(CONNECT.sub(rf"\1(port={server.port}, ", first), "tracing.md", names)
    assert {"checkout", "push traced-mails", "process traced-mails", "smtp"} <= spans().keys()
    EXPORTER.clear()
    await run(CONNECT.sub(rf"\1(port={server.port}, ", second), "tracing.md", names)
    assert is_child(spans()["by hand"], spans()["push traced-mails"])
