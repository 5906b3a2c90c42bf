"""What one turn sends to a connection leaves in one write, in order; what is long is not copied for that."""

from __future__ import annotations

from nexo.protocols.session import GATHERED_BYTES_MAX
from tests.vectors.session import Alone
from tests.vectors.table import req
from tests.vectors.wire import OK, PUSH, publish, string

SUBSCRIBE = req(0x22, "s't'")
PING = req(0x40, "")


def connected() -> Alone:
    alone = Alone()
    alone.send(SUBSCRIBE)
    assert alone.frame().code == OK
    alone.recorder.writes = 0
    return alone


def test_answers_and_messages_of_a_turn_leave_in_one_write() -> None:
    alone, other = connected(), Alone()
    other = alone.beside()
    other.session.data_received(publish("t", b"one"))
    alone.session.data_received(PING)
    alone.session.data_received(PING + publish("t", b"two", 5))
    assert alone.recorder.writes == 0
    alone.turn()
    assert alone.recorder.writes == 1
    kinds = [frame.kind for frame in alone.rest()]
    assert kinds[-1] == PUSH and kinds.count(PUSH) == 2 and len(kinds) == 5


def test_a_long_answer_is_written_at_once_and_after_what_came_before_it() -> None:
    alone = connected()
    value = b"\x00" + bytes(GATHERED_BYTES_MAX)
    alone.session.data_received(
        PING + req(0x02, string("key") + b"\x00" + value) + req(0x03, string("key")) + PING
    )
    assert alone.recorder.writes == 1
    alone.turn()
    assert alone.recorder.writes == 1
    assert [len(frame.payload) for frame in alone.rest()] == [0, 0, len(value), 0]


def test_what_was_gathered_is_written_before_a_connection_ends() -> None:
    alone = connected()
    alone.session.data_received(PING + b"\x08")
    assert alone.recorder.is_closed
    assert len(alone.rest()) == 2
