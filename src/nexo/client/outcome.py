"""What a command of a batch was answered with, once it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from nexo.errors import InvalidArgumentError

T = TypeVar("T")

_NOTHING: Final = object()


class Outcome(Generic[T]):
    """The result of one command of a batch, when the batch has been carried out. `index` is its place."""

    __slots__ = ("_read", "_result", "index")

    def __init__(self, index: int, read: Callable[[bytes], T]) -> None:
        self.index = index
        self._read = read
        self._result: Any = _NOTHING

    @property
    def result(self) -> T:
        """What the command would have returned alone. InvalidArgumentError while there is no answer."""
        if self._result is _NOTHING:
            raise InvalidArgumentError(
                "the batch has not been carried out: results are there after its block"
            )
        return cast(T, self._result)

    def answered(self, reply: bytes) -> None:
        """The server's answer to the command has come."""
        self._result = self._read(reply)

    def __repr__(self) -> str:
        result = "not there yet" if self._result is _NOTHING else repr(self._result)
        return f"Outcome(index={self.index}, result={result})"
