"""`nexo pub`, `sub`, `request` and `ping` against a real server, through real pipes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.cli.processes import Broker, finish


def subscribe(broker: Broker, *arguments: str) -> subprocess.Popen[str]:
    """A `nexo sub` that is known to be subscribed."""
    process = broker.start("sub", *arguments)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("nexo: subscribed to "), line + str(finish(process))
    return process


def test_formats_and_overlapping_filters(broker: Broker) -> None:
    text = subscribe(broker, "a/#", "a/+", "--count", "4")
    lines = subscribe(broker, "a/#", "--json", "--count", "4")
    hexa = subscribe(broker, "a/b", "--format", "hex", "--count", "4")
    broker.nexo("pub", "a/b", "hellö", "--header", "unit=C", "--header", "unit=K")
    broker.nexo("pub", "a/b", "7", "--type", "int")
    broker.nexo("pub", "a/b", '{"n": 1.5}', "--type", "json")
    broker.nexo("pub", "a/b", "-", "--whole", "--type", "bytes", stdin=b"\x00\n\xff")
    code, out, err = finish(lines)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"topic": "a/b", "type": "str", "data": "hellö", "headers": [["unit", "C"], ["unit", "K"]]},
        {"topic": "a/b", "type": "int", "data": 7, "headers": []},
        {"topic": "a/b", "type": "json", "data": {"n": 1.5}, "headers": []},
        {"topic": "a/b", "type": "bytes", "data": "AAr/", "headers": []},
    ]
    hex_lines = finish(hexa)[1].splitlines()
    assert hex_lines[0] == "a/b " + "hellö".encode().hex()
    assert hex_lines[3] == "a/b 000aff"
    assert text.stdout is not None
    printed = text.stdout.buffer.read()
    assert text.wait(30) == 0
    assert printed == 'a/b hellö\na/b 7\na/b {"n":1.5}\na/b \x00\n'.encode() + b"\xff\n"


def test_lines_of_standard_input_and_of_a_file(broker: Broker, tmp_path: Path) -> None:
    numbers = [str(number) for number in range(5000)]
    sub = subscribe(broker, "lines/+", "--count", "10000")
    (tmp_path / "lines").write_text("\n".join(numbers))
    done = broker.nexo("pub", "lines/in", "--json", stdin="".join(f"{n}\n" for n in numbers).encode())
    assert (done.code, json.loads(done.out)) == (
        0,
        {"topic": "lines/in", "published": 5000, "receivers": 5000},
    )
    assert broker.nexo("pub", "lines/file", "--file", str(tmp_path / "lines")).code == 0
    out = finish(sub)[1].splitlines()
    assert out == [f"lines/in {n}" for n in numbers] + [f"lines/file {n}" for n in numbers]


def test_a_line_leaves_as_soon_as_it_is_there(broker: Broker) -> None:
    sub = subscribe(broker, "live")
    pub = broker.start("pub", "live")
    assert pub.stdin is not None and sub.stdout is not None
    for word in ("one", "two"):
        pub.stdin.write(word + "\n")
        pub.stdin.flush()
        assert sub.stdout.readline() == f"live {word}\n"
    assert finish(pub)[0] == 0
    sub.send_signal(signal.SIGINT)
    assert finish(sub) == (130, "", "")


def test_a_subscriber_ends_with_its_connection(broker: Broker) -> None:
    """A command has no other connection, and a script must not wait for ever."""
    process = subscribe(broker, "closed/#")
    (own,) = [
        one
        for one in map(json.loads, broker.nexo("clients", "--json").text.splitlines())
        if one["subscriptions"]
    ]
    assert broker.nexo("clients", "close", str(own["id"])).code == 0
    code, out, err = finish(process)
    assert (code, out) == (3, "") and "the connection was lost" in err


def test_retained(broker: Broker) -> None:
    assert broker.nexo("pub", "kept/x", "last", "--retain", "--ttl", "1h").code == 0
    done = broker.nexo("sub", "kept/#", "--count", "1", "--quiet")
    assert done == (0, b"kept/x last\n", "")
    assert broker.nexo("sub", "kept/#", "--no-retained", "--for", "200ms", "-q") == (1, b"", "")
    assert broker.nexo("pub", "kept/x", "--clear").code == 0
    assert broker.nexo("sub", "kept/#", "--for", "200ms", "-q") == (1, b"", "")
    assert broker.nexo("pub", "kept/x", "last", "--ttl", "1h").code == 2


def test_a_group_shares(broker: Broker) -> None:
    members = [subscribe(broker, "jobs", "--group", "g", "--count", "2") for _ in range(2)]
    broker.nexo("pub", "jobs", stdin=b"1\n2\n3\n4\n")
    received = [finish(member)[1].splitlines() for member in members]
    assert sorted(received[0] + received[1]) == ["jobs 1", "jobs 2", "jobs 3", "jobs 4"]


def test_a_reader_that_has_seen_enough(broker: Broker) -> None:
    sub = subscribe(broker, "pipe")
    assert sub.stdout is not None
    broker.nexo("pub", "pipe", "one")
    assert sub.stdout.readline() == "pipe one\n"
    sub.stdout.close()
    broker.nexo("pub", "pipe", "two")
    assert sub.wait(30) == 0
    assert sub.stderr is not None
    assert sub.stderr.read() == ""


def test_request(broker: Broker) -> None:
    done = broker.nexo("request", "nobody/there", "x")
    assert (done.code, done.out) == (1, b"")
    sub = subscribe(broker, "silent", "--count", "1")
    done = broker.nexo("request", "silent", "x", "--timeout", "300ms")
    assert (done.code, done.out) == (1, b"")
    assert finish(sub)[1] == "silent x\n"


def test_ping(broker: Broker) -> None:
    done = broker.nexo("ping")
    assert done.code == 0
    assert done.text.startswith(f"127.0.0.1:{broker.port} answered in ")
    figures = json.loads(broker.nexo("ping", "-c", "3", "-i", "1ms", "--json").out)
    assert figures["count"] == 3
    assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["max_ms"]


def test_wrong_topics_are_an_answer_of_the_server(broker: Broker) -> None:
    done = broker.nexo("pub", "a/#/b", "x")
    assert done.code in (2, 3)
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    done = broker.nexo("sub", "a/#/b", "-q")
    assert done.code in (2, 3)
    assert "Traceback" not in done.err
