#!/usr/bin/env python3
"""Writes deploy/grafana/nexo.json, the Grafana dashboard: `python tools/grafana.py`, or with --check only compares.

A row is a heading and panels, a panel a title, a unit and queries; where they stand follows from the order. Which
metrics there are is known to src/nexo/server/http/metrics.py; tests/deploy compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

TARGET: Final = Path(__file__).resolve().parents[1] / "deploy/grafana/nexo.json"

COLUMNS: Final = 24
PANEL_WIDTH: Final = 8
PANEL_HEIGHT: Final = 7
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HERE: Final = 'job="$job",instance=~"$instance"'
"""What every query is limited to: the servers chosen above the panels."""


class Panel(NamedTuple):
    """A graph. `queries` are expressions, `#` standing for the labels in braces, each with the name of its lines."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def rate(metric: str, name: str, by: str = "instance") -> tuple[str, str]:
    """The rate of a counter."""
    return f"sum by ({by}) (rate({metric}{{#}}[$__rate_interval]))", name


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    shown = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{#}}[$__rate_interval])))",
            f"{shown}{name}",
        )
        for q, name in ((0.5, "median"), (0.99, "99 %"))
    )


def largest(metric: str, by: str, count: int = 10) -> tuple[str, str]:
    """The largest of a kind."""
    name = " / ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return f"topk({count}, max by ({by}) ({metric}{{#}}))", name


def busiest(metric: str, by: str, count: int = 10) -> tuple[str, str]:
    """Those of a kind whose counter grows fastest."""
    name = " / ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return f"topk({count}, sum by ({by}) (rate({metric}{{#}}[$__rate_interval])))", name


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Overview",
        (
            Panel("Ready", "bool", (("nexo_ready{#}", "{{instance}}"),)),
            Panel("Uptime", "s", (("nexo_uptime_seconds{#}", "{{instance}}"),)),
            Panel(
                "Connections",
                "short",
                (
                    ("nexo_connections{#}", "{{instance}}"),
                    ("nexo_http_connections{#}", "{{instance}} HTTP"),
                ),
            ),
            Panel(
                "Messages",
                "ops",
                (
                    rate("nexo_pubsub_published_total", "published"),
                    rate("nexo_queue_pushed_total", "pushed"),
                    rate("nexo_stream_appended_total", "appended"),
                    rate("nexo_store_changes_total", "changes of keys"),
                ),
            ),
            Panel(
                "Connections accepted and refused",
                "ops",
                (
                    rate("nexo_connections_accepted_total", "accepted"),
                    rate("nexo_connections_refused_total", "refused"),
                ),
            ),
            Panel("Slow commands", "ops", (rate("nexo_slow_commands_total", "{{instance}}"),)),
        ),
    ),
    (
        "Store",
        (
            Panel("Keys", "short", (("nexo_store_keys{#}", "{{instance}}"),)),
            Panel(
                "Memory of keys and values",
                "bytes",
                (
                    ("nexo_store_bytes{#}", "{{instance}}"),
                    ("nexo_store_bytes_max{#} > 0", "{{instance}} cap"),
                ),
            ),
            Panel(
                "Expired, evicted, rejected",
                "ops",
                (
                    rate("nexo_store_expired_total", "expired"),
                    rate("nexo_store_evicted_total", "evicted"),
                    rate("nexo_store_rejected_total", "rejected"),
                ),
            ),
        ),
    ),
    (
        "Queues",
        (
            Panel(
                "All queues",
                "ops",
                (
                    rate("nexo_queues_pushed_total", "pushed"),
                    rate("nexo_queues_delivered_total", "delivered"),
                    rate("nexo_queues_acked_total", "acked"),
                    rate("nexo_queues_died_total", "died"),
                    rate("nexo_queues_dropped_total", "dropped"),
                ),
            ),
            Panel("Ready, the longest", "short", (largest("nexo_queue_ready", "queue"),)),
            Panel("Oldest message", "s", (largest("nexo_queue_oldest_age_seconds", "queue"),)),
            Panel("Dead letters", "short", (largest("nexo_queue_dead_letters", "queue"),)),
            Panel("Pushed", "ops", (busiest("nexo_queue_pushed_total", "queue"),)),
            Panel("Acked", "ops", (busiest("nexo_queue_acked_total", "queue"),)),
            Panel(
                "Given back, died, dropped",
                "ops",
                (
                    rate("nexo_queue_nacked_total", "given back"),
                    rate("nexo_queue_died_total", "died"),
                    rate("nexo_queue_dropped_total", "dropped"),
                ),
            ),
            Panel("From push to first delivery", "s", quantiles("nexo_queue_delivery_seconds")),
            Panel("From push to ack", "s", quantiles("nexo_queue_ack_seconds")),
            Panel(
                "Lent and delayed",
                "short",
                (
                    ("sum by (instance) (nexo_queue_leased{#})", "lent"),
                    ("sum by (instance) (nexo_queue_delayed{#})", "delayed"),
                ),
            ),
        ),
    ),
    (
        "Streams",
        (
            Panel("All streams", "ops", (rate("nexo_streams_appended_total", "appended"),)),
            Panel("Appended", "ops", (busiest("nexo_stream_appended_total", "stream"),)),
            Panel("Bytes kept", "bytes", (largest("nexo_stream_bytes", "stream"),)),
            Panel("Records kept", "short", (largest("nexo_stream_records", "stream"),)),
            Panel("Lag in messages", "short", (largest("nexo_stream_group_lag", "stream, group"),)),
            Panel("Lag in time", "s", (largest("nexo_stream_group_lag_seconds", "stream, group"),)),
            Panel("Dead letters", "short", (largest("nexo_stream_group_dead_letters", "stream, group"),)),
            Panel("Acked", "ops", (busiest("nexo_stream_group_acked_total", "stream, group"),)),
            Panel("Lent", "short", (largest("nexo_stream_group_pending", "stream, group"),)),
        ),
    ),
    (
        "Pub/Sub",
        (
            Panel(
                "Published and delivered",
                "ops",
                (
                    rate("nexo_pubsub_published_total", "published"),
                    rate("nexo_pubsub_delivered_total", "delivered"),
                ),
            ),
            Panel(
                "Lost and unheard",
                "ops",
                (
                    rate("nexo_pubsub_dropped_total", "dropped"),
                    rate("nexo_pubsub_no_receiver_total", "no receiver"),
                ),
            ),
            Panel(
                "Subscriptions and retained values",
                "short",
                (
                    ("nexo_pubsub_subscriptions{#}", "{{instance}} subscriptions"),
                    ("nexo_pubsub_retained{#}", "{{instance}} retained"),
                ),
            ),
        ),
    ),
    (
        "Storage",
        (
            Panel("Writable", "bool", (("nexo_storage_writable{#}", "{{instance}}"),)),
            Panel("Sync", "s", quantiles("nexo_storage_sync_seconds")),
            Panel("Waits to be written", "bytes", (("nexo_storage_pending_bytes{#}", "{{instance}}"),)),
            Panel("Syncs", "ops", (rate("nexo_storage_sync_seconds_count", "{{instance}}"),)),
            Panel("Files of the log", "short", (("nexo_storage_files{#}", "{{instance}}"),)),
            Panel(
                "Free room, and where writes are refused",
                "bytes",
                (
                    ("nexo_disk_free_bytes{#}", "{{instance}} free"),
                    ("nexo_disk_alarm_bytes{#}", "{{instance}} bound"),
                ),
            ),
        ),
    ),
    (
        "Process",
        (
            Panel("Resident memory", "bytes", (("nexo_resident_memory_bytes{#}", "{{instance}}"),)),
            Panel(
                "Alarms",
                "bool",
                (
                    ("nexo_memory_alarm{#}", "{{instance}} memory"),
                    ("nexo_disk_alarm{#}", "{{instance}} disk"),
                ),
            ),
            Panel("Memory bound", "bytes", (("nexo_memory_alarm_bytes{#}", "{{instance}}"),)),
            Panel(
                "Writes refused",
                "ops",
                (
                    rate("nexo_memory_alarm_refused_total", "memory"),
                    rate("nexo_disk_alarm_refused_total", "disk"),
                ),
            ),
            Panel(
                "Logins",
                "ops",
                (
                    rate("nexo_logins_succeeded_total", "let in"),
                    rate("nexo_logins_failed_total", "refused"),
                ),
            ),
            Panel(
                "Certificate",
                "s",
                (
                    ("nexo_tls_certificate_expiry_timestamp_seconds{#} - time()", "{{instance}} left"),
                    ("nexo_tls_certificate_stale{#}", "{{instance}} could not be read again"),
                ),
            ),
            Panel("Lateness of the loop", "s", (("nexo_loop_lag_seconds{#}", "{{instance}}"),)),
            Panel("Turns", "s", quantiles("nexo_turn_seconds")),
            Panel("HTTP requests", "ops", (busiest("nexo_http_request_seconds_count", "method, path"),)),
            Panel(
                "HTTP requests, 99 %",
                "s",
                (
                    (
                        "histogram_quantile(0.99, sum by (le, path) "
                        "(rate(nexo_http_request_seconds_bucket{#}[$__rate_interval])))",
                        "{{path}}",
                    ),
                ),
            ),
            Panel(
                "Queues, streams, groups",
                "short",
                (
                    ("nexo_queues{#}", "{{instance}} queues"),
                    ("nexo_streams{#}", "{{instance}} streams"),
                    ("nexo_stream_groups{#}", "{{instance}} groups"),
                ),
            ),
            Panel(
                "Without metrics of their own",
                "short",
                (("nexo_metrics_resources_left_out{#}", "{{instance}}"),),
            ),
        ),
    ),
)


def panel(id: int, shown: Panel, x: int, y: int) -> dict[str, Any]:
    """A panel as Grafana has it."""
    targets = [
        {
            "datasource": SOURCE,
            "expr": expression.replace("#", HERE),
            "legendFormat": name,
            "refId": chr(ord("A") + place),
        }
        for place, (expression, name) in enumerate(shown.queries)
    ]
    return {
        "id": id,
        "type": "timeseries",
        "title": shown.title,
        "datasource": SOURCE,
        "gridPos": {"h": PANEL_HEIGHT, "w": PANEL_WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": shown.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets,
    }


def variable(name: str, label: str, query: str, many: bool) -> dict[str, Any]:
    """A choice above the panels, of the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        "multi": many,
        "includeAll": many,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


def dashboard() -> dict[str, Any]:
    """All of it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, shown in ROWS:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        y += 1
        across = COLUMNS // PANEL_WIDTH
        for number, one in enumerate(shown):
            left = number % across * PANEL_WIDTH
            panels.append(panel(len(panels) + 1, one, left, y + number // across * PANEL_HEIGHT))
        y += -(-len(shown) // across) * PANEL_HEIGHT
    return {
        "uid": "nexo",
        "title": "Nexo",
        "tags": ["nexo"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                variable("job", "Job", "label_values(nexo_ready, job)", False),
                variable("instance", "Server", 'label_values(nexo_ready{job="$job"}, instance)', True),
            ]
        },
        "panels": panels,
    }


def main() -> int:
    """Write it, or say whether it is what would be written."""
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text() == text else 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
