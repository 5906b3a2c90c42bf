"""What the service manager is told: ready, how it goes, still alive, stopping (sd_notify(3), sd_watchdog_enabled(3)).

Each is one datagram to the socket that NOTIFY_SOCKET names; without one nothing is said. A manager that sets
WATCHDOG_USEC restarts a service that it has not heard from for so long: the event loop reports at half of that, so a
loop that hangs is found. Knows nothing of the broker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

log: Final = logging.getLogger("nexo.server")

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG_USEC: Final = "WATCHDOG_USEC"
WATCHDOG_PID: Final = "WATCHDOG_PID"

SEND_SECONDS_MAX: Final = 1.0
"""A manager that does not take its datagrams for so long goes without this one."""


class Notifier:
    """The service manager of this process, if there is one. Everything here runs in the loop."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the manager's variables out of the environment: child processes have nothing to tell it."""
        self._address = socket_address(environ.pop(SOCKET, ""))
        self._interval_seconds = watchdog_seconds(environ) / 2
        for name in (WATCHDOG_USEC, WATCHDOG_PID):
            environ.pop(name, None)
        self._timer: asyncio.TimerHandle | None = None

    def status(self, text: str) -> None:
        """One line for people."""
        self._send(f"STATUS={text}")

    def ready(self, text: str) -> None:
        """Clients may come; from now on the watchdog is answered, until `stop`."""
        self._send(f"READY=1\nSTATUS={text}")
        if self._address and self._interval_seconds > 0:
            self._still_alive()

    def stopping(self, text: str) -> None:
        """The orderly end has begun."""
        self._send(f"STOPPING=1\nSTATUS={text}")

    def stop(self) -> None:
        """Nothing more is said."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _still_alive(self) -> None:
        self._send("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._interval_seconds, self._still_alive)

    def _send(self, text: str) -> None:
        """A service does not end because nobody listens to how it is."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_SECONDS_MAX)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("the service manager could not be told %s: %s", text.split("\n")[0], error)


def socket_address(text: str) -> str:
    """The address of a Unix socket: a path, or @ and an abstract name. Empty for anything else."""
    if text.startswith("@"):
        return "\0" + text[1:]
    if text and not text.startswith("/"):
        log.warning("%s is %r, which is no path and no abstract name: nobody is notified", SOCKET, text)
        return ""
    return text


def watchdog_seconds(environ: MutableMapping[str, str]) -> float:
    """How long the manager waits for a sign of life; 0 when it does not.

    WATCHDOG_PID says for whom the time is meant: this process, or the one that has started it, which is the
    loader of the executable that `make dist` makes.
    """
    pid = environ.get(WATCHDOG_PID, "")
    if pid not in ("", str(os.getpid()), str(os.getppid())):
        return 0.0
    text = environ.get(WATCHDOG_USEC, "")
    if not text.isascii() or not text.isdigit():
        return 0.0
    return int(text) / 1_000_000
