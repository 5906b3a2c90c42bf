"""What `nexo top` shows: rows of the busiest, their rates, and the lines of a screen made from them.

Owns views, columns, order and cutting to the width. Knows no terminal, no connection and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nexo.cli.figures import number, rate, size, span
from nexo.cli.status import rates

if TYPE_CHECKING:
    from nexo.client import Top

NAME_WIDTH: Final = 24
"""Least width of a name, however narrow the screen is."""


class Column(NamedTuple):
    """A column of a view: of a field as it is, or of what it has grown by each second."""

    heading: str
    field: str
    per_second: bool
    shown: Callable[[float], str]


VIEWS: Final[dict[str, tuple[Column, ...]]] = {
    "queues": (
        Column("PUSHED/S", "pushed", True, number),
        Column("DELIVERED/S", "delivered", True, number),
        Column("ACKED/S", "acked", True, number),
        Column("READY", "ready", False, number),
        Column("LEASED", "leased", False, number),
        Column("DEAD", "dead", False, number),
    ),
    "streams": (
        Column("APPENDED/S", "appended", True, number),
        Column("DELIVERED/S", "delivered", True, number),
        Column("RECORDS", "records", False, number),
        Column("BYTES", "bytes", False, size),
        Column("GROUPS", "groups", False, number),
    ),
    "topics": (
        Column("SUBSCRIBERS", "subscribers", False, number),
        Column("PENDING", "pending_bytes", False, size),
        Column("DROPPED/S", "dropped", True, number),
        Column("DROPPED", "dropped", False, number),
    ),
    "clients": (
        Column("IN/S", "received_bytes", True, size),
        Column("OUT/S", "sent_bytes", True, size),
        Column("PENDING", "pending_bytes", False, size),
        Column("DROPPED", "dropped", False, number),
    ),
}
KEYS: Final = "1-4 or Tab view · s sort · r reverse · space pause · q quit"


class Look(NamedTuple):
    """What a person has chosen: the view, the column that it is sorted by, which way, and whether it stands still."""

    view: str = "queues"
    column: int = 0
    reverse: bool = False
    paused: bool = False


def pressed(look: Look, key: str) -> Look | None:
    """The look after a key; None to end. Other keys do nothing."""
    names = list(VIEWS)
    if key in ("q", "\x03", "\x04"):
        return None
    if key in ("\t", "\x1b[C"):
        return look._replace(view=names[(names.index(look.view) + 1) % len(names)], column=0)
    if key in ("1", "2", "3", "4"):
        return look._replace(view=names[int(key) - 1], column=0)
    if key == "s":
        return look._replace(column=(look.column + 1) % len(VIEWS[look.view]))
    if key == "r":
        return look._replace(reverse=not look.reverse)
    if key in (" ", "p"):
        return look._replace(paused=not look.paused)
    return look


class Row(NamedTuple):
    """One queue, stream, topic or client: its name, and a number for each column of its view."""

    name: str
    figures: tuple[float, ...]


def called(view: str, one: Any) -> str:
    """How a row is called; connections may share a name, so theirs begins with the id."""
    return f"{one.id} {one.name or one.address}" if view == "clients" else str(one.name)


def ranked(before: Top | None, now: Top, look: Look) -> list[Row]:
    """The rows of a view, in its order; those that are equal by name."""
    columns = VIEWS[look.view]
    earlier = (
        {called(look.view, one): one for one in getattr(before, look.view)} if before is not None else {}
    )
    seconds = (now.status.at - before.status.at) / 1000 if before is not None else 0.0
    rows = []
    for one in getattr(now, look.view):
        name = called(look.view, one)
        was = earlier.get(name)
        figures = []
        for column in columns:
            value = float(getattr(one, column.field))
            first = float(getattr(was, column.field)) if was is not None else None
            figures.append(rate(first, value, seconds) if column.per_second else value)
        rows.append(Row(name, tuple(figures)))
    sign = 1 if look.reverse else -1
    return sorted(rows, key=lambda row: (sign * row.figures[look.column], row.name))


def summary(before: Top | None, now: Top) -> str:
    """The line above everything, and the one that is printed where there is no terminal."""
    status = now.status
    state = "ready" if status.ready else "NOT READY"
    line = (
        f"{state}, up {span(status.uptime_ms)}, {size(status.memory['rss_bytes'])}, "
        f"{number(status.connections['open'])} clients, loop {status.loop['lag_ms']:.1f} ms, "
        f"sync {status.storage['last_sync_ms']:.1f} ms"
    )
    if status.alarms:
        line += f", {len(status.alarms)} alarms"
    return f"{line} | {rates(before.status, status)}" if before is not None else line


def printable(text: str) -> str:
    """Without what a terminal would obey: names come from whoever made them."""
    return "".join(one if one.isprintable() else "?" for one in text)


def screen(before: Top | None, now: Top, look: Look, width: int, height: int) -> list[str]:
    """Exactly the lines of a screen, none wider than it."""
    tabs = "  ".join(
        f"[{place} {name}]" if name == look.view else f" {place} {name} "
        for place, name in enumerate(VIEWS, start=1)
    )
    lines: list[str] = [f"nexo top  {summary(before, now)}", tabs + ("  PAUSED" if look.paused else "")]
    lines += [f"{alarm.level.upper()} {alarm.message}" for alarm in now.status.alarms]
    columns = VIEWS[look.view]
    headings = [
        one.heading + (("^" if look.reverse else "v") if place == look.column else "")
        for place, one in enumerate(columns)
    ]
    lines.append(table_line("NAME", headings, width))
    room = max(height - len(lines) - 1, 0)
    for row in ranked(before, now, look)[:room]:
        cells = [column.shown(figure) for column, figure in zip(columns, row.figures, strict=True)]
        lines.append(table_line(row.name, cells, width))
    lines += [""] * (height - 1 - len(lines))
    return [printable(line)[:width] for line in [*lines[: height - 1], KEYS]]


def table_line(name: str, cells: Sequence[str], width: int) -> str:
    """A name on the left, cells on the right of their columns."""
    rest = "".join(f"{cell:>13}" for cell in cells)
    room = max(width - len(rest), NAME_WIDTH)
    return f"{name[:room]:<{room}}{rest}"
