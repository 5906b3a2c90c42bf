"""The cases of what keeps messages: queues, streams, a backlog, and the same in one process.

Each server promises what it does in its usual durable settings; a target names the peer that promises the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import servers
from plan import Plan, bench, child, split, tell
from results import OURS, Row

HERE = Path(__file__).parent
MESSAGE_BYTES = 100
READ_MESSAGES = 200_000
DELAY_RATE = 10_000
BACKLOG_MESSAGES = 5_000_000
BACKLOG_BYTES_MAX = 1_500_000_000
RESTART_SECONDS_MAX = 10.0
FLAT = 0.7
"""The slowest tenth against the median one: what stays below grows with the backlog, above is the disk and the noise."""

Measure = Callable[[servers.Running], dict[str, Any]]


def compare(
    plan: Plan, up: dict[str, servers.Running], names: Sequence[str], measure: Measure
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Rates and CPU time for a message of each server, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(plan.turns):
        for name in plan.order(names, turn):
            done = measure(up[name])
            rates[name].append(done["messages_per_second"])
            cpu[name].append(done["server_cpu_us_per_message"])
    return rates, cpu


def rows(
    case: str,
    title: str,
    found: tuple[dict[str, list[float]], dict[str, list[float]]],
    targets: Sequence[tuple[Sequence[str], float]],
    missing: Sequence[str],
    extra: dict[str, Any],
) -> Iterator[Row]:
    """One row for each target of a comparison: the same values, judged against another peer."""
    rates, cpu = found
    for against, ratio in targets or [([], 0.0)]:
        yield Row(
            case,
            f"{title}, against {' and '.join(against)}" if against else title,
            "messages/s",
            rates,
            list(against),
            ratio_min=ratio or None,
            missing=list(missing),
            extra={**extra, "cpu_us": cpu},
        )


def load(kind: str, op: str, plan: Plan, durability: str, *options: object) -> Measure:
    """One run of `nexo bench queue` or `stream`, on a queue or stream of that load: not every server can empty one."""

    def measure(server: servers.Running) -> dict[str, Any]:
        common = ["--op", op, "--size", MESSAGE_BYTES, "--durability", durability]
        common += ["--name", f"bench-{op}", "--pid", server.pid]
        return bench(kind, server, *common, "--seconds", plan.seconds, *options, pinned=False)

    return measure


def queue(plan: Plan) -> Iterator[Row]:
    """Pushes and receives over confirmed windows, and the delay to a consumer that waits."""
    flush = [OURS, "redis-aof-everysec", "jetstream", "beanstalkd"]
    fsync = [OURS, "redis-aof-always", "rabbitmq", "beanstalkd-fsync"]
    present, missing = split(dict.fromkeys([*flush, *fsync]))
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=False)) for name in present}
        for level, names, targets in (
            ("flush", flush, [(["redis-aof-everysec"], 2.0), (["jetstream"], 6.0)]),
            ("fsync", fsync, [(["redis-aof-always"], 1.5), (["rabbitmq"], 10.0)]),
        ):
            for connections in (1, 50):
                found = compare(
                    plan,
                    up,
                    [name for name in names if name in up],
                    load("queue", "push", plan, level, "--connections", connections),
                )
                title = f"push, {level}, {connections} connection{'s' if connections > 1 else ''}"
                about = {"op": "push", "level": level, "connections": connections}
                for row in rows("queue", title, found, targets, missing, about):
                    yield tell(plan, row)
        names = [
            name for name in (OURS, "redis-aof-everysec", "jetstream", "rabbitmq", "beanstalkd") if name in up
        ]
        found = compare(
            plan, up, names, load("queue", "receive", plan, "flush", "--messages", READ_MESSAGES // 4)
        )
        about = {"op": "receive", "level": "flush", "connections": 1}
        for row in rows(
            "queue", "receive and ack", found, [(["rabbitmq", "jetstream"], 3.0)], missing, about
        ):
            yield tell(plan, row)
        yield from delay(plan, "queue", up, names, missing)


def stream(plan: Plan) -> Iterator[Row]:
    """Appends over confirmed windows, reading back, and the delay to a reader that waits."""
    flush = [OURS, "redis-aof-everysec", "jetstream"]
    fsync = [OURS, "redis-aof-always"]
    present, missing = split(dict.fromkeys([*flush, *fsync]))
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=False)) for name in present}
        for level, names, targets in (
            ("flush", flush, [(["redis-aof-everysec"], 2.0), (["jetstream"], 5.0)]),
            ("fsync", fsync, [(["redis-aof-always"], 1.5)]),
        ):
            for connections in (1, 50):
                found = compare(
                    plan,
                    up,
                    [name for name in names if name in up],
                    load("stream", "append", plan, level, "--connections", connections),
                )
                title = f"append, {level}, {connections} connection{'s' if connections > 1 else ''}"
                about = {"op": "append", "level": level, "connections": connections}
                for row in rows("stream", title, found, targets, missing, about):
                    yield tell(plan, row)
        names = [name for name in flush if name in up]
        found = compare(plan, up, names, load("stream", "read", plan, "flush", "--messages", READ_MESSAGES))
        about = {"op": "read", "level": "flush", "connections": 1}
        for row in rows("stream", "reading back", found, [(flush[1:], 3.0)], missing, about):
            yield tell(plan, row)
        yield from delay(plan, "stream", up, names, missing)


def delay(
    plan: Plan, kind: str, up: dict[str, servers.Running], names: Sequence[str], missing: Sequence[str]
) -> Iterator[Row]:
    """From when a message was due until the consumer that waits has it, at the same rate for all.

    A server that does not keep up with the rate has no row's worth of it: its delay grows with the run.
    """
    measure = load(kind, "delay", plan, "flush", "--rate", DELAY_RATE)
    values: dict[str, dict[str, list[float]]] = {p: {name: [] for name in names} for p in ("p50", "p99")}
    for turn in range(plan.turns):
        for name in plan.order(names, turn):
            done = measure(up[name])
            for percentile, found in values.items():
                found[name].append(done["latency_us"][percentile])
    for percentile, found in values.items():
        row = Row(
            f"{kind}-delay",
            f"{kind}: {percentile} at {DELAY_RATE:,}/s",
            "µs",
            found,
            [name for name in names if name != OURS],
            ratio_max=1.0,
            better="lower",
            missing=list(missing),
            extra={"kind": kind, "percentile": percentile},
        )
        yield tell(plan, row)


def backlog(plan: Plan) -> Iterator[Row]:
    """Millions of messages that nobody takes: pushed, kept over a restart, drained. Ours alone, once."""
    common = ["--messages", BACKLOG_MESSAGES, "--size", MESSAGE_BYTES, "--durability", "flush", "--keep"]
    with tempfile.TemporaryDirectory(prefix="nexo-bench-") as name:
        folder = Path(name)
        with servers.running(OURS, pinned=False, folder=folder) as server:
            pushed = bench("queue", server, "--op", "push", *common, pinned=False)
            resident = float(server.resident_bytes())
        began = time.monotonic()
        with servers.running(OURS, pinned=False, folder=folder) as server:
            restart = time.monotonic() - began
            after = float(server.resident_bytes())
            drained = bench("queue", server, "--op", "receive", "--no-fill", *common, pinned=False)
    tenths = sorted(pushed["tenths_per_second"])
    median = tenths[len(tenths) // 2]
    found: list[tuple[str, str, float, float | None, float | None]] = [
        ("slowest tenth of the pushes", "messages/s", tenths[0], FLAT * median, None),
        ("resident memory, all pushed", "bytes", resident, None, BACKLOG_BYTES_MAX),
        ("resident memory after the restart", "bytes", after, None, BACKLOG_BYTES_MAX),
        ("restart", "s", restart, None, RESTART_SECONDS_MAX),
        ("drained", "messages/s", drained["messages_per_second"], None, None),
    ]
    for title, unit, value, least, most in found:
        row = Row(
            "backlog",
            title,
            unit,
            {OURS: [value]},
            value_min=least,
            value_max=most,
            better="lower" if most else "higher",
            extra={"tenths": pushed["tenths_per_second"]},
        )
        yield tell(plan, row)


def kept_inprocess(plan: Plan) -> Iterator[Row]:
    """Pushes and appends on a node with its log, without a socket."""
    out = child([sys.executable, str(HERE / "keptinprocess.py"), str(min(plan.turns, 3))], pinned=False)
    found: dict[str, list[float]] = json.loads(out)
    for key, title, least in (("push", "queue pushes", 1e6), ("append", "stream appends", 1.5e6)):
        yield tell(plan, Row("kept-inprocess", title, "messages/s", {OURS: found[key]}, value_min=least))
