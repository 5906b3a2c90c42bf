"""What the commands of the native protocol share: the current frame, and how it is answered."""

from __future__ import annotations

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from nexo import limits
from nexo.brokers.journal import FLUSH, FSYNC, MEMORY
from nexo.brokers.message import int_value
from nexo.brokers.pubsub import Encoding
from nexo.errors import InvalidArgumentError, LimitExceededError, ServerError, StorageError
from nexo.node import Job, Node
from nexo.protocols.audit import Auditor
from nexo.protocols.backups import Backups
from nexo.protocols.logins import Login, Logins
from nexo.protocols.native import frames
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.connection import Connection
from nexo.protocols.native.frames import write_head
from nexo.protocols.operations import Operations
from nexo.protocols.session import OUTPUT_OVERFLOW, Output, Peers, Session
from nexo.protocols.stopwatch import Stopwatch

LENT_BYTES_MAX: Final = 256 * 1024
"""Deliveries of one connection that wait to be recorded: past it no more commands are run until they have left."""


@final
class ServerInfo:
    """What HELLO tells about the server, the bounds that sessions keep, and whom sessions ask: who makes backups, who
    knows accounts, who is told of what operators do, who measures
    commands, and who answers operators."""

    def __init__(
        self,
        version: str,
        frame_bytes_max: i64,
        backups: Backups | None = None,
        logins: Logins | None = None,
        auditor: Auditor | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.version = version
        self.frame_bytes_max = frame_bytes_max
        self.backups = Backups() if backups is None else backups
        self.logins = Logins() if logins is None else logins
        self.auditor = Auditor() if auditor is None else auditor
        self.stopwatch = Stopwatch() if stopwatch is None else stopwatch
        # Set once there is one; a node alone answers for itself.
        self.operations: Operations | None = None
        self.limits: list[tuple[str, int]] = [
            ("frame_bytes_max", frame_bytes_max),
            ("key_bytes_max", limits.KEY_BYTES_MAX),
            ("topic_bytes_max", limits.TOPIC_BYTES_MAX),
            ("topic_levels_max", limits.TOPIC_LEVELS_MAX),
            ("headers_bytes_max", limits.HEADERS_BYTES_MAX),
            ("keys_per_command_max", limits.KEYS_PER_COMMAND_MAX),
            ("scan_keys_max", limits.SCAN_KEYS_MAX),
            ("batch_commands_max", limits.BATCH_COMMANDS_MAX),
            ("batch_bytes_max", limits.BATCH_BYTES_MAX),
        ]


def too_many_waits() -> LimitExceededError:
    """For a connection that wants to wait for one thing more than it may."""
    return LimitExceededError(f"waits_per_connection_max is {limits.WAITS_PER_CONNECTION_MAX}")


class Channel(Session):
    """A native connection's frames and answers. NativeSession adds what each opcode does."""

    def __init__(
        self, node: Node, output: Output, peers: Peers, server: ServerInfo, encoding: Encoding
    ) -> None:
        super().__init__(node, output, peers, encoding)
        self.server = server
        self.frames = Connection(server.frame_bytes_max)
        self.admit(server.logins.nobody)
        # Answers that promise durability, by what they promise.
        self.out_flush = BytesWriter()
        self.out_fsync = BytesWriter()
        # Deliveries, which leave when it is recorded that they count.
        self.out_lent = BytesWriter()
        self.lent_bytes: i64 = 0
        # Whether the client has said HELLO, and so understands events.
        self.greeted = False

    def admit(self, login: Login) -> None:
        """Whoever may do nothing yet sends no more than it takes to log in."""
        super().admit(login)
        self.frames.frame_bytes_max = (
            self.server.frame_bytes_max if self.admitted() else limits.LOGIN_BYTES_MAX
        )

    def repeat(self) -> bool:
        """Run the command that waits once more; True when it is done."""
        raise NotImplementedError

    def wait(self) -> None:
        """Leave the current command to be run again next turn; what follows it waits."""
        if not self.parked:
            self.parked = True
            if self.running:
                self.node.jobs.append(Repeat(self))

    def flush(self) -> None:
        """The current commands are answered; what promises durability waits at the node."""
        if len(self.out) > 0:
            self.gather()
        if len(self.out_flush) > 0:
            self.node.hold(self, FLUSH, self.out_flush.getvalue())
            self.out_flush = BytesWriter()
        if len(self.out_fsync) > 0:
            self.node.hold(self, FSYNC, self.out_fsync.getvalue())
            self.out_fsync = BytesWriter()
        if len(self.out_lent) > 0:
            self.lent_bytes += len(self.out_lent)
            self.node.lend(self, self.out_lent.getvalue())
            self.out_lent = BytesWriter()

    def out_of(self, level: i64) -> BytesWriter:
        """Where deliveries go that the running command was given, of a queue or stream of this level."""
        return self.out if level == MEMORY or not self.node.journal.keeping else self.out_lent

    def lend(self, level: i64, deliveries: bytes) -> None:
        """Send deliveries to somebody who has waited for them."""
        if level == MEMORY or not self.node.journal.keeping:
            self.send(deliveries)
        else:
            self.lent_bytes += len(deliveries)
            self.node.lend(self, deliveries)

    def lent(self, deliveries: bytes) -> None:
        waited = self.lent_bytes >= LENT_BYTES_MAX
        self.lent_bytes -= len(deliveries)
        self.send(deliveries)
        if waited and self.lent_bytes < LENT_BYTES_MAX:
            self.go_on()

    def held(self) -> bool:
        return self.lent_bytes >= LENT_BYTES_MAX or super().held()

    def out_at(self, level: i64) -> BytesWriter:
        """Where an answer goes that promises this level of durability."""
        if level == MEMORY or not self.node.journal.keeping:
            return self.out
        return self.out_flush if level == FLUSH else self.out_fsync

    def send(self, data: bytes) -> None:
        """Write something that did not come from the command being run.

        A peer that lets more than OUTPUT_BYTES_MAX of it wait is disconnected.
        """
        if self.closed:
            return
        if self.full and self.output.get_write_buffer_size() + len(data) > limits.OUTPUT_BYTES_MAX:
            self.disconnect(OUTPUT_OVERFLOW)
            return
        self.emit(data)

    def confirmed(self, replies: bytes) -> None:
        self.send(replies)

    def refused(self, replies: bytes, error: StorageError) -> None:
        self.send(frames.errors_instead(replies, error))

    def fail(self, error: ServerError) -> None:
        if self.frames.kind == op.REQUEST:
            frames.write_error(self.out, self.frames.correlation, error)

    def ok(self) -> None:
        if self.frames.kind == op.REQUEST:
            write_head(self.out, op.OK, self.frames.correlation, 0)

    def ok_at(self, level: i64) -> None:
        """As `ok`, once what was done is durable at this level."""
        if self.frames.kind == op.REQUEST:
            write_head(self.out_at(level), op.OK, self.frames.correlation, 0)

    def data_at(self, level: i64, payload: bytes) -> None:
        """As `data`, once what was done is durable at this level."""
        if self.frames.kind == op.REQUEST:
            out = self.out_at(level)
            write_head(out, op.DATA, self.frames.correlation, len(payload))
            out.write(payload)

    def null(self) -> None:
        if self.frames.kind == op.REQUEST:
            write_head(self.out, op.NULL, self.frames.correlation, 0)

    def null_at(self, level: i64) -> None:
        """As `null`, once what was done is durable at this level."""
        if self.frames.kind == op.REQUEST:
            write_head(self.out_at(level), op.NULL, self.frames.correlation, 0)

    def data(self, payload: bytes) -> None:
        if self.frames.kind == op.REQUEST:
            write_head(self.out, op.DATA, self.frames.correlation, len(payload))
            self.out.write(payload)

    def count(self, number: i64) -> None:
        self.data(int_value(number))


@final
class Repeat(Job):
    """Runs a session's current command again each turn until it is done."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def step(self) -> bool:
        return self.channel.repeat()


def deadline(milliseconds: i64, now: i64) -> i64:
    """The point in time that a TTL means."""
    if milliseconds == 0:
        raise InvalidArgumentError("a TTL of 0: leave the TTL out to keep a key for ever")
    if milliseconds > limits.TTL_MS_MAX:
        raise InvalidArgumentError(f"a TTL of {milliseconds} ms: ttl_ms_max is {limits.TTL_MS_MAX}")
    return now + milliseconds


def point(milliseconds: i64) -> i64:
    """An absolute time, as a client gives it."""
    if milliseconds == 0 or milliseconds > limits.TTL_MS_MAX:
        raise InvalidArgumentError(
            f"a time of {milliseconds}: Unix milliseconds from 1 to {limits.TTL_MS_MAX}"
        )
    return milliseconds
