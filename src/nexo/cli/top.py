"""`nexo top`: what is busy, live on a terminal, or a line for each interval where there is none.

Owns the terminal: its modes, its size, its keys. What stands on the screen is made in ranking.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import click
import msgspec

from nexo.cli import exits
from nexo.cli.link import Target, client_command, talk
from nexo.cli.ranking import VIEWS, Look, pressed, screen, summary
from nexo.cli.values import DURATION, write, write_json, write_lines

if TYPE_CHECKING:
    from nexo.client import Client, Top

ROWS_MAX: Final = 1_000
"""Of each kind, asked of the server, which gives no more: the order by rates is found here."""
ENTER: Final = b"\x1b[?1049h\x1b[?25l"
LEAVE: Final = b"\x1b[?25h\x1b[?1049l"


@client_command("top")
@click.option(
    "-i", "--interval", type=DURATION, default="1s", show_default=True, help="From one look to the next."
)
@click.option(
    "--view", type=click.Choice(list(VIEWS)), default="queues", show_default=True, help="What to begin with."
)
@click.option("--once", is_flag=True, help="One look with rates over an interval, and end.")
def command(target: Target, as_json: bool, interval: int, view: str, once: bool) -> int:
    """Watch what is busy: queues, streams, topics, clients.

    On a terminal it is a live screen; keys switch the view (1-4, Tab), sort (s), reverse (r), pause (space) and
    quit (q). Elsewhere, and with TERM=dumb, a line is printed for each interval.

    \b
    Examples:
      nexo top
      nexo top --view clients --interval 5s
      nexo top --once --view streams
      nexo top --json | jq .status.memory
    """
    look = Look(view)

    async def work(client: Client) -> int:
        if once:
            before = await client.server.top(ROWS_MAX)
            await asyncio.sleep(interval / 1000)
            now = await client.server.top(ROWS_MAX)
            if as_json:
                write_json(msgspec.structs.asdict(now))
            else:
                width, height = shutil.get_terminal_size()
                shown = screen(before, now, look, width, height)[:-1]
                write_lines("\n".join(line.rstrip() for line in shown).rstrip("\n").split("\n"))
            return exits.OK
        if as_json or not on_terminal():
            await follow(client, interval / 1000, as_json)
        await Live(client, interval / 1000, look).run()
        return exits.OK

    return talk(target, work)


def on_terminal() -> bool:
    """Whether there is a screen that can be drawn on, and keys that can be read."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


async def follow(client: Client, seconds: float, as_json: bool) -> None:
    """A line for each interval, until somebody ends it."""
    before: Top | None = None
    while True:
        now = await client.server.top(ROWS_MAX)
        if as_json:
            write_json(msgspec.structs.asdict(now))
        else:
            write_lines([summary(before, now)])
        before = now
        await asyncio.sleep(seconds)


@contextmanager
def raw_keys(number: int) -> Iterator[None]:
    """Keys come one at a time and are not shown; the terminal is given back as it was."""
    import termios
    import tty

    kept = termios.tcgetattr(number)
    tty.setcbreak(number)
    write(ENTER)
    try:
        yield
    finally:
        write(LEAVE)
        termios.tcsetattr(number, termios.TCSADRAIN, kept)


class Live:
    """The screen of one `nexo top`: drawn when there is something new, a key, or another size."""

    def __init__(self, client: Client, seconds: float, look: Look) -> None:
        self._client = client
        self._seconds = seconds
        self._look: Look | None = look
        self._before: Top | None = None
        self._now: Top | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until a key says so."""
        loop = asyncio.get_running_loop()
        number = sys.stdin.fileno()
        with raw_keys(number):
            loop.add_reader(number, self._keys, number)
            loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
            asking = asyncio.create_task(self._ask())
            try:
                while self._look is not None:
                    self._draw(self._look)
                    changed = asyncio.create_task(self._changed.wait())
                    await asyncio.wait({changed, asking}, return_when=asyncio.FIRST_COMPLETED)
                    changed.cancel()
                    self._changed.clear()
                    if asking.done():
                        asking.result()
            finally:
                asking.cancel()
                loop.remove_reader(number)
                loop.remove_signal_handler(signal.SIGWINCH)
        with suppress(asyncio.CancelledError):
            await asking

    async def _ask(self) -> None:
        while True:
            if self._look is not None and not self._look.paused:
                self._before, self._now = self._now, await self._client.server.top(ROWS_MAX)
                self._changed.set()
            await asyncio.sleep(self._seconds)

    def _keys(self, number: int) -> None:
        keys = os.read(number, 64).decode(errors="replace")
        for key in [keys] if keys.startswith("\x1b") else keys or "q":
            if self._look is not None:
                self._look = pressed(self._look, key)
        self._changed.set()

    def _draw(self, look: Look) -> None:
        if self._now is None:
            return
        width, height = shutil.get_terminal_size()
        lines = screen(self._before, self._now, look, width, height)
        write(b"\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines).encode() + b"\x1b[J")
