"""Places in a stream as words, and how its records look in a line."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import click

from nexo.cli.tables import message_line, moment
from nexo.cli.values import Moment, header_pairs
from nexo.server.units import parse_duration_ms


class Place(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """`beginning`, `end`, a sequence, a time in ISO 8601, or how long ago, as `10m`."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in ("beginning", "end"):
            return value
        if value.isascii() and value.isdecimal():
            return int(value)
        try:
            return datetime.now().astimezone() - timedelta(milliseconds=parse_duration_ms(value))
        except (ValueError, OverflowError):
            pass
        try:
            return Moment().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not beginning, end, a sequence, a time, or a duration ago", param, ctx)


PLACE: Final = Place()


def record_line(form: str, record: Any) -> bytes:
    """A record, read or lent to a group, in one of FORMATS."""
    key = shown_key(record.key)
    fields = {
        "seq": record.seq,
        "key": key,
        "timestamp_ms": record.timestamp_ms,
        "headers": header_pairs(record.headers),
    }
    if hasattr(record, "attempts"):
        fields["attempts"] = record.attempts
    return message_line(form, record.data, (record.seq, moment(record.timestamp_ms), key), fields)


def shown_key(key: bytes | None) -> str | None:
    """A key as text; bytes that are none as escapes."""
    return None if key is None else key.decode(errors="backslashreplace")
