"""What a queue's job and a group's message have in common: they are lent, and settled once.

Owns when a delivery counts as settled, and `async with`. How it is settled is the lender's business.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from nexo.client import values
from nexo.client.tracing import context_of
from nexo.client.values import Headers
from nexo.limits import REASON_BYTES_MAX

if TYPE_CHECKING:
    from nexo.client.lending import Lender

_UNDECODED: Final = object()


class Delivery:
    """A message that is lent. Entered with `async with`, it is acked at the end of the block, or nacked with
    the exception that left it as the reason; a cancelled one goes back without counting where it can."""

    __slots__ = ("_data", "_lender", "_type", "_value", "headers", "settled")

    def __init__(self, lender: Lender[Any], headers: Headers, value: bytes, type: Any) -> None:
        self.headers = headers
        # Set when the program, or the consumer for it, has acked, nacked or released it.
        self.settled: bool = False
        self._lender = lender
        self._value = value
        self._type = type
        self._data: Any = _UNDECODED

    @property
    def data(self) -> Any:
        """The value. InvalidArgumentError when it is not of the type that was asked for."""
        if self._data is _UNDECODED:
            self._data = values.decode(self._value, self._type)
        return self._data

    @property
    def value(self) -> Any:
        """The same as `data`."""
        return self.data

    @property
    def trace_context(self) -> Any:
        """The OpenTelemetry context that its headers carry, to be the parent of a span; None when there is none.
        A handler is called in a span that is its child already."""
        return context_of(self.headers)

    @property
    def _number(self) -> int:
        """What names it in its queue or stream."""
        raise NotImplementedError

    async def ack(self) -> None:
        """It is done. FencedError when it is lent to somebody else by now."""
        raise NotImplementedError

    async def nack(self, reason: str = "") -> None:
        """It is not done, and why."""
        raise NotImplementedError

    def _ack_alone(self) -> tuple[int, bytes]:
        """Opcode and payload of a command that acks this delivery and no other."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled:
            return
        if error is None:
            await self.ack()
        elif isinstance(error, Exception):
            await self.nack(reason_for(error))
        else:
            self._lender.give_back([self])


def reason_for(error: BaseException) -> str:
    """An exception as the reason of a nack: its text, or its name when it has none."""
    return clipped(str(error) or type(error).__name__)


def clipped(reason: str) -> str:
    """A reason that fits into reason_bytes_max, and that UTF-8 can say."""
    return reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
