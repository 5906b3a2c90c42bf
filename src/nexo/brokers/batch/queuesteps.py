"""The queues' commands in a batch."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.batch.plan import Plan
from nexo.brokers.batch.steps import Step
from nexo.brokers.queue.message import Item, QueueMessage
from nexo.brokers.queue.queue import Queue
from nexo.errors import FencedError


@final
class PushStep(Step):
    """As `Queue.push_many`; `ids` has the id of each."""

    def __init__(self, queue: Queue, items: list[Item]) -> None:
        super().__init__(queue.parts.definition.level)
        self.queue = queue
        self.items = items
        self.ids: list[i64] = []

    def takes_room(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        self.queue.intake.check(self.items, plan.queue(self.queue), plan.now)

    def apply(self, now: i64) -> None:
        self.ids = self.queue.push_many(self.items, now)


@final
class AckStep(Step):
    """Acks deliveries of one queue. One that is fenced refuses the batch, and so does one that was acked before."""

    def __init__(self, queue: Queue, ids: list[i64], tokens: list[i64]) -> None:
        super().__init__(queue.parts.definition.level)
        self._queue = queue
        self._ids = ids
        self._tokens = tokens
        self._messages: list[QueueMessage] = []

    def check(self, plan: Plan) -> None:
        for place, id in enumerate(self._ids):
            token = self._tokens[place]
            message = self._queue.lending.lent(id, token)
            if message is None or not plan.settle_once(True, self._queue.number, token):
                raise FencedError(
                    f"the lease of message {id} has ended: it ran out, was settled, or another delivery has followed"
                )
            self._messages.append(message)

    def apply(self, now: i64) -> None:
        for place, id in enumerate(self._ids):
            self._queue.lending.begin_ack(id, self._tokens[place])

    def commit(self, now: i64) -> None:
        for message in self._messages:
            self._queue.lending.end_ack(message)

    def undo(self, now: i64) -> None:
        for message in self._messages:
            self._queue.lending.undo_ack(message, now)
