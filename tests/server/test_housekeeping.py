"""Housekeeping over a simulated disk: when it cleans, what it says, and what it leaves alone."""

from __future__ import annotations

import pytest

from nexo.brokers.queue.consumers import Consumer
from nexo.brokers.queue.message import Item
from nexo.brokers.queue.queue import Queue
from nexo.errors import StorageError
from nexo.limits import COMPACTION_FILES, RESERVE_BYTES
from nexo.server.compaction import compact
from nexo.server.housekeeping import CLEAN, COMPACT, REST, ROLL_TO_CLEAN
from tests.simulation.disk import Disk
from tests.simulation.node import FILE_BYTES, Life
from tests.simulation.simulate import START_MS

COUNT = 120
KEPT_EVERY = 20


def started(disk: Disk) -> Life:
    return Life(disk, START_MS)


def queue_of(life: Life) -> Queue:
    return life.node.queues.find(b"q")


def fill(life: Life) -> None:
    """Many log files, almost all of them dead."""
    queue, _ = life.node.queues.create(b"q", {"visibility_timeout_ms": 600_000}, life.node.begin())
    for number in range(COUNT):
        delay = 365 * 24 * 3_600_000 if number % KEPT_EVERY == 0 else 0
        queue.push_item(Item(b"\0%03d" % number + b"." * 200, delay_ms=delay), life.node.begin())
        life.turn()
        life.step()
        if life.housekeeper.state != REST:
            finish(life)
    for lent in queue.receive(COUNT, Consumer(), life.node.begin()):
        queue.ack(lent.message.id, lent.token, life.node.begin())


def go(life: Life, state: str) -> None:
    """Until housekeeping has got so far."""
    for _ in range(500):
        if life.housekeeper.state == state:
            return
        life.node.begin()
        life.turn()
        life.driver.time_ms += 60
        life.step()
        if state != COMPACT:
            life.compact()
    pytest.fail(f"it rests in {life.housekeeper.state!r}")


def finish(life: Life) -> None:
    """Until there is nothing more to do."""
    go(life, REST)
    for _ in range(10):
        life.node.begin()
        life.turn()
        life.driver.time_ms += 60
        life.step()
        life.compact()
    go(life, REST)


def delayed(life: Life) -> list[bytes]:
    life.driver.time_ms += 366 * 24 * 3_600_000
    life.advance()
    life.turn()
    lent = queue_of(life).receive(COUNT, Consumer(), life.node.begin())
    return [one.message.value[1:4] for one in lent]


EXPECTED = [b"%03d" % number for number in range(0, COUNT, KEPT_EVERY)]


def log_bytes(disk: Disk) -> int:
    return sum(disk.size(name) for name in disk.names() if name.startswith("log-"))


def test_a_message_for_next_year_pins_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    disk = Disk(1)
    life = started(disk)
    fill(life)
    before = log_bytes(disk)
    finish(life)
    assert log_bytes(disk) < before / 3
    assert log_bytes(disk) < 2 * life.housekeeper.live_bytes + 2 * FILE_BYTES
    assert "are moved; " in caplog.text
    assert " bytes of bodies are moved" in caplog.text
    assert "log files are gone" in caplog.text
    assert delayed(started(disk.kill())) == EXPECTED
    assert delayed(life) == EXPECTED


def test_a_damaged_body_is_told_and_keeps_its_file(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(1)
    life = started(disk)
    fill(life)
    victim = queue_of(life).parts.backlog.index.after(0, 1)[0]
    queue_of(life).parts.backlog.bodies.let_go(victim)
    name = f"log-{victim.address >> 32:010d}.nexo"
    disk.flip(name, 8 * (victim.address & 0xFFFF_FFFF) + 50)
    for _ in range(1_000):
        if life.housekeeper.state == COMPACT:
            break
        life.node.begin()
        life.turn()
        life.driver.time_ms += 60
        life.step()
    assert f"cleaning: message {victim.id} of queue 'q'" in caplog.text
    assert "it stays where it is" in caplog.text
    assert life.compactions.done is not None
    done = life.compactions.done
    compact(disk, life.compactions.before)
    done(disk.names())
    assert name in disk.names()
    with pytest.raises(StorageError, match="damaged"):
        queue_of(life).view(victim)
    queue_of(life).remove(victim.id)
    assert delayed(life) == EXPECTED[1:]
    assert life.housekeeper.state == REST, "it is not tried again and again"


def test_a_disk_without_room_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(1)
    life = started(disk)
    fill(life)
    life.turn()
    life.step()
    disk.faults.capacity = sum(map(disk.size, disk.names())) + FILE_BYTES
    finish(life)
    assert "no room to move" in caplog.text
    assert not life.log.full
    assert life.node.cleaner.moving.bytes == 0


def test_a_disk_that_fills_up_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(1)
    life = started(disk)
    fill(life)
    go(life, CLEAN)
    disk.faults.capacity = sum(map(disk.size, disk.names())) + 10
    go(life, REST)
    assert life.log.full
    assert "given up" in caplog.text
    disk.faults.capacity = 0
    life.driver.time_ms += 1_000
    life.advance()
    finish(life)
    assert not life.log.full
    life.check_bodies()
    assert delayed(started(disk.kill())) == EXPECTED
    assert delayed(life) == EXPECTED


def test_a_start_has_few_files_to_replay() -> None:
    """Also when nothing is dead."""
    disk = Disk(1)
    life = started(disk)
    queue, _ = life.node.queues.create(b"q", {}, life.node.begin())
    seen = set()
    for number in range(200):
        queue.push(b"\0%03d" % number + b"." * 200, 0, life.node.begin())
        life.turn()
        life.step()
        seen.add(life.housekeeper.state)
        life.compact()
    assert seen == {REST, COMPACT}
    again = started(disk.kill())
    assert again.report.bytes < (COMPACTION_FILES + 2) * FILE_BYTES
    assert ROLL_TO_CLEAN not in seen
    assert int(queue_of(again).describe()["messages"]) == 200  # type: ignore[call-overload]


def test_a_full_disk_gives_up_what_is_dead() -> None:
    disk = Disk(1)
    life = started(disk)
    fill(life)
    life.turn()
    life.step()
    disk.faults.capacity = sum(map(disk.size, disk.names())) + 2_000
    queue_of(life).push(bytes(3_000), 0, life.node.begin())
    life.turn()
    life.step()
    assert life.log.full
    assert life.housekeeper.state == COMPACT
    before = log_bytes(disk)
    assert life.compact()
    assert log_bytes(disk) < before * 0.7
    life.driver.time_ms += 1_000
    disk.faults.capacity += 2 * RESERVE_BYTES  # the simulated reserve is larger than all the rest
    life.advance()
    assert not life.log.full
    finish(life)
    assert delayed(life) == EXPECTED
