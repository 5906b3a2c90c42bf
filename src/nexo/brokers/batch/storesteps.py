"""The store's commands in a batch, and what undoes them."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from nexo.brokers.batch.plan import Plan
from nexo.brokers.batch.steps import Step
from nexo.brokers.changes import Hold
from nexo.brokers.counters import I64_MAX, I64_MIN, overflows
from nexo.brokers.entry import DeleteResult, IncrResult, PutResult
from nexo.brokers.message import int_value, is_int_value, read_int
from nexo.brokers.store import Store
from nexo.errors import PreconditionFailedError


@final
class SetKey(Step):
    """As `Store.put`; a condition that does not hold refuses the batch. `expires_at` 0 = never."""

    def __init__(self, store: Store, key: bytes, value: bytes) -> None:
        super().__init__(store.level_of(key))
        self.key = key
        self.value = value
        self.expires_at: i64 = 0
        self.keep_ttl = False
        self.if_absent = False
        self.if_present = False
        self.expected_version: i64 = -1
        self.result = PutResult(False, 0, None)
        self._store = store

    def takes_room(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        result = self.put(plan.store(self.key), plan.now)
        if not result.applied:
            raise failed(self.key, result.version)
        plan.wrote(self.key)

    def apply(self, now: i64) -> None:
        # The conditions hold; a version that was given is that of the plan, not one that eviction has moved.
        self.if_absent = False
        self.if_present = False
        self.expected_version = -1
        self.result = self.put(self._store, now)

    def put(self, store: Store, now: i64) -> PutResult:
        """Does it in a store, if its conditions hold. Raises MemoryLimitError."""
        return store.put(
            self.key,
            self.value,
            now,
            expires_at=self.expires_at,
            keep_ttl=self.keep_ttl,
            if_absent=self.if_absent,
            if_present=self.if_present,
            expected_version=self.expected_version,
        )


@final
class DeleteKey(Step):
    """As `Store.delete_if`; a version that is not the key's refuses the batch (0 = absent, -1 = any)."""

    def __init__(self, store: Store, key: bytes, expected_version: i64) -> None:
        super().__init__(store.level_of(key))
        self.key = key
        self.expected_version = expected_version
        self.result = DeleteResult(False, 0, None)
        self._store = store

    def check(self, plan: Plan) -> None:
        result = plan.store(self.key).delete_if(self.key, plan.now, self.expected_version)
        if self.expected_version >= 0 and result.version != self.expected_version:
            raise failed(self.key, result.version)

    def apply(self, now: i64) -> None:
        self.result = self._store.delete_if(self.key, now)


@final
class StepCounter(Step):
    """As `Store.incr_bounded`; a bound that is in the way refuses the batch, unless the counter saturates."""

    def __init__(self, store: Store, key: bytes, delta: i64) -> None:
        super().__init__(store.level_of(key))
        self.key = key
        self.delta = delta
        self.minimum: i64 = I64_MIN
        self.maximum: i64 = I64_MAX
        self.expires_at: i64 = 0
        self.saturate = False
        self.result = IncrResult(0, 0, 0, 0)
        self._store = store

    def takes_room(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        result = self.step(plan.store(self.key), plan.now)
        if result.applied != self.delta and not self.saturate:
            raise PreconditionFailedError(
                f"counter {_shown(self.key)} is {result.value}, and {self.delta:+} is past a bound",
                {"actual": int(result.value)},
            )
        plan.wrote(self.key)

    def apply(self, now: i64) -> None:
        self.result = self.step(self._store, now)

    def step(self, store: Store, now: i64) -> IncrResult:
        """Does it in a store, as far as the bounds allow. Raises what `Store.incr_bounded` does."""
        return store.incr_bounded(
            self.key,
            self.delta,
            now,
            minimum=self.minimum,
            maximum=self.maximum,
            expires_at=self.expires_at,
            saturate=self.saturate,
        )


def failed(key: bytes, actual: i64) -> PreconditionFailedError:
    """For a condition on the version of a key, which is another (0 = absent)."""
    found = f"has version {actual}" if actual != 0 else "does not exist"
    return PreconditionFailedError(f"key {_shown(key)} {found}", {"actual": int(actual)})


def _shown(key: bytes) -> str:
    return repr(key[:100].decode("utf-8", "replace"))


def take_back(store: Store, hold: Hold, now: i64) -> None:
    """Gives a key what it held before the batch, under a new version, and what others have counted since.

    A key that others have written otherwise stays as it is.
    """
    if not hold.take_back():
        return
    value = hold.value
    if hold.expires_at != 0 and hold.expires_at <= now:
        value = None
    if hold.added != 0 and (value is None or is_int_value(value)):
        number: i64 = 0 if value is None else read_int(value)
        if not overflows(number, hold.added):
            value = int_value(number + hold.added)
    if value is None:
        store.delete(hold.key, now)
    else:
        store.put(hold.key, value, now, expires_at=hold.expires_at)
    hold.taken_back()
