"""A native session without a socket: what it writes is recorded, its clock stands still until moved."""

from __future__ import annotations

from nexo.brokers.journal import Journal
from nexo.node import Driver, Node, make_node
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.session import NativeSession
from tests.vectors.wire import Frame, Splitter, b, request

START_MS = 1_700_000_000_000
FRAME_BYTES_MAX = 10 * 1024 * 1024


class Hand(Driver):
    """A driver turned by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.time_ms = START_MS

    def now(self) -> int:
        return self.time_ms

    def turn_opened(self) -> None:
        pass


class Recorder:
    """The write side of a connection whose peer reads at once; and who is told of the end."""

    def __init__(self) -> None:
        self.written = Splitter()
        self.total = 0
        self.writes = 0
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed, "written after the end"
        self.writes += 1
        self.total += len(data)
        self.written.feed(data)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def closing(self, session: object) -> None:
        pass

    def gone(self, session: object) -> None:
        pass


class Alone:
    """One session of one node; has the methods of `Wire` that vectors use."""

    def __init__(
        self, frame_bytes_max: int = FRAME_BYTES_MAX, other: Alone | None = None, node: Node | None = None
    ) -> None:
        if other is not None:
            node = other.node
        self.node = make_node(Hand(), Journal()) if node is None else node
        assert isinstance(self.node.driver, Hand)
        self.driver = self.node.driver
        self.recorder = Recorder()
        info = ServerInfo("0", frame_bytes_max)
        self.session = NativeSession(self.node, self.recorder, self.recorder, info)  # type: ignore[arg-type]

    def beside(self) -> Alone:
        """Another session of the same node."""
        return Alone(other=self)

    def turn(self) -> None:
        while self.node.turn():
            pass
        if self.node.journal.keeping:
            # Its batches are on disk as soon as they are closed; to hear of it may record more.
            batch = -1
            while batch != self.node.journal.batch:
                batch = self.node.journal.batch
                self.node.settled()
                while self.node.turn():
                    pass

    def send(self, data: bytes) -> None:
        if not self.recorder.is_closed:
            self.session.data_received(data)
            self.turn()

    def pass_time(self, milliseconds: int) -> None:
        self.driver.time_ms += milliseconds
        self.node.advance()
        self.turn()

    def read(self) -> Frame | None:
        found = self.recorder.written.next()
        if found is None:
            assert self.recorder.is_closed, "no frame came"
            assert not self.recorder.written.buffer, "torn frame at the end"
        return found

    def frame(self) -> Frame:
        found = self.read()
        assert found is not None, "the session closed"
        return found

    def rest(self) -> list[Frame]:
        """All frames that wait to be read."""
        found = []
        while (one := self.recorder.written.next()) is not None:
            found.append(one)
        return found

    def closed(self) -> bool:
        return self.read() is None

    def hello(self) -> Frame:
        self.send(request(0x01, 1, b("s'test' 00000000 00")))
        return self.frame()
