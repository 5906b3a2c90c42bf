"""One connection: frames out, frames in, answers matched with the calls that wait for them.

An asyncio protocol over any transport. Requests of one turn of the loop leave in one write. Owns the
calls that were sent and are not answered; knows neither the meaning of an opcode nor what happens after
the connection is lost: its Owner does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol, cast

from nexo.client.frames import Decoder, read_error
from nexo.client.tls import UNANSWERED, tls_reason
from nexo.errors import ConnectionClosedError, ProtocolError, ServerError
from nexo.protocols.native.opcodes import ERR, NULL, RESPONSE

OUTPUT_HIGH_WATER_BYTES: Final = 256 * 1024
"""Above this the transport is full and calls wait in the client, where they are counted and can time out."""
GATHER_BYTES_MAX: Final = 128 * 1024
"""Requests gathered before they are written although the turn is not over."""

Reply = bytes | None
"""A response's payload: empty for OK, None for NULL."""


class Waiter(Protocol):
    """Whoever is given the answer; an asyncio future is one."""

    def done(self) -> bool: ...
    def set_result(self, result: Reply, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


Call = tuple[float, Waiter]
"""A request under way: its deadline, in seconds of the loop's time, and who waits. A plain tuple, as one is
made for every request."""


class Owner(Protocol):
    """Who is told what the server sends of its own accord, and how the connection goes."""

    def received(self, kind: int, code: int, correlation: int, payload: bytes) -> None: ...
    def writable(self) -> None: ...
    def lost(self, link: Link, reason: str) -> None: ...


class Link(asyncio.Protocol):
    """The protocol of one connection, from its transport to its end."""

    def __init__(self, owner: Owner) -> None:
        self.calls: dict[int, Call] = {}
        self.received_bytes = 0
        self.full = False
        self.leaving = False
        self.error: ServerError | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._reason = ""
        self._secure = False

    # Called by whoever has requests.

    def send(self, correlation: int, frame: bytes, call: Call) -> None:
        """Send a request; its answer goes to the call's waiter. Look at `full` first."""
        self.calls[correlation] = call
        self.write(frame)

    def write(self, frame: bytes) -> None:
        """Let a frame leave with this turn's others."""
        out = self._out
        if not out:
            self._loop.call_soon(self.flush)
        out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes > GATHER_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, in one piece."""
        out = self._out
        if out and self._transport is not None:
            data = out[0] if len(out) == 1 else b"".join(out)
            self._out = []
            self._out_bytes = 0
            self._transport.write(data)

    def close(self, reason: str) -> None:
        """End the connection: what was written leaves, what waits for an answer fails with `reason`."""
        self.flush()
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.close()
        self._fail_calls()

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Close as soon as every call is answered: the server is going away."""
        self.leaving = True
        if not self.calls:
            self.close("the server is going away")

    def _fail_calls(self) -> None:
        calls, self.calls = self.calls, {}
        for _, waiter in calls.values():
            if not waiter.done():
                waiter.set_exception(ConnectionClosedError(f"the connection was lost: {self._reason}"))

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._secure = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=OUTPUT_HIGH_WATER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A server that vanished without a word is found by the kernel's probes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        calls = self.calls
        decoder = self._decoder
        for kind, code, correlation, payload in decoder.receive_data(data):
            if kind != RESPONSE:
                try:
                    self._owner.received(kind, code, correlation, payload)
                except ProtocolError as error:
                    self.abort(str(error))
                    return
                continue
            call = calls.pop(correlation, None)
            if call is None:
                if code == ERR and correlation == 0:
                    # Said of the connection, not of a request: the server closes it next.
                    self.error = read_error(payload)
                    self._reason = self._reason or str(self.error)
            elif not (waiter := call[1]).done():
                if code == ERR:
                    waiter.set_exception(read_error(payload))
                else:
                    waiter.set_result(None if code == NULL else payload)
        if decoder.error is not None:
            self.abort(str(decoder.error))
        elif self.leaving and not calls:
            self.close("the server is going away")

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._owner.writable()

    def eof_received(self) -> bool:
        """The server sends no more: False lets the transport close."""
        self._reason = self._reason or ("the server closed it" if self._heard() else UNANSWERED)
        return False

    def _heard(self) -> bool:
        """Whether the end of the connection is no failed handshake: TLS 1.3 shows that to the client only after its own."""
        return not self._secure or self.received_bytes > 0

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            self._reason = self._reason or tls_reason(error)
        elif error is not None:
            self._reason = self._reason or (str(error) if self._heard() else UNANSWERED)
        self._reason = self._reason or "it was closed"
        self._transport = None
        self._fail_calls()
        if not self.lost.done():
            self.lost.set_result(None)
        self._owner.lost(self, self._reason)


def is_refusal(error: BaseException) -> bool:
    """Whether trying again cannot help: the server has answered, and the answer is no."""
    return isinstance(error, ServerError) and not isinstance(error, ProtocolError)
