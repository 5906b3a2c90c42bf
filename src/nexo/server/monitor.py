"""The state of the whole server in one document, and its last hour.

Owns the one timer that measures how late the loop is, and takes a sample now and then. The document is made at
most five times a second, however many ask for it, over HTTP or the native protocol; it knows neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nexo._pure import is_compiled
from nexo._version import __version__
from nexo.protocols.operations import totals
from nexo.server.machine import rss_bytes

if TYPE_CHECKING:
    from nexo.node import Node
    from nexo.server.accounts.doorkeeper import Doorkeeper
    from nexo.server.config import Config
    from nexo.server.keeper import Keeper
    from nexo.server.listener import Listener
    from nexo.server.slow import SlowLog

LOOK_SECONDS: Final = 0.25
"""How often the loop's lag is measured."""
FRESH_SECONDS: Final = 0.2
"""Age up to which the document is given out again."""
LAG_SECONDS: Final = 1.0
"""The lag that is told is the worst of so long."""
SAMPLE_MS: Final = 5_000
SAMPLES: Final = 3_600_000 // SAMPLE_MS
"""An hour of them: about 60 numbers each, 0.4 MB together."""
NEARLY: Final = 0.9
"""The share of a bound from which on an alarm is given."""
SLOW_LOOP_MS: Final = 100.0

Overview = dict[str, Any]

SERIES: Final = (
    "connections.open", "memory.rss_bytes", "memory.store_bytes", "memory.store_max_bytes", "memory.queue_bytes",
    "memory.stream_cache_bytes", "memory.retained_bytes", "loop.lag_ms", "storage.pending_bytes",
    "storage.last_sync_ms",
)  # fmt: skip
WHOLE: Final = ("store", "queues", "pubsub", "streams")
"""Parts of the overview of which the history keeps every number."""


class Monitor:
    """Watches one server. `closing` says that it stops."""

    def __init__(
        self,
        node: Node,
        listener: Listener,
        keeper: Keeper,
        config: Config,
        doorkeeper: Doorkeeper,
        slow: SlowLog,
    ) -> None:
        self.node = node
        self._listener = listener
        self._keeper = keeper
        self._config = config
        self._doorkeeper = doorkeeper
        self._slow = slow
        self.http_connections: Callable[[], int] = int
        self.closing = False
        self._loop = asyncio.get_running_loop()
        self._started_at = int(node.driver.now())
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._lags: deque[float] = deque([0.0], maxlen=int(LAG_SECONDS / LOOK_SECONDS))
        self._lag_max = 0.0
        self._made = -FRESH_SECONDS
        self._latest: Overview = {}
        self._sampled_at = self._started_at
        self._history: deque[list[float | None]] = deque(maxlen=SAMPLES)
        self._paths: list[tuple[str, ...]] = []

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._loop.time() + LOOK_SECONDS
        self._timer = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """The server stops: it is not ready any more, and nothing is measured."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        lag = max(0.0, now - self._due) * 1000
        self._lags.append(lag)
        self._lag_max = max(self._lag_max, lag)
        at = int(self.node.driver.now())
        if at - self._sampled_at >= SAMPLE_MS:
            self._sampled_at = at
            self._sample()
        self._due = self._loop.time() + LOOK_SECONDS
        self._timer = self._loop.call_at(self._due, self._look)

    def _sample(self) -> None:
        overview = self.overview()
        if not self._paths:
            self._paths = [("at",), *(tuple(path.split(".")) for path in SERIES)]
            self._paths += [(part, name) for part in WHOLE for name in overview[part]]
        self._history.append([_number(overview, path) for path in self._paths])

    def history(self) -> dict[str, object]:
        """The last hour in columns."""
        columns = zip(*self._history, strict=True)
        series = (
            dict(zip((".".join(path) for path in self._paths), columns, strict=True)) if self._history else {}
        )
        return {"interval_ms": SAMPLE_MS, "series": series}

    def overview(self) -> Overview:
        """What there is now, or was FRESH_SECONDS ago."""
        now = self._loop.time()
        if now - self._made >= FRESH_SECONDS:
            self._made = now
            self._latest = self._make()
        return self._latest

    def reasons(self) -> list[str]:
        """Why no traffic should come here; empty when it may."""
        reasons = []
        if self.node.fenced:
            reasons.append(f"storage fenced: {self.node.fault}")
        elif self.node.fault:
            reasons.append(f"disk full: {self.node.fault}")
        for alarm in (self.node.memory_alarm, self.node.disk_alarm):
            if alarm.stands:
                reasons.append(alarm.message())
        if self.closing:
            reasons.append("shutting down")
        return reasons

    def _make(self) -> Overview:
        node, listener, journal = self.node, self._listener, self._keeper.journal
        now = int(node.driver.now())
        certificates, doorkeeper = listener.certificates, self._doorkeeper
        reasons = self.reasons()
        state = "fenced" if node.fenced else "full" if node.fault else "ok"
        made: Overview = {
            "at": now,
            "version": __version__,
            "compiled": is_compiled(),
            "started_at": self._started_at,
            "uptime_ms": now - self._started_at,
            "ready": not reasons,
            "alarms": [],
            "accounts": {
                "count": len(doorkeeper.book.accounts),
                "succeeded": doorkeeper.succeeded,
                "failed": doorkeeper.failed,
                "fault": doorkeeper.broken or None,
            },
            "connections": {
                "open": listener.connections,
                "accepted": listener.accepted,
                "refused": listener.refused,
                "max": listener.connections_max,
                "http": self.http_connections(),
            },
            "tls": {
                "on": certificates is not None,
                "required": listener.tls_required,
                "expires_at": int(certificates.expires_at * 1000) if certificates is not None else None,
                "error": certificates.error if certificates is not None else "",
            },
            "memory": {
                "rss_bytes": rss_bytes(),
                "alarm": node.memory_alarm.stands,
                "alarm_bytes": int(node.memory_alarm.bound_bytes),
                "refused": int(node.memory_alarm.refused),
                "store_bytes": int(node.store.memory_bytes),
                "store_max_bytes": self._config.memory_max_bytes,
                "queue_bytes": int(node.queues.resident_bytes),
                "stream_cache_bytes": int(node.streams.counts().cache_bytes),
                "retained_bytes": int(node.pubsub.retained_bytes),
            },
            "loop": {"lag_ms": round(max(self._lags), 3), "lag_max_ms": round(self._lag_max, 3)},
            "slow_commands": self._slow.count,
            "storage": {
                "state": state,
                "fault": node.fault,
                "alarm": node.disk_alarm.stands,
                "alarm_bytes": int(node.disk_alarm.bound_bytes),
                "free_bytes": int(node.disk_alarm.bytes),
                "refused": int(node.disk_alarm.refused),
                "pending_bytes": int(journal.pending_bytes),
                "files": self._keeper.log_files(),
                "file": int(journal.file),
                "last_sync_ms": self._keeper.last_sync_ms,
                "written_batch": int(journal.written),
                "synced_batch": int(journal.synced),
            },
            **totals(node),
        }
        made["alarms"] = alarms(made, node.congested)
        for alarm in (node.memory_alarm, node.disk_alarm):
            if alarm.stands:
                made["alarms"].insert(
                    0, {"level": "critical", "code": f"{alarm.name}_alarm", "message": alarm.message()}
                )
        return made


def _number(overview: Overview, path: tuple[str, ...]) -> float | None:
    value: Any = overview
    for name in path:
        value = value[name]
    return value if isinstance(value, int | float) else None


def alarms(overview: Overview, congested: bool) -> list[dict[str, str]]:
    """What a person should look at."""
    found: list[dict[str, str]] = []

    def give(level: str, code: str, message: str) -> None:
        found.append({"level": level, "code": code, "message": message})

    storage, memory, connections = overview["storage"], overview["memory"], overview["connections"]
    if fault := overview["accounts"]["fault"]:
        give("warning", "accounts_broken", f"the accounts stay as they were: {fault}")
    if storage["state"] == "fenced":
        give("critical", "storage_fenced", f"nothing is written until a restart: {storage['fault']}")
    elif storage["state"] == "full":
        give("critical", "disk_full", f"the disk is full, writes are refused: {storage['fault']}")
    if congested:
        give("warning", "journal_congested", "the disk does not keep up, clients are slowed down")
    most = memory["store_max_bytes"]
    if most and memory["store_bytes"] > most * NEARLY:
        give("warning", "memory_high", f"the store takes {memory['store_bytes']} of {most} bytes")
    if connections["open"] > connections["max"] * NEARLY:
        give(
            "warning",
            "connections_high",
            f"{connections['open']} of {connections['max']} connections are open",
        )
    dead = overview["queues"]["dead"] + overview["streams"]["dead"]
    if dead:
        give("warning", "dead_letters", f"{dead} dead letters wait for somebody to look at them")
    if overview["loop"]["lag_ms"] > SLOW_LOOP_MS:
        give("warning", "loop_slow", f"the event loop was {overview['loop']['lag_ms']:.0f} ms late")
    return found
