"""The streams' commands in a batch."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.batch.plan import Plan, check_rising
from nexo.brokers.batch.steps import Step
from nexo.brokers.stream.group import Group
from nexo.brokers.stream.leases import Pending
from nexo.brokers.stream.stream import Stream
from nexo.errors import FencedError


@final
class AppendStep(Step):
    """As `StreamLog.append_many`: `first_seq`, and whether the producer had sent it before."""

    def __init__(self, stream: Stream, records: list[tuple[bytes, bytes, bytes]]) -> None:
        super().__init__(stream.definition.durability)
        self.expected_last: i64 = -1
        self.producer = b""
        self.number: i64 = -1
        self.first_seq: i64 = 0
        self.count: i64 = 0
        self.known = False
        self._stream = stream
        self._records = records

    def takes_room(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        ahead = plan.stream(self._stream)
        first, _ = self._stream.known(self.producer, self.number)
        if self.producer:
            check_rising(ahead, self.producer, self.number)
        if first == 0:
            self._stream.check(self._records, self.expected_last, ahead.last)
            ahead.last += len(self._records)

    def apply(self, now: i64) -> None:
        # What was expected has been checked.
        self.append(now, -1)

    def append(self, now: i64, expected_last: i64) -> None:
        """Does it. Raises what `StreamLog.append_many` does."""
        self.first_seq, self.count, self.known = self._stream.append_many(
            self._records, now, expected_last, self.producer, self.number
        )

    def appends_to(self) -> Stream | None:
        return self._stream


@final
class GroupAckStep(Step):
    """Acks messages of a group by their receipts. One that is not valid any more refuses the batch."""

    def __init__(
        self,
        stream: Stream,
        group: Group,
        consumer_id: bytes,
        generation: i64,
        seqs: list[int],
        tokens: list[int],
    ) -> None:
        super().__init__(stream.definition.durability)
        self._group = group
        self._consumer_id = consumer_id
        self._generation = generation
        self._seqs = seqs
        self._tokens = tokens
        self._pending: list[Pending] = []

    def check(self, plan: Plan) -> None:
        for place, seq in enumerate(self._seqs):
            pending = self._group.lent(self._consumer_id, self._generation, seq, self._tokens[place])
            if not plan.settle_once(False, self._group.number, pending.token):
                raise FencedError(f"sequence {seq} is acked twice in the same batch")
            self._pending.append(pending)

    def apply(self, now: i64) -> None:
        for pending in self._pending:
            self._group.begin_ack(pending)

    def commit(self, now: i64) -> None:
        for pending in self._pending:
            self._group.end_ack(pending, now)

    def undo(self, now: i64) -> None:
        for pending in self._pending:
            self._group.undo_ack(pending)
