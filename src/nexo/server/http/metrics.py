"""Metrics for Prometheus: plain counters of the brokers, read when they are scraped.

`METRICS` is the one table of names; docs/http-api.md shows it, and a test compares the two. Queues, and streams,
have metrics of their own up to HTTP_METRIC_RESOURCES_MAX, the first by name; `nexo_metrics_resources_left_out` says
how many have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from nexo.histogram import Histogram
from nexo.limits import HTTP_METRIC_RESOURCES_MAX
from nexo.protocols.native.queueadmin import described
from nexo.protocols.native.streamadmin import described as described_stream
from nexo.protocols.native.streamadmin import described_group
from nexo.server.http.access import Access
from nexo.server.http.permissions import monitor
from nexo.server.http.routing import Call, Route
from nexo.server.monitor import Monitor, Overview


class Named(NamedTuple):
    """One metric. `source` is the path of its number in the overview, or the field of its resource.

    A counter's samples end in _total. `scale` makes milliseconds seconds.
    """

    name: str
    kind: str
    help: str
    source: str
    scale: float = 1.0


MILLI: Final = 0.001

METRICS: Final = [
    Named("nexo_ready", "gauge", "1 while traffic may come", "ready"),
    Named("nexo_uptime_seconds", "gauge", "Time since the start", "uptime_ms", MILLI),
    Named("nexo_connections", "gauge", "Open connections", "connections.open"),
    Named("nexo_connections_accepted", "counter", "Connections accepted", "connections.accepted"),
    Named("nexo_connections_refused", "counter", "Connections refused", "connections.refused"),
    Named("nexo_logins_succeeded", "counter", "Logins with right credentials", "accounts.succeeded"),
    Named("nexo_logins_failed", "counter", "Logins refused", "accounts.failed"),
    Named("nexo_http_connections", "gauge", "Open HTTP connections", "connections.http"),
    Named(
        "nexo_tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the TLS certificate ends, in seconds since 1970; missing without TLS",
        "tls.expires_at",
        MILLI,
    ),
    Named(
        "nexo_tls_certificate_stale",
        "gauge",
        "1 while changed certificate files could not be read, and the old certificate is used",
        "tls.stale",
    ),
    Named("nexo_resident_memory_bytes", "gauge", "Resident memory of the process", "memory.rss_bytes"),
    Named(
        "nexo_loop_lag_seconds",
        "gauge",
        "Lateness of the event loop, worst of a second",
        "loop.lag_ms",
        MILLI,
    ),
    Named(
        "nexo_slow_commands",
        "counter",
        "Commands and HTTP requests slower than slow_command_ms",
        "slow_commands",
    ),
    Named("nexo_storage_writable", "gauge", "1 while the disk takes writes", "storage.writable"),
    Named("nexo_memory_alarm", "gauge", "1 while writes are refused for memory", "memory.alarm"),
    Named("nexo_memory_alarm_bytes", "gauge", "Resident memory past which they are", "memory.alarm_bytes"),
    Named("nexo_memory_alarm_refused", "counter", "Writes refused for memory", "memory.refused"),
    Named("nexo_disk_alarm", "gauge", "1 while writes are refused for the disk", "storage.alarm"),
    Named("nexo_disk_alarm_bytes", "gauge", "Free room below which they are", "storage.alarm_bytes"),
    Named("nexo_disk_alarm_refused", "counter", "Writes refused for the disk", "storage.refused"),
    Named("nexo_disk_free_bytes", "gauge", "Free room on the disk", "storage.free_bytes"),
    Named("nexo_storage_pending_bytes", "gauge", "Waits to be written to the log", "storage.pending_bytes"),
    Named("nexo_storage_files", "gauge", "Files of the log", "storage.files"),
    Named(
        "nexo_storage_last_sync_seconds",
        "gauge",
        "Duration of the latest sync",
        "storage.last_sync_ms",
        MILLI,
    ),
    Named("nexo_store_keys", "gauge", "Keys in the store", "store.keys"),
    Named("nexo_store_bytes", "gauge", "Memory of keys and values, accounted", "memory.store_bytes"),
    Named("nexo_store_bytes_max", "gauge", "Cap of that memory, 0 for none", "memory.store_max_bytes"),
    Named("nexo_store_changes", "counter", "Changes of keys", "store.version"),
    Named("nexo_store_expired", "counter", "Keys removed by their TTL", "store.expired"),
    Named("nexo_store_evicted", "counter", "Keys evicted at the cap", "store.evicted"),
    Named("nexo_store_rejected", "counter", "Writes refused at the cap", "store.rejected"),
    Named("nexo_pubsub_subscriptions", "gauge", "Subscriptions", "pubsub.subscriptions"),
    Named("nexo_pubsub_retained", "gauge", "Retained values", "pubsub.retained"),
    Named("nexo_pubsub_published", "counter", "Messages published", "pubsub.published"),
    Named("nexo_pubsub_delivered", "counter", "Messages handed to subscribers", "pubsub.delivered"),
    Named("nexo_pubsub_dropped", "counter", "Messages lost by slow subscribers", "pubsub.dropped"),
    Named("nexo_pubsub_no_receiver", "counter", "Messages that nobody subscribed to", "pubsub.no_receiver"),
    Named("nexo_queues", "gauge", "Queues", "queues.queues"),
    Named(
        "nexo_queues_pushed",
        "counter",
        "Messages pushed to all queues, deleted ones included",
        "queues.pushed",
    ),
    Named("nexo_queues_delivered", "counter", "Deliveries of all queues", "queues.delivered"),
    Named("nexo_queues_acked", "counter", "Deliveries of all queues acknowledged", "queues.acked"),
    Named("nexo_queues_died", "counter", "Messages of all queues that became dead letters", "queues.died"),
    Named("nexo_queues_dropped", "counter", "Messages of all queues dropped at a bound", "queues.dropped"),
    Named(
        "nexo_streams_appended",
        "counter",
        "Records appended to all streams, deleted ones included",
        "streams.appended",
    ),
    Named("nexo_streams", "gauge", "Streams", "streams.streams"),
    Named("nexo_stream_groups", "gauge", "Consumer groups", "streams.groups"),
]
"""Of the whole server."""

QUEUE_METRICS: Final = [
    Named("nexo_queue_ready", "gauge", "Messages that may be delivered", "ready"),
    Named("nexo_queue_leased", "gauge", "Messages that are lent", "leased"),
    Named("nexo_queue_delayed", "gauge", "Messages that wait for their time", "delayed"),
    Named("nexo_queue_dead_letters", "gauge", "Dead letters", "dead_letters"),
    Named("nexo_queue_bytes", "gauge", "Bytes of messages", "bytes"),
    Named("nexo_queue_oldest_age_seconds", "gauge", "Age of the oldest message that is not dead", "oldest_age_ms", MILLI),
    Named("nexo_queue_pushed", "counter", "Messages pushed", "pushed"),
    Named("nexo_queue_delivered", "counter", "Deliveries", "delivered"),
    Named("nexo_queue_acked", "counter", "Deliveries acknowledged", "acked"),
    Named("nexo_queue_nacked", "counter", "Deliveries given back", "nacked"),
    Named("nexo_queue_died", "counter", "Messages that became dead letters", "dead"),
    Named("nexo_queue_dropped", "counter", "Messages dropped at a bound", "dropped"),
]  # fmt: skip
"""With the label `queue`."""

STREAM_METRICS: Final = [
    Named("nexo_stream_records", "gauge", "Records kept", "records"),
    Named("nexo_stream_bytes", "gauge", "Bytes of records kept", "bytes"),
    Named("nexo_stream_appended", "counter", "Records appended since the stream was created", "last_seq"),
]
"""With the label `stream`."""

GROUP_METRICS: Final = [
    Named("nexo_stream_group_lag", "gauge", "Messages that are not settled", "lag_messages"),
    Named("nexo_stream_group_lag_seconds", "gauge", "Age of the oldest of them", "lag_ms", MILLI),
    Named("nexo_stream_group_pending", "gauge", "Messages that are lent", "leased"),
    Named("nexo_stream_group_dead_letters", "gauge", "Dead letters", "dead"),
    Named("nexo_stream_group_acked", "counter", "Deliveries acknowledged", "acked"),
]
"""With the labels `stream` and `group`."""

HISTOGRAMS: Final = [
    Named(
        "nexo_turn_seconds", "histogram", "From the first command of a turn of the loop to its end", "", 1e-6
    ),
    Named("nexo_storage_sync_seconds", "histogram", "Duration of syncs", "", MILLI),
    Named("nexo_queue_delivery_seconds", "histogram", "From a push to the first delivery", "", MILLI),
    Named("nexo_queue_ack_seconds", "histogram", "From a push to its ack", "", MILLI),
]
"""Over the whole server."""

REQUESTS: Final = Named(
    "nexo_http_request_seconds",
    "histogram",
    "Duration of HTTP requests, long polls and event streams left out",
    "",
    1e-6,
)
"""With the labels `method` and `path`, those of the route."""

LEFT_OUT: Final = Named(
    "nexo_metrics_resources_left_out", "gauge", "Queues, streams and groups without metrics of their own", ""
)


def family(named: Named, labels: tuple[str, ...] = ()) -> Metric:
    kind = CounterMetricFamily if named.kind == "counter" else GaugeMetricFamily
    return kind(named.name, named.help, labels=labels)


class BrokerCollector(Collector):
    """Makes the families of one scrape."""

    def __init__(self, access: Access, monitor: Monitor) -> None:
        self._access = access
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        overview = self._monitor.overview()
        for named in METRICS:
            value = number(overview, named.source)
            if value is not None:
                made = family(named)
                made.add_metric([], value * named.scale)  # type: ignore[attr-defined]
                yield made
        yield from self._histograms()
        left_out = 0
        for table, labels, resources, count in (
            (QUEUE_METRICS, ("queue",), self._queues(), len(self._access.node.queues)),
            (STREAM_METRICS, ("stream",), self._streams(), len(self._access.node.streams)),
            (GROUP_METRICS, ("stream", "group"), self._groups(), len(self._access.node.streams.groups)),
        ):
            yield from labelled(table, labels, resources)
            left_out += max(0, count - len(resources))
        made = family(LEFT_OUT)
        made.add_metric([], left_out)  # type: ignore[attr-defined]
        yield made

    def _histograms(self) -> Iterator[Metric]:
        access = self._access
        ages = access.node.queues.ages
        sources = (access.driver.times, access.keeper.sync_times, ages.delivered, ages.acked)
        for named, histogram in zip(HISTOGRAMS, sources, strict=True):
            if histogram is not None:
                made = HistogramMetricFamily(named.name, named.help)
                add(made, [], histogram, named.scale)
                yield made
        made = HistogramMetricFamily(REQUESTS.name, REQUESTS.help, labels=("method", "path"))
        for (method, path), histogram in sorted(access.requests.items()):
            add(made, [method, path], histogram, REQUESTS.scale)
        yield made

    def _queues(self) -> list[tuple[list[str], dict[str, object]]]:
        queues, now = self._access.node.queues, int(self._access.node.driver.now())
        found = []
        for name in nsmallest(HTTP_METRIC_RESOURCES_MAX, queues.names()):
            shown = described(queues.find(name))
            oldest = shown["oldest_enqueued_at"]
            shown["oldest_age_ms"] = max(0, now - oldest) if isinstance(oldest, int) and oldest else 0
            found.append(([name.decode(errors="replace")], shown))
        return found

    def _streams(self) -> list[tuple[list[str], dict[str, object]]]:
        streams = self._access.node.streams
        return [
            ([name.decode(errors="replace")], described_stream(streams.find(name)))
            for name in nsmallest(HTTP_METRIC_RESOURCES_MAX, streams.names())
        ]

    def _groups(self) -> list[tuple[list[str], dict[str, object]]]:
        streams, now = self._access.node.streams, int(self._access.node.driver.now())
        found: list[tuple[list[str], dict[str, object]]] = []
        for name in nsmallest(HTTP_METRIC_RESOURCES_MAX, streams.names()):
            stream = streams.find(name)
            for group_name in nsmallest(HTTP_METRIC_RESOURCES_MAX - len(found), stream.groups):
                labels = [name.decode(errors="replace"), group_name.decode(errors="replace")]
                found.append((labels, described_group(stream.groups[group_name], now)))
        return found


def labelled(
    table: list[Named], labels: tuple[str, ...], resources: list[tuple[list[str], dict[str, object]]]
) -> Iterable[Metric]:
    """The families of a kind of resource."""
    for named in table:
        made = family(named, labels)
        for values, shown in resources:
            value = shown[named.source]
            assert isinstance(value, int | float)
            made.add_metric(values, value * named.scale)  # type: ignore[attr-defined]
        yield made


def add(made: HistogramMetricFamily, labels: list[str], histogram: Histogram, scale: float) -> None:
    """A histogram as its family has it. All buckets come from one look at the counts, so they agree."""
    counts = histogram.cumulative()
    bounds = [f"{bound * scale:g}" for bound in histogram.bounds]
    made.add_metric(
        labels, list(zip([*bounds, "+Inf"], map(float, counts), strict=True)), int(histogram.total) * scale
    )


def number(overview: Overview, source: str) -> float | None:
    """A number of the overview by its path."""
    if source == "storage.writable":
        return float(overview["storage"]["state"] == "ok")
    if source == "tls.stale":
        return float(overview["tls"]["error"] != "")
    value: object = overview
    for name in source.split("."):
        assert isinstance(value, dict)
        value = value[name]
    return float(value) if isinstance(value, int | float) else None


class Metrics:
    """The route of one server's metrics."""

    def __init__(self, access: Access, monitor: Monitor) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(BrokerCollector(access, monitor))

    async def scrape(self, call: Call) -> Response:
        return Response(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.scrape, monitor, "Metrics for Prometheus", media="text/plain")]
