"""The cases: which servers, which load, in which turns, against which target.

Every case yields rows as it finishes them. Ours and the peers take turns, and who begins changes
from turn to turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import kept
import servers
from plan import GENERATOR, Plan, bench, child, split, tell
from results import OURS, Row

HERE = Path(__file__).parent
ALONE = "nexo-alone"
CONNECTIONS = 50
VALUE_BYTES = 64
MESSAGE_BYTES = 32
MEMORY_KEYS = 1_000_000
FLAT = 0.8
"""A scan of the subscriptions would leave a thousandth; what stays above this is the cache and the noise."""


def store(plan: Plan) -> Iterator[Row]:
    """SET and GET over 50 connections, then latency at a load that both can carry."""
    present, missing = split([OURS, "redis", "memcached"])
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=True)) for name in present}
        for server in up.values():
            bench("store", server, "--fill-only", "--size", VALUE_BYTES, pinned=True)
        common = ("--no-fill", "--connections", CONNECTIONS, "--size", VALUE_BYTES, "--seconds", plan.seconds)
        redis_max = 0.0
        for pipeline, target in ((1, 1.0), (16, 1.0), (100, 1.3)):
            for op in ("set", "get"):
                values: dict[str, list[float]] = {name: [] for name in present}
                latency: dict[str, list[float]] = {name: [] for name in present}
                for turn in range(plan.turns):
                    for name in plan.order(present, turn):
                        done = bench(
                            "store", up[name], *common, "--pipeline", pipeline, "--op", op, pinned=True
                        )
                        values[name].append(done["requests_per_second"])
                        latency[name].append(done["latency_us"]["p99"])
                row = Row(
                    "store",
                    f"{op.upper()}, pipeline {pipeline}",
                    "requests/s",
                    values,
                    ["redis"],
                    ratio_min=target,
                    missing=missing,
                    extra={"op": op, "pipeline": pipeline, "p99_us": latency},
                )
                if op == "get" and pipeline == 1:
                    redis_max = row.median("redis") or row.median(OURS) or 0.0
                yield tell(plan, row)
        rate = round(redis_max / 2, -3) or 10_000
        yield from at_rate(plan, up, missing, common, rate)


def at_rate(
    plan: Plan, up: dict[str, servers.Running], missing: list[str], common: tuple[object, ...], rate: float
) -> Iterator[Row]:
    """p50, p99 and p99.9 at the same number of requests a second for everyone."""
    for op in ("set", "get"):
        values: dict[str, dict[str, list[float]]] = {
            p: {name: [] for name in up} for p in ("p50", "p99", "p99.9")
        }
        for turn in range(plan.turns):
            for name in plan.order(list(up), turn):
                done = bench("store", up[name], *common, "--op", op, "--rate", rate, pinned=True)
                for percentile, found in values.items():
                    found[name].append(done["latency_us"][percentile])
        for percentile, found in values.items():
            yield tell(
                plan,
                Row(
                    "latency",
                    f"{op.upper()} {percentile} at {rate:,.0f}/s",
                    "µs",
                    found,
                    ["redis"],
                    better="lower",
                    ratio_max=1.0 if percentile == "p99" else None,
                    missing=missing,
                    extra={"op": op, "percentile": percentile, "rate": rate},
                ),
            )


def fanout(plan: Plan) -> Iterator[Row]:
    """One publisher, 1 to 1,000 subscribers; server, publisher and subscribers share the cores."""
    present, missing = split([OURS, "nats", "redis"])
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=False)) for name in present}
        for subscribers, target, against in (
            (1, 0.9, ["nats"]),
            (100, 4.0, ["nats", "redis"]),
            (1000, 4.0, ["nats", "redis"]),
        ):
            values: dict[str, list[float]] = {name: [] for name in present}
            options = ("--subscribers", subscribers, "--size", MESSAGE_BYTES, "--seconds", plan.seconds)
            for turn in range(plan.turns):
                for name in plan.order(present, turn):
                    done = bench("pubsub", up[name], *options, pinned=False)
                    values[name].append(done["delivered_per_second"])
            plural = "subscriber" if subscribers == 1 else "subscribers"
            yield tell(
                plan,
                Row(
                    "fanout",
                    f"{subscribers:,} {plural}",
                    "deliveries/s",
                    values,
                    against,
                    ratio_min=target,
                    missing=missing,
                    extra={"subscribers": subscribers},
                ),
            )
        yield from delay(plan, up, missing)


def delay(plan: Plan, up: dict[str, servers.Running], missing: list[str]) -> Iterator[Row]:
    """From one publication until the last of 100 subscribers has the message, one at a time."""
    options = ("--subscribers", 100, "--size", MESSAGE_BYTES, "--seconds", plan.seconds, "--latency")
    values: dict[str, dict[str, list[float]]] = {p: {name: [] for name in up} for p in ("p50", "p99")}
    for turn in range(plan.turns):
        for name in plan.order(list(up), turn):
            done = bench("pubsub", up[name], *options, pinned=False)
            for percentile, found in values.items():
                found[name].append(done["latency_us"][percentile])
    for percentile, found in values.items():
        title = f"{percentile} until the last of 100 has it"
        yield tell(plan, Row("delay", title, "µs", found, ["nats", "redis"], better="lower", missing=missing))


def routes(plan: Plan) -> Iterator[Row]:
    """One publish against a growing number of subscriptions of which one matches."""
    present, missing = split([OURS, "nats"])
    counts = (10, 1_000, 100_000)
    values: dict[int, dict[str, list[float]]] = {count: {name: [] for name in present} for count in counts}
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=False)) for name in present}
        for turn in range(plan.turns):
            for name in plan.order(present, turn):
                for count in counts[turn % 3 :] + counts[: turn % 3]:
                    options = ("--others", count - 1, "--topics", 1024, "--seconds", plan.seconds)
                    done = bench("pubsub", up[name], *options, "--size", MESSAGE_BYTES, pinned=False)
                    values[count][name].append(done["published_per_second"])
    for count in counts:
        yield tell(
            plan,
            Row(
                "routes",
                f"{count:,} subscriptions",
                "publications/s",
                values[count],
                missing=missing,
                extra={"subscriptions": count},
            ),
        )
    flat = Row(
        "flat",
        "rate at 100,000 subscriptions against the rate at 10",
        "publications/s",
        {OURS: values[counts[-1]][OURS], "nexo at 10": values[counts[0]][OURS]},
        ["nexo at 10"],
        ratio_min=FLAT,
    )
    yield tell(plan, flat)


def inprocess(plan: Plan) -> Iterator[Row]:
    """Store.set beside a bare dict, a million distinct keys, inserted and overwritten."""
    out = child([sys.executable, str(HERE / "inprocess.py"), str(plan.turns)], pinned=True)
    found: dict[str, list[float]] = json.loads(out)
    for key, title in (("insert", "a million new keys"), ("over", "the same keys again")):
        values = {OURS: found[f"store_{key}"], "dict": found[f"dict_{key}"]}
        yield tell(
            plan,
            Row("inprocess", title, "sets/s", values, ["dict"], ratio_min=round(1 / 3, 3), value_min=4.6e6),
        )


def memory(plan: Plan) -> Iterator[Row]:
    """What a server's resident memory grows by for a million keys, each time in a fresh process."""
    present, missing = split([OURS, "redis", "memcached"])
    values: dict[str, list[float]] = {name: [] for name in present}
    # It varies by less than a percent: three turns say as much as five.
    for turn in range(min(plan.turns, 3)):
        for name in plan.order(present, turn):
            with servers.running(name, pinned=True) as server:
                bench("store", server, "--fill-only", "--keys", 1000, "--size", VALUE_BYTES, pinned=True)
                before = server.resident_bytes()
                bench(
                    "store", server, "--fill-only", "--keys", MEMORY_KEYS, "--size", VALUE_BYTES, pinned=True
                )
                values[name].append((server.resident_bytes() - before) / MEMORY_KEYS)
    yield tell(
        plan,
        Row(
            "memory",
            "resident bytes per key",
            "bytes",
            values,
            ["redis"],
            ratio_max=2.0,
            better="lower",
            missing=missing,
        ),
    )


def sdk(plan: Plan) -> Iterator[Row]:
    """Client libraries: one call at a time, and a hundred at once."""
    present, missing = split([OURS, "redis", "nats"])
    with ExitStack() as stack:
        up = {name: stack.enter_context(servers.running(name, pinned=True)) for name in present}
        for concurrency, title, target in ((1, "one at a time", None), (100, "100 at once", 1.5)):
            values: dict[str, list[float]] = {name: [] for name in present}
            for turn in range(plan.turns):
                for name in plan.order(present, turn):
                    arguments = [name, str(up[name].port), str(plan.seconds), str(concurrency)]
                    out = child([sys.executable, str(HERE / "sdk.py"), *arguments], pinned=True)
                    values[name].append(float(out))
            yield tell(
                plan,
                Row(
                    "sdk",
                    title,
                    "calls/s",
                    values,
                    ["redis"],
                    ratio_min=target,
                    missing=missing,
                    extra={"concurrency": concurrency},
                ),
            )


def watched(plan: Plan) -> Iterator[Row]:
    """The same broker with accounts, scraped metrics and an open dashboard, and without any of it."""
    with ExitStack() as stack:
        up = {
            OURS: stack.enter_context(servers.running("nexo-watched", pinned=True)),
            ALONE: stack.enter_context(servers.running(ALONE, pinned=True)),
        }
        watcher = subprocess.Popen([sys.executable, str(HERE / "watching.py"), str(up[OURS].port)])
        stack.callback(watcher.wait)
        stack.callback(watcher.terminate)
        servers.pin(watcher.pid, GENERATOR)
        for server in up.values():
            bench("store", server, "--fill-only", "--size", VALUE_BYTES, pinned=True)
        store = ("--no-fill", "--connections", CONNECTIONS, "--size", VALUE_BYTES, "--seconds", plan.seconds)
        queue = ("--durability", "flush", "--connections", CONNECTIONS, "--seconds", plan.seconds)
        fanned = ("--subscribers", 1, "--size", MESSAGE_BYTES, "--seconds", plan.seconds)
        for title, load, options, unit in (
            ("GET, pipeline 16", "store", (*store, "--op", "get", "--pipeline", 16), "requests_per_second"),
            ("SET, pipeline 16", "store", (*store, "--op", "set", "--pipeline", 16), "requests_per_second"),
            ("push, flush, 50 connections", "queue", (*queue, "--op", "push"), "messages_per_second"),
            ("publish to 1 subscriber", "pubsub", fanned, "delivered_per_second"),
        ):
            values: dict[str, list[float]] = {name: [] for name in up}
            for turn in range(plan.turns):
                for name in plan.order(list(up), turn):
                    values[name].append(bench(load, up[name], *options, pinned=True)[unit])
            if watcher.poll() is not None:
                raise RuntimeError("whoever watched has ended")
            yield tell(
                plan,
                Row("watched", title, unit.replace("_per_second", "/s"), values, [ALONE], ratio_min=0.95),
            )


CASES: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "store": store,
    "fanout": fanout,
    "routes": routes,
    "watched": watched,
    "inprocess": inprocess,
    "memory": memory,
    "sdk": sdk,
    "queue": kept.queue,
    "stream": kept.stream,
    "backlog": kept.backlog,
    "kept-inprocess": kept.kept_inprocess,
}
