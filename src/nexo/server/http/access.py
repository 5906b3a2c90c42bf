"""What handlers have of the server: the brokers in a turn, and waits for the log and for the server's end.

The one thin layer between requests and the node: a handler calls `begin` (or `writable`), then the brokers'
own methods without an await in between, then awaits what it has promised.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nexo.brokers.journal import MEMORY
from nexo.brokers.queue.consumers import Consumer
from nexo.errors import StorageError
from nexo.histogram import TIMES_US, Histogram
from nexo.node import Promise

if TYPE_CHECKING:
    from nexo.node import Node
    from nexo.protocols.audit import Auditor
    from nexo.server.accounts.doorkeeper import Doorkeeper
    from nexo.server.config import Config
    from nexo.server.keeper import Keeper
    from nexo.server.listener import Listener
    from nexo.server.monitor import Monitor
    from nexo.server.operations import ServerOperations
    from nexo.server.slow import SlowLog
    from nexo.server.turns import LoopDriver


LOGIN: Final = "nexo.login"
"""Where a request's scope has the Login of who asks."""


class Access:
    """One server as its HTTP API sees it. `closing` is set when event streams and long polls must end."""

    def __init__(
        self,
        node: Node,
        listener: Listener,
        keeper: Keeper,
        config: Config,
        doorkeeper: Doorkeeper,
        auditor: Auditor,
        slow: SlowLog,
        driver: LoopDriver,
        monitor: Monitor,
        operations: ServerOperations,
    ) -> None:
        self.node = node
        self.auditor = auditor
        self.slow = slow
        self.driver = driver
        # How long requests take, by method and path of the route; those that wait for something are left out.
        self.requests: dict[tuple[str, str], Histogram] = {}
        self.listener = listener
        self.keeper = keeper
        self.config = config
        self.doorkeeper = doorkeeper
        # Set, and replaced, when accounts change: event streams that began before end, and are asked for again.
        self.accounts_changed = asyncio.Event()
        self.monitor = monitor
        self.operations = operations
        self.closing = asyncio.Event()
        # Requests have no connection that a lease could end with: what they receive is lent for its time.
        self.consumer = Consumer()

    def change_accounts(self) -> None:
        """What somebody was allowed may be so no longer."""
        self.accounts_changed.set()
        self.accounts_changed = asyncio.Event()

    def begin(self) -> int:
        """Open a turn; the time in it."""
        return self.node.begin()

    def took(self, method: str, path: str, us: int) -> None:
        """A request to this route took so many microseconds."""
        histogram = self.requests.get((method, path))
        if histogram is None:
            histogram = self.requests[method, path] = Histogram(TIMES_US)
        histogram.add(us)

    async def writable(self) -> int:
        """As `begin`, once the disk keeps up."""
        while self.node.congested:
            waiting = _Waiting()
            self.node.wait_for_journal(waiting.promise)
            await waiting.future
        return self.node.begin()

    async def durable(self, level: int) -> None:
        """Wait until what was done in this turn is as durable as a level says. Raises StorageError.

        Called in the turn of the writes: no await may be between.
        """
        if level == MEMORY or not self.node.journal.keeping:
            return
        waiting = _Waiting()
        self.node.hold(waiting.promise, level, b"")
        await waiting.future

    async def lent(self, level: int) -> None:
        """Wait until it is recorded that what was lent in this turn counts, as a connection does. No await between."""
        if level == MEMORY or not self.node.journal.keeping:
            return
        waiting = _Waiting()
        self.node.lend(waiting.promise, b"")
        await waiting.future

    def check_write(self, level: int) -> None:
        """For a write that is recorded at this level: StorageError while there is no room, AlarmError while it is short."""
        if level != MEMORY:
            self.node.check_write()
        else:
            self.node.check_memory()


class _Waiting:
    """A promise of the node as something to await. Whoever awaits it may be cancelled meanwhile."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.promise = Promise(self._told)

    def _told(self, error: StorageError | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)
