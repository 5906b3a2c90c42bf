"""Who measures how long commands take. The server has the implementation: it alone reads a clock.

A session measures a *run*: all the commands that one read of its socket delivered, with two looks at the clock. A
look for each command would cost as much as the command.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr


class SlowRun:
    """Commands that took too long. `commands` are names, each with how often it was run, `resource` is what the first
    of them was about that is about something, `took_us` the time in microseconds."""

    def __init__(
        self,
        commands: dict[str, int],
        resource: str,
        protocol: str,
        address: str,
        client: str,
        account: str,
        took_us: i64,
    ) -> None:
        self.commands = commands
        self.resource = resource
        self.protocol = protocol
        self.address = address
        self.client = client
        self.account = account
        self.took_us = took_us


@mypyc_attr(allow_interpreted_subclasses=True)
class Stopwatch:
    """Runs of at least `limit_us` are slow; 0: nobody asks. This one never does."""

    def __init__(self, limit_us: i64 = 0) -> None:
        self.limit_us = limit_us

    def now_us(self) -> i64:
        """Microseconds of a clock that never goes back."""
        return 0

    def slow(self, run: SlowRun) -> None:
        """Keep a record of it."""
