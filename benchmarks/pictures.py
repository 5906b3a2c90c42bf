"""The pictures of docs/benchmarks.md, drawn from the rows of a run.

One colour for a server everywhere; text stays text in the SVG.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

from results import Row, Run

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "nexo": "#2563eb",
    "redis": "#dc2626",
    "nats": "#16a34a",
    "memcached": "#9ca3af",
    "redis-aof-everysec": "#dc2626",
    "redis-aof-always": "#991b1b",
    "jetstream": "#16a34a",
    "rabbitmq": "#f97316",
    "beanstalkd": "#a16207",
    "beanstalkd-fsync": "#78350f",
}
NAMES = {"nexo": "Nexo", "redis": "redis-server", "nats": "nats-server", "memcached": "memcached"}
KEEPERS = {
    "nexo": "Nexo",
    "redis-aof-everysec": "redis (AOF everysec)",
    "redis-aof-always": "redis (AOF always)",
    "jetstream": "JetStream",
    "rabbitmq": "RabbitMQ",
    "beanstalkd": "beanstalkd",
    "beanstalkd-fsync": "beanstalkd (-f 0)",
}
LIBRARIES = {"nexo": "nexo", "redis": "redis-py", "nats": "nats-py (request/reply)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nexo",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}


def draw(run: Run, folder: Path) -> list[str]:
    """Draw what the run has rows for; the names of the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[str] = []
    with plt.rc_context(STYLE):
        for name, case, picture in PICTURES:
            rows = run.of(case)
            if not rows:
                continue
            figure = picture(rows)
            figure.savefig(folder / name, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
            plt.close(figure)
            drawn.append(name)
    return drawn


def throughput(rows: list[Row]) -> Any:
    """SET and GET by pipeline, side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, op in zip(axes, ("set", "get"), strict=True):
        chosen = [row for row in rows if row.extra["op"] == op]
        _bars(axis, chosen, [f"pipeline {row.extra['pipeline']}" for row in chosen], NAMES)
        axis.set_title(op.upper())
    axes[0].set_ylabel("million requests a second")
    _legend(figure, axes[0])
    figure.suptitle("Store: 64-byte values, 50 connections, one core for the server")
    figure.tight_layout()
    return figure


def latency(rows: list[Row]) -> Any:
    """Percentiles at the same load."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, op in zip(axes, ("set", "get"), strict=True):
        chosen = [row for row in rows if row.extra["op"] == op]
        _bars(axis, chosen, [row.extra["percentile"] for row in chosen], NAMES, unit=1.0, shape="{:,.0f}")
        axis.set_title(op.upper())
        axis.set_yscale("log")
    axes[0].set_ylabel("microseconds (logarithmic)")
    _legend(figure, axes[0])
    figure.suptitle(f"Store: latency at {rows[0].extra['rate']:,.0f} requests a second for everyone")
    figure.tight_layout()
    return figure


def fanout(rows: list[Row]) -> Any:
    """Deliveries a second by the number of subscribers."""
    figure, axis = plt.subplots(figsize=(8, 4))
    _bars(axis, rows, [row.title for row in rows], NAMES, shape="{:.1f}")
    axis.set_ylabel("million deliveries a second")
    axis.set_title("Fan-out of 32-byte messages: one publisher")
    _legend(figure, axis)
    figure.tight_layout()
    return figure


def routes(rows: list[Row]) -> Any:
    """Publications a second against the number of subscriptions."""
    figure, axis = plt.subplots(figsize=(8, 4))
    counts = [row.extra["subscriptions"] for row in rows]
    for name in rows[0].values:
        rates = [(row.median(name) or 0) / 1e6 for row in rows]
        axis.plot(counts, rates, marker="o", color=COLOURS[name], label=NAMES[name])
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.set_xlabel("subscriptions, of which one matches")
    axis.set_ylabel("million publications a second")
    axis.set_title("Publishing against many subscriptions")
    axis.grid(axis="y", color="#e5e7eb")
    _legend(figure, axis)
    figure.tight_layout()
    return figure


def sdk(rows: list[Row]) -> Any:
    """Calls a second through the client libraries."""
    figure, axis = plt.subplots(figsize=(8, 4))
    _bars(axis, rows, [row.title for row in rows], LIBRARIES, unit=1e3, shape="{:.1f}")
    axis.set_ylabel("thousand calls a second")
    axis.set_title("Client libraries (asyncio): reads of one key")
    _legend(figure, axis)
    figure.tight_layout()
    return figure


def kept(rows: list[Row]) -> Any:
    """Confirmed writes and reading of a queue or a stream; a comparison with two targets is drawn once."""
    figure, axis = plt.subplots(figsize=(10, 4))
    shown = {row.title.partition(", against")[0]: row for row in rows}
    _bars(
        axis,
        list(shown.values()),
        [title.replace(", ", "\n") for title in shown],
        KEEPERS,
        unit=1e3,
        shape="{:,.0f}",
    )
    axis.set_ylabel("thousand messages a second (logarithmic)")
    axis.set_yscale("log")
    axis.set_title("100-byte messages, 2,000 unconfirmed at a time")
    _legend(figure, axis)
    figure.tight_layout()
    return figure


def backlog(rows: list[Row]) -> Any:
    """The rate of each tenth of five million pushes."""
    figure, axis = plt.subplots(figsize=(8, 4))
    tenths = [rate / 1e3 for rate in rows[0].extra["tenths"]]
    axis.plot(range(1, len(tenths) + 1), tenths, marker="o", color=COLOURS["nexo"])
    axis.set_ylim(bottom=0)
    axis.set_xlabel("tenth of five million messages")
    axis.set_ylabel("thousand pushes a second")
    axis.set_title("Queue: pushing to a backlog that nobody drains")
    axis.grid(axis="y", color="#e5e7eb")
    figure.tight_layout()
    return figure


def _legend(figure: Any, axis: Any) -> None:
    """Below everything, where it hides no bar."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, ncols=len(labels), loc="upper center", bbox_to_anchor=(0.5, 0.0)
    )


def _bars(
    axis: Any,
    rows: list[Row],
    labels: list[str],
    names: dict[str, str],
    *,
    unit: float = 1e6,
    shape: str = "{:.2f}",
) -> None:
    present = [name for name in names if any(row.values.get(name) for row in rows)]
    width = 0.8 / max(1, len(present))
    for number, name in enumerate(present):
        places = [at + (number - (len(present) - 1) / 2) * width for at in range(len(rows))]
        medians = [(row.median(name) or 0) / unit for row in rows]
        low = [m - min(row.values.get(name) or [0]) / unit for m, row in zip(medians, rows, strict=True)]
        high = [max(row.values.get(name) or [0]) / unit - m for m, row in zip(medians, rows, strict=True)]
        bars = axis.bar(
            places,
            medians,
            width * 0.92,
            color=COLOURS[name],
            label=names[name],
            yerr=[low, high],
            error_kw={"elinewidth": 0.8, "ecolor": "#374151"},
        )
        axis.bar_label(bars, [shape.format(m) for m in medians], fontsize=8, padding=2)
    axis.set_xticks(range(len(rows)), labels)
    axis.grid(axis="y", color="#e5e7eb")


PICTURES: tuple[tuple[str, str, Callable[[list[Row]], Any]], ...] = (
    ("bench-throughput.svg", "store", throughput),
    ("bench-latency.svg", "latency", latency),
    ("bench-fanout.svg", "fanout", fanout),
    ("bench-routes.svg", "routes", routes),
    ("bench-sdk.svg", "sdk", sdk),
    ("bench-queue.svg", "queue", kept),
    ("bench-stream.svg", "stream", kept),
    ("bench-backlog.svg", "backlog", backlog),
)
