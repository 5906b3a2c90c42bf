"""Addresses: how many connections each has, rates of connections and of addresses, and what is forgotten."""

from __future__ import annotations

import time

import pytest

from nexo.errors import LimitExceededError
from nexo.server.origins import Origins, Rates
from tests.vectors.serving import Serving, eventually
from tests.vectors.session import Alone
from tests.vectors.table import LIMIT_EXCEEDED, req
from tests.vectors.wire import DATA, OK, Wire, request, string

START = 1_700_000_000_000


def test_connections_of_an_address() -> None:
    origins = Origins(2)
    first, _ = origins.enter("10.0.0.1", START), origins.enter("10.0.0.1", START)
    with pytest.raises(LimitExceededError, match="connections_per_address_max is 2"):
        origins.enter("10.0.0.1", START)
    other = origins.enter("10.0.0.2", START)
    origins.leave(first, START)
    assert origins.enter("10.0.0.1", START) is first
    origins.leave(other, START)
    assert len(origins) == 1, "an address without connections is forgotten"


def test_who_comes_back_finds_its_debt() -> None:
    origins = Origins(address=Rates(commands=10))
    one = origins.enter("h", START)
    limiter = origins.limiter(one, START)
    assert limiter is not None
    limiter.ran = 10
    limiter.charge(START)
    origins.leave(one, START)
    again = origins.limiter(origins.enter("h", START), START)
    assert again is not None and again.allowance(START) == 0
    # In the end it is forgotten all the same, so that a scan of addresses leaves nothing behind.
    origins.leave(one, START)
    for number in range(5_000):
        origins.leave(origins.enter(str(number), START + 10_000), START + 10_000)
    assert len(origins) < 1_100


def test_no_bounds_cost_nothing() -> None:
    origins = Origins()
    assert origins.limiter(origins.enter("h", START), START) is None


def test_a_crowd_from_one_address() -> None:
    with Serving("--connections-per-address-max", "3") as server:
        wires = [Wire(server.port) for _ in range(3)]
        for wire in wires:
            assert wire.call(0x40).code == DATA
        with Wire(server.port) as refused:
            code, message = refused.frame().error
            assert code == LIMIT_EXCEEDED and "connections_per_address_max is 3" in message
            assert refused.closed()
        wires.pop().close()

        def admitted() -> bool:
            with Wire(server.port) as wire:
                wire.send(request(0x40, 1))
                return wire.frame().code == DATA

        assert eventually(admitted)
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("setting", ["--commands-per-second", "--address-commands-per-second"])
def test_commands_in_a_second(setting: str) -> None:
    """300 pings at 200 a second: 200 at once, the rest takes half a second. Another connection: the same, or what is left."""
    with Serving(setting, "200") as server, Wire(server.port) as wire:
        began = time.monotonic()
        wire.send(b"".join(request(0x40, number) for number in range(300)))
        for number in range(200):
            assert wire.frame().correlation == number
        for number in range(200, 300):
            assert wire.frame().correlation == number
        took = time.monotonic() - began
        assert 0.45 < took < 5
        with Wire(server.port) as other:
            began = time.monotonic()
            other.send(b"".join(request(0x40, number) for number in range(100)))
            for number in range(100):
                assert other.frame().correlation == number
            other_took = time.monotonic() - began
        if setting.startswith("--address"):
            assert other_took > 0.3, "the address has one bucket, which the first has emptied"


def test_bytes_in_a_second() -> None:
    """3 MB at 1 MB a second take about two seconds after the first; meanwhile the sender is held by TCP."""
    with Serving("--bytes-per-second", "1mb") as server, Wire(server.port, timeout=20) as wire:
        began = time.monotonic()
        for number in range(30):
            wire.send(request(0x02, number, string("k") + b"\x00\x00" + bytes(100_000)))
        for _ in range(30):
            assert wire.frame().code == OK
        took = time.monotonic() - began
        assert 1.2 < took < 15


def test_retained_messages() -> None:
    """By number and by bytes; what replaces or clears one is no more than before."""
    alone = Alone()
    kept = alone.node.pubsub.kept
    kept.count_max, kept.bytes_max = 2, 100

    def publish(notation: str) -> str:
        alone.send(req(0x21, notation))
        answer = alone.frame()
        if answer.code == OK:
            return ""
        assert answer.error[0] == LIMIT_EXCEEDED
        return answer.error[1]

    assert publish("s'a' 01 00 'x'") == publish("s'b' 01 00 'x'") == ""
    assert publish("s'c' 01 00 'x'") == "retained_max is 2"
    assert publish("s'c' 00 00 'x'") == publish("s'a' 01 00 'y'") == ""
    assert publish("s'a' 05 00") == publish("s'c' 01 00 'x'") == ""
    assert "retained_bytes_max is 100" in publish(f"s'c' 01 00 '{'x' * 100}'")
    assert publish(f"s'c' 01 00 '{'x' * 90}'") == ""
