"""P11: one consumer reads at a few kB in a second; nobody else waits for it, and it is told what it lost."""

from __future__ import annotations

import statistics
import threading
import time

import nexo
from tests.conftest import HTTP
from tests.faults.test_slow_readers import DROP_OLDEST, drain, notices, numbers, slow_subscriber
from tests.server.http.kit import Api
from tests.vectors.serving import Serving
from tests.vectors.wire import PUSH, Frame, Wire, publish, request, string, u32

SIZE = 20_000
MESSAGES = 150
"""Of one round: 3 MB, which the slow one would need a minute for."""
ROUNDS = 4
SLOW_BYTES_PER_SECOND = 50_000
FLOOR_SECONDS = 0.005
"""A percentile below this is the machine's, not the broker's."""


class Trickle:
    """Reads a connection at SLOW_BYTES_PER_SECOND until it is told to stop."""

    def __init__(self, wire: Wire) -> None:
        self.frames: list[Frame] = []
        self._wire = wire
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(SIZE / SLOW_BYTES_PER_SECOND):
            self.frames.append(self._wire.frame(30))

    def stop(self) -> list[Frame]:
        """What it has read."""
        self._stop.set()
        self._thread.join()
        return self.frames


def delays(publisher: Wire, good: Wire, first: int) -> list[float]:
    """Publish numbered messages one after another: how long each took to the good subscriber, in seconds."""
    found = []
    for number in range(first, first + MESSAGES):
        began = time.perf_counter()
        publisher.send(publish("all/x", number.to_bytes(4, "big") + bytes(SIZE - 4), silent=True))
        got = good.frame(30)
        found.append(time.perf_counter() - began)
        assert got.kind == PUSH
    return found


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def test_one_slow_consumer_delays_nobody() -> None:
    with Serving() as server, Wire(server.port) as good, Wire(server.port) as publisher:
        found = HTTP.search(server.log())
        assert found is not None
        api = Api(found[1])
        good.subscribe("all/#")
        delays(publisher, good, 0)
        alone = [p99(delays(publisher, good, 0)) for _ in range(ROUNDS)]
        slow = slow_subscriber(server, "all/#", DROP_OLDEST, 20)
        trickle = Trickle(slow)
        beside = [p99(delays(publisher, good, round * MESSAGES)) for round in range(ROUNDS)]
        frames = trickle.stop()
        # The rest at once: what has been lost is told, and every message came or is counted.
        frames += drain(slow)
        slow.close()
        before, after = statistics.median(alone), statistics.median(beside)
        assert after < 2 * max(before, FLOOR_SECONDS), f"p99 {before * 1e3:.2f} ms, then {after * 1e3:.2f} ms"
        got = numbers(frames)
        assert got == sorted(set(got)) and len(got) < ROUNDS * MESSAGES
        lost = ROUNDS * MESSAGES - len(got)
        assert notices(frames, "all/#", DROP_OLDEST)[-1][1] == lost
        time.sleep(0.3)  # the overview is made five times a second at most
        assert api.get("/v1/overview")["pubsub"]["dropped"] == lost
        api.client.close()


def test_one_slow_consumer_of_a_queue_delays_nobody() -> None:
    """It has asked for a large batch and reads none of it: its messages are lent to it, others get the rest at once."""
    with Serving() as server, nexo.blocking.connect(port=server.port) as client:
        queue = client.queue.create("jobs", durability="memory", visibility_timeout_ms=2_000)
        with Wire(server.port, receive_buffer=4096) as slow:
            queue.push_batch([bytes(100_000) for _ in range(60)])
            slow.send(request(0x12, 1, string("jobs") + u32(40) + u32(0)))
            assert slow.socket.recv(1) == b"\x09", "the answer is on its way"
            began = time.monotonic()
            taken = queue.receive(100)
            assert len(taken) == 20
            queue.push("new")
            (new,) = queue.receive(1, 1_000)
            assert new.value == "new"
            assert time.monotonic() - began < 1.5, "before its messages come back"
            for job in (*taken, new):
                job.ack()
            # What it was lent comes back when its time is up, and counts.
            again = []
            while len(again) < 40 and time.monotonic() - began < 20:
                again += queue.receive(100, 500)
            assert len(again) == 40 and all(job.attempts == 2 for job in again)
