"""The broker as a process: one node, its driver, its listener and its HTTP side; signals and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nexo._version import __version__
from nexo.brokers.journal import level_number
from nexo.errors import ConfigError
from nexo.node import make_node
from nexo.protocols.native.channel import ServerInfo
from nexo.server.accounts.doorkeeper import Doorkeeper
from nexo.server.alarms import Watchman
from nexo.server.audit import AuditLog
from nexo.server.config import Effective
from nexo.server.keeper import Keeper
from nexo.server.listener import Listener
from nexo.server.monitor import Monitor
from nexo.server.notify import Notifier
from nexo.server.operations import ServerOperations
from nexo.server.origins import Origins, Rates
from nexo.server.reloading import LOOK_SECONDS, Reloading
from nexo.server.slow import SlowLog
from nexo.server.tls import Certificates
from nexo.server.turns import LoopDriver

if TYPE_CHECKING:
    from nexo.server.http.app import HttpServer

log: Final = logging.getLogger("nexo.server")

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Keys and messages are native objects outside the cycle collector; what it tracks is connections
and timers, which are few, so it may run seldom."""


class AddressError(OSError):
    """An address cannot be listened on. `filename` says which, when it is not that of the native protocol."""


class Server:
    """A broker inside the running event loop."""

    def __init__(self, effective: Effective) -> None:
        """Raises ConfigError when the accounts in their file, or in the configuration file, are not valid."""
        config = self.config = effective.config
        loop = asyncio.get_running_loop()
        self._driver = LoopDriver(loop)
        self.keeper = Keeper(config.data_dir, loop, config.log_file_bytes)
        self.node = make_node(
            self._driver,
            self.keeper.journal,
            secrets.randbits(32),
            config.memory_max_bytes,
            config.eviction,
            level_number(config.retained_level),
        )
        self.audit = AuditLog(config.audit_file)
        self.slow = SlowLog(config.slow_command_ms, self._driver.now)
        self.node.pubsub.kept.count_max = config.retained_max
        self.node.pubsub.kept.bytes_max = config.retained_bytes_max
        self._driver.attach(self.node, self.keeper.turn_ended)
        self.doorkeeper = Doorkeeper(
            config.accounts_path,
            Path(effective.file) if effective.file is not None else None,
            lambda: int(self._driver.now()),
        )
        self.doorkeeper.changed = self._accounts_changed
        # What SIGHUP and changed files make the server read again.
        self.reloading = Reloading()
        self.reloading.add("the accounts", self.doorkeeper.paths, self.doorkeeper.load)
        self.certificates: Certificates | None = None
        if config.tls_cert_file:
            self.certificates = Certificates(
                config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file, config.tls_client_certs
            )
            self.reloading.add("the TLS certificate", self.certificates.paths, self.certificates.load)
        self._looking: asyncio.Task[None] | None = None
        info = ServerInfo(
            __version__,
            config.frame_bytes_max,
            self.keeper.backups,
            self.doorkeeper,
            self.audit,
            self.slow,
        )
        self.listener = Listener(
            self.node,
            info,
            connections_max=config.connections_max,
            greeting_seconds=config.greeting_seconds,
            closing_seconds=config.shutdown_seconds,
            certificates=self.certificates,
            tls_required=config.tls_mode == "required",
            origins=Origins(
                config.connections_per_address_max,
                Rates(config.commands_per_second, config.bytes_per_second),
                Rates(config.address_commands_per_second, config.address_bytes_per_second),
            ),
        )
        self._watchman = Watchman(self.node, self.listener, self.keeper.files, config)
        self._driver.on_memory_grown = self._watchman.memory_grown
        self.monitor = Monitor(self.node, self.listener, self.keeper, config, self.doorkeeper, self.slow)
        operations = info.operations = ServerOperations(self.monitor, self.listener, effective)
        self.host = config.host
        self.port = config.port
        self.http: HttpServer | None = None
        if config.http == "on":
            # Imported here so that a server without HTTP has neither the time nor the memory of it.
            from nexo.server.http.access import Access
            from nexo.server.http.app import HttpServer

            self.http = HttpServer(
                Access(
                    self.node,
                    self.listener,
                    self.keeper,
                    config,
                    self.doorkeeper,
                    self.audit,
                    self.slow,
                    self._driver,
                    self.monitor,
                    operations,
                )
            )

    async def start(self) -> None:
        """Take the address, recover, accept connections; `host` and `port` then say where.

        Raises what Keeper.recover does, AddressError when an address cannot be used, and ConfigError when it may not.
        """
        if not self.doorkeeper.on and self.config.without_accounts == "loopback":
            check_loopback(self.config.host)
        try:
            self.host, self.port = await self.listener.bind(self.config.host, self.config.port)
            if self.http is not None:
                await self.http.bind(self.config.host, self.config.http_port)
        except OSError as error:
            raise AddressError(error.errno, error.strerror or str(error), error.filename) from error
        self.keeper.recover(self.node)
        await self.keeper.claim()
        self._watchman.start()
        self.node.begin()  # deadlines that were recovered
        self.monitor.start()
        if self.http is not None:
            await self.http.start()
        await self.listener.start()
        self._looking = asyncio.create_task(self._look())

    def _accounts_changed(self) -> None:
        self.listener.renew_logins(self.doorkeeper.renewed)
        if self.http is not None:
            self.http.access.change_accounts()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.reloading.look()
            self.doorkeeper.look()
            if self.certificates is not None:
                self.certificates.warn(time.time())

    async def stop(self) -> None:
        """Finish what was read, tell the clients, close."""
        self.monitor.stop()
        self._watchman.stop()
        if self._looking is not None:
            self._looking.cancel()
        http = asyncio.create_task(self.http.stop()) if self.http is not None else None
        while self.node.jobs:
            self.node.turn()
            await asyncio.sleep(0)
        self.node.turn()
        await self.keeper.settle()
        await self.listener.stop(self.config.shutdown_seconds)
        if http is not None:
            await http
        self.node.turn()
        self.doorkeeper.stop()
        await self.keeper.stop()
        self._driver.stop()
        self.audit.close()

    def abort(self) -> None:
        """Drop every connection at once."""
        self.listener.abort()
        if self.http is not None:
            self.http.abort()


def check_loopback(host: str) -> None:
    """Raises ConfigError for an address that other machines can reach; a name is resolved."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found):
        raise ConfigError(
            f"there are no accounts, so nexo listens on loopback only, and not on {host}: "
            "`nexo user add NAME --admin` makes one, or without_accounts=anywhere lets everybody in"
        )


async def serve(effective: Effective, ready: Callable[[Server], None]) -> None:
    """Run a broker until SIGTERM or SIGINT; a second signal ends it at once, SIGHUP has it read its files again.

    `ready` is called when connections are accepted, and the service manager is told at each step. Raises AddressError
    when an address is not usable, ConfigError when it may not be used.
    """
    loop = asyncio.get_running_loop()
    manager = Notifier(os.environ)
    stopping = asyncio.Event()
    server = Server(effective)

    def on_signal(name: str) -> None:
        if stopping.is_set():
            log.warning("%s again: closing at once", name)
            server.abort()
        else:
            log.info("%s: shutting down", name)
            stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    loop.add_signal_handler(signal.SIGHUP, server.reloading.reload)
    manager.status(f"reading the log in {effective.config.data_dir}")
    await server.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    ready(server)
    manager.ready(f"serving on {server.host} port {server.port}")
    await stopping.wait()
    manager.stopping("answering what was read, and closing")
    await server.stop()
    manager.stop()
