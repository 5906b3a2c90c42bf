"""Pub/Sub: wildcards, one copy each, retained messages, order, several clients."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import check, connect, fails, run, until

from nexo import InvalidArgumentError, NexoClient


class Inbox:
    def __init__(self) -> None:
        self.got: list[tuple[str, object]] = []

    def __call__(self, data: object, meta: dict[str, str]) -> None:
        self.got.append((meta["topic"], data))


async def settle(client: NexoClient) -> None:
    """All that was published before has arrived when this has come back."""
    seen: list[object] = []
    subscription = await client.pubsub.topic("settle").subscribe(seen.append)
    await client.pubsub.topic("settle").publish(1)
    await until(lambda: bool(seen))
    await subscription.stop()


@check
async def values_of_every_type(client: NexoClient) -> None:
    inbox = Inbox()
    await client.pubsub.topic("types").subscribe(inbox)
    values = [
        b"",
        b"\xff\x00",
        "",
        "grün",
        0,
        -(2**63),
        2**63 - 1,
        2**64,
        1.5,
        True,
        None,
        [],
        {"a": [1, {}]},
    ]
    for value in values:
        await client.pubsub.topic("types").publish(value)
    await until(lambda: len(inbox.got) == len(values))
    assert [data for _, data in inbox.got] == values
    assert [type(data) for _, data in inbox.got] == [type(value) for value in values]


@check
async def wildcards(client: NexoClient) -> None:
    inboxes = {name: Inbox() for name in ("w/+/x", "w/#", "+/a/#", "#", "w/+/+")}
    for name, inbox in inboxes.items():
        await client.pubsub.pattern(name).subscribe(inbox)
    for topic in ("w", "w/a", "w/a/x", "w/b/x/y", "other"):
        await client.pubsub.topic(topic).publish(topic)
    await settle(client)
    got = {name: [topic for topic, _ in inbox.got if topic != "settle"] for name, inbox in inboxes.items()}
    assert got == {
        "w/+/x": ["w/a/x"],
        "w/#": ["w", "w/a", "w/a/x", "w/b/x/y"],
        "+/a/#": ["w/a", "w/a/x"],
        "#": ["w", "w/a", "w/a/x", "w/b/x/y", "other"],
        "w/+/+": ["w/a/x"],
    }, got


@check
async def one_copy_for_overlapping_patterns(client: NexoClient) -> None:
    """The client hands a push to every listener that matches: a second copy would show in each."""
    inboxes = [Inbox() for _ in range(4)]
    await client.pubsub.topic("over/lap").subscribe(inboxes[0])
    for pattern, inbox in zip(("over/+", "over/#", "+/lap"), inboxes[1:], strict=True):
        await client.pubsub.pattern(pattern).subscribe(inbox)
    for index in range(10):
        await client.pubsub.topic("over/lap").publish(index)
    await settle(client)
    for inbox in inboxes:
        assert inbox.got == [("over/lap", index) for index in range(10)], inbox.got


@check
async def dollar_topics(client: NexoClient) -> None:
    everything, own = Inbox(), Inbox()
    await client.pubsub.pattern("#").subscribe(everything)
    await client.pubsub.pattern("$own/#").subscribe(own)
    await client.pubsub.topic("$own/x").publish(1)
    await settle(client)
    # The client's own matcher gives it to "#" as well; alone, "#" gets nothing.
    assert own.got == [("$own/x", 1)]
    other = await connect()
    alone = Inbox()
    await other.pubsub.pattern("#").subscribe(alone)
    await client.pubsub.topic("$own/x").publish(2)
    await settle(other)
    other.disconnect()
    assert [topic for topic, _ in alone.got if topic != "settle"] == []


@check
async def unsubscribed_gets_nothing(client: NexoClient) -> None:
    inbox = Inbox()
    subscription = await client.pubsub.topic("stop").subscribe(inbox)
    await client.pubsub.topic("stop").publish(1)
    await until(lambda: len(inbox.got) == 1)
    await subscription.stop()
    await client.pubsub.topic("stop").publish(2)
    await settle(client)
    assert len(inbox.got) == 1


@check
async def retained(client: NexoClient) -> None:
    topic = client.pubsub.topic("ret/1")
    await topic.publish("old", retain=True)
    await topic.publish("new", retain=True)
    await topic.publish("live")
    await client.pubsub.topic("ret/2").publish({"two": 2}, retain=True)
    await client.pubsub.topic("ret/deep/3").publish(3, retain=True, ttl=60)
    for pattern, expected in (
        ("ret/+", {"ret/1": "new", "ret/2": {"two": 2}}),
        ("ret/#", {"ret/1": "new", "ret/2": {"two": 2}, "ret/deep/3": 3}),
    ):
        late = await connect()
        inbox = Inbox()
        await late.pubsub.pattern(pattern).subscribe(inbox)
        await settle(late)
        late.disconnect()
        assert len(inbox.got) == len(expected), inbox.got
        assert dict(inbox.got) == expected, inbox.got
    await topic.clear_retained()
    inbox = Inbox()
    await topic.subscribe(inbox)
    await settle(client)
    assert inbox.got == []
    for name in ("ret/2", "ret/deep/3"):
        await client.pubsub.topic(name).clear_retained()


@check
async def retained_with_a_ttl_expires(client: NexoClient) -> None:
    topic = client.pubsub.topic("brief")
    await topic.publish("soon gone", retain=True, ttl=1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        inbox = Inbox()
        subscription = await topic.subscribe(inbox)
        await settle(client)
        await subscription.stop()
        if not inbox.got:
            break
        assert loop.time() - started < 5
        await asyncio.sleep(0.02)
    assert loop.time() - started > 0.8
    error = await fails(topic.publish("x", retain=True, ttl=0))
    assert isinstance(error, InvalidArgumentError)


@check
async def fan_out_in_order(client: NexoClient) -> None:
    clients = [await connect() for _ in range(10)]
    inboxes = [Inbox() for _ in clients]
    for index, (one, inbox) in enumerate(zip(clients, inboxes, strict=True)):
        if index % 2:
            await one.pubsub.pattern("fan/+").subscribe(inbox)
        else:
            await one.pubsub.topic("fan/out").subscribe(inbox)
    for start in range(0, 1000, 100):
        await asyncio.gather(*(client.pubsub.topic("fan/out").publish(start + index) for index in range(100)))
    for inbox in inboxes:
        await until(lambda inbox=inbox: len(inbox.got) >= 1000)
        assert [data for _, data in inbox.got] == list(range(1000))
    for one in clients:
        one.disconnect()


@check
async def large_messages(client: NexoClient) -> None:
    inbox = Inbox()
    await client.pubsub.topic("large").subscribe(inbox)
    value = b"\x01" * (9 * 1024 * 1024)
    await client.pubsub.topic("large").publish(value)
    await until(lambda: bool(inbox.got))
    assert inbox.got == [("large", value)]


run()
