"""P9: the wall clock jumps by a day, forwards and back, while a server runs; nothing that it times notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nexo
from nexo.errors import ReplyTimeoutError
from tests.vectors.serving import Serving, eventually

LIBRARIES = [
    path
    for folder in ("/usr/lib", "/usr/local/lib")
    for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1")
]
DAY = 86_400


@pytest.fixture
def jumping(tmp_path: Path) -> Iterator[tuple[Serving, Path]]:
    """A server whose wall clock is what a file says, and the file."""
    if not LIBRARIES:
        pytest.skip("needs libfaketime (Debian: apt-get install faketime)")
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    under = (
        "env", f"LD_PRELOAD={LIBRARIES[0]}", f"FAKETIME_TIMESTAMP_FILE={offset}", "FAKETIME_NO_CACHE=1",
        "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )  # fmt: skip
    with Serving("--greeting-seconds", "1", under=under) as server:
        yield server, offset


def dates(server: Serving) -> list[str]:
    """The dates in the server's log, in order, each once: its lines have the wall clock's time."""
    found: dict[str, None] = {}
    for line in server.log().splitlines():
        found[line[:10]] = None
    return list(found)


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day on", "a day back"])
def test_nothing_notices(jumping: tuple[Serving, Path], jump: int) -> None:
    server, offset = jumping
    with nexo.blocking.connect(port=server.port) as client, nexo.blocking.connect(port=server.port) as other:
        client.store.map.set("hour", 1, ttl=3_600)
        client.store.create_map("kept/", durability="flush")
        client.store.map.set("kept/hour", 1, ttl=3_600)
        client.pubsub.topic("hour").publish(1, retain=True, ttl=3_600)
        queue = client.queue.create("jobs", visibility_timeout_ms=3_600_000, dedup_window_ms=3_600_000)
        queue.push("lent")
        (lent,) = queue.receive(1)
        queue.push("later", delay_ms=3_600_000)
        queue.push("once", dedup="key")
        stream = client.stream.create("events", max_age_ms=3_600_000)
        stream.publish("young")
        # What is due in a moment must be due in a moment on either side of the jump.
        quick = client.queue.create("quick", visibility_timeout_ms=2_500, max_deliveries=5)
        quick.push("again")
        (first,) = quick.receive(1)
        assert first.attempts == 1
        client.store.map.set("moment", 1, ttl_ms=2_500)
        quick.push("delayed", delay_ms=2_500)

        offset.write_text(f"{jump:+d}\n")
        began = time.monotonic()
        assert client.store.map.get("hour") == client.store.map.get("kept/hour") == 1
        assert client.store.map.get("moment") == 1, "not yet"
        assert queue.push("twice", dedup="key", want_id=True) is not None
        assert [job.value for job in queue.receive(10)] == ["once"], (
            "neither the lent one, nor the delayed, nor a double"
        )
        lent.ack()
        came = {}
        while len(came) < 2 and time.monotonic() - began < 20:
            for job in quick.receive(1, 500):
                came[job.value] = job.attempts
                job.ack()
        assert came == {"again": 2, "delayed": 1}
        assert time.monotonic() - began > 1, "not at once either"
        assert eventually(lambda: client.store.map.get("moment") is None)
        assert [record.value for record in stream.read("beginning")] == ["young"]
        with other.pubsub.topic("hour").subscribe() as kept:
            assert next(kept).data == 1
            # A request times out when it should.
            with pytest.raises(ReplyTimeoutError):
                client.pubsub.topic("hour").request("?", timeout=0.5)
        assert client.store.map.get("hour") == 1
    server.terminate()
    assert server.wait() == 0
    days = dates(server)
    assert len(days) >= 2 and sorted(days, reverse=jump < 0) == days, "the clock did jump"
