"""Loads on queues and streams: what is written is counted once, read once, and any error ends the run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexo.bench import kept
from nexo.bench.dialects import BenchError
from nexo.bench.wire_beanstalkd import TubeReader
from nexo.bench.wire_nats import PublishReplies, PullReader
from nexo.bench.wire_rabbitmq import END, ConfirmReplies, ConsumeReader, RabbitmqWire, method
from nexo.bench.wire_redis import RangeReader
from nexo.bench.wires import LineReplies

SIZE = 100
PROGRAMS = {
    "nexo": sys.executable,
    "redis": "redis-server",
    "nats": "nats-server",
    "beanstalkd": "beanstalkd",
}


def command(name: str, port: int, folder: Path) -> list[str]:
    if name == "nexo":
        code = "import sys; from nexo.cli import main; sys.exit(main())"
        return [sys.executable, "-c", code, "serve", "--port", str(port), "--http-port", "0"]
    if name == "redis":
        return [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ]
    if name == "nats":
        return ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    return ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder)]


@pytest.fixture(scope="module", params=list(PROGRAMS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int, int]]:
    name: str = request.param
    if shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"{PROGRAMS[name]} is not installed")
    folder = tmp_path_factory.mktemp(name)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    process = subprocess.Popen(
        command(name, port, folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ},
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield name, port, process.pid
    process.terminate()
    process.wait(15)


def make(
    server: tuple[str, int, int], stream: bool, topic: bytes = b"tested", **options: int
) -> kept.KeptLoad:
    name, port, pid = server
    wire = kept.wire(name, topic, SIZE, "flush")
    if stream and not wire.has_stream:
        pytest.skip(f"{name} has no streams")
    return kept.KeptLoad(wire, "127.0.0.1", port, stream=stream, seconds=0.2, window=64, pid=pid, **options)


@pytest.mark.parametrize("stream", [False, True], ids=["queue", "stream"])
@pytest.mark.parametrize("connections", [1, 5])
def test_what_is_written_is_read(server: tuple[str, int, int], stream: bool, connections: int) -> None:
    load = make(server, stream, messages=1_234, connections=connections)
    kept.create(load)
    written = kept.write(load)
    assert written.messages == 1_234
    assert len(written.tenths) == kept.TENTHS
    reading = make(server, stream, messages=1_234)
    assert kept.read(reading).messages == 1_234
    kept.delete(load)


@pytest.mark.parametrize("stream", [False, True], ids=["queue", "stream"])
def test_writing_for_a_time(server: tuple[str, int, int], stream: bool) -> None:
    load = make(server, stream, b"timed", connections=3)
    kept.create(load)
    result = kept.write(load)
    kept.delete(load)
    assert result.messages > 0
    assert result.seconds >= 0.2


@pytest.mark.parametrize("stream", [False, True], ids=["queue", "stream"])
def test_every_message_has_a_delay(server: tuple[str, int, int], stream: bool) -> None:
    load = make(server, stream, b"delayed")
    kept.create(load)
    result = kept.delay(load, 500)
    kept.delete(load)
    assert 0 < result.messages == result.latency.count
    assert result.latency.percentile(50) > 0


def test_a_queue_that_is_gone_ends_the_run(server: tuple[str, int, int]) -> None:
    if server[0] != "nexo":
        pytest.skip("the others make a queue as it is written to, or do not answer")
    load = make(server, False, b"missing", messages=10)
    with pytest.raises(BenchError, match="unexpected reply"):
        kept.write(load)


def test_no_streams_where_there_are_none() -> None:
    with pytest.raises(BenchError, match="rabbitmq has no streams"):
        kept.KeptLoad(kept.wire("rabbitmq", b"q", SIZE, "flush"), "127.0.0.1", 1, stream=True)


@pytest.mark.parametrize("cut", range(1, 12))
def test_lines_are_counted_however_they_are_cut(cut: int) -> None:
    data = b"$15\r\n1700000000000-0\r\n" * 4
    replies = LineReplies(b"$1", b"$")
    assert sum(replies.count(data[at : at + cut]) for at in range(0, len(data), cut)) == 4
    with pytest.raises(BenchError):
        replies.count(b"-ERR full\r\n-ERR full\r\n")


def test_confirms_of_one_and_of_many() -> None:
    def ack(tag: int, many: bool) -> bytes:
        return method(1, 60, 80, tag.to_bytes(8, "big") + bytes([many]))

    replies = ConfirmReplies()
    assert replies.count(ack(2, False)) == 1
    assert replies.count(ack(3, True)[:10]) == 0
    assert replies.count(ack(3, True)[10:]) == 2
    assert replies.count(ack(4, False) + ack(5, False)) == 2
    with pytest.raises(BenchError):
        replies.count(method(1, 60, 120, bytes(9)))


def test_a_delivery_of_rabbitmq_is_three_frames() -> None:
    wire = RabbitmqWire(b"q", SIZE, "flush")
    published = wire.write(False, b"x" * SIZE, 1, 0)
    content = published[published.index(b"\x02\x00\x01\x00\x00") :]
    delivery = method(1, 60, 60, b"\x01c" + (7).to_bytes(8, "big") + b"\x00\x00\x01q") + content
    reader = ConsumeReader(b"q", SIZE)
    assert reader.feed(delivery + delivery[:30]) == method(1, 60, 80, (7).to_bytes(8, "big") + b"\x01")
    assert reader.feed(delivery[30:]) != b""
    assert reader.done == 2
    assert delivery[-1] == END


def test_a_confirmation_of_jetstream() -> None:
    answer = b"MSG _INBOX.write.0 1 27\r\n" + b'{"stream":"s", "seq":12345}' + b"\r\n"
    replies = PublishReplies(b"s")
    assert replies.count(answer[:30]) == 0
    assert replies.count(answer[30:] + b"PING\r\n") == 1
    assert replies.owed == b"PONG\r\n"
    with pytest.raises(BenchError):
        replies.count(b'MSG _INBOX.write.0 1 30\r\n{"error":{"code":503},"seq":0}\r\n')


def test_readers_refuse_what_was_not_written() -> None:
    for reader, data in (
        (PullReader(b"s", SIZE, 10, 1, 0, True), b"MSG s 1 $JS.ACK.x 3\r\nabc\r\n"),
        (TubeReader(SIZE, 1, True), b"TIMED_OUT\r\n"),
        (RangeReader(b"s", SIZE, False), b"-ERR no\r\n"),
    ):
        with pytest.raises(BenchError):
            reader.feed(data)
