"""The load generator counts right, and notices what is wrong: against a real Nexo, and redis-server where there is one."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexo.bench import pubsub, store
from nexo.bench.dialects import BenchError, Dialect, dialect
from nexo.bench.histogram import Histogram
from nexo.bench.sockets import connect, expect
from tests.vectors.serving import environment

Address = tuple[Dialect, int]


@pytest.fixture(scope="module", params=["nexo", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    name: str = request.param
    if name == "redis" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp(name)
    process, port = start_nexo(folder) if name == "nexo" else start_redis(folder)
    yield dialect(name), port
    process.send_signal(signal.SIGTERM)
    process.wait(15)


def start_nexo(folder: Path) -> tuple[subprocess.Popen[str], int]:
    code = "import sys; from nexo.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--http-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment())
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, int(line.split(" ready on ")[1].split()[0].rpartition(":")[2])


def start_redis(folder: Path) -> tuple[subprocess.Popen[str], int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    for line in process.stdout:
        if "Ready to accept connections" in line:
            break
    # Its log goes on; nobody may block on a full pipe.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process, port


@pytest.mark.parametrize(("operation", "pipeline"), [("set", 1), ("get", 16), ("mixed", 5), ("mixed", 100)])
def test_store_load_counts_every_reply(server: Address, operation: str, pipeline: int) -> None:
    load = store.StoreLoad(
        server[0],
        "127.0.0.1",
        server[1],
        connections=7,
        pipeline=pipeline,
        keys=500,
        operation=operation,
        seconds=0.2,
    )
    store.fill(load)
    result = store.run(load)
    assert result.replies > 0
    assert result.replies == result.latency.count * pipeline


def test_fixed_rate_keeps_the_rate(server: Address) -> None:
    load = store.StoreLoad(server[0], "127.0.0.1", server[1], connections=4, keys=100, seconds=0.5)
    store.fill(load)
    result = store.run_at_rate(load, 500)
    assert result.rate() == pytest.approx(500, rel=0.2)
    assert result.latency.count == result.replies


def test_a_miss_ends_the_run(server: Address) -> None:
    load = store.StoreLoad(server[0], "127.0.0.1", server[1], connections=2, keys=10_000_000, seconds=0.2)
    with pytest.raises(BenchError, match="unexpected reply"):
        store.run(load)


@pytest.mark.parametrize("subscribers", [1, 20])
def test_fan_out_counts_every_byte(server: Address, subscribers: int) -> None:
    load = pubsub.PubSubLoad(
        server[0], "127.0.0.1", server[1], subscribers=subscribers, seconds=0.2, window=512, chunk=64
    )
    result = pubsub.run(load)
    assert result.published > 0
    assert result.published % 64 == 0
    assert result.delivered == result.published * subscribers


def test_latency_takes_one_sample_a_message(server: Address) -> None:
    result = pubsub.run_latency(
        pubsub.PubSubLoad(server[0], "127.0.0.1", server[1], subscribers=3, seconds=0.2)
    )
    assert result.latency.count == result.published > 0


def test_a_foreign_message_ends_the_run(server: Address) -> None:
    spoken, port = server
    load = pubsub.PubSubLoad(spoken, "127.0.0.1", port, seconds=0.2, window=64, chunk=16)
    stop = threading.Event()

    def intrude() -> None:
        intruder = connect(spoken, "127.0.0.1", port)
        while not stop.wait(0.01):
            intruder.sock.sendall(spoken.publish(pubsub.TOPIC, b"not from this load, and of another size"))
        intruder.close()

    thread = threading.Thread(target=intrude)
    thread.start()
    try:
        with pytest.raises(BenchError):
            pubsub.run(load)
    finally:
        stop.set()
        thread.join()


def test_subscriptions_that_do_not_match_get_nothing(server: Address) -> None:
    spoken, port = server
    if not spoken.has_wildcards:
        pytest.skip("no wildcards in this load")
    result = pubsub.run(
        pubsub.PubSubLoad(spoken, "127.0.0.1", port, others=250, topics=10, seconds=0.2, window=64, chunk=16)
    )
    assert result.delivered == result.published > 0


def test_an_error_reply_is_shown(server: Address) -> None:
    spoken, port = server
    connection = connect(spoken, "127.0.0.1", port)
    with pytest.raises(BenchError, match="unexpected reply"):
        expect(connection, spoken.get_request(b"bench:no such key", 1), spoken.set_reply(1))
    connection.close()


def test_no_server_is_one_clear_error() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(BenchError, match="cannot connect"):
        store.run(store.StoreLoad(dialect("nexo"), "127.0.0.1", port))


@pytest.mark.asyncio
async def test_a_server_that_hangs_up_ends_the_run() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    listener = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        load = store.StoreLoad(dialect("redis"), "127.0.0.1", port)
        with pytest.raises((BenchError, ConnectionError)):
            await asyncio.to_thread(store.run, load)


def test_percentiles_are_near_the_sorted_list() -> None:
    numbers = [(n * 7919) % 1_000_003 + 1 for n in range(20_000)]
    histogram = Histogram()
    for number in numbers:
        histogram.add(number)
    ordered = sorted(numbers)
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = ordered[max(1, -int(-len(ordered) * percent // 100)) - 1]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.016)
    assert histogram.count == sum(count for _, count in histogram.doublings()) == len(numbers)
    assert histogram.maximum == max(numbers)
    assert histogram.mean() == pytest.approx(sum(numbers) / len(numbers))
