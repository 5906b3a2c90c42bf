"""A log with every operation of the store's maps and of retained messages, which must be read for ever.

`golden/v1-store` was written by `make` below: python tests/storage/test_golden_store.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from nexo.brokers import maps, retained
from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.storage.format import operations
from nexo.storage.recovery import Recovery
from tests.simulation.disk import Disk, Inode
from tests.simulation.node import Life

GOLDEN = Path(__file__).parent / "golden" / "v1-store"
START_MS = 1_700_000_000_000
KINDS = {*range(maps.MAP, maps.TIME + 1), retained.RETAIN, retained.FORGET}


def make() -> Disk:
    """Each operation at least once, two batches for what expires, an orderly end."""
    disk = Disk(1)
    life = Life(disk, START_MS, retained_level=FLUSH)
    store, pubsub = life.node.store, life.node.pubsub
    now = int(life.node.begin())
    for prefix, level in ((b"d/", FSYNC), (b"d/cache/", MEMORY), (b"e/", FLUSH), (b"gone/", FSYNC)):
        store.declare(prefix, level)
    store.undeclare(b"gone/", False)
    store.set(b"d/text", b"\x01value", now)
    store.put(b"d/short", b"\0", now, expires_at=now + 100)
    store.put(b"e/long", b"\x02{}", now, expires_at=now + 100)
    store.set_expiry(b"e/long", now + 1_000_000, now)
    store.incr(b"d/count", 41, now)
    store.incr(b"d/count", 1, now)
    store.set(b"d/cache/1", b"\0not kept", now)
    store.set(b"d/deleted", b"\0", now)
    store.delete(b"d/deleted", now)
    for number in range(3):
        store.set(b"d/range/%d" % number, b"\0", now)
    store.clear_prefix(b"d/range/", now, 2)
    pubsub.retain(b"t/1", b"\x01old", b"", 0)
    pubsub.retain(b"t/1", b"\x01new", b"\0\x01n\0\x01v", now + 1_000_000)
    pubsub.retain(b"t/2", b"\0", b"", 0)
    pubsub.retain(b"t/3", b"\0", b"", now + 100)
    pubsub.clear_retained(b"t/2")
    life.turn()
    life.step()
    life.driver.time_ms += 200
    life.advance()
    life.turn()
    life.step()
    life.stop()
    return disk


def cleared() -> Disk:
    """A small one that ends with everything deleted."""
    disk = Disk(2)
    life = Life(disk, START_MS)
    now = int(life.node.begin())
    life.node.store.declare(b"", FSYNC)
    life.node.store.set(b"k", b"\0v", now)
    life.node.store.clear(now)
    life.turn()
    life.step()
    life.stop()
    return disk


def logs(disk: Disk) -> dict[str, bytes]:
    return {name: bytes(inode.cache) for name, inode in disk.inodes.items() if name.endswith(".nexo")}


def golden(folder: str) -> Disk:
    disk = Disk(1)
    names = {path.name: path.read_bytes() for path in (GOLDEN / folder).iterdir()}
    disk.inodes = {name: Inode(bytearray(data), data) for name, data in names.items()}
    disk.durable_inodes = dict(disk.inodes)
    return disk


def test_every_operation_is_in_it() -> None:
    found = {
        int(kind)
        for folder in ("all", "cleared")
        for replayed in Recovery(golden(folder)).replay()
        for kind, _, _ in operations(replayed.payload)
    }
    assert found == KINDS


def test_it_is_read() -> None:
    # A clock that was set back does not bring back what had expired.
    life = Life(golden("all"), START_MS, retained_level=FLUSH)
    store = life.node.store
    assert {key: store.get(key, life.now) for key in store.all_keys()} == {
        b"d/text": b"\x01value",
        b"e/long": b"\x02{}",
        b"d/count": b"\x03" + (42).to_bytes(8, "big"),
        b"d/range/2": b"\0",
    }
    entry = store.lookup(b"e/long", life.now)
    assert entry is not None and entry.expires_at == START_MS + 1_000_000
    assert [(one.prefix, one.level) for one in store.maps.all()] == [
        (b"d/", FSYNC),
        (b"d/cache/", MEMORY),
        (b"e/", FLUSH),
    ]
    (message,) = life.node.pubsub.retained(b"#", life.now)
    assert (message.topic, message.value, message.headers) == (b"t/1", b"\x01new", b"\0\x01n\0\x01v")
    assert store.version > (START_MS << 10) + 15


def test_a_cleared_store_stays_empty() -> None:
    life = Life(golden("cleared"), START_MS)
    assert life.node.store.all_keys() == []
    assert [one.prefix for one in life.node.store.maps.all()] == [b""]


def test_a_level_of_memory_gives_up_what_was_retained() -> None:
    disk = golden("all")
    life = Life(disk, START_MS, retained_level=MEMORY)
    assert life.node.pubsub.retained_count == 0
    life.turn()
    life.step()
    life.stop()
    assert Life(disk.kill(), START_MS, retained_level=FLUSH).node.pubsub.retained_count == 0


def test_it_is_written() -> None:
    """The same bytes: whoever changes an operation gives it another number."""
    for folder, disk in (("all", make()), ("cleared", cleared())):
        assert logs(disk) == {path.name: path.read_bytes() for path in (GOLDEN / folder).iterdir()}


if __name__ == "__main__":
    for folder, disk in (("all", make()), ("cleared", cleared())):
        (Path(sys.argv[1]) / folder).mkdir(exist_ok=True)
        for name, data in logs(disk).items():
            (Path(sys.argv[1]) / folder / name).write_bytes(data)
