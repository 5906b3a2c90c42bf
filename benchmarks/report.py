"""The page docs/benchmarks.md: tables from the rows of a run, with what was aimed at and what came out.

Writes words around numbers; measures nothing and never rounds a target into being met.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from results import OURS, Row, Run

NAMES = {
    "nexo": "Nexo",
    "redis": "redis-server",
    "nats": "nats-server",
    "memcached": "memcached",
    "redis-aof-everysec": "redis (AOF everysec)",
    "redis-aof-always": "redis (AOF always)",
    "jetstream": "JetStream",
    "rabbitmq": "RabbitMQ",
    "beanstalkd": "beanstalkd",
    "beanstalkd-fsync": "beanstalkd (-f 0)",
}
LIBRARIES = {"nexo": "nexo (async)", "redis": "redis-py (asyncio)", "nats": "nats-py (request/reply)"}


@dataclass(frozen=True)
class Section:
    """A table: the rows of one case under a heading, the servers in its columns, a picture."""

    case: str
    heading: str
    text: str
    columns: tuple[str, ...]
    picture: str = ""
    ratio_to: str = ""


SECTIONS = (
    Section(
        "store",
        "Store: requests a second",
        "64-byte values, 50 connections, keys of 16 bytes drawn from 100,000. Each connection sends as many requests"
        " as the pipeline is long and waits for all replies; every reply is checked. The server has one core, the"
        " load generator the other, for everyone.",
        ("nexo", "redis", "memcached"),
        "bench-throughput.svg",
        "redis",
    ),
    Section(
        "latency",
        "Store: latency at the same load",
        "The same number of requests a second for every server, half of what redis-server answered at most to GET"
        " without pipelining. A request's time counts from when it was due, so a stall is not hidden by the requests"
        " that it held back. Microseconds; lower is better.",
        ("nexo", "redis", "memcached"),
        "bench-latency.svg",
        "redis",
    ),
    Section(
        "fanout",
        "Publish/subscribe: fan-out",
        "32-byte messages from one publisher, each subscriber on a connection of its own, every byte counted where it"
        " arrives and samples of it compared. The publisher stays within 16,384 messages of the slowest subscriber, so"
        " nobody has to drop; a missing message fails the run. Server and generator share both cores, without pinning."
        " redis-server sends its publisher a reply for each message, as its protocol has it; the other two do not.",
        ("nexo", "nats", "redis"),
        "bench-fanout.svg",
        "the faster peer (1 subscriber: nats-server)",
    ),
    Section(
        "delay",
        "Publish/subscribe: delay",
        "One message at a time to 100 subscribers: from the publication until the last one has all of it."
        " Microseconds; lower is better.",
        ("nexo", "nats", "redis"),
        "",
        "the faster peer",
    ),
    Section(
        "routes",
        "Publish/subscribe: many subscriptions",
        "Publications to 1,024 topics in turn, all of which match one subscription (`bench/hit/+`), while so many others"
        " exist that do not match, every second one with a wildcard.",
        ("nexo", "nats"),
        "bench-routes.svg",
    ),
    Section("flat", "", "", ("nexo at 10", "nexo"), "", "the rate at 10"),
    Section(
        "inprocess",
        "In one process: sets without a socket",
        "`Store.set` beside `table[key] = value`, called from interpreted Python: a million 16-byte keys, then the same"
        " keys again. One thread, one core, in turns.",
        ("nexo", "dict"),
        "",
        "dict",
    ),
    Section(
        "memory",
        "Memory",
        "What the server's resident memory grows by for a million keys of 16 bytes with values of 64, loaded the same"
        " way. Lower is better.",
        ("nexo", "redis", "memcached"),
        "",
        "redis",
    ),
    Section(
        "sdk",
        "Client libraries",
        "Reads of one 64-byte value with each library's asyncio client on the standard event loop. nats-py, whose server"
        " has no plain key-value store, sends a request to a responder in a process of its own instead. redis-py uses"
        " hiredis and its own pool of connections. Calls a second.",
        ("nexo", "redis", "nats"),
        "bench-sdk.svg",
        "redis-py",
    ),
    Section(
        "queue",
        "Queue: messages a second",
        "100-byte messages, each pushed by a request of its own and confirmed by the server; 2,000 pushes are under way,"
        " over all connections. *flush*: a confirmation says that the operating system has the message; *fsync*: that it"
        " is on disk. Redis pushes with LPUSH, JetStream publishes to a work-queue stream in files (by default synced"
        " every two minutes), RabbitMQ confirms persistent messages in a durable queue, beanstalkd puts with a log."
        " Receiving drains 50,000 messages in batches of 100 and acknowledges each: Nexo confirms the acknowledgements,"
        " beanstalkd its deletions; RabbitMQ and JetStream confirm none, and Redis' RPOP knows none.",
        (
            "nexo",
            "redis-aof-everysec",
            "redis-aof-always",
            "jetstream",
            "rabbitmq",
            "beanstalkd",
            "beanstalkd-fsync",
        ),
        "bench-queue.svg",
        "the peer named",
    ),
    Section(
        "queue-delay",
        "Queue: delay to a consumer that waits",
        "10,000 pushes a second from one connection, one consumer that waits on another and acknowledges: from when a"
        " push was due until the consumer has the message. Microseconds; lower is better. A server that does not keep"
        " up with the rate shows how far it fell behind.",
        ("nexo", "redis-aof-everysec", "jetstream", "rabbitmq", "beanstalkd"),
        "",
        "the fastest peer",
    ),
    Section(
        "stream",
        "Stream: records a second",
        "The same with appends: XADD in Redis, a stream in files in JetStream. Reading back takes 200,000 records from"
        " the beginning, a thousand at a time.",
        ("nexo", "redis-aof-everysec", "redis-aof-always", "jetstream"),
        "bench-stream.svg",
        "the peer named",
    ),
    Section(
        "stream-delay",
        "Stream: delay to a reader that waits",
        "As for the queue. Microseconds; lower is better.",
        ("nexo", "redis-aof-everysec", "jetstream"),
        "",
        "the fastest peer",
    ),
    Section(
        "watched",
        "With accounts, metrics and a dashboard",
        "The same broker twice: one with accounts, under which each command is looked up, its metrics scraped and a"
        " dashboard open, all each second; the other with none of it. Server and generator have a core each; who watches"
        " has the generator's.",
        ("nexo", "nexo-alone"),
        "",
        "the one without",
    ),
    Section(
        "backlog",
        "Queue: a backlog of five million messages",
        "Nobody receives while they are pushed at level flush; then the server is stopped and started again, and all of"
        " them are drained.",
        ("nexo",),
        "bench-backlog.svg",
    ),
    Section(
        "kept-inprocess",
        "In one process: pushes and appends without a socket",
        "Brokers, log and its thread at level flush, called from interpreted Python in turns of 500.",
        ("nexo",),
    ),
)


def page(run: Run, pictures: list[str]) -> str:
    """The whole page."""
    parts = [_head(run), _summary(run)]
    parts += [_section(run, section, pictures) for section in SECTIONS if run.of(section.case)]
    parts.append(_machine(run))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    turns, seconds = run.plan["turns"], run.plan["seconds"]
    lines = [
        "# Benchmarks",
        "",
        "<!-- Written by benchmarks/run.py from benchmarks/results/latest.json: change those, not this page. -->",
        "",
        (
            f"Measured {run.when} with `{run.command}` (`make bench` runs it). One load generator (`nexo bench`) drives every"
            " server over TCP on the loopback; only the bytes of the protocol differ. Ours and the peers take turns:"
            f" {turns:g} turns of {seconds:g} s each, and a figure is their median. A ratio is the median of the ratios of"
            " the turns, with the lowest and the highest behind it."
        ),
    ]
    if run.quick:
        lines += ["", "**A quick run: too few and too short turns for a judgement.**"]
    if "interpreted" in run.versions.get("load generator", "") or "interpreted" in run.versions.get(OURS, ""):
        lines += [
            "",
            "**Nexo or the load generator ran interpreted, not compiled: the targets are for compiled code.**",
        ]
    for case, reason in run.failures.items():
        lines += ["", f"**The case `{case}` could not be run to its end:** `{reason}`"]
    return "\n".join(lines)


def _summary(run: Run) -> str:
    judged = [row for row in run.rows if row.met() is not None]
    if not judged:
        return ""
    missed = [row for row in judged if not row.met()]
    text = f"**{len(judged) - len(missed)} of {len(judged)} targets met.**"
    if missed:
        text += " Missed: " + "; ".join(f"{_heading(row)} {row.title}" for row in missed) + "."
    return text


def _heading(row: Row) -> str:
    for section in SECTIONS:
        if section.case == row.case and section.heading:
            return section.heading.partition(":")[0]
    return "Publish/subscribe"


def _section(run: Run, section: Section, pictures: list[str]) -> str:
    rows = run.of(section.case)
    names = LIBRARIES if section.case == "sdk" else NAMES
    columns = [names.get(name, name) for name in section.columns]
    judged = any(row.target() for row in rows)
    head = ["", *columns]
    if section.ratio_to:
        head.append(f"ratio to {section.ratio_to}")
    if judged:
        head += ["target", "met"]
    lines = []
    if section.heading:
        lines += [f"## {section.heading}", "", section.text, ""]
    lines += [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * len(columns) + "---|" * (len(head) - len(columns) - 1),
    ]
    for row in rows:
        cells = [row.title, *(_value(row, name) for name in section.columns)]
        if section.ratio_to:
            cells.append(_ratio(row, section))
        if judged:
            met = row.met()
            cells += [row.target() or "–", "–" if met is None else "yes" if met else "**no**"]
        lines.append("| " + " | ".join(cells) + " |")
    if section.picture in pictures:
        lines += ["", f"![{section.heading}](images/{section.picture})"]
    return "\n".join(lines)


def _value(row: Row, name: str) -> str:
    if name in row.missing:
        return "not installed"
    value = row.median(name)
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(row: Row, section: Section) -> str:
    ratios = row.ratios()
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _machine(run: Run) -> str:
    lines = ["## Machine and versions", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in run.machine.items()]
    lines += [f"| {NAMES.get(name, name)} | {value} |" for name, value in run.versions.items()]
    lines += [
        "",
        (
            "Where nothing is said of durability, redis-server runs with `--save '' --appendonly no`, nats-server and"
            " memcached with their defaults (memcached with 1 GiB). All servers keep their data in the same file system."
            " The generator is a single thread; a server faster than it would look slower than it is, never"
            " faster. Virtual machines vary: compare ratios of one run, not figures of two. memcached"
            " 1.6 answers pipelined `get`s with a write each, which its figures there show."
        ),
    ]
    return "\n".join(lines)
