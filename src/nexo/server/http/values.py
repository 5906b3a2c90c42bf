"""Values, headers and names as JSON, both ways; docs/http-api.md has the rules. Knows no broker and no route."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Any, Final, Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from nexo.brokers.counters import I64_MAX, I64_MIN
from nexo.brokers.message import JSON, RAW, STRING, int_value
from nexo.errors import InvalidArgumentError
from nexo.limits import TTL_MS_MAX
from nexo.protocols.native.frames import join_headers, split_headers

EXACT: Final = 1 << 53
"""JavaScript's numbers are exact up to here; larger ones travel as text."""

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
TRACEPARENT_FORM: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
"""As https://www.w3.org/TR/trace-context says it, 3.2; what is not of this form counts as not sent."""

Type = Literal["str", "json", "int", "bytes"]


class Header(Struct, forbid_unknown_fields=True):
    """One header; its value is text, or base64 of what is not."""

    name: str
    value: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


Headers = list[Header] | dict[str, str]


class Valued(Struct, forbid_unknown_fields=True, kw_only=True):
    """What has a typed value in a request."""

    type: Type
    value: Raw

    def typed(self) -> bytes:
        """The value as the brokers keep it. Raises InvalidArgumentError."""
        if self.type == "json":
            return bytes((JSON,)) + bytes(self.value)
        if self.type == "int":
            return int_value(_integer(msgspec.json.decode(self.value)))
        try:
            text = msgspec.json.decode(self.value, type=str)
        except msgspec.ValidationError:
            raise InvalidArgumentError(f"a value of type {self.type} is given as text") from None
        if self.type == "str":
            return bytes((STRING,)) + _encoded(text, "the value")
        return bytes((RAW,)) + _from_base64(text, "the value")


def _integer(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise InvalidArgumentError(f"value {value!r} of type int is no integer") from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgumentError(f"value {value!r} of type int is no integer")
    if not I64_MIN <= value <= I64_MAX:
        raise InvalidArgumentError(f"value {value} of type int has more than 64 bits")
    return value


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{what} has a lone surrogate") from None


def _from_base64(text: str, what: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise InvalidArgumentError(f"{what} is not base64: {error}") from None


def header_block(headers: Headers, context: list[tuple[bytes, bytes]]) -> bytes:
    """Headers as they travel; b"" for none. Raises InvalidArgumentError and LimitExceededError.

    The request's trace context becomes the message's, unless it has one.
    """
    if isinstance(headers, dict):
        headers = [Header(name, value) for name, value in headers.items()]
    pairs: list[tuple[bytes, bytes]] = []
    for header in headers:
        if isinstance(header.value, str):
            value = _encoded(header.value, "a header")
        elif isinstance(header.base64, str):
            value = _from_base64(header.base64, "a header")
        else:
            raise InvalidArgumentError(f"header {header.name!r} has neither value nor base64")
        pairs.append((_encoded(header.name, "a header's name"), value))
    if context and not any(name == TRACEPARENT for name, _ in pairs):
        pairs += context
    return join_headers(pairs) if pairs else b""


def shown_headers(block: bytes) -> list[dict[str, str]]:
    """Headers for an answer."""
    shown = []
    for name, value in split_headers(block):
        one = {"name": name.decode(errors="replace")}
        try:
            one["value"] = value.decode()
        except UnicodeDecodeError:
            one["base64"] = b2a_base64(value, newline=False).decode()
        shown.append(one)
    return shown


def public(shown: dict[str, object], value_bytes_max: int = 0) -> dict[str, object]:
    """What the native admin commands show, as HTTP shows it: headers apart, keys as text, values that fit.

    A value longer than `value_bytes_max` is shortened; 0 is no bound.
    """
    for name in ("headers", "key"):
        raw = shown.get(name)
        if isinstance(raw, bytes):
            shown[name] = shown_headers(raw) if name == "headers" else raw.decode(errors="replace")
    value = shown.get("value")
    if shown.get("type") == "int" and isinstance(value, int):
        if not -EXACT <= value <= EXACT:
            shown["value"] = str(value)
    elif value_bytes_max > 0:
        _shorten(shown, value_bytes_max)
    return shown


def _shorten(shown: dict[str, object], most: int) -> None:
    value = shown.get("value")
    if shown.get("type") == "json":
        whole = msgspec.json.encode(value)
    elif isinstance(value, str):
        whole = value.encode()
    elif isinstance(value, bytes):
        whole = value
    else:
        return
    if len(whole) > most:
        cut = whole[:most]
        shown["value"] = cut if shown["type"] == "bytes" else cut.decode(errors="ignore")
        shown["truncated"] = True


def quoted(name: bytes) -> str:
    """A name as it stands in an address, and in `next`."""
    return quote(name, safe="")


def unquoted(text: str) -> bytes:
    """The name that was quoted."""
    return unquote_to_bytes(text)


def time_to_live(ttl_ms: int | UnsetType, kept: str) -> int:
    """Milliseconds for which a "key" or a "value" is kept; 0, for ever, when the request leaves it out."""
    if isinstance(ttl_ms, UnsetType):
        return 0
    if not 1 <= ttl_ms <= TTL_MS_MAX:
        raise InvalidArgumentError(
            f"ttl_ms {ttl_ms}: it is 1 to {TTL_MS_MAX}; leave it out to keep the {kept} for ever"
        )
    return ttl_ms
