"""Short histories of what fences: tokens, generations and attempts, over restarts, restores and clocks that go back."""

from __future__ import annotations

import pytest

from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.protocols.native.opcodes import (
    DATA,
    QUEUE_RECEIVE,
    QUEUE_SETTLE,
    STREAM_FETCH,
)
from nexo.protocols.native.session import NativeSession
from tests.simulation.disk import Disk, Inode
from tests.simulation.history import History
from tests.storage.epochs import raise_epoch
from tests.vectors.session import Recorder
from tests.vectors.wire import Frame, request, string, u32, u64


@pytest.fixture
def history() -> History:
    return History()


@pytest.mark.parametrize("level", ["memory", "flush", "fsync"])
def test_a_clock_that_goes_back_lets_no_token_be_given_again(history: History, level: str) -> None:
    """They began with the time: after an hour back, an ack from before the restart settled another delivery."""
    given: set[int] = set()
    history.queue(durability=level)
    history.rest()
    for _ in range(4):
        queue = history.found()
        history.do(lambda queue=queue: queue.push(b"\0one", 0, history.now))  # type: ignore[misc]
        history.rest()
        (lent,) = queue.receive(1, history.consumer, history.now)
        assert lent.token not in given
        given.add(int(lent.token))
        history.restart(ms=-3_600_000)
        queue = history.found()
        assert all(queue.ack(lent.message.id, token, history.now) == 0 for token in given)


@pytest.mark.parametrize("level", [MEMORY, FLUSH, FSYNC])
def test_a_generation_that_was_lost_is_not_given_again(history: History, level: int) -> None:
    """A join whose record was lost with the power gave its number to the next one."""
    history.stream(durability=level)
    history.rest()
    generations: list[int] = []
    for _ in range(4):
        _, member = history.join(history.node.streams.find(b"s"))
        generations.append(int(member.generation))
        history.restart(ms=-3_600_000)
    assert generations == sorted(set(generations))


def test_a_backup_that_is_restored_gives_no_number_again(history: History) -> None:
    """What came after the backup has left nothing in it: a restore raises the epoch."""
    history.queue()
    history.stream()
    history.rest()
    backup = copied(history.disk)
    tokens: list[int] = []
    generations: list[int] = []
    for _ in range(3):
        for _ in range(3):
            queue = history.found()
            history.do(lambda queue=queue: queue.push(b"\0one", 0, history.now))  # type: ignore[misc]
            history.rest()
            tokens += [int(one.token) for one in queue.receive(1, history.consumer, history.now)]
            generations.append(int(history.join(history.node.streams.find(b"s"))[1].generation))
            history.rest()
            history.restart(ms=-1_000)
        history.disk = copied(backup)
        raise_epoch(history.disk)
        backup = copied(history.disk)
        history.begin(history.now)
    assert tokens == sorted(set(tokens))
    assert generations == sorted(set(generations))


def copied(disk: Disk) -> Disk:
    """Another disk with the same files."""
    other = Disk(2)
    other.inodes = {name: Inode(bytearray(one.cache), bytes(one.cache)) for name, one in disk.inodes.items()}
    other.durable_inodes = dict(other.inodes)
    return other


# Deliveries.


@pytest.mark.parametrize("waiting", [False, True], ids=["at once", "waited for"])
@pytest.mark.parametrize("kind", ["queue", "stream"])
def test_a_delivery_leaves_when_it_is_recorded_that_it_counts(
    history: History, kind: str, waiting: bool
) -> None:
    """It left before, and after a kill the next one had the same number of attempts."""
    queue = history.queue()
    stream = history.stream()
    _, member = history.join(stream)
    history.rest()
    who = string("s") + string("g") + string(member.consumer_id) + u64(int(member.generation))
    code, payload = (QUEUE_RECEIVE, string("q")) if kind == "queue" else (STREAM_FETCH, who)
    asker = history.life.session()
    if waiting:
        asker.data_received(request(code, 7, payload + u32(1) + u32(5_000)))
        history.life.turn()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.do(lambda: stream.append(b"", b"\0one", b"", history.now))
    history.life.turn()
    history.life.step()
    if not waiting:
        asker.data_received(request(code, 7, payload + u32(1) + u32(0)))
    history.life.turn()
    assert queue.parts.leases.count + stream.find_group(b"g").backlog.leases.count == 1
    assert answers(asker) == []
    history.life.step()
    assert [frame.correlation for frame in answers(asker)] == [7]
    history.restart(power=False)
    if kind == "queue":
        (message,) = history.found().parts.backlog.index.after(0, 9)
        assert message.attempts == 1
    else:
        assert history.node.streams.find(b"s").find_group(b"g").backlog.pending[1].attempts == 1


def test_a_delivery_does_not_wait_for_the_disk(history: History) -> None:
    """Nor does it when an acknowledgement of the same turn does."""
    queue = history.queue()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.do(lambda: queue.push(b"\0two", 0, history.now))
    history.rest()
    (first,) = queue.receive(1, history.consumer, history.now)
    history.rest()
    asker = history.life.session()
    lease = u64(int(queue.number)) + u64(int(first.message.id)) + u64(int(first.token))
    asker.data_received(
        request(QUEUE_SETTLE, 8, string("q") + b"\0" + u32(1) + lease)
        + request(QUEUE_RECEIVE, 9, string("q") + u32(1) + u32(0))
    )
    history.life.turn()
    batches, history.life.sink.queue = history.life.sink.queue, []
    history.life.writer.write(batches, history.now)
    assert [frame.correlation for frame in answers(asker)] == [9]
    history.life.writer.sync()
    assert [frame.correlation for frame in answers(asker)] == [8]


def test_deliveries_go_on_when_the_disk_is_full(history: History) -> None:
    queue = history.queue()
    history.do(lambda: queue.push(b"\0one", 0, history.now))
    history.rest()
    history.disk.remove("reserve")
    history.fill_the_disk()
    asker = history.life.session()
    asker.data_received(request(QUEUE_RECEIVE, 9, string("q") + u32(1) + u32(0)))
    history.rest()
    (frame,) = answers(asker)
    assert (frame.code, frame.payload[:4]) == (DATA, u32(1))


def test_a_connection_is_lent_no_more_than_it_may_wait_for(history: History) -> None:
    """Commands behind that run when the deliveries have left, and all are answered in the end."""
    queue = history.queue()
    for _ in range(20):
        history.do(lambda: queue.push(b"\0" + bytes(100_000), 0, history.now))
    history.rest()
    asker = history.life.session()
    asker.data_received(
        b"".join([request(QUEUE_RECEIVE, number, string("q") + u32(1) + u32(0)) for number in range(20)])
    )
    history.life.turn()
    assert queue.parts.leases.count == 3
    history.life.rest()
    assert [frame.correlation for frame in answers(asker)] == list(range(20))


def answers(session: NativeSession) -> list[Frame]:
    """What a session has written since the last call, and writes when the turn ends."""
    session.write_out()
    recorder = session.output
    assert isinstance(recorder, Recorder)
    found: list[Frame] = []
    while (frame := recorder.written.next()) is not None:
        found.append(frame)
    return found
