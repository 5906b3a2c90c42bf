"""What a confirmation is worth, seen from a socket: it comes after the sync, and survives whatever comes then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HTTP
from tests.disks import tmpfs
from tests.faults import histories
from tests.faults.killing import Killing
from tests.server.http.kit import Api
from tests.surroundings import environment
from tests.vectors.serving import Serving
from tests.vectors.wire import DATA, ERR, OK, Wire, b, string, u32

STORAGE_ERROR = 0x08
ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
"""Rounds of the kill loop; `make kill ROUNDS=1000` is for longer runs."""
KILLS = 5
"""Kills that clients go on through, whose histories are then checked."""
DELAY_SECONDS = 0.3
HEAL_SECONDS_MAX = 2.0


def strace(inject: str) -> tuple[str, ...]:
    """A prefix that runs a server with its syncs changed; skips where that is not possible."""
    command = ("strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{inject}")
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, env=environment())
    if tried.returncode:
        pytest.skip(f"strace cannot trace here: {tried.stderr.decode().strip()}")
    return command


def push(wire: Wire, number: int, size: int = 8, queue: str = "q") -> tuple[int, int]:
    """Status and error code of a push of a number (a RAW value that killing.received reads) and padding."""
    body = b"\0\0" + number.to_bytes(8, "big") + bytes(size)
    answer = wire.call(0x11, string(queue) + b("u32=1 00") + string(body))
    return answer.code, answer.error[0] if answer.code == ERR else -1


def consumed(wire: Wire, count: int) -> list[tuple[bytes, int]]:
    """(id and token, number) of a CONSUME."""
    payload = wire.call(0x12, b("s'q'") + u32(count) + u32(0)).payload[4:]
    found = []
    while payload:
        size = int.from_bytes(payload[24:28], "big")
        found.append((payload[:24], int.from_bytes(payload[30:38], "big")))
        payload = payload[28 + size :]
    return found


def numbers(wire: Wire) -> list[int]:
    """Everything in the queue, acknowledged."""
    found: list[int] = []
    while leases := consumed(wire, 10_000):
        found += [number for _, number in leases]
        done = b"".join(lease for lease, _ in leases)
        assert wire.call(0x1D, b("s'q' 00") + u32(len(leases)) + done).payload == u32(0)
    return found


@pytest.mark.slow
def test_nothing_confirmed_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    killing = Killing(tmp_path, seed=11)
    for _ in range(ROUNDS):
        killing.round()
    totals = killing.totals
    assert totals.lost == totals.doubled == 0
    assert totals.pushed > 10 * ROUNDS and totals.appended > 10 * ROUNDS and totals.settled > 0
    assert totals.set > 10 * ROUNDS


@pytest.mark.slow
def test_what_clients_saw_through_kills_has_no_anomaly(tmp_path: Path) -> None:
    """P8, by the checkers of tests/checkers; `make kill` has the long form."""
    figures = histories.run(tmp_path, KILLS, seed=7)
    assert min(figures.values()) > 0, figures


def test_a_confirmation_comes_after_the_sync(tmp_path: Path) -> None:
    under = strace(f"delay_enter={int(DELAY_SECONDS * 1e6)}")
    with Serving("--data-dir", str(tmp_path), under=under) as server, Wire(server.port) as wire:
        for name, options in (
            ("q", ""),
            ("flush", '{"durability":"flush"}'),
            ("memory", '{"durability":"memory"}'),
        ):
            assert (
                wire.call(0x10, string(name) + (b"\x04" + options.encode() if options else b"\0")).code
                == DATA
            )
        seconds = {}
        for name in ("q", "flush", "memory"):
            time.sleep(0.2 + DELAY_SECONDS)  # no sync of what came before is under way
            began = time.monotonic()
            assert push(wire, 1, queue=name)[0] == OK
            seconds[name] = time.monotonic() - began
        assert seconds["q"] >= DELAY_SECONDS, seconds
        assert max(seconds["flush"], seconds["memory"]) < DELAY_SECONDS, seconds


def test_nothing_is_confirmed_after_a_failed_sync(tmp_path: Path) -> None:
    """P7: an error that says so, for this one and all later ones; a start without the fault recovers."""
    confirmed = []
    with Serving("--data-dir", str(tmp_path), under=strace("error=EIO:when=12+")) as server:
        with Wire(server.port) as wire:
            assert wire.call(0x10, "s'q' 00").code == DATA
            for number in range(100):
                code, error = push(wire, number)
                if code != OK:
                    assert error == STORAGE_ERROR
                    break
                confirmed.append(number)
            assert 0 < len(confirmed) < 50
            for number in range(100, 120):
                assert push(wire, number) == (ERR, STORAGE_ERROR)
            # Reading goes on.
            assert wire.call(0x12, "s'q' u32=1 u32=0").code == DATA
        assert "no more is written" in server.log()
    with Serving("--data-dir", str(tmp_path)) as server, Wire(server.port) as wire:
        found = numbers(wire)
        assert found[: len(confirmed)] == confirmed
        assert set(found) <= {*confirmed, len(confirmed)}
        assert push(wire, 200)[0] == OK


NO_ALARM = ("--disk-alarm-percent", "0")
"""The alarm would refuse writes before the disk does."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB."""
    with tmpfs(tmp_path, "6m") as disk:
        yield disk


def test_a_full_disk_refuses_and_heals(small: Path) -> None:
    """P6: STORAGE_ERROR, reading and acknowledging go on, room heals it, nothing confirmed is lost."""
    ballast = small / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    confirmed = []
    with Serving("--data-dir", str(small / "data"), *NO_ALARM) as server, Wire(server.port) as wire:
        assert wire.call(0x10, "s'q' 00").code == DATA
        for number in range(100):
            code, error = push(wire, number, 100_000)
            if code != OK:
                assert error == STORAGE_ERROR
                break
            confirmed.append(number)
        assert len(confirmed) > 5
        assert push(wire, 999) == (ERR, STORAGE_ERROR)
        leases = consumed(wire, 3)
        assert [number for _, number in leases] == confirmed[:3]
        done = b"".join(lease for lease, _ in leases)
        assert wire.call(0x1D, b("s'q' 00") + u32(3) + done).payload == u32(0)
        ballast.unlink()
        began = time.monotonic()
        while push(wire, 500)[0] != OK:
            assert time.monotonic() - began < HEAL_SECONDS_MAX
            time.sleep(0.02)
        server.kill()
    with Serving("--data-dir", str(small / "data"), *NO_ALARM) as server, Wire(server.port) as wire:
        assert numbers(wire) == [*confirmed[3:], 500]


def test_http_says_that_the_disk_is_full(small: Path) -> None:
    """Unready with the reason, an alarm, and 503 for what needs room; what does not goes on."""
    ballast = small / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    body = {"messages": [{"type": "str", "value": "x" * 100_000}]}
    with Serving("--data-dir", str(small / "data"), *NO_ALARM) as server:
        found = HTTP.search(server.log())
        assert found is not None
        api = Api(found[1])
        api.post("/v1/queues", {"name": "q"}, 201)
        confirmed = 0
        while api.client.post("/api/v1/queues/q/messages", json=body).status_code == 201:
            confirmed += 1
        assert 5 < confirmed < 100
        assert api.post("/v1/queues/q/messages", body, 503)["code"] == "STORAGE_ERROR"
        assert api.post("/v1/streams", {"name": "s"}, 503)["code"] == "STORAGE_ERROR"
        reasons = api.get("/readyz", 503, problem=False)["reasons"]
        assert len(reasons) == 1 and reasons[0].startswith("disk full: ")
        assert api.get("/livez") == {"status": "ok"}
        (lent,) = api.post("/v1/queues/q/receive")["messages"]
        assert api.post("/v1/queues/q/ack", {"leases": [{"id": lent["id"], "token": lent["token"]}]}) == {
            "refused": []
        }
        overview = api.get("/v1/overview")
        assert not overview["ready"] and overview["storage"]["state"] == "full"
        assert [one["code"] for one in overview["alarms"]] == ["disk_full"]
        assert "nexo_storage_writable 0.0" in api.get("/metrics")
        ballast.unlink()
        deadline = time.monotonic() + HEAL_SECONDS_MAX
        while api.client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        api.post("/v1/queues/q/messages", body, 201)
        assert api.get("/v1/queues/q")["ready"] == confirmed
