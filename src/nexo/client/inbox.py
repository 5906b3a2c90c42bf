"""What waits on this side for a consumer that is slower than its messages: bounded, and every loss counted.

Owns the bound and the policy. Knows neither what the items mean nor who consumes them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from nexo.errors import InvalidArgumentError, NexoError, SlowConsumerError
from nexo.protocols.native import opcodes as op

POLICIES: Final = {
    "drop_oldest": op.DROP_OLDEST,
    "drop_newest": op.DROP_NEWEST,
    "conflate": op.CONFLATE,
    "disconnect": op.DISCONNECT,
}


def policy_code(policy: str) -> int:
    """A policy's number on the wire. InvalidArgumentError for a name that is none."""
    try:
        return POLICIES[policy]
    except KeyError:
        raise InvalidArgumentError(f"no policy {policy!r}: one of {', '.join(POLICIES)}") from None


class Sized(Protocol):
    """An item: how large it is, and what it may be conflated by."""

    @property
    def topic(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Inbox(Generic[T]):
    """Items in their order, at most `messages_max` of them and `bytes_max` bytes.

    Past a bound the policy says what is lost, and `lost` is called with how many that were. The policy
    `disconnect` ends the inbox with a SlowConsumerError instead, after what it holds has been taken.
    """

    def __init__(self, messages_max: int, bytes_max: int, policy: int, lost: Callable[[int], None]) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._policy = policy
        self._lost = lost
        self._bytes = 0
        self._items: deque[T] = deque()
        self._latest: OrderedDict[str, T] = OrderedDict()  # in place of _items when conflating
        self._readers: deque[asyncio.Future[None]] = deque()
        self._ended = False
        self._error: NexoError | None = None

    def __len__(self) -> int:
        return len(self._items) or len(self._latest)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def put(self, item: T) -> bool:
        """Take an item; False when it was not kept."""
        if self._ended:
            return False
        size = item.size_bytes
        if self._policy == op.CONFLATE:
            earlier = self._latest.pop(item.topic, None)
            if earlier is not None:
                self._bytes -= earlier.size_bytes
                self._lost(1)
        if len(self) >= self._messages_max or self._bytes + size > self._bytes_max:
            if self._policy == op.DISCONNECT:
                reason = f"{len(self)} messages of {self._bytes} bytes wait in the client"
                self.end(SlowConsumerError(reason))
                return False
            if self._policy == op.DROP_NEWEST or size > self._bytes_max:
                self._lost(1)
                return False
            self._make_room(size)
        self._bytes += size
        if self._policy == op.CONFLATE:
            self._latest[item.topic] = item
        else:
            self._items.append(item)
        self._wake()
        return True

    def _make_room(self, size: int) -> None:
        dropped = 0
        while len(self) >= self._messages_max or self._bytes + size > self._bytes_max:
            self.popleft()
            dropped += 1
        self._lost(dropped)

    def popleft(self) -> T:
        """The item that has waited longest. IndexError when there is none."""
        if self._latest:
            item = self._latest.popitem(last=False)[1]
        else:
            item = self._items.popleft()
        self._bytes -= item.size_bytes
        return item

    def end(self, error: NexoError | None = None) -> None:
        """Nothing more will come; readers get what is there, then `error` or the end."""
        if not self._ended:
            self._ended = True
            self._error = error
            while self._readers:
                self._wake()

    def clear(self) -> None:
        """Forget what waits."""
        self._items.clear()
        self._latest.clear()
        self._bytes = 0

    def _wake(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return

    async def get(self) -> T:
        """The next item, when there is one. StopAsyncIteration at the end, or the error it ended with."""
        while not len(self):
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                # Whoever was woken and goes away lets the next one have the item.
                if reader.done() and not reader.cancelled() and len(self):
                    self._wake()
                raise
        return self.popleft()


def checked_bounds(messages_max: int | None, bytes_max: int | None) -> None:
    """InvalidArgumentError for a bound that would let nothing through."""
    for name, bound in (("messages_max", messages_max), ("bytes_max", bytes_max)):
        if bound is not None and bound <= 0:
            raise InvalidArgumentError(f"{name} of {bound} would let nothing through")
    if messages_max is not None and messages_max >= 1 << 32:
        raise InvalidArgumentError(f"messages_max of {messages_max}: at most 2^32 - 1")
