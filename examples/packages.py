#!/usr/bin/env python3
"""Puts this machine's Debian package database through a broker and checks that nothing is lost.

Every installed package becomes a key `pkg:<name>` with its record as JSON, and an announcement on
`packages/<section>/<name>`. Subscribers and prefix scans must then agree with the file.

    python examples/packages.py                         with a broker of its own
    python examples/packages.py --port 7654             with one that runs already
    python examples/packages.py path/to/status          with another file

Ends with 0 only if everything agrees.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nexo

STATUS = Path("/var/lib/dpkg/status")
Record = dict[str, Any]


def read_records(path: Path) -> Iterator[Record]:
    """The records of a dpkg status file: `Field: value` lines, a blank line after each record."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            if line[:1] not in " \t":  # an indented line continues the field above; none of ours has such
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if "Package" in fields:
            yield {
                "name": fields["Package"],
                "version": fields.get("Version", ""),
                "architecture": fields.get("Architecture", ""),
                "section": fields.get("Section", "unknown"),
                "installed": fields.get("Status", "").endswith(" installed"),
                "installed_kib": int(fields.get("Installed-Size", 0)),
                "depends": [one.strip() for one in fields.get("Depends", "").split(",") if one.strip()],
                "description": fields.get("Description", ""),
            }


def topic(record: Record) -> str:
    """`packages/<section>/<name>`, with two characters replaced that cannot stand in a level of a topic.

    A section such as `non-free/libs` stays one level, `non-free.libs`; and as `+` is a wildcard,
    `libstdc++6` is announced as `libstdc%2B%2B6`.
    """
    return f"packages/{record['section'].replace('/', '.')}/{record['name'].replace('+', '%2B')}"


def say(text: str) -> None:
    """Progress, for people: the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Table:
    """What was expected and what came."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, bool]] = []

    def compare(self, what: str, expected: Any, got: Any) -> None:
        """One row: the two must be equal, of lists and dicts every member; their sizes are shown."""
        shown = [str(len(side)) if isinstance(side, (list, dict)) else str(side) for side in (expected, got)]
        self._rows.append((what, *shown, expected == got))

    def print(self) -> bool:
        """To standard output; whether everything agreed."""
        width = max(len(row[0]) for row in self._rows)
        print(f"{'check':<{width}}  {'expected':>8}  {'got':>8}")
        for what, expected, got, agrees in self._rows:
            print(f"{what:<{width}}  {expected:>8}  {got:>8}  {'✓' if agrees else '✗ DIFFERENT'}")
        return all(row[3] for row in self._rows)


class Subscriber:
    """Keeps all that one filter receives, in its order; and which announcements it should get."""

    def __init__(self, pattern: str, wanted: Callable[[Record], bool], records: list[Record]) -> None:
        self.pattern = pattern
        self.expected = [(topic(record), record) for record in records if wanted(record)]
        self.received: list[tuple[str, Record]] = []
        self.complete = asyncio.Event()

    def message(self, message: nexo.Message) -> None:
        """Called for each message."""
        self.received.append((message.topic, message.data))
        if len(self.received) >= len(self.expected):
            self.complete.set()


def filters(records: list[Record]) -> list[Subscriber]:
    """Filters of every kind: one name in any section, all names in one section, everything.

    A filter such as `packages/+/python3-#` does not exist: `#` stands for whole levels, never for the
    rest of one. Names that begin with `python3-` are what a prefix scan is for; see `check_store`.
    """
    return [
        Subscriber("packages/+/python3", lambda record: record["name"] == "python3", records),
        Subscriber("packages/python/+", lambda record: record["section"] == "python", records),
        Subscriber("packages/libs/+", lambda record: record["section"] == "libs", records),
        Subscriber("packages/+/+", lambda record: True, records),
        Subscriber("packages/#", lambda record: True, records),
        Subscriber("packages/nothing/#", lambda record: False, records),
    ]


async def check_store(store: nexo.Map, records: list[Record], table: Table) -> None:
    """Every key and value as the file has them; of a name that stands there twice, the last."""
    expected = {f"pkg:{record['name']}": record for record in records}
    found = {entry.key: entry.value async for entry in store.scan("pkg:")}
    table.compare("scan pkg: keys, in byte order", sorted(expected, key=str.encode), list(found))
    table.compare("scan pkg: values", expected, found)
    table.compare("count pkg:", len(expected), await store.count("pkg:"))
    for prefix in ("pkg:python3", "pkg:python3-", "pkg:lib"):
        wanted = {key: value for key, value in expected.items() if key.startswith(prefix)}
        found = {entry.key: entry.value async for entry in store.scan(prefix)}
        table.compare(f"scan {prefix}", wanted, found)


async def run(records: list[Record], host: str, port: int) -> int:
    """Put, announce, receive, scan, compare."""
    table = Table()
    async with (
        await nexo.Client.connect(host=host, port=port) as client,
        await nexo.Client.connect(host=host, port=port) as listener,
    ):
        store = client.store.map
        await store.clear_with_prefix("pkg:")
        subscribers = filters(records)
        for subscriber in subscribers:
            await listener.pubsub.subscribe(subscriber.pattern, subscriber.message)

        begin = time.perf_counter()
        await asyncio.gather(*(store.set(f"pkg:{record['name']}", record) for record in records))
        say(f"{len(records)} packages put at {len(records) / (time.perf_counter() - begin):,.0f} a second")

        begin = time.perf_counter()
        await asyncio.gather(*(client.pubsub.topic(topic(record)).publish(record) for record in records))
        waiting = [subscriber.complete.wait() for subscriber in subscribers if subscriber.expected]
        try:
            await asyncio.wait_for(asyncio.gather(*waiting), 30)
        except TimeoutError:
            say("gave up waiting for messages after 30 seconds")
        received = sum(len(subscriber.received) for subscriber in subscribers)
        say(f"{received} announcements received at {received / (time.perf_counter() - begin):,.0f} a second")

        await listener.ping()  # answered after every message before it: one too many would be here by now
        for subscriber in subscribers:
            table.compare(subscriber.pattern, subscriber.expected, subscriber.received)
        await check_store(store, records, table)
    return 0 if table.print() else 1


@contextmanager
def own_broker() -> Iterator[int]:
    """A broker on a free port, for the time of the run; its port."""
    command = [
        sys.executable,
        "-m",
        "nexo",
        "serve",
        "--port",
        "0",
        "--http",
        "off",
        "--log-level",
        "warning",
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--data-dir", folder], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        ready = process.stdout.readline()
        try:
            say(ready.strip())
            yield int(ready.split(" on ")[1].split()[0].rpartition(":")[2])
        finally:
            process.terminate()


def main() -> int:
    """Read the file, run against a broker, print the table; 0 if everything agrees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", type=Path, default=STATUS, help=f"a dpkg status file ({STATUS})")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of a broker that runs already")
    options = parser.parse_args()
    try:
        records = list(read_records(options.path))
    except FileNotFoundError:
        say(f"{options.path} does not exist: not a Debian system? Name a status file as an argument.")
        return 1
    say(f"{len(records)} packages in {options.path}")
    if options.port is not None:
        return asyncio.run(run(records, options.host, options.port))
    with own_broker() as port:
        return asyncio.run(run(records, "127.0.0.1", port))


if __name__ == "__main__":
    sys.exit(main())
