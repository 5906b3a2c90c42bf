"""The store's table: a dict in parts, and lists that the collector of cycles does not look at."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from nexo.brokers.entry import Entry
from nexo.brokers.queue.heap import BY_DUE, MessageHeap
from nexo.brokers.queue.index import Index
from nexo.brokers.queue.message import READY, QueueMessage
from nexo.brokers.queue.ready import CHUNK, Line
from nexo.brokers.table import SHARDS, Table
from nexo.brokers.untracked import untrack


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.booleans()), max_size=60))
def test_a_table_is_a_dict(steps: list[tuple[bytes, bool]]) -> None:
    table = Table()
    model: dict[bytes, Entry] = {}
    for key, present in steps:
        if present:
            model[key] = table[key] = Entry(key, 1)
        elif key in model:
            del model[key], table[key]
        assert table.get(key) is model.get(key)
        assert (key in table) == (key in model)
    assert len(table) == len(model)
    assert sorted(table) == sorted(model)
    assert all(table[key] is entry for key, entry in model.items())


def test_keys_are_spread() -> None:
    table = Table()
    for number in range(100 * SHARDS):
        table[b"key:%d" % number] = Entry(b"", 1)
    sizes = [len(shard) for shard in table.shards]
    assert min(sizes) > 50
    assert max(sizes) < 160


def test_lists_of_messages_are_out_of_sight() -> None:
    index, line, heap = Index(), Line(), MessageHeap(BY_DUE)
    messages = [QueueMessage(number + 1, b"", 0, 0) for number in range(2 * CHUNK)]
    for message in messages:
        message.state = READY
        index.add(message)
        line.add(message)
        heap.push(message)
    seen = [
        one for one in gc.get_objects() if isinstance(one, list) and len(one) > 200 and one is not messages
    ]
    assert not [one for one in seen if isinstance(one[0], QueueMessage)]


def test_an_untracked_list_is_a_list() -> None:
    items = [b"x"]
    untrack(items)
    assert not gc.is_tracked(items)
    untrack(items)
    items += [b"y"] * 10_000
    del items[:100]
    assert not gc.is_tracked(items)
