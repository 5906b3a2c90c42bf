"""What took long: runs of commands and HTTP requests, logged, counted, and the latest kept for who asks."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from nexo.limits import SLOW_COMMANDS_KEPT
from nexo.protocols.stopwatch import SlowRun, Stopwatch

log: Final = logging.getLogger("nexo.slow")


@final
class SlowLog(Stopwatch):
    """Keeps the newest SLOW_COMMANDS_KEPT of them, the newest last. `count` is how many there have been.

    `now_ms` gives the time to note with each, in Unix milliseconds.
    """

    def __init__(self, limit_ms: i64, now_ms: Callable[[], int]) -> None:
        super().__init__(limit_ms * 1000)
        self.count = 0
        self.kept: deque[dict[str, object]] = deque(maxlen=SLOW_COMMANDS_KEPT)
        self._now_ms = now_ms

    def now_us(self) -> i64:
        now: i64 = time.monotonic_ns() // 1000
        return now

    def slow(self, run: SlowRun) -> None:
        self.count += 1
        command = " ".join(f"{name}×{count}" if count > 1 else name for name, count in run.commands.items())
        told: dict[str, object] = {
            "command": command,
            "resource": run.resource,
            "took_ms": int(run.took_us) / 1000,
            "protocol": run.protocol,
            "address": run.address,
            "client": run.client,
            "account": run.account,
        }
        self.kept.append({"at": int(self._now_ms()), **told})
        log.warning("slow command", extra=told)
