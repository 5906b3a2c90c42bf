"""Values as words: from an argument, a file or standard input to what the client sends, and back.

A value is text (str), an integer, bytes, or anything else that JSON can say. Knows no connection.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import click
import msgspec

from nexo.server.units import parse_bytes, parse_duration_ms

TYPES: Final = ("str", "int", "json", "bytes")
STDIN: Final = "-"


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`500ms`, `10s`, `5m`, `1h`, `7d`; a bare number is seconds. Becomes milliseconds."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            milliseconds = parse_duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if milliseconds <= 0 and not self._zero:
            self.fail(f"{value!r} is not more than 0", param, ctx)
        return milliseconds


DURATION: Final = Duration()


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`4096`, `64kb`, `512mb`, `2gb`. Becomes bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A point in time in ISO 8601; without a zone, the machine's own."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as 2026-01-31T12:00 or 2026-01-31T12:00:00Z", param, ctx)


def type_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--type`: how the words of the command line are meant."""
    return click.option(
        "--type",
        "kind",
        type=click.Choice(TYPES),
        default="str",
        show_default=True,
        help="What the value is: text, an integer of 64 bits, JSON, or bytes as they are.",
    )(function)


def from_bytes(content: bytes, kind: str) -> Any:
    """What `content` says as a value of this kind. click.UsageError when it says no such thing."""
    if kind == "bytes":
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise click.UsageError("the value is not UTF-8; --type bytes sends it as it is") from None
    return from_text(text, kind)


def from_text(text: str, kind: str) -> Any:
    """As `from_bytes`, for an argument of the command line."""
    if kind == "bytes":
        return text.encode(errors="surrogateescape")
    if kind == "int":
        try:
            number = int(text)
        except ValueError:
            raise click.UsageError(f"{text!r} is not an integer") from None
        if not -(1 << 63) <= number < 1 << 63:
            raise click.UsageError(f"{text} does not fit into 64 bits")
        return number
    if kind == "json":
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise click.UsageError(f"not JSON: {error}") from None
        # Sent as it was written: decoding and encoding would round large numbers.
        return msgspec.Raw(text.strip().encode())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.UsageError("the value is not UTF-8; --type bytes sends it as it is") from None
    return text


def read_whole(file: str) -> bytes:
    """The content of a file, or of standard input for `-`. click.UsageError when it cannot be read."""
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror or error}") from None


def kind_of(value: Any) -> str:
    """One of TYPES."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(value, str):
        return "str"
    return "int" if isinstance(value, int) and not isinstance(value, bool) else "json"


def to_bytes(value: Any) -> bytes:
    """A value as a pipe wants it: bytes and text as they are, a number in digits, the rest as JSON."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return msgspec.json.encode(value)


def for_json(value: Any) -> Any:
    """What stands for the value in a JSON line: itself, and base64 for bytes."""
    return base64.b64encode(value).decode() if isinstance(value, (bytes, bytearray, memoryview)) else value


def write(content: bytes) -> None:
    """To standard output, at once: the reader of a pipe must not wait for a full buffer."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def write_json(fields: dict[str, Any]) -> None:
    """One JSON object on a line of its own."""
    write(msgspec.json.encode(fields) + b"\n")


def write_lines(lines: Iterable[str]) -> None:
    """Lines of text."""
    write("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))


def header_pairs(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Headers in their order, repetitions kept; a value that is not UTF-8 with escapes for its bytes."""
    return [(name, value.decode(errors="backslashreplace")) for name, value in headers]


def described(value: Any) -> dict[str, Any]:
    """A value in a JSON line: `type`, and `value` (base64 for bytes)."""
    return {"type": kind_of(value), "value": for_json(value)}
