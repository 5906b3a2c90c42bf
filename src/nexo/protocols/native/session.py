"""One native connection: which command each frame is, in which order they run. No socket, no clock.

Everything that one read delivered is run and its answers leave in one write. The commands of the
hot path (get, set, publish) are split here by hand; the others go through a Payload cursor.
"""

from __future__ import annotations

import logging
from typing import Final, final

from librt.strings import BytesWriter, read_i32_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from nexo.brokers.alarms import Alarm
from nexo.brokers.message import Message
from nexo.brokers.pubsub import Subscription
from nexo.errors import (
    ConnectionClosedError,
    InternalError,
    InvalidArgumentError,
    NotAuthorizedError,
    ProtocolError,
    ServerError,
    SlowConsumerError,
)
from nexo.node import Node
from nexo.protocols import audit
from nexo.protocols.logins import Login, LoginWaiter
from nexo.protocols.native import connection, frames, naming, permission, serveradmin, storeadmin
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.audited import MARKED, Named, action_of
from nexo.protocols.native.backup import BackupCommands
from nexo.protocols.native.batch import BatchCommands
from nexo.protocols.native.channel import LENT_BYTES_MAX, Channel, ServerInfo
from nexo.protocols.native.frames import Payload, check_key, check_value, write_head, write_string
from nexo.protocols.native.pubsub import EVENTS, PLAIN, PubSubCommands
from nexo.protocols.native.queue import QueueCommands
from nexo.protocols.native.store import StoreCommands
from nexo.protocols.native.stream import StreamCommands
from nexo.protocols.rates import NO_BOUND
from nexo.protocols.session import Output, Peers
from nexo.protocols.stopwatch import SlowRun

log: Final = logging.getLogger("nexo.native")

REPLY_BYTES_MAX: Final = 256 * 1024
"""Answers gathered before they are written although more commands wait: bounds the output buffer."""


@final
class HelloLogin(LoginWaiter):
    """A HELLO with credentials that are looked at elsewhere."""

    def __init__(self, session: NativeSession) -> None:
        super().__init__()
        self.session = session

    def logged_in(self, login: Login) -> None:
        self.session.logged_in(login, None)

    def login_refused(self, error: ServerError) -> None:
        self.session.logged_in(None, error)


@final
class NativeSession(Channel):
    """One native connection: its frames, its subscriptions, its watches."""

    def __init__(self, node: Node, output: Output, peers: Peers, server: ServerInfo) -> None:
        super().__init__(node, output, peers, server, PLAIN)
        self.store = node.store
        self.pubsub = node.pubsub
        self.store_commands = StoreCommands(self)
        self.pubsub_commands = PubSubCommands(self)
        self.queue_commands = QueueCommands(self)
        self.stream_commands = StreamCommands(self)
        self.batch_commands = BatchCommands(self, self.queue_commands, self.stream_commands)
        # Most connections never ask for one.
        self.backup_commands: BackupCommands | None = None
        self.protocol = "native"
        self.stopwatch = server.stopwatch

    # Order.

    def take(self, data: bytes) -> None:
        self.frames.receive_data(data)

    def run(self) -> None:
        if self.stopwatch.limit_us == 0:
            self.run_commands()
            return
        # What is run may make room for what comes; its bytes are held in case it must be told what it was.
        incoming = self.frames
        buffer = incoming.buffer
        offset = incoming.offset
        began = self.stopwatch.now_us()
        self.run_commands()
        took = self.stopwatch.now_us() - began
        if took >= self.stopwatch.limit_us:
            # Where the reader stopped between frames, the rest has not been run.
            self.tell_slow(
                buffer[offset : incoming.offset] if incoming.buffer is buffer else buffer[offset:], took
            )

    def tell_slow(self, ran: bytes, took_us: i64) -> None:
        """Tell the stopwatch what took so long."""
        told = naming.tell(ran, 0)
        client = self.name.decode(errors="replace")
        self.stopwatch.slow(
            SlowRun(
                told.commands, told.resource, self.protocol, self.address, client, self.login.account, took_us
            )
        )

    def run_commands(self) -> None:
        incoming = self.frames
        now = self.node.now
        allowed: i64 = NO_BOUND if self.limiter is None else self.limiter.allowance(now)
        ran: i64 = 0
        while ran < allowed:
            status = incoming.next_frame()
            if status != connection.FRAME:
                if status != connection.NEED_DATA:
                    self.break_off(status)
                break
            self.started = True
            ran += 1
            code = incoming.code
            if not self.unrestricted and not self.permitted(code):
                pass
            elif code == op.MAP_GET:
                self.get(now)
            else:
                self.execute(code, now)
            if self.parked or self.blocked or self.closed:
                break
            if len(self.out) + len(self.out_lent) > REPLY_BYTES_MAX:
                self.flush()
                if self.blocked or self.lent_bytes >= LENT_BYTES_MAX:
                    break
        if self.limiter is not None:
            self.limiter.ran += ran
        self.flush()

    def break_off(self, status: i64) -> None:
        """Answer bytes that are not the protocol and close."""
        incoming = self.frames
        if status == connection.TOO_LARGE:
            limit = "frame_bytes_max" if self.admitted() else "before the login, login_bytes_max"
            reason = f"payload of {incoming.length} bytes: {limit} is {incoming.frame_bytes_max}"
        elif status == connection.BAD_TYPE:
            reason = "unknown frame type"
        else:
            reason = f"not a frame of protocol version 0x{op.VERSION:02x}"
        frames.write_error(self.out, incoming.correlation, ProtocolError(reason))
        self.flush()
        self.finish()

    def permitted(self, code: i64) -> bool:
        """Whether this connection may run the current frame; answers it when not."""
        incoming = self.frames
        hot = code == op.MAP_GET or code == op.MAP_SET or code == op.QUEUE_PUSH or code == op.PUB
        if hot and permission.surely(self.grants, code, incoming.buffer, incoming.start, incoming.end):
            return True
        try:
            permission.check(
                self.grants, self.node, code, Payload(incoming.buffer, incoming.start, incoming.end)
            )
        except ServerError as error:
            self.fail(error)
            self.tell_of_current(type(error).__name__)
            return False
        return True

    def execute(self, code: i64, now: i64) -> None:
        """Run the current frame; an error is its answer."""
        try:
            if code == op.MAP_SET:
                self.set(now)
            elif code == op.PUB:
                self.publish(now)
            elif code == op.QUEUE_PUSH and self.queue_commands.push_plain(now):
                pass
            else:
                incoming = self.frames
                payload = Payload(incoming.buffer, incoming.start, incoming.end)
                if MARKED[code] == 0:
                    self.dispatch(code, payload, now)
                else:
                    self.administer(code, payload, now)
        except ServerError as error:
            self.fail(error)
        except Exception:
            log.exception(
                "opcode 0x%02x of %s failed", code, self.name.decode(errors="replace") or "a client"
            )
            self.fail(InternalError("internal error; the server's log says more"))

    def repeat(self) -> bool:
        """Run the command that waits once more; True when it is done."""
        if self.closed:
            self.give_up()
            return True
        self.parked = False
        self.execute(self.frames.code, self.node.now)
        if self.parked:
            return False
        self.flush()
        self.go_on()
        return True

    def administer(self, code: i64, payload: Payload, now: i64) -> None:
        """Run the current command, which may be administrative, and tell the auditor how it ended."""
        incoming = self.frames
        named = action_of(code, Payload(incoming.buffer, incoming.start, incoming.end))
        if named is None:
            self.dispatch(code, payload, now)
            return
        result = InternalError.__name__
        try:
            self.dispatch(code, payload, now)
            result = audit.OK
        except ServerError as error:
            result = type(error).__name__
            raise
        finally:
            # One that needs several turns is told of when it has ended.
            if not self.parked:
                self.tell(named, result)

    def give_up(self) -> None:
        """The connection has gone while its command was under way: what has been done of it stays."""
        self.tell_of_current(ConnectionClosedError.__name__)

    def tell_of_current(self, result: str) -> None:
        """Tell the auditor of the current command, if it is administrative."""
        incoming = self.frames
        if MARKED[incoming.code] != 0:
            named = action_of(incoming.code, Payload(incoming.buffer, incoming.start, incoming.end))
            if named is not None:
                self.tell(named, result)

    def tell(self, named: Named, result: str) -> None:
        """Tell the auditor of an action of this connection."""
        client = self.name.decode(errors="replace")
        self.server.auditor.done(
            audit.Action(
                named.action, named.resource, self.protocol, self.address, client, self.login.account, result
            )
        )

    # The hot path.

    def get(self, now: i64) -> None:
        incoming = self.frames
        buffer = incoming.buffer
        start = incoming.start
        if incoming.end - start < 5 or i64(read_i32_be(buffer, start)) != incoming.end - start - 4:
            # Truncated, empty or followed by more: the cursor says which.
            self.execute(op.MAP_GET, now)
            return
        value = self.store.get(buffer[start + 4 : incoming.end], now)
        if value is None:
            # A key that the store holds is a valid one; only what is not found needs a look.
            self.execute(op.MAP_GET, now)
        elif incoming.kind == op.REQUEST:
            frames.write_value(self.out, incoming.correlation, value)

    def set(self, now: i64) -> None:
        incoming = self.frames
        buffer = incoming.buffer
        start = incoming.start
        end = incoming.end
        if end - start > 6:
            key_end: i64 = start + 4 + i64(read_i32_be(buffer, start))
            if start + 4 < key_end and key_end + 1 < end and buffer[key_end] == 0:
                key = buffer[start + 4 : key_end]
                value = buffer[key_end + 1 : end]
                check_key(key)
                check_value(value)
                if self.store.mapped:
                    self.store_commands.set_mapped(key, value, now)
                    return
                self.node.check_memory()
                self.store.set(key, value, now)
                if incoming.kind == op.REQUEST:
                    write_head(self.out, op.OK, incoming.correlation, 0)
                return
        self.store_commands.set_with(Payload(buffer, start, end), now)

    def publish(self, now: i64) -> None:
        incoming = self.frames
        buffer = incoming.buffer
        start = incoming.start
        end = incoming.end
        if end - start > 6:
            topic_end: i64 = start + 4 + i64(read_i32_be(buffer, start))
            if start + 4 < topic_end and topic_end + 1 < end and buffer[topic_end] == 0:
                value = buffer[topic_end + 1 : end]
                check_value(value)
                self.pubsub.publish(Message(buffer[start + 4 : topic_end], value, b"", 0))
                if incoming.kind == op.REQUEST:
                    write_head(self.out, op.OK, incoming.correlation, 0)
                return
        self.pubsub_commands.publish_with(Payload(buffer, start, end), now)

    # Everything else.

    def dispatch(self, code: i64, payload: Payload, now: i64) -> None:
        if op.MAP_SET <= code <= op.MAP_UNWATCH:
            self.store_commands.dispatch(code, payload, now)
        elif code == op.SUB or code == op.SUBX:
            self.pubsub_commands.subscribe(payload, code == op.SUBX, now)
        elif code == op.UNSUB or code == op.UNSUBX:
            self.pubsub_commands.unsubscribe(payload, code == op.UNSUBX)
        elif code == op.PUB_REQUEST:
            self.pubsub_commands.request(payload, now)
        elif code == op.PUB_REPLY:
            self.pubsub_commands.reply(payload)
        elif code == op.HELLO:
            self.hello(payload)
        elif code == op.PING:
            self.data(payload.data[payload.position : payload.end])
        elif op.QUEUE_CREATE <= code <= op.QUEUE_ADMIN:
            self.queue_commands.dispatch(code, payload, now)
        elif op.STREAM_CREATE <= code <= op.STREAM_EXTENDED:
            self.stream_commands.dispatch(code, payload, now)
        elif code == op.MAP_ADMIN:
            storeadmin.administer(self.store_commands, payload)
        elif code == op.BACKUP:
            if self.backup_commands is None:
                self.backup_commands = BackupCommands(self)
            self.backup_commands.dispatch(payload)
        elif code == op.SERVER_ADMIN:
            serveradmin.administer(self, payload)
        elif code == op.BATCH:
            self.batch_commands.run(payload, now)
        else:
            raise InvalidArgumentError(f"unknown opcode 0x{code:02x}")

    # Connection.

    def hello(self, payload: Payload) -> None:
        name = payload.string("the client's name")
        frames.check_utf8(name, "the client's name")
        payload.u32("the features")
        credentials = payload.u8("the kind of credentials")
        if self.greeted or self.subscriptions or self.store_commands.watches:
            raise InvalidArgumentError("HELLO is said once, before the first subscription or watch")
        if credentials > op.CREDENTIALS_TOKEN:
            raise InvalidArgumentError(f"unknown kind {credentials} of credentials")
        user = payload.string("the user") if credentials == op.CREDENTIALS_PASSWORD else b""
        secret = payload.string("the password or token") if credentials != op.CREDENTIALS_NONE else b""
        payload.finish()
        self.name = name
        if credentials == op.CREDENTIALS_NONE:
            if not self.admitted():
                raise NotAuthorizedError(
                    "this server has accounts: log in with a user and password, or a token"
                )
            self.welcome()
            return
        waiter = HelloLogin(self)
        # What follows waits until it is known who asks.
        self.parked = True
        try:
            if credentials == op.CREDENTIALS_PASSWORD:
                self.server.logins.by_password(waiter, user, secret, self.address)
            else:
                self.server.logins.by_token(waiter, secret, self.address)
        except ServerError:
            self.parked = False
            raise

    def welcome(self) -> None:
        """Answer HELLO."""
        self.greeted = True
        self.encoding = EVENTS
        self.can_reply = True
        out = BytesWriter()
        write_string(out, b"nexo")
        write_string(out, self.server.version.encode())
        write_i32_be(out, 0)
        write_i32_be(out, len(self.server.limits))
        for limit, value in self.server.limits:
            write_string(out, limit.encode())
            write_i64_be(out, value)
        self.data(out.getvalue())
        for alarm in (self.node.memory_alarm, self.node.disk_alarm):
            if alarm.stands:
                self.alarm(alarm)

    def alarm(self, alarm: Alarm) -> None:
        if self.greeted and not self.closed:
            payload = BytesWriter()
            payload.append(1 if alarm.stands else 0)
            write_string(payload, alarm.name.encode())
            write_i64_be(payload, alarm.bytes)
            write_i64_be(payload, alarm.bound_bytes)
            write_string(payload, alarm.message().encode())
            self.send(frames.event(op.ALARM, 0, payload.getvalue()))

    def logged_in(self, login: Login | None, error: ServerError | None) -> None:
        """How the login ended that HELLO asked for."""
        if self.closed:
            return
        self.parked = False
        try:
            if error is not None:
                raise error
            if login is not None:
                self.admit(login)
                self.welcome()
        except ServerError as refusal:
            self.fail(refusal)
        self.flush()
        self.go_on()

    def going_away(self, milliseconds: i64, reason: str) -> None:
        if self.greeted and not self.closed:
            payload = BytesWriter()
            write_i32_be(payload, i32(milliseconds))
            write_string(payload, reason.encode())
            self.send(frames.event(op.GOING_AWAY, 0, payload.getvalue()))

    def refuse(self, error: SlowConsumerError) -> None:
        self.emit(frames.error_frame(0, error))

    def notify(self, subscription: Subscription) -> None:
        self.pubsub_commands.notify(subscription)

    def connection_lost(self, error: Exception | None) -> None:
        self.store_commands.close()
        self.pubsub_commands.close()
        self.queue_commands.close()
        self.stream_commands.close()
        if self.backup_commands is not None:
            self.backup_commands.close()
        super().connection_lost(error)
