"""The structures of a queue by themselves: what they find, and that they do not grow for ever."""

from __future__ import annotations

import gc
import sys
from random import Random

from nexo.brokers.queue.agenda import Agenda
from nexo.brokers.queue.consumers import Consumer, Holding
from nexo.brokers.queue.dedup import Dedup
from nexo.brokers.queue.heap import BY_DUE, BY_ID, MessageHeap
from nexo.brokers.queue.index import Index
from nexo.brokers.queue.leases import Leases
from nexo.brokers.queue.message import GONE, READY, Delivery, QueueMessage
from nexo.brokers.queue.ready import Ready


def message(id: int, priority: int = 0) -> QueueMessage:
    made = QueueMessage(id, b"\x00", priority, 0)
    made.state = READY
    return made


def test_index_against_a_dict() -> None:
    random = Random(5)
    index, model = Index(), {}
    id = 0
    for step in range(6_000):
        if random.random() < (0.7 if step < 3_000 else 0.4):
            id += random.choice([1, 1, 1, 1, 3, 700])
            model[id] = message(id)
            index.add(model[id])
        elif model:
            gone = random.choice(list(model))
            del model[gone]
            index.remove(gone)
            assert index.get(gone) is None
        assert index.count == len(model)
    assert all(index.get(one) is found for one, found in model.items())
    assert [int(one.id) for one in index.after(0, 10**9)] == list(model)
    middle = list(model)[len(model) // 2]
    assert index.after(middle, 1)[0].id == min(one for one in model if one > middle)
    first = index.first()
    assert first is not None and first.id == min(model)


def places(index: Index) -> int:
    return sum(len(block.places) for block in index._blocks.values())


def test_index_keeps_no_places_for_what_is_gone() -> None:
    index = Index()
    for id in range(1, 100_001):
        index.add(message(id))
        if id % 1_000:
            index.remove(id)  # each goes as soon as it has come
    assert index.count == 100 and places(index) < 1_000 and len(index._blocks) <= 101


def test_heaps_order_and_forget() -> None:
    random = Random(3)
    ids = list(range(500))
    random.shuffle(ids)
    heap = MessageHeap(BY_ID)
    for id in ids:
        heap.push(message(id))
    for one in heap.messages():
        one.state = GONE if one.id % 3 else READY
    heap.keep(READY)
    assert [int(heap.pop().id) for _ in range(len(heap))] == list(range(0, 500, 3))
    due = MessageHeap(BY_DUE)
    for id in ids:
        one = message(id)
        one.due_at = 1_000 - id
        due.push(one)
    assert [int(due.pop().id) for _ in range(3)] == [499, 498, 497]
    same = MessageHeap(BY_DUE)
    for id in ids:
        same.push(message(id))
    assert [int(same.pop().id) for _ in range(500)] == list(range(500))


def test_ready_does_not_hold_what_was_removed() -> None:
    ready = Ready()
    for id in range(1, 30_001):
        one = message(id, id % 2)
        ready.add(one)
        if id > 10:
            one.state = GONE
            ready.removed(one)
    held = sum(line.size for line in ready._lines if line is not None)
    assert ready.count == 10 and held < 3_000
    taken = [int(one.id) for one in iter(ready.take, None)]
    assert taken == [1, 3, 5, 7, 9, 2, 4, 6, 8, 10]


def lend(leases: Leases, id: int, deadline: int, holding: Holding | None = None) -> Delivery:
    one = Delivery(message(id), leases.next_token, deadline, holding)
    leases.add(one)
    return one


def test_one_long_lease_does_not_hold_the_places_of_others() -> None:
    leases = Leases(1)
    first = lend(leases, 1, 10**9)
    for id in range(2, 60_000):
        leases.end(lend(leases, id, 10**9), True)
    assert len(leases._ring) < 20_000
    assert leases.find(1, 1) is first and leases.count == 1
    assert leases.next_deadline() == 10**9 and leases.run_out(10**9, 5) == [first]


def test_acknowledgements_are_remembered_for_a_while() -> None:
    leases = Leases(1)
    for id in range(1, 20_001):
        leases.end(lend(leases, id, 5), id % 2 == 0)
    assert not leases.was_acked(2, 2)
    assert [leases.was_acked(20_000 - back, 20_000 - back) for back in range(4_000)] == [
        back % 2 == 0 for back in range(4_000)
    ]
    assert len(leases._ring) < 10_000
    late = lend(leases, 1, 5)
    leases.extend(late, 99)
    for id in range(20_000):
        leases.end(lend(leases, id, 5), False)
    token = late.token
    leases.end(late, True)
    assert leases.was_acked(1, token)
    assert not leases.was_acked(2, token)


def test_leases_against_a_dict() -> None:
    random = Random(11)
    leases = Leases(1)
    model: dict[int, Delivery] = {}
    now = 0
    for _ in range(8_000):
        now += random.choice([0, 0, 1])
        act = random.random()
        if act < 0.45:
            one = lend(leases, len(model) + 1, now + 300)
            model[int(one.token)] = one
        elif act < 0.75 and model:
            token = random.choice(list(model))
            one = model.pop(token)
            assert leases.find(one.message.id, token) is one
            leases.end(one, True)
        elif act < 0.85 and model:
            one = model[random.choice(list(model))]
            leases.extend(one, now + random.choice([5, 400, 2_000]))
        else:
            late = {int(one.token) for one in leases.run_out(now, 10**6)}
            assert late == {token for token, one in model.items() if one.deadline <= now}
            for token in late:
                leases.end(model.pop(token), False)
        first = min((int(one.deadline) for one in model.values()), default=0)
        assert leases.next_deadline() == first
        assert leases.count == len(model)
    assert [int(one.token) for one in leases.all()] == sorted(model)


def test_leases_run_out_in_the_order_of_their_deadlines() -> None:
    leases = Leases(1)
    lent = [lend(leases, id, 100 + id) for id in range(6)]
    leases.extend(lent[0], 104)
    leases.extend(lent[5], 90)
    assert leases.next_deadline() == 90
    order = [one for limit in (1, 9) for one in end_all(leases, leases.run_out(200, limit))]
    assert order == [5, 1, 2, 3, 0, 4]


def end_all(leases: Leases, late: list[Delivery]) -> list[int]:
    ids = [int(one.message.id) for one in late]
    for one in late:
        leases.end(one, False)
    return ids


def test_a_holding_forgets_what_has_ended() -> None:
    leases, holding = Leases(1), Holding(Consumer())
    for id in range(1_000):
        one = lend(leases, id, 5, holding)
        holding.add(one)
        leases.end(one, True)
    assert holding.living == 0 and len(holding.leases) < 100


def test_ended_leases_hold_no_bodies() -> None:
    leases, holding = Leases(1), Holding(Consumer())
    value = b"\x00" + bytes(1_000)
    before = sys.getrefcount(value)
    for id in range(50):
        one = Delivery(QueueMessage(id, value, 0, 0), leases.next_token, 5, holding)
        leases.add(one)
        holding.add(one)
        leases.end(one, True)
    del one
    gc.collect()
    assert sys.getrefcount(value) == before


def test_dedup_keys_end_in_their_order() -> None:
    dedup = Dedup()
    for number in range(100):
        dedup.add(b"%d" % number, number + 1, 1_000 + number)
    dedup.withdraw(b"0", 1)
    assert dedup.next_deadline() == 1_001
    assert dedup.expire(1_050, 20) == 0 and len(dedup) == 79
    assert dedup.expire(1_050, 100) == 70 and len(dedup) == 49
    assert dedup.known(b"51", 1_050) == 52 and dedup.known(b"51", 1_051) == 0


def test_an_agenda_does_not_pile_up() -> None:
    agenda = Agenda(0)
    for number in range(1, 4):
        agenda.alarm(10**6, number)
    for step in range(10_000):
        agenda.alarm(step + 1, 1)
        agenda.alarm(10**6, 1)
    assert len(agenda._alarms) < 100
    assert [agenda.due(10**6) for _ in range(4)] == [1, 2, 3, 0]
    assert agenda.next_alarm() == 0
