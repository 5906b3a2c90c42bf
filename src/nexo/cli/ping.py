"""`nexo ping`: is the server there, and how far away."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import click

from nexo.cli import exits
from nexo.cli.link import Target, client_options, json_option, talk
from nexo.cli.values import DURATION, write_json, write_lines

if TYPE_CHECKING:
    from nexo.client import Client


@click.command()
@click.option(
    "-c", "--count", type=click.IntRange(1), default=1, show_default=True, help="How many round trips."
)
@click.option(
    "-i", "--interval", type=DURATION, default="200ms", show_default=True, help="Pause between two."
)
@client_options
@json_option
def command(target: Target, count: int, interval: int, as_json: bool) -> int:
    """Measure round trips to a broker.

    Ends with 0 when the server answers, with 3 when it does not: a health check.

    \b
    Examples:
      nexo ping
      nexo ping -c 10 -i 100ms
      nexo ping --host broker.example --timeout 1s --json
    """

    async def work(client: Client) -> int:
        times: list[float] = []
        for number in range(count):
            if number:
                await asyncio.sleep(interval / 1000)
            begin = time.perf_counter()
            await client.ping()
            times.append((time.perf_counter() - begin) * 1000)
            if count > 1 and not as_json:
                write_lines([f"{number + 1}: {times[-1]:.3f} ms"])
        report(target, times, as_json)
        return exits.OK

    return talk(target, work)


def report(target: Target, times_ms: list[float], as_json: bool) -> None:
    """The line that sums up."""
    least, middle, most = min(times_ms), statistics.median(times_ms), max(times_ms)
    if as_json:
        figures = {"min_ms": round(least, 3), "median_ms": round(middle, 3), "max_ms": round(most, 3)}
        write_json({"host": target.host, "port": target.port, "count": len(times_ms), **figures})
    elif len(times_ms) == 1:
        write_lines([f"{target.host}:{target.port} answered in {least:.3f} ms"])
    else:
        write_lines(
            [f"{target.host}:{target.port} min {least:.3f} · median {middle:.3f} · max {most:.3f} ms"]
        )
