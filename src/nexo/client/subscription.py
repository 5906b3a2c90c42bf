"""A subscription as a program holds it: an iterator of messages, or a function that is called with each.

Owns what one subscriber has waiting and what it lost. Which messages it gets is the router's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nexo.client.events import Caller, log
from nexo.client.frames import string, u32, u64
from nexo.client.inbox import Inbox, checked_bounds, policy_code
from nexo.client.message import Message
from nexo.client.tracing import called, is_loaded
from nexo.errors import InvalidArgumentError, NexoError
from nexo.limits import PENDING_BYTES_DEFAULT, PENDING_MESSAGES_DEFAULT
from nexo.protocols.native import opcodes as op

if TYPE_CHECKING:
    from nexo.client.routing import Router

Callback = Callable[[Message], Awaitable[None] | None]


class Subscription:
    """The messages of one filter: `async with` it and iterate over it, or give a callback and await it.

    The iteration ends when the subscription is stopped or the client is closed; it raises the reason when
    the connection is given up, and SlowConsumerError with the policy "disconnect".
    """

    def __init__(self, router: Router, subscriber: Subscriber) -> None:
        self._router = router
        self._subscriber = subscriber

    @property
    def filter(self) -> str:
        """What topics must match."""
        return self._subscriber.filter

    @property
    def group(self) -> str | None:
        """The group that shares the messages, if one does."""
        return self._subscriber.group

    @property
    def dropped(self) -> int:
        """Messages that were lost because this was too slow, at the server and in the client."""
        return self._subscriber.dropped

    @property
    def active(self) -> bool:
        """Whether messages may still come."""
        return not self._subscriber.inbox.ended

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        subscriber = self._subscriber
        if not subscriber.started:
            subscriber.started = True
            confirmed = False
            try:
                await self._router.start(subscriber)
                confirmed = True
            finally:
                if not confirmed:
                    subscriber.inbox.end()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._subscriber.has_callback:
            raise InvalidArgumentError("the messages of this subscription go to its callback")
        await self
        return await self._subscriber.inbox.get()

    async def stop(self) -> None:
        """Unsubscribe; the iteration ends, what waited is forgotten, a callback is not called again."""
        self._subscriber.started = True
        await self._subscriber.stop()
        await self._router.stop(self._subscriber)


class Subscriber:
    """A subscription as the router has it: what it asks for, what it has waiting, what it lost."""

    def __init__(
        self,
        topic_filter: str,
        callback: Callback | None,
        *,
        group: str | None,
        policy: str | None,
        messages_max: int | None,
        bytes_max: int | None,
        retained: bool,
        type: Any,
        on_dropped: Callable[[int], Awaitable[None] | None] | None,
    ) -> None:
        checked_bounds(messages_max, bytes_max)
        if group is not None and not group:
            raise InvalidArgumentError("a shared subscription needs the name of its group")
        self.filter = topic_filter
        self.group = group
        self.dropped = 0
        self.started = False
        self.policy = policy_code(policy or "drop_oldest")
        self.wants_retained = retained and group is None
        self.inbox: Inbox[Message] = Inbox(
            messages_max or PENDING_MESSAGES_DEFAULT,
            bytes_max or PENDING_BYTES_DEFAULT,
            self.policy,
            self.lost,
        )
        self._bounds = (messages_max, bytes_max)
        self._plain = policy is None and messages_max is None and bytes_max is None and self.wants_retained
        self._type = type
        self._losses: deque[int] = deque()
        self._teller = (
            Caller(on_dropped, self._losses, f"on_dropped of {topic_filter}") if on_dropped else None
        )
        self._callback = callback
        self._caller = Caller(self._call, self.inbox, f"the callback of {topic_filter}") if callback else None

    @property
    def has_callback(self) -> bool:
        """Whether a function takes the messages."""
        return self._caller is not None

    def request(self) -> tuple[int, bytes]:
        """Opcode and payload of the request that subscribes."""
        name = string(self.filter)
        if self._plain:
            return op.SUB, name
        messages_max, bytes_max = self._bounds
        flags = op.SUBX_POLICY
        fields = b""
        if self.group is not None:
            flags |= op.SUBX_SHARED
            fields += string(self.group)
        if messages_max is not None:
            flags |= op.SUBX_MESSAGES
            fields += u32(messages_max, "messages_max")
        if bytes_max is not None:
            flags |= op.SUBX_BYTES
            fields += u64(bytes_max, "bytes_max")
        if not self.wants_retained:
            flags |= op.SUBX_NO_RETAINED
        return op.SUBX, name + bytes((flags,)) + fields + bytes((self.policy,))

    def deliver(self, message: Message) -> bool:
        """Take a message; False when it was lost."""
        kept = self.inbox.put(message if self._type is None else message.typed(self._type))
        if kept and self._caller is not None:
            self._caller.wake()
        return kept

    def _call(self, message: Message) -> Awaitable[None] | None:
        """Call the program's function, in a span where there are any."""
        assert self._callback is not None
        return called(self._callback, message) if is_loaded() else self._callback(message)

    def lost(self, messages: int) -> None:
        """So many messages were dropped."""
        self.dropped += messages
        if self._teller is not None:
            self._losses.append(messages)
            self._teller.wake()

    def end(self, error: NexoError | None) -> None:
        """There will be no more messages."""
        if self._caller is not None and error is not None and not self.inbox.ended:
            log.error("the subscription to %s has ended: %s", self.filter, error)
        self.inbox.end(error)

    async def stop(self) -> None:
        """Nobody wants the messages any more."""
        self.inbox.clear()
        self.inbox.end()
        if self._caller is not None:
            await self._caller.stop()
