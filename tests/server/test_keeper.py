"""The keeper brings a node back from its folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nexo.brokers.queue.consumers import Consumer
from nexo.node import Node, make_node
from nexo.server.keeper import Keeper
from nexo.storage.format import HEADER_BYTES, decode_header
from tests.vectors.session import Hand


async def started(folder: Path, now: int) -> tuple[Keeper, Node]:
    keeper = Keeper(str(folder), asyncio.get_running_loop())
    driver = Hand()
    driver.time_ms = now
    node = make_node(driver, keeper.journal)
    keeper.recover(node)
    return keeper, node


async def lives(folder: Path) -> None:
    keeper, node = await started(folder, 1_000)
    queue, _ = node.queues.create(b"q", {"max_deliveries": 1}, node.begin())
    queue.push(b"\0one", 0, node.begin())
    node.turn()
    while queue.newest_batch:
        await asyncio.sleep(0.001)
    assert queue.receive(1, Consumer(), node.begin())
    node.turn()
    await keeper.stop()

    keeper, node = await started(folder, 2_000)
    queue = node.queues.find(b"q")
    (letter,) = queue.peek(9, 0)
    assert letter.died_at == 2_000
    node.begin()
    node.turn()
    await keeper.stop()

    keeper, node = await started(folder, 3_000)
    (letter,) = node.queues.find(b"q").peek(9, 0)
    assert letter.died_at == 2_000
    await keeper.stop()


def test_what_a_restart_gives_up_is_recorded(tmp_path: Path) -> None:
    """A message that was lent for the last time is dead from the first restart on, and not anew with each."""
    asyncio.run(lives(tmp_path))


async def claims(folder: Path) -> None:
    for epoch in range(1, 4):
        keeper, _ = await started(folder, 1_000)
        await keeper.claim()
        newest = max(folder.glob("log-*"))
        assert decode_header(newest.read_bytes()[:HEADER_BYTES]).epoch == epoch == keeper.journal.epoch
        keeper.files.unlock()  # as if it had been killed


def test_the_epoch_is_on_disk_before_anybody_is_served(tmp_path: Path) -> None:
    asyncio.run(claims(tmp_path))
