"""Traces across messages: the W3C trace context in headers, and spans as OpenTelemetry's messaging conventions say.

Nothing is imported for it: only a program that has loaded `opentelemetry.trace` itself can have a span, so all others
pay for one look into `sys.modules`. Which headers carry the context is the business of the program's propagator; unless
it says otherwise, they are `traceparent` and `tracestate` (https://www.w3.org/TR/trace-context). The spans:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec

from nexo._version import __version__
from nexo.client.values import Headers, HeadersLike

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from nexo.client.message import Message

LIBRARY: Final = "opentelemetry.trace"
PARENT: Final = "traceparent"
SYSTEM: Final = "nexo"

Item = TypeVar("Item", bound=msgspec.Struct)


class Untraced:
    """What sending is when there is no span: the headers stay as they were given."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def headers(self, given: HeadersLike) -> HeadersLike:
        """The headers to send."""
        return given

    def items(self, given: list[Any], kind: type[Item]) -> list[Any]:
        """The items of a batch to send, which are values, or structs of this kind."""
        return given


class Traced(Untraced):
    """A span of a producer, current while this is entered; headers get its context, unless they have one."""

    def __init__(self, span: AbstractContextManager[Any]) -> None:
        self._span = span

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, trace)

    def headers(self, given: HeadersLike) -> HeadersLike:
        return carried(given)

    def items(self, given: list[Any], kind: type[Item]) -> list[Any]:
        return [
            msgspec.structs.replace(one, headers=carried(getattr(one, "headers")))  # noqa: B009
            if isinstance(one, kind)
            else kind(value=one, headers=carried(()))
            for one in given
        ]


UNTRACED: Final = Untraced()


def sending(operation: str, destination: str, count: int = 1) -> Untraced:
    """Enter it around a send; a span if the program is in one. `count` messages go to `destination`."""
    if not _in_span():
        return UNTRACED
    from opentelemetry.trace import SpanKind

    attributes: dict[str, Any] = _attributes(operation, "send", destination)
    if count != 1:
        attributes["messaging.batch.message_count"] = count
    return Traced(
        _tracer().start_as_current_span(
            f"{operation} {destination}", kind=SpanKind.PRODUCER, attributes=attributes
        )
    )


def processing(
    destination: str, headers: Headers, id: int | None = None, group: str = ""
) -> AbstractContextManager[Any]:
    """Enter it around a handler: a span of a consumer, the child of the sender's. An exception is its error."""
    if not is_loaded():
        return nullcontext()
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    attributes: dict[str, Any] = _attributes("process", "process", destination)
    if id is not None:
        attributes["messaging.message.id"] = str(id)
    if group:
        attributes["messaging.consumer.group.name"] = group
    return _tracer().start_as_current_span(
        f"process {destination}",
        # Without one it is a root: the span in which the consumer was started has nothing to do with the message.
        context=context_of(headers) or Context(),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
    )


def carried(given: HeadersLike) -> HeadersLike:
    """Headers with the context of the program's span, if it is in one and they do not have one."""
    if not _in_span():
        return given
    from opentelemetry import propagate

    pairs = list(given.items() if isinstance(given, Mapping) else given)
    if any(name == PARENT for name, _ in pairs):
        return pairs
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return [*pairs, *carrier.items()]


def carried_by(items: Iterable[Any], kind: type[Item]) -> list[Any]:
    """Items of a batch, which are values or structs of this kind, with the same context."""
    given = list(items)
    return Traced(nullcontext()).items(given, kind) if _in_span() else given


def context_of(headers: Headers) -> Any:
    """The context that a message's headers carry, to be the parent of a span; None when there is none, or when the
    program has not loaded OpenTelemetry."""
    if not headers or not is_loaded():
        return None
    from opentelemetry import propagate, trace

    # A value that is not text is no part of a context.
    context = propagate.extract({name: value.decode(errors="replace") for name, value in headers})
    span = trace.get_current_span(context)
    return context if span.get_span_context().is_remote else None


async def called(function: Callable[[Message], Any], message: Message) -> None:
    """Call the callback of a subscription, plain or async, with a message, in a span of its own."""
    with processing(message.topic, message.headers):
        result = function(message)
        if isawaitable(result):
            await result


def is_loaded() -> bool:
    """Whether the program has loaded OpenTelemetry."""
    return LIBRARY in sys.modules


def _in_span() -> bool:
    """Whether the program has a span now."""
    library = sys.modules.get(LIBRARY)
    return library is not None and bool(library.get_current_span().get_span_context().is_valid)


def _tracer() -> Tracer:
    from opentelemetry import trace

    return trace.get_tracer("nexo", __version__)


def _attributes(operation: str, kind: str, destination: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": destination,
    }
