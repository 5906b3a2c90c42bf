#!/usr/bin/env python3
"""Fills a running broker with the data of a small web shop and keeps it busy: something for the dashboard to show.

    make run                                in one terminal
    .venv/bin/python tools/demo.py          in another, until Ctrl-C; --seconds 60 ends by itself

The names all begin in a way of their own (`demo`, `shop`), but use a broker that holds nothing dear.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import nexo

USERS = 400
NAMES = ("Ada", "Grace", "Edsger", "Barbara", "Niklaus", "Frances", "Donald", "Radia")
ROOMS = ("kitchen", "hall", "cellar", "office", "roof")
REASONS = ("550 no such mailbox", "timeout after 10 s", "TLS handshake failed")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000010000000100806000000") + bytes(range(64))


class Shop:
    """Tasks that put data in and take it out. `random` has a seed: two runs look alike."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.random = random.Random(7)
        self.orders = 0

    async def client(self, stack: contextlib.AsyncExitStack, name: str) -> nexo.Client:
        return await stack.enter_async_context(await nexo.connect(port=self.port, name=name))

    def order(self) -> dict[str, Any]:
        self.orders += 1
        user = self.random.randrange(USERS)
        lines = [
            {"sku": f"N-{self.random.randrange(100, 999)}", "count": self.random.randrange(1, 4)}
            for _ in range(self.random.randrange(1, 4))
        ]
        return {
            "id": 10_000 + self.orders,
            "user": {"id": user, "name": NAMES[user % len(NAMES)]},
            "lines": lines,
            "total": round(self.random.uniform(5, 250), 2),
            "paid": self.random.random() < 0.9,
        }

    async def fill(self, client: nexo.Client) -> None:
        """What is there before anything moves."""
        store = client.store.map
        await store.set_many(
            {
                f"user:{user}": {
                    "name": NAMES[user % len(NAMES)],
                    "email": f"user{user}@example.org",
                    "tags": ["shop", "news"][: user % 3],
                    "address": {"city": "Zürich", "zip": "8001"},
                }
                for user in range(USERS)
            }
        )
        await store.set_many(
            {f"session:{user:04d}": f"token-{user * 7919:08x}" for user in range(200)}, ttl=1_800
        )
        await store.set("config:banner", "Winter sale: −20 % on everything until Sunday")
        await store.set("config:limits", {"cart_lines_max": 50, "login_attempts": 5})
        await store.set("image:logo", PNG)
        await client.queue.create("mail", max_deliveries=2)
        await client.queue.create("invoices", durability="flush")
        await client.queue.create("thumbnails", durability="memory")
        await client.queue.create("webhooks", max_deliveries=3, backoff="exponential")
        reports = await client.queue.create("reports")
        for hour in range(24):
            await reports.push({"report": "sales", "hour": hour}, delay_ms=(hour + 1) * 3_600_000)
        await reports.pause()
        for name, options in {
            "orders": {},
            "clicks": {"max_records": 50_000},
            "audit": {"max_age_ms": 0},
        }.items():
            await client.stream.create(f"shop.{name}", **options)
        for room in ROOMS:
            topic = client.pubsub.topic(f"sensors/{room}/temperature")
            await topic.publish(round(self.random.uniform(15, 24), 1), retain=True)
        await client.pubsub.topic("shop/status").publish({"open": True, "since": "08:00"}, retain=True)

    async def forever(self, hertz: float, action: Callable[[], Awaitable[object]]) -> None:
        """Do something about so often, more and less in waves."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            await action()
            wave = 1 + 0.5 * math.sin((loop.time() - begun) / 7)
            await asyncio.sleep(self.random.expovariate(hertz * wave))

    async def sell(self, client: nexo.Client) -> None:
        """One order: a record, a mail, an invoice, a few clicks before it."""
        order = self.order()
        user = order["user"]["id"]
        mail, invoices = await client.queue.get("mail"), await client.queue.get("invoices")
        webhooks = await client.queue.get("webhooks")
        await asyncio.gather(
            (await client.stream.get("shop.orders")).publish(
                order, key=str(user), headers={"trace": f"{self.orders:08x}"}
            ),
            mail.push(
                {"to": f"user{user}@example.org", "order": order["id"]},
                headers={"trace": f"{self.orders:08x}"},
            ),
            invoices.push(order, group=str(user)),
            webhooks.push({"url": "https://partner.example.org/hook", "order": order["id"]}),
            client.store.map.incr("counter:orders"),
            client.store.map.set(f"cart:{user}", order["lines"], ttl=900),
            client.pubsub.topic(f"shop/orders/{order['id']}").publish({"total": order["total"]}),
        )

    async def click(self, client: nexo.Client) -> None:
        clicks = await client.stream.get("shop.clicks")
        pages = [f"/product/{self.random.randrange(500)}" for _ in range(20)]
        await clicks.publish_batch([{"page": page, "ms": self.random.randrange(20, 900)} for page in pages])
        room = self.random.choice(ROOMS)
        await client.pubsub.topic(f"sensors/{room}/temperature").publish(
            round(self.random.uniform(15, 24), 1), retain=True
        )

    async def work(self, client: nexo.Client, queue: str, failing: float, seconds: float) -> None:
        async for job in (await client.queue.get(queue)).consume(batch_size=2):
            await asyncio.sleep(self.random.uniform(0, seconds))
            if self.random.random() < failing:
                await job.nack(self.random.choice(REASONS), fatal=True)

    async def read(self, client: nexo.Client, group: str, seconds: float) -> None:
        async for message in (await client.stream.get("shop.orders")).group(group).consume(batch_size=20):
            await asyncio.sleep(self.random.uniform(0, seconds))
            await message.ack()

    async def listen(self, client: nexo.Client, filter: str, group: str | None) -> None:
        async with client.pubsub.subscribe(filter, group=group) as messages:
            async for _ in messages:
                pass

    async def run(self) -> None:
        """Until it is cancelled."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            web = await self.client(stack, "shop-web")
            await self.fill(web)
            tasks.create_task(self.forever(6, lambda: self.sell(web)))
            tasks.create_task(self.forever(12, lambda: self.click(web)))
            for number, (queue, failing, seconds) in enumerate(
                [("mail", 0.06, 0.2), ("mail", 0.06, 0.2), ("invoices", 0, 0.3), ("webhooks", 0.1, 0.25)]
            ):
                worker = await self.client(stack, f"worker-{queue}-{number}")
                tasks.create_task(self.work(worker, queue, failing, seconds))
            for group, seconds in (("billing", 0.05), ("search-index", 0.4)):
                reader = await self.client(stack, f"group-{group}")
                tasks.create_task(self.read(reader, group, seconds))
            for filter, shared in (
                ("sensors/+/temperature", None),
                ("sensors/#", None),
                ("shop/orders/+", "mailers"),
                ("shop/orders/+", "mailers"),
                ("shop/#", None),
            ):
                listener = await self.client(stack, f"listener-{filter.partition('/')[0]}")
                tasks.create_task(self.listen(listener, filter, shared))


async def main() -> None:
    parser = argparse.ArgumentParser(description="Fill a broker and keep it busy.")
    parser.add_argument("--port", type=int, default=7654)
    parser.add_argument("--seconds", type=float, default=None)
    arguments = parser.parse_args()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(Shop(arguments.port).run(), arguments.seconds)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
