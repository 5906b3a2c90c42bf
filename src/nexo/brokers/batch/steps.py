"""What a batch across brokers consists of: preconditions and steps, each of them a command of one broker.

A step goes through its life once: `check` raises if it could not be done after the steps before it, and changes
nothing; `apply` does it, and cannot fail any more; later `commit` says that it is as durable as the batch
promises, or `undo` that it never was. What must not be seen before that is done in `commit`. The steps of store,
queues and streams are in the modules beside this one. Knows no protocol.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.brokers.batch.plan import Plan
from nexo.brokers.journal import MEMORY
from nexo.brokers.message import Message
from nexo.brokers.pubsub import PubSub
from nexo.brokers.stream.stream import Stream
from nexo.errors import BatchRefusedError, ServerError


@mypyc_attr(allow_interpreted_subclasses=True)
class Step:
    """One command of a batch. `level` is the durability that its broker promises for it."""

    def __init__(self, level: i64) -> None:
        self.level = level

    def check(self, plan: Plan) -> None:
        """Raises the error that the command would be answered with; then the plan has what it will do."""
        raise NotImplementedError

    def apply(self, now: i64) -> None:
        """Does it, and records it."""
        raise NotImplementedError

    def commit(self, now: i64) -> None:
        """The batch is durable."""

    def undo(self, now: i64) -> None:
        """The batch could not be stored. Later steps have been undone."""

    def takes_room(self) -> bool:
        """Whether it is refused while memory or the disk is short."""
        return False

    def recorded_at(self) -> i64:
        """The level at which it is recorded, MEMORY when it is not."""
        return self.level

    def appends_to(self) -> Stream | None:
        """The stream that gets records, whose journal entry is written when all steps have been applied."""
        return None


@final
class Publication(Step):
    """A message, sent and retained when the batch is durable; or a retained value that is cleared then.

    What is retained or cleared is recorded with the batch.
    """

    def __init__(self, pubsub: PubSub, message: Message, retain: bool, clear: bool, expires_at: i64) -> None:
        super().__init__(pubsub.kept.level if retain or clear else MEMORY)
        self._pubsub = pubsub
        self._message = message
        self._retain = retain
        self._clear = clear
        self._expires_at = expires_at
        self._record: i64 = 0

    def check(self, plan: Plan) -> None:
        if self.takes_room():
            self.check_kept()

    def check_kept(self) -> None:
        """Raises LimitExceededError when one value more cannot be retained."""
        message = self._message
        self._pubsub.kept.check(message.topic, len(message.value) + len(message.headers))

    def takes_room(self) -> bool:
        return self._retain and not self._clear

    def recorded_at(self) -> i64:
        return self.level

    def apply(self, now: i64) -> None:
        if self._retain or self._clear:
            self._record = self._pubsub.kept.announce(self._message, self._clear, self._expires_at)

    def commit(self, now: i64) -> None:
        if self._retain or self._clear:
            self._pubsub.kept.fulfil(self._record, self._message, self._clear, self._expires_at)
        if not self._clear:
            self._pubsub.publish(self._message)

    def undo(self, now: i64) -> None:
        self._pubsub.kept.retract(self._record, self._message.topic)

    def publish(self) -> i64:
        """Does it at once, as a command alone; how many deliveries there will be."""
        message = self._message
        if self._clear:
            self._pubsub.clear_retained(message.topic)
            return 0
        if self._retain:
            self._pubsub.retain(message.topic, message.value, message.headers, self._expires_at)
        return self._pubsub.publish(message)


def refused(what: str, place: i64, error: ServerError) -> BatchRefusedError:
    """The answer to a batch of which one "command" or "precondition" was refused."""
    details: dict[str, object] = {what: int(place), "code": error.code, "message": error.message}
    if error.details is not None:
        details["details"] = error.details
    return BatchRefusedError(f"{what} {place} of the batch: {error.message}", details)
