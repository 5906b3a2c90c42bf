"""Tables and cells: aligned with a heading for a person, separated by tabs for a pipe.

Knows what a value looks like in one line, not what it means.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from nexo.cli.values import described, to_bytes, write_json, write_lines

FORMATS: Final = ("text", "tsv", "json")

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def cell(value: Any) -> str:
    """A value in one cell: line ends and tabs as escapes, None as a dash."""
    if value is None:
        return "-"
    return to_bytes(value).decode(errors="backslashreplace").translate(_ESCAPES)


def moment(ms: int) -> str:
    """A Unix time in milliseconds as ISO 8601 in UTC; a dash for 0, which is none."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") if ms else "-"


def write_table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Rows on standard output; how many. The heading, and aligned columns, only on a terminal."""
    lines = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        table = [list(heading), *lines] if lines else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        write_lines("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    else:
        write_lines("\t".join(line) for line in lines)
    return len(lines)


def write_struct(struct: msgspec.Struct, as_json: bool) -> None:
    """All fields of a description: a line for each, times in words, or one JSON object."""
    fields = msgspec.structs.asdict(struct)
    if as_json:
        write_json(fields)
        return
    write_lines(f"{name}\t{field(name, value)}" for name, value in fields.items())


def field(name: str, value: Any) -> str:
    """One field of a description in words."""
    if name == "paused_until" and value == -1:
        return "resumed"
    if isinstance(value, int) and (name.endswith("_at") or name == "paused_until"):
        return moment(value)
    return cell(value)


def message_line(form: str, value: Any, columns: Sequence[Any], fields: dict[str, Any]) -> bytes:
    """A message in one of FORMATS: its value alone; columns and then the value; an object."""
    if form == "json":
        return msgspec.json.encode({**fields, **described(value)}) + b"\n"
    if form == "tsv":
        return "\t".join(map(cell, (*columns, value))).encode(errors="surrogateescape") + b"\n"
    return to_bytes(value) + b"\n"


def shown_key(key: bytes | None) -> str | None:
    """A record's key as text; bytes that are none as escapes."""
    return None if key is None else key.decode(errors="backslashreplace")


def write_number(name: str, number: int, as_json: bool) -> None:
    """A number as the only thing to say."""
    if as_json:
        write_json({name: number})
    else:
        write_lines([str(number)])


def confirmed(question: str, sure: bool) -> None:
    """Ask, when a person sits there and has not said so already; click.Abort when the answer is no."""
    if not sure and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)
