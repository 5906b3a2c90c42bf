"""Keeps an eye on the process's memory and on the disk's free room, raises the node's alarms and tells the clients.

One timer of the loop: each second, and more often when memory comes near its bound, since much can be written in a
second. What an alarm does to a command is the node's business (nexo/brokers/alarms.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
from typing import Final

from mypy_extensions import i64

from nexo.brokers.alarms import Alarm
from nexo.limits import DISK_ALARM_BYTES_DEFAULT_MAX
from nexo.node import NEVER, Node
from nexo.server.config import Config
from nexo.server.listener import Listener
from nexo.server.machine import memory_bytes, rss_bytes
from nexo.storage.files import Files

log: Final = logging.getLogger("nexo.alarms")

LOOK_SECONDS: Final = 1.0
"""How often the figures are taken."""
NEAR_SECONDS: Final = 0.1
"""How often when memory is near its bound, or past it."""
NEAR_PERCENT: Final = 75
"""Of the bound: from here on it is near."""
LEAST_BYTES: Final = 1024 * 1024
"""What is always let in between two looks at memory."""
TRIM_SECONDS: Final = 5.0
"""While the memory alarm stands, the C library is asked this often to give back what it holds without need."""


class Watchman:
    """Raises and clears the alarms of one node. `start` it when clients may come."""

    def __init__(self, node: Node, listener: Listener, files: Files, config: Config) -> None:
        self._node = node
        self._listener = listener
        self._files = files
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._trim_at = 0.0
        self._disk_at = 0.0

    def start(self) -> None:
        """Set the bounds and begin to look. The data directory must be there."""
        config, node = self._config, self._node
        node.memory_alarm.bind(
            config.memory_alarm_bytes or memory_bytes() // 100 * config.memory_alarm_percent
        )
        share = self._files.total_bytes() // 100 * config.disk_alarm_percent
        node.disk_alarm.bind(config.disk_alarm_bytes or min(share, DISK_ALARM_BYTES_DEFAULT_MAX))
        log.info(
            "writes are refused past %d bytes of memory, and with less than %d bytes free on the disk (0: never)",
            node.memory_alarm.bound_bytes,
            node.disk_alarm.bound_bytes,
        )
        self._look()

    def memory_grown(self) -> None:
        """Half of what was left when memory was last looked at has been taken since: how much is it now?"""
        self._look_at_memory()

    def stop(self) -> None:
        """Look no more."""
        self._node.look_at_bytes = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        memory, disk = self._node.memory_alarm, self._node.disk_alarm
        self._look_at_memory()
        if now >= self._disk_at:
            self._disk_at = now + LOOK_SECONDS / 2
            try:
                self._take(disk, self._files.free_bytes())
            except OSError as error:
                # The log is about to meet the same, and says what it means.
                log.debug("the disk does not tell its free room: %s", error)
        if memory.stands and now >= self._trim_at:
            self._trim_at = now + TRIM_SECONDS
            give_back()
        near = memory.bound_bytes > 0 and memory.bytes * 100 > memory.bound_bytes * NEAR_PERCENT
        self._timer = self._loop.call_later(NEAR_SECONDS if near else LOOK_SECONDS, self._look)

    def _look_at_memory(self) -> None:
        """Writers can be quicker than any timer, so what the brokers may still take until the next look is bounded."""
        node = self._node
        alarm = node.memory_alarm
        self._take(alarm, rss_bytes())
        if alarm.bound_bytes > 0 and not alarm.stands:
            left = max(int(alarm.bound_bytes - alarm.bytes) // 2, LEAST_BYTES)
            node.look_at_bytes = node.held_bytes() + left

    def _take(self, alarm: Alarm, figure: i64) -> None:
        if not alarm.look(figure):
            return
        if alarm.stands:
            log.error("%s; writes are refused until it is cleared", alarm.message())
        else:
            log.warning("%s; %d writes have been refused so far", alarm.message(), alarm.refused)
        for peer in self._listener.peers():
            if peer.session is not None:
                peer.session.alarm(alarm)


def give_back() -> None:
    """Have the C library return free memory to the system, where it can: else what was deleted would still count."""
    with contextlib.suppress(OSError, AttributeError):  # another library than glibc
        ctypes.CDLL(None).malloc_trim(0)
