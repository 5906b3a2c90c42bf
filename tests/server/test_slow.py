"""Slow commands: what a run names, and that it is logged, counted and kept. The clock is a hand's in all but one test."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest

import nexo
from nexo.limits import FRAME_BYTES_MAX, SLOW_COMMANDS_KEPT
from nexo.protocols.native import audited, naming
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.session import NativeSession
from nexo.protocols.stopwatch import SlowRun, Stopwatch
from nexo.server.slow import SlowLog
from tests.conftest import Server
from tests.server.http.kit import Api
from tests.vectors.session import Alone
from tests.vectors.wire import b, request


class Timed(Stopwatch):
    """A clock that goes on by as much at each look."""

    def __init__(self, limit_us: int, step_us: int) -> None:
        super().__init__(limit_us)
        self.step_us = step_us
        self.looks = 0
        self.runs: list[SlowRun] = []

    def now_us(self) -> int:
        self.looks += 1
        return self.looks * self.step_us

    def slow(self, run: SlowRun) -> None:
        self.runs.append(run)


class Watched(Alone):
    """A session with such a clock."""

    def __init__(self, limit_us: int, step_us: int) -> None:
        super().__init__()
        self.watch = Timed(limit_us, step_us)
        info = ServerInfo("0", FRAME_BYTES_MAX, stopwatch=self.watch)
        self.session = NativeSession(self.node, self.recorder, self.recorder, info)  # type: ignore[arg-type]


def test_every_command_has_its_name() -> None:
    assert set(naming.NAMES) == set(audited.COMMANDS) | audited.PLAIN | audited.WITH_PARTS
    assert set(naming.EXTENDED_NAMES) == {*audited.EXTENDED, *audited.PLAIN_EXTENDED, op.STREAMX_ADMIN}
    for table in (naming.NAMES, naming.EXTENDED_NAMES):
        for code, name in table.items():
            assert getattr(op, name) == code


def test_a_run_costs_two_looks_and_names_its_commands() -> None:
    one = Watched(1000, 1000)
    one.session.address = "192.0.2.1:5"
    one.hello()
    one.watch.runs.clear()
    one.watch.looks = 0
    get = request(op.MAP_GET, 1, b("s'a'"))
    torn = request(op.MAP_GET, 1, b("s'never'"))[:-1]
    one.session.data_received(request(op.PING, 1) + request(op.MAP_SET, 1, b("s'k' 00 00")) + get * 3 + torn)
    (run,) = one.watch.runs
    assert one.watch.looks == 2
    assert run.commands == {"PING": 1, "MAP_SET": 1, "MAP_GET": 3} and run.resource == "k"
    assert (run.protocol, run.address, run.client, run.took_us) == ("native", "192.0.2.1:5", "test", 1000)


def test_the_rest_of_a_frame_in_pieces_names_it() -> None:
    one = Watched(1000, 1000)
    frame = request(op.QUEUE_DELETE, 1, b("s'jobs'"))
    one.send(frame[:5])
    one.send(frame[5:])
    assert one.watch.runs[-1].commands == {"QUEUE_DELETE": 1} and one.watch.runs[-1].resource == "jobs"


def test_a_quick_run_is_not_told() -> None:
    one = Watched(1001, 1000)
    one.send(request(op.PING, 1))
    assert one.watch.looks == 2 and not one.watch.runs


def test_without_a_limit_nobody_looks_at_the_clock() -> None:
    one = Watched(0, 1000)
    one.send(request(op.PING, 1))
    assert one.watch.looks == 0


@pytest.mark.parametrize(
    ("code", "payload", "resource"),
    [
        (op.QUEUE_ACK, b("i1 i2 i3 s'jobs'"), "jobs"),
        (op.STREAM_EXTENDED, b("01 s'events' 00"), "events"),
        (op.MAP_MGET, b("u32=1 s'a'"), ""),
        (op.QUEUE_DELETE, b("00"), ""),
    ],
)
def test_resources(code: int, payload: bytes, resource: str) -> None:
    assert naming.tell(request(code, 1, payload), 0).resource == resource


def test_the_newest_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    slow = SlowLog(100, lambda: 7)
    assert slow.limit_us == 100_000 and slow.now_us() > 0
    with caplog.at_level(logging.WARNING):
        for number in range(SLOW_COMMANDS_KEPT + 2):
            slow.slow(SlowRun({"MAP_GET": 2, "MAP_SCAN": 1}, f"r{number}", "native", "a:1", "c", "", 1500))
    assert slow.count == SLOW_COMMANDS_KEPT + 2 and len(slow.kept) == SLOW_COMMANDS_KEPT
    assert slow.kept[0] == {
        "at": 7, "command": "MAP_GET×2 MAP_SCAN", "resource": "r2", "took_ms": 1.5, "protocol": "native",
        "address": "a:1", "client": "c", "account": "",
    }  # fmt: skip
    assert caplog.records[-1].name == "nexo.slow"


def test_a_server_tells_of_slow_runs_and_requests(start_server: Callable[..., Server]) -> None:
    server = start_server("--slow-command-ms", "1")
    api = Api(server.http)
    api.post("/v1/queues", {"name": "jobs"}, 201)
    api.post("/v1/queues/jobs/receive", {"wait_ms": 20})
    with nexo.blocking.connect(port=server.port, name="slow") as client:
        values = {f"k{number}": "v" * 100 for number in range(5000)}
        client.store.map.set_many(values)
    found = api.get("/v1/slow")
    assert found["limit_ms"] == 1 and found["count"] >= len(found["items"]) > 0
    (run,) = [one for one in found["items"] if one["command"] == "MAP_MSET"]
    assert run["took_ms"] >= 1 and run["client"] == "slow" and run["protocol"] == "native"
    (request,) = [one for one in found["items"] if one["command"] == "POST /api/v1/queues"]
    assert request["resource"] == "jobs" and re.fullmatch(r"127\.0\.0\.1:\d+", request["address"])
    assert not any("receive" in one["command"] for one in found["items"])
    assert "nexo.slow: slow command command=MAP_MSET" in server.log()
    metrics = api.get("/metrics")
    assert float(re.findall(r"^nexo_slow_commands_total (\S+)", metrics, re.MULTILINE)[0]) >= 2
    api.client.close()
