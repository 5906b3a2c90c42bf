"""While an alarm stands, what takes memory or room is refused and everything else goes on; clients are told."""

from __future__ import annotations

import pytest

from nexo.brokers.alarms import Alarm
from tests.vectors.session import Alone
from tests.vectors.table import MESSAGE, TOKEN, Known, req
from tests.vectors.wire import DATA, ERR, EVENT, HEADER_BYTES, NULL, OK, b, string, u32, u64

ALARM, ALARM_EVENT = 0x13, 0x4A
MIB = 1024 * 1024

PUSH_TO = "s'q' u32=1 00 u32=2 00 'x'"
MEMBER = "s's' s'g' s'<consumer>' '<genera>'"


def raised(alone: Alone, name: str) -> Alarm:
    """Raise one of the node's alarms."""
    alarm = alone.node.memory_alarm if name == "memory" else alone.node.disk_alarm
    alarm.bind(100 * MIB)
    assert alarm.look(120 * MIB if name == "memory" else MIB)
    return alarm


def prepared() -> tuple[Alone, Known]:
    """A durable map, a queue with messages of which two are lent, and a stream with a group that was lent one."""
    alone, known = Alone(), Known()
    for one in (
        req(0x48, "s'd/' s'create'"),
        req(0x02, "s'k' 00 00 'old'"),
        req(0x02, "s'd/k' 00 00 'old'"),
        req(0x21, "s't' 01 00 'kept'"),
        req(0x10, "s'q' 00"),
        *[req(0x11, PUSH_TO)] * 4,
        req(0x30, "s's' 00"),
        req(0x33, "s's' s'g'"),
        req(0x31, "s's' u32=1 0001 'k' u32=2 00 'x'"),
    ):
        alone.send(known.fill(one))
        answer = alone.frame()
        assert answer.code in (OK, DATA), answer.error
        known.learn(one, answer)
    return alone, known


STORED = {
    "push": req(0x11, PUSH_TO),
    "pushx": req(0x1E, PUSH_TO),
    "append": req(0x31, "s's' u32=1 0001 'k' u32=2 00 'x'"),
    "append many": req(0x31, "s's' u32=2 0001 'k' u32=2 00 'x' 0001 'k' u32=2 00 'x'"),
    "set durable": req(0x02, "s'd/k' 00 00 'new'"),
    "set many durable": req(0x0C, "00 u32=1 s'd/k' u32=2 00 'x'"),
}
"""What takes memory and room on the disk."""

IN_MEMORY = {
    "set": req(0x02, "s'k' 00 00 'new'"),
    "set if absent": req(0x02, "s'k2' 02 00 'new'"),
    "set many": req(0x0C, "00 u32=1 s'k' u32=2 00 'x'"),
    "incr": req(0x05, "s'n' i1"),
    "incrx": req(0x0A, "s'n' 00 i1"),
    "retain": req(0x21, "s't' 01 00 'new'"),
}
"""What takes memory alone."""

FREE = {
    "get": req(0x03, "s'k'"),
    "delete": req(0x04, "s'k'"),
    "delete durable": req(0x04, "s'd/k'"),
    "expire": req(0x08, "s'k' 01 000000000000ffff"),
    "clear": req(0x06),
    "publish": req(0x21, "s't' 00 00 'x'"),
    "clear retained": req(0x21, "s't' 05 00"),
    "subscribe": req(0x22, "s'#'"),
    "queue that is declared again": req(0x10, "s'q' 00"),
    "queue that is new": req(0x10, "s'q2' 00"),
    "receive": req(0x1C, "s'q' u32=1 u32=0"),
    "join": req(0x33, "s's' s'h'"),
    "fetch": req(0x32, f"{MEMBER} u32=1 u32=0"),
    "ping": req(0x40, "'x'"),
}
"""What reads, settles, deletes, or declares what one will read from."""


@pytest.mark.parametrize("name", ["memory", "disk"])
@pytest.mark.parametrize("command", [*STORED, *IN_MEMORY, *FREE])
def test_which_commands_are_refused(name: str, command: str) -> None:
    alone, known = prepared()
    alarm = raised(alone, name)
    refused = command in STORED or (command in IN_MEMORY and name == "memory")
    alone.send(known.fill({**STORED, **IN_MEMORY, **FREE}[command]))
    answer = alone.rest()[0]
    if not refused:
        assert answer.code in (OK, DATA, NULL), answer.error
        assert alarm.refused == 0
        return
    assert answer.code == ERR and answer.error[0] == ALARM
    assert answer.details == {
        "alarm": name, "bytes": int(alarm.bytes), "bound_bytes": 100 * MIB
    }  # fmt: skip
    assert f"{name}_alarm_bytes is {100 * MIB}" in answer.error[1] and alarm.refused == 1
    alarm.look(0 if name == "memory" else 1 << 40)
    alone.send(known.fill({**STORED, **IN_MEMORY}[command]))
    assert alone.rest()[0].code in (OK, DATA), "it is taken again"


@pytest.mark.parametrize("name", ["memory", "disk"])
def test_acks_go_on_in_a_batch_too(name: str) -> None:
    alone, known = prepared()
    receive = req(0x1C, "s'q' u32=1 u32=0")
    alone.send(receive)
    known.learn(receive, alone.frame())
    raised(alone, name)
    ack = known.fill(req(0x1D, f"s'q' 00 u32=1 {MESSAGE} {TOKEN}"))[HEADER_BYTES:]
    alone.send(req(0x41, b("00") + u32(0) + u32(1) + b"\x1d" + u32(len(ack)) + ack))
    assert alone.frame().code == DATA
    push = b(PUSH_TO)
    alone.send(req(0x41, b("00") + u32(0) + u32(1) + b"\x11" + u32(len(push)) + push))
    assert alone.frame().error[0] == ALARM


def test_clients_that_greeted_are_told() -> None:
    alone = Alone()
    silent = alone.beside()
    alone.hello()
    alarm = raised(alone, "memory")
    for one in (alone, silent):
        one.session.alarm(alarm)
    alone.turn()
    event = alone.frame()
    assert (event.kind, event.code, event.correlation) == (EVENT, ALARM_EVENT, 0)
    text = f"memory alarm raised: {120 * MIB} bytes are taken, memory_alarm_bytes is {100 * MIB}"
    assert event.payload == b"\x01" + string("memory") + u64(120 * MIB) + u64(100 * MIB) + string(text)
    assert silent.rest() == [], "events need HELLO"
    late = alone.beside()
    late.hello()
    assert late.frame().payload == event.payload, "who comes later is told after HELLO"
    alarm.look(0)
    alone.session.alarm(alarm)
    alone.turn()
    assert alone.frame().payload[:1] == b"\x00"
