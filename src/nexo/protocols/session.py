"""What the sessions of all protocols share: flow control towards one connection.

A session runs commands while its connection takes what they answer. When the connection is full it
is *blocked*: input is left unread, so TCP slows the peer down, and messages wait in the outbox,
where each subscription's policy bounds them. The socket is behind Output; a session never touches
one.
"""

from __future__ import annotations

from typing import Final, Protocol

from librt.strings import BytesWriter
from mypy_extensions import i64

from nexo.brokers.alarms import Alarm
from nexo.brokers.message import Message
from nexo.brokers.pubsub import Batch, Encoding, Receiver, Subscription
from nexo.brokers.sleepers import Sleeper
from nexo.errors import SlowConsumerError
from nexo.limits import OUTPUT_BYTES_MAX
from nexo.node import Connected, Node
from nexo.protocols.logins import NOBODY, Login, Share
from nexo.protocols.rates import Limiter

DRAIN_BYTES: Final = 256 * 1024
"""How much of what waits is encoded at a time: the next slice only when this one did not block."""
GATHERED_BYTES_MAX: Final = 4 * 1024
"""What is longer is written at once: copying it together with what else a turn sends would cost more than the
system call that it saves."""
RETAINED_SLICE: Final = 256
"""Retained messages encoded at a time, for the same reason."""

OUTPUT_OVERFLOW: Final = f"more than output_bytes_max ({OUTPUT_BYTES_MAX} bytes) wait for this connection"


class Output(Protocol):
    """The write side of a connection; asyncio's transports are one."""

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def get_write_buffer_size(self) -> int: ...


class Peers(Protocol):
    """Who is told of a session's end; the server's listener is one."""

    def closing(self, session: Session) -> None: ...
    def gone(self, session: Session) -> None: ...


class Session(Receiver, Connected, Sleeper):
    """One connection of one protocol. A protocol adds `run` (its commands) and `notify` (its drops).

    Serves as the asyncio protocol of its transport: `data_received`, `pause_writing` and so on are
    called by the loop.
    """

    def __init__(self, node: Node, output: Output, peers: Peers, encoding: Encoding) -> None:
        super().__init__(encoding)
        self.protocol = ""
        self.name = b""  # what the client calls itself
        self.address = ""  # where it is, as people write it
        # Who it is, and what it may do; `unrestricted` when nobody needs to ask.
        self.login = NOBODY
        self.grants = NOBODY.grants
        self.unrestricted = True
        self.node = node
        self.output = output
        self.received_bytes: i64 = 0
        self.sent_bytes: i64 = 0
        self.peers = peers
        # What leaves at the end of the turn, in the order in which it was written here.
        self.out = BytesWriter()
        self.gathered = False
        self.full = False
        self.parked = False
        self.running = False
        self.started = False
        self.closed = False
        self.reading = True
        self.awaits_journal = False
        # What holds it to a rate, if anything does, and whether it is held now.
        self.limiter: Limiter | None = None
        self.slowed = False
        # Retained messages of a subscription that is being answered; they go before anything live.
        self.retained: list[Message] = []
        self.retained_next: i64 = 0
        self.retained_tag: i64 = 0

    # What a protocol supplies.

    def take(self, data: bytes) -> None:
        """Buffer a chunk of input."""
        raise NotImplementedError

    def run(self) -> None:
        """Run buffered commands until there are none, or `held` says to stop."""
        raise NotImplementedError

    def notify(self, subscription: Subscription) -> None:
        """Tell the peer how much a slow subscription has lost."""
        raise NotImplementedError

    def refuse(self, error: SlowConsumerError) -> None:
        """Tell the peer why it is being disconnected."""
        raise NotImplementedError

    def going_away(self, milliseconds: i64, reason: str) -> None:
        """Tell the peer that the server is about to close."""
        raise NotImplementedError

    def alarm(self, alarm: Alarm) -> None:
        """Tell the peer that an alarm was raised, or cleared."""
        raise NotImplementedError

    # Who it is.

    def admit(self, login: Login) -> None:
        """From now on commands are asked whether this login may run them.

        LimitExceededError, and nothing changes, when its account has too many connections.
        """
        self.share(login.share)
        self.login = login
        self.grants = login.grants
        self.unrestricted = login.grants.unrestricted

    def share(self, new: Share | None) -> None:
        """Count, and be held to a rate, with the connections of another account."""
        old = self.login.share
        if new is old:
            return
        if new is not None:
            new.enter()
        if old is not None:
            old.leave()
        self.limit(None if old is None else old.limiter, None if new is None else new.limiter)

    def limit(self, old: Limiter | None, new: Limiter | None) -> None:
        """Be held to other rates than before."""
        limiter = Limiter() if self.limiter is None else self.limiter
        limiter.exchange(old, new)
        self.limiter = None if limiter.is_empty else limiter

    def admitted(self) -> bool:
        """Whether there is anything that this connection may do."""
        return self.unrestricted or len(self.grants.permissions) > 0

    # Called by the loop.

    def connection_made(self, transport: object) -> None:
        """The transport was there before the session was chosen; nothing to do."""

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.limiter is not None:
            self.limiter.read += len(data)
        self.take(data)
        self.go_on()

    def eof_received(self) -> bool:
        """The peer sends no more: what it sent has been run; False lets the transport close."""
        return False

    def pause_writing(self) -> None:
        self.full = True
        self.blocked = True

    def resume_writing(self) -> None:
        self.full = False
        self.drain()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.blocked = True
        self.retained = []
        self.node.pubsub.drop(self)
        self.outbox.discard()
        self.share(None)
        self.peers.gone(self)

    # Output.

    def write(self, data: bytes) -> None:
        """Write now; the one way to the socket."""
        self.sent_bytes += len(data)
        self.output.write(data)

    def emit(self, data: bytes) -> None:
        """Write after everything that was written before: at the end of the turn, or at once when it is much."""
        if len(data) > GATHERED_BYTES_MAX:
            self.write_out()
            self.write(data)
        else:
            self.out.write(data)
            self.gather()

    def gather(self) -> None:
        """See to it that `out` is written."""
        if len(self.out) > GATHERED_BYTES_MAX:
            self.write_out()
        elif not self.gathered:
            self.gathered = True
            self.node.gather(self)

    def write_out(self) -> None:
        self.gathered = False
        if len(self.out) > 0:
            data = self.out.getvalue()
            if len(data) > GATHERED_BYTES_MAX:
                self.out = BytesWriter()
            else:
                self.out.truncate(0)
            if not self.closed:
                self.write(data)

    # Flow control.

    def held(self) -> bool:
        """Whether commands must wait: for the peer to read, a job to finish, the disk, or its rate."""
        return self.blocked or self.parked or self.closed or self.slowed or self.node.congested

    def settle(self) -> None:
        """Read from the socket exactly while commands may run."""
        wanted = not self.held()
        if wanted != self.reading and not self.closed:
            self.reading = wanted
            if wanted:
                self.output.resume_reading()
            else:
                self.output.pause_reading()

    def deliver(self, batch: Batch, subscription: Subscription) -> None:
        """Called at the end of a turn with messages for one of this session's subscriptions."""
        if not self.blocked:
            # Nothing to copy for a thousand subscribers that get nothing else.
            if len(self.out) == 0:
                self.write(batch.encoded(self.encoding, subscription.tag))
            else:
                self.emit(batch.encoded(self.encoding, subscription.tag))
        elif not self.closed:
            self.outbox.add(batch, subscription)
            if self.outbox.overflowed:
                self.disconnect(f"subscription {subscription.filter.decode()} did not keep up")
            elif self.outbox.bytes > OUTPUT_BYTES_MAX:
                self.disconnect(OUTPUT_OVERFLOW)

    def send_retained(self, messages: list[Message], tag: i64) -> None:
        """Queue the retained messages of a new subscription ahead of anything published later."""
        if messages:
            self.retained = messages
            self.retained_next = 0
            self.retained_tag = tag
            self.blocked = True
            self.drain()

    def drain(self) -> None:
        """Write what waits, in order, until the connection is full or nothing waits any more."""
        if self.closed:
            return
        self.write_out()
        while not self.full and self.retained:
            start = self.retained_next
            piece = self.retained[start : start + RETAINED_SLICE]
            self.retained_next = start + RETAINED_SLICE
            if self.retained_next >= len(self.retained):
                self.retained = []
            self.write(self.encoding.encode(piece, self.retained_tag))
        while not self.full and not self.outbox.empty:
            for messages, tag in self.outbox.take(DRAIN_BYTES):
                self.write(self.encoding.encode(messages, tag))
        if self.full or self.retained:
            return
        self.blocked = False
        for subscription in self.outbox.notices():
            self.notify(subscription)
            subscription.told()
        self.go_on()

    def go_on(self) -> None:
        """Run buffered input unless this session is held, and read more accordingly."""
        # A command may fill the connection and empty it again; the loop above it then goes on.
        if not self.running:
            if not self.held():
                self.running = True
                self.node.begin()
                self.run()
                self.running = False
                if self.limiter is not None:
                    self.slow_down(self.limiter)
            self.settle()
            if self.node.congested and not self.awaits_journal:
                self.awaits_journal = True
                self.node.wait_for_journal(self)

    def slow_down(self, limiter: Limiter) -> None:
        """Charge what was read and run, and rest when that was too much."""
        wait = limiter.charge(self.node.now)
        if wait > 0 and not self.slowed:
            self.slowed = True
            self.node.sleepers.add(self, self.node.now + wait)

    def wake(self) -> None:
        self.slowed = False
        self.go_on()

    def resume(self) -> None:
        """The disk keeps up again."""
        self.awaits_journal = False
        self.go_on()

    def disconnect(self, reason: str) -> None:
        """End the connection of a peer that does not keep up, telling it why."""
        if not self.closed:
            self.refuse(SlowConsumerError(reason))
            self.finish()

    def finish(self) -> None:
        """Close once what was written has been read, or when the listener loses patience."""
        if not self.closed:
            self.write_out()
            self.closed = True
            self.blocked = True
            self.outbox.discard()
            self.output.close()
            self.peers.closing(self)
