"""Clients that do with queues, at random, what clients do, and note in the model what they were told.

Each command calls the broker as a session does, and looks at what is there before and after.
"""

from __future__ import annotations

from nexo.brokers.journal import FLUSH, LEVELS, MEMORY
from nexo.brokers.queue.consumers import Waiter
from nexo.brokers.queue.dead import DeadFilter
from nexo.brokers.queue.lending import BY_POLICY, DONE, FAILED, FATAL, FENCED, RELEASE
from nexo.brokers.queue.message import GONE, READY, Delivery, Item, QueueMessage
from nexo.brokers.queue.queue import Queue
from nexo.errors import LimitExceededError, ServerError, StorageError
from tests.simulation.clients import Client, Crowd, Lease
from tests.simulation.image import ALL
from tests.simulation.model import End, Key, Message, QueueModel, check, lasts, seen_before

NAMES = (b"a", b"b", b"c", b"d")
GROUPS = (b"", b"", b"k1", b"k2", b"k3")


class Poll(Waiter):
    """A client's call that waits for messages."""

    def __init__(self, clients: QueueClients, client: Client, number: int) -> None:
        super().__init__()
        self.clients = clients
        self.client = client
        self.number = number

    def delivered(self, deliveries: list[Delivery]) -> None:
        self.clients.lent(self.client, self.number, deliveries)

    def timed_out(self) -> None:
        pass

    def failed(self, error: ServerError) -> None:
        pass


class QueueClients(Crowd):
    """The commands of queues; each gives what it was, for a person to read."""

    def look_at_queues(self) -> None:
        """Everything that is there must be known, and what is gone without a command must be due."""
        now = self.life.now
        for number, queue in list(self.queues.items()):
            if queue.made.refused and not queue.gone:
                check(
                    self.life.log.fenced or not self.has(queue),
                    f"queue {queue.name!r} was refused, and is there",
                )
                queue.gone.append(queue.made)
            if queue.made.refused and not self.life.log.fenced:
                del self.queues[number]
            elif not queue.gone:
                live = self.node.queues.find(queue.name)
                born = now - live.parts.definition.dead_retention_ms
                old = {id for id, died_at in queue.died.items() if died_at <= born}
                queue.now_here(ids(live), now, self.step(MEMORY), old)
                queue.died = {int(one.message.id): int(one.died_at) for one in live.peek(ALL, 0)}
                if not self.life.log.fenced:
                    queue.refuse()

    def has(self, queue: QueueModel) -> bool:
        return (
            self.node.queues.exists(queue.name) and self.node.queues.find(queue.name).number == queue.number
        )

    def any_queue(self) -> tuple[QueueModel, Queue] | None:
        living = [queue for queue in self.queues.values() if not queue.gone]
        if not living:
            return None
        queue = self.random.choice(living)
        return queue, self.node.queues.find(queue.name)

    def create_queue(self) -> str:
        draw = self.random
        name = draw.choice(NAMES)
        given: dict[str, object] = {
            "durability": draw.choice(("fsync", "fsync", "flush", "memory")),
            "visibility_timeout_ms": draw.choice((500, 5_000, 30_000)),
            "max_deliveries": draw.choice((1, 2, 3, 5)),
            "backoff": draw.choice(("none", "fixed", "exponential")),
            "dedup_window_ms": draw.choice((2_000, 60_000)),
            "on_expiry": draw.choice(("drop", "dead_letter")),
        }
        if draw.random() < 0.3:
            given |= {"messages_max": 8, "overflow": draw.choice(("reject", "drop_oldest", "dead_letter"))}
        if draw.random() < 0.3:
            given |= {"dead_retention_ms": 60_000}
        if self.node.queues.exists(name):
            return "exists"
        try:
            self.node.check_room()
        except StorageError:
            return "refused"
        queue, created = self.node.queues.create(name, given, self.now)
        assert created
        level = int(queue.parts.definition.level)
        made = self.step(max(level, FLUSH))
        self.queues[int(queue.number)] = QueueModel(int(queue.number), name, level, made)
        self.answer(made)
        return f"{name!r} {LEVELS[level]}"

    def delete_queue(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        check(self.node.queues.delete(live.name, self.now), "a queue that was there was not deleted")
        gone = self.step(max(queue.level, FLUSH))
        queue.gone.append(gone)
        self.answer(gone)
        return f"{queue.name!r}"

    def push(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        draw = self.random
        items: list[Item] = []
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            item = Item(self.value(), draw.choice((0, 0, 0, 5, 255)))
            if draw.random() < 0.5:
                item.group = draw.choice(GROUPS)
                item.dedup = draw.choice((b"", b"", b"d1", b"d2", b"d3"))
                item.delay_ms = draw.choice((0, 0, 50, 5_000))
                item.ttl_ms = draw.choice((0, 0, 0, 1_000, 60_000))
                item.headers = draw.choice((b"", b"\0\1h\0\1x"))
            items.append(item)
        plain = len(items) == 1 and not (items[0].group or items[0].dedup or items[0].headers)
        plain = plain and not (items[0].delay_ms or items[0].ttl_ms)
        try:
            self.node.check_room()
            if plain:
                given = [live.push(items[0].value, items[0].priority, self.now)]
            else:
                given = live.push_many(items, self.now)
        except (LimitExceededError, StorageError) as error:
            queue.now_here(ids(live), self.now, self.step(MEMORY), ())
            return f"{queue.name!r}: {type(error).__name__}"
        step = self.step(queue.level)
        for item, id in zip(items, given, strict=True):
            known = queue.keys.get(item.dedup) if item.dedup else None
            in_window = known is not None and known.until > self.now and not known.push.refused
            if item.duplicate:
                assert known is not None
                check(in_window or known.loose, f"{item.dedup!r} was taken for a duplicate in {queue.name!r}")
                check(known.id == id or known.loose, f"the duplicate {item.dedup!r} got another id")
                if id in queue.by_id:
                    queue.by_id[id].pushes.append(step)
                continue
            check(not in_window or not (known and known.sure), f"the duplicate {item.dedup!r} was taken in")
            message = Message(item.value, [step], item.group, self.now + item.ttl_ms if item.ttl_ms else 0)
            queue.pushed(message, int(id))
            if item.dedup:
                until = self.now + int(live.parts.definition.dedup_window_ms)
                queue.keys[item.dedup] = Key(int(id), until, step)
        new = {int(id) for item, id in zip(items, given, strict=True) if not item.duplicate}
        overflows = live.parts.definition.limited
        queue.now_here(ids(live), self.now, step, queue.here - new if overflows else ())
        self.answer(step)
        return f"{queue.name!r} {given}"

    def receive(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        client = self.random.choice(self.all)
        count = self.random.choice((1, 1, 2, 5))
        ready = sorted(live.browse(READY, 0, ALL).messages, key=lambda one: (-one.priority, one.id))
        wanted = [int(one.id) for one in ready if not 0 < one.expires_at <= self.now]
        deliveries = live.receive(count, client.consumer, self.now)
        given = [int(one.message.id) for one in deliveries]
        if not live.parts.paused_until:
            check(
                set(given) <= set(wanted) and given == wanted[: len(given)] and (given or not wanted),
                f"{queue.name!r} gave {given} of {wanted}",
            )
        self.lent(client, queue.number, deliveries)
        queue.now_here(ids(live), self.now, self.step(MEMORY), ())
        return f"{queue.name!r} {given}"

    def poll(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        client = self.random.choice(self.all)
        live.wait(
            Poll(self, client, queue.number), client.consumer, self.random.randint(1, 3), self.now + 1_000
        )
        return f"{queue.name!r}"

    def lent(self, client: Client, number: int, deliveries: list[Delivery]) -> None:
        """Check what a client was given, and keep it."""
        queue = self.queues[number]
        live = self.node.queues.find(queue.name)
        step = self.leaves(client, queue.level if deliveries else MEMORY)
        for delivery in deliveries:
            id = int(delivery.message.id)
            message = queue.by_id.get(id)
            check(message is not None and not message.ends, f"{queue.name!r} gave {id}, which is gone")
            assert message is not None
            check(delivery.message.value == message.value, f"{queue.name!r} gave another body for {id}")
            check(not message.pushes[0].refused, f"{queue.name!r} gave {id}, whose push was refused")
            check(self.durable(queue, id), f"{queue.name!r} gave {id} before it was durable")
            tries = message.attempts
            check(delivery.attempt == tries + 1, f"attempt {delivery.attempt} of {id} follows {tries}")
            message.attempts = int(delivery.attempt)
            message.lent.append((message.attempts, step))
            self.only_once("token", number, int(delivery.token))
            held = queue.leases.get(id)
            check(held is None or held[1] <= self.life.now, f"{id} of {queue.name!r} is lent twice")
            if message.group:
                self.check_group(live, delivery.message)
            queue.leases[id] = (int(delivery.token), int(delivery.deadline))
            client.leases.append((number, id, int(delivery.token)))

    def durable(self, queue: QueueModel, id: int) -> bool:
        """Whether a message's push has got as far as its level promises."""
        push = queue.by_id[id].pushes[0]
        return push.seen or bool(self.node.journal.settled(push.batch, queue.level))

    def check_group(self, live: Queue, message: QueueMessage) -> None:
        for other in live.parts.backlog.index.after(0, ALL):
            if other.group == message.group and other is not message and other.state != GONE:
                held = self.queues[int(live.number)].leases.get(int(other.id))
                check(
                    held is None or held[1] <= self.life.now,
                    f"{message.id} of group {message.group!r} was given beside {other.id}",
                )

    def any_lease(self) -> tuple[QueueModel, Queue, Client, Lease] | None:
        client = self.random.choice(self.all)
        while client.leases:
            lease = client.leases.pop(self.random.randrange(len(client.leases)))
            queue = self.queues.get(lease[0])
            if queue is not None and not queue.gone:
                return queue, self.node.queues.find(queue.name), client, lease
        return None

    def ended(self, queue: QueueModel, lease: Lease, done: bool) -> None:
        """The answer to whoever settled a lease: DONE if it had not ended, else FENCED."""
        _, id, token = lease
        held = queue.leases.get(id)
        valid = held is not None and held[0] == token
        check(not done or valid, f"{id} of {queue.name!r} was settled with a token that is not valid")
        check(done or not valid or held[1] <= self.life.now, f"a valid lease of {id} in {queue.name!r} was fenced")  # type: ignore[index]  # fmt: skip
        if done:
            del queue.leases[id]

    def ack(self) -> str:
        if not (found := self.any_lease()):
            return ""
        queue, live, _, lease = found
        outcome = live.ack(lease[1], lease[2], self.now)
        self.ended(queue, lease, outcome == DONE)
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, {lease[1]} if outcome == DONE else ())
        self.answer(step)
        return f"{queue.name!r} {lease[1]}: {outcome}"

    def ack_many(self) -> str:
        if not (found := self.any_lease()):
            return ""
        queue, live, client, first = found
        leases = [first, *[one for one in client.leases if one[0] == queue.number]]
        client.leases = [one for one in client.leases if one not in leases]
        outcomes = live.ack_many([one[1] for one in leases], [one[2] for one in leases], self.now)
        step = self.step(queue.level)
        for lease, outcome in zip(leases, outcomes, strict=True):
            self.ended(queue, lease, outcome == DONE)
        done = {lease[1] for lease, outcome in zip(leases, outcomes, strict=True) if outcome == DONE}
        queue.now_here(ids(live), self.now, step, done)
        self.answer(step)
        return f"{queue.name!r} {leases}: {outcomes}"

    def nack(self) -> str:
        if not (found := self.any_lease()):
            return ""
        queue, live, _, lease = found
        mode = self.random.choice((FAILED, FAILED, RELEASE, FATAL))
        delay = self.random.choice((BY_POLICY, BY_POLICY, 0, 3_000))
        outcome = live.nack(lease[1], lease[2], self.random.choice((b"", b"why")), mode, delay, self.now)
        self.ended(queue, lease, outcome != FENCED)
        if outcome != FENCED and mode == RELEASE:
            queue.by_id[lease[1]].attempts -= 1
            queue.by_id[lease[1]].lent = []
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, ())
        self.answer(step)
        return f"{queue.name!r} {lease[1]} mode {mode}: {outcome}"

    def extend(self) -> str:
        if not (found := self.any_lease()):
            return ""
        queue, live, client, lease = found
        deadline = live.extend(lease[1], lease[2], self.random.choice((100, 10_000)), self.now)
        if deadline:
            queue.leases[lease[1]] = (lease[2], int(deadline))
            client.leases.append(lease)
        return f"{queue.name!r} {lease[1]}: {deadline}"

    def stale_ack(self) -> str:
        """A token of an earlier life settles nothing."""
        if not self.stale:
            return ""
        number, id, token = self.stale.pop(self.random.randrange(len(self.stale)))
        queue = self.queues.get(number)
        if queue is None or queue.gone:
            return ""
        outcome = self.node.queues.find(queue.name).ack(id, token, self.now)
        check(outcome == FENCED, f"a token from before the restart settled {id} of {queue.name!r}")
        return f"{queue.name!r} {id}"

    def drop_queues(self, client: Client) -> None:
        """The connection has ended: what was lent to it comes back."""
        self.node.queues.drop(client.consumer, self.now)
        for number, id, token in client.leases:
            queue = self.queues.get(number)
            if queue is not None and queue.leases.get(id, (0, 0))[0] == token:
                del queue.leases[id]
        self.stale += client.leases
        client.leases = []

    def purge(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        may = ids(live) - dead_ids(live)
        live.purge()
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, may)
        for id in may:
            queue.leases.pop(id, None)
        self.answer(step)
        return f"{queue.name!r}"

    def pause(self) -> str:
        if not (found := self.any_queue()):
            return ""
        _, live = found
        if live.parts.paused_until:
            live.resume()
        else:
            live.pause(self.now + 2_000)
        return f"{live.name!r}"

    def remove(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        living = sorted(ids(live) - dead_ids(live))
        if not living:
            return ""
        id = self.random.choice(living)
        check(live.remove(id), f"{id} of {queue.name!r} is there, and cannot be removed")
        queue.leases.pop(id, None)
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, {id})
        self.answer(step)
        return f"{queue.name!r} {id}"

    def redrive(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        letters = live.peek(ALL, 0)
        if not letters:
            return ""
        try:
            self.node.check_room()
        except StorageError:
            return "refused"
        if self.random.random() < 0.5:
            old = [int(self.random.choice(letters).message.id)]
            new = [int(live.redrive(old[0], self.now))]
            if new == [0]:
                check(not self.durable(queue, old[0]), f"{old[0]} of {queue.name!r} was not redriven")
                return f"{queue.name!r} {old} too early"
        else:
            old = [
                int(letter.message.id) for letter in letters if self.durable(queue, int(letter.message.id))
            ]
            first = int(live.parts.next_id)
            done = live.redrive_some(DeadFilter(), 0, live.parts.dead.last_serial, ALL, self.now)
            new = list(range(first, first + int(done.count)))
        for one, other in zip(old, new, strict=True):
            queue.moved(one, other)
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, ())
        self.answer(step)
        return f"{queue.name!r} {old} -> {new}"

    def delete_dead(self) -> str:
        if not (found := self.any_queue()):
            return ""
        queue, live = found
        dead = sorted(dead_ids(live))
        if not dead:
            return ""
        gone = {self.random.choice(dead)} if self.random.random() < 0.7 else set(dead)
        if len(gone) == 1:
            live.delete_dead(next(iter(gone)))
        else:
            live.purge_dead()
        step = self.step(queue.level)
        queue.now_here(ids(live), self.now, step, gone)
        self.answer(step)
        return f"{queue.name!r} {gone}"


def ids(live: Queue) -> set[int]:
    """The messages of a queue, dead or not."""
    return {int(one.id) for one in live.parts.backlog.index.after(0, ALL)} | dead_ids(live)


def dead_ids(live: Queue) -> set[int]:
    return {int(letter.message.id) for letter in live.peek(ALL, 0)}


def restart_queues(crowd: Crowd, end: End) -> None:
    """Compare the queues that have come back with the model; then the model is what is there."""
    node = crowd.node
    live = {int(node.queues.find(name).number): node.queues.find(name) for name in node.queues.names()}
    for number, queue in list(crowd.queues.items()):
        there = number in live and live[number].name == queue.name
        if there:
            check(
                not any(lasts(step, end) for step in queue.gone), f"{queue.name!r} was deleted, and came back"
            )
        else:
            check(
                bool(queue.gone) or not lasts(queue.made, end),
                f"queue {queue.name!r} was confirmed, and is gone",
            )
            del crowd.queues[number]
    for number, found in live.items():
        check(number in crowd.queues, f"queue {found.name!r} is there, and nobody made it")
        queue = crowd.queues[number]
        present: dict[bytes, list[tuple[int, int, int]]] = {}
        messages = [*found.parts.backlog.index.after(0, ALL), *[one.message for one in found.peek(ALL, 0)]]
        for message in messages:
            value = found.view(message).value
            place = (int(message.id), int(message.attempts), int(message.expires_at))
            present.setdefault(value, []).append(place)
        queue.restarted(present, crowd.life.now, end)
        queue.made = seen_before()
        queue.gone = []
        queue.died = {int(one.message.id): int(one.died_at) for one in found.peek(ALL, 0)}
