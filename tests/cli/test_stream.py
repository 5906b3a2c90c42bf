"""`nexo stream …` against a real server: what it prints, where groups stand, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexo.brokers.stream.definition import OPTIONS
from nexo.cli.stream import SETTINGS
from tests.cli.processes import Broker, Done


def stream(broker: Broker, *arguments: str, stdin: bytes = b"") -> Done:
    return broker.nexo("stream", *arguments, stdin=stdin)


def objects(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def group(broker: Broker, name: str) -> dict[str, Any]:
    (found,) = objects(stream(broker, "groups", name, "--json"))
    return found


def filled(broker: Broker, name: str, *values: str, options: tuple[str, ...] = ()) -> None:
    """A stream with these records."""
    assert stream(broker, "create", name, *options).code == 0
    content = "".join(f"{value}\n" for value in values).encode()
    assert stream(broker, "append", name, stdin=content).code == 0


def test_every_option_of_a_definition_has_a_flag() -> None:
    assert [setting.name for setting in SETTINGS] == [option[0] for option in OPTIONS]


def test_create_describe_list_delete(broker: Broker) -> None:
    given = ("--max-age", "0", "--max-bytes", "10gb", "--ack-wait", "5s", "--durability", "flush")
    assert stream(broker, "create", "a:events", *given) == (0, b"created\n", "")
    assert stream(broker, "create", "a:events", *given) == (0, b"unchanged\n", "")
    other = stream(broker, "create", "a:events", "--durability", "fsync", "--max-age", "0")
    assert (other.code, other.err.splitlines()[1:]) == (3, ["  durability: is flush, asked for fsync"])
    described = stream(broker, "describe", "a:events").text.splitlines()
    assert {"max_age_ms\t0", "max_bytes\t10737418240", "records\t0", "durability\tflush"} <= set(described)
    stream(broker, "append", "a:events", "one")
    assert stream(broker, "list", "a:").text.split("\t")[:2] == ["a:events", "1"]
    assert objects(stream(broker, "list", "a:", "--json"))[0]["last_seq"] == 1
    assert stream(broker, "list", "a:none") == (1, b"", "")
    assert stream(broker, "delete", "a:events") == (0, b"", "")
    for arguments in (
        ("describe",),
        ("delete",),
        ("append", "x"),
        ("read",),
        ("tail", "--for", "1s"),
        ("groups",),
        ("lag",),
        ("seek", "g", "end"),
        ("consume", "g", "--for", "1s"),
        ("dead", "g"),
        ("delete-group", "g"),
    ):
        gone = stream(broker, arguments[0], "a:events", *arguments[1:])
        assert gone.code == 1, gone
        assert gone.err.startswith("nexo: ") and gone.err.count("\n") == 1


def test_append_and_read(broker: Broker) -> None:
    stream(broker, "create", "b:events")
    assert stream(broker, "append", "b:events", "first", "--key", "ada", "--header", "unit=C") == (
        0,
        b"1\n",
        "",
    )
    assert stream(broker, "append", "b:events", "-5", "--type", "int").code == 2  # it stands after --
    assert stream(broker, "append", "b:events", "--type", "int", "--", "-5").text == "2\n"
    lines = stream(broker, "append", "b:events", "--json", stdin=b"3\n4\ttab\n")
    assert objects(lines) == [{"name": "b:events", "appended": 2, "last_seq": 4}]
    assert stream(broker, "read", "b:events").text == "first\n-5\n3\n4\ttab\n"
    assert stream(broker, "read", "b:events", "--from", "2", "--count", "2").text == "-5\n3\n"
    assert stream(broker, "read", "b:events", "--from", "1h", "--count", "1").text == "first\n"
    assert stream(broker, "read", "b:events", "--from", "2099-01-01T00:00").code == 1
    assert stream(broker, "read", "b:events", "--from", "end") == (1, b"", "")
    (last,) = stream(broker, "read", "b:events", "--last", "1", "--format", "tsv").text.splitlines()
    assert last.split("\t")[0] == "4" and last.split("\t")[2:] == ["-", "4\\ttab"]
    first = objects(stream(broker, "read", "b:events", "--json"))[0]
    assert (first["key"], first["headers"], first["value"]) == ("ada", [["unit", "C"]], "first")
    assert stream(broker, "read", "b:events", "--from", "soon").code == 2
    assert stream(broker, "read", "b:events", "--from", "1", "--last", "1").code == 2


def test_expected_sequences(broker: Broker) -> None:
    stream(broker, "create", "c:events")
    assert stream(broker, "append", "c:events", "--expected", "0", stdin=b"1\n2\n").code == 0
    refused = stream(broker, "append", "c:events", "x", "--expected", "0")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, b"", 1)
    assert stream(broker, "append", "c:events", "3", "--expected", "2").text == "3\n"


def test_many_lines(broker: Broker) -> None:
    stream(broker, "create", "d:lines")
    content = b"".join(b"%d\n" % number for number in range(20_000)) + b"\n" * 70_000
    assert stream(broker, "append", "d:lines", stdin=content) == (0, b"", "")
    assert stream(broker, "read", "d:lines").out == content


def test_tail(broker: Broker) -> None:
    filled(broker, "e:events", "1", "2", "3")
    following = broker.start("stream", "tail", "e:events", "--count", "2")
    late = broker.start("stream", "tail", "e:events", "--last", "1", "--json", "--count", "2")
    for process in (following, late):
        assert process.stderr is not None
        assert process.stderr.readline() == "nexo: following e:events\n"
    stream(broker, "append", "e:events", stdin=b"4\n5\n")
    assert following.communicate(timeout=20)[0] == "4\n5\n"
    assert [json.loads(line)["seq"] for line in late.communicate(timeout=20)[0].splitlines()] == [3, 4]
    assert stream(broker, "tail", "e:events", "-q", "--for", "200ms") == (1, b"", "")
    assert stream(broker, "tail", "e:events", "-q", "--from", "5", "--for", "500ms").text == "5\n"


def test_groups(broker: Broker) -> None:
    filled(broker, "f:events", *map(str, range(1, 11)))
    assert stream(broker, "groups", "f:events") == (1, b"", "")
    assert stream(broker, "lag", "f:events", "billing").code == 1
    got = stream(broker, "consume", "f:events", "billing", "--count", "3", "--json")
    assert [(one["seq"], one["attempts"]) for one in objects(got)] == [(1, 1), (2, 1), (3, 1)]
    lag = stream(broker, "lag", "f:events", "billing").text.split("\t")
    assert lag[:2] == ["billing", "7"] and int(lag[2]) >= 0
    assert objects(stream(broker, "lag", "f:events", "--json"))[0]["messages"] == 7
    assert stream(broker, "groups", "f:events").text.split("\t")[:3] == ["billing", "3", "7"]
    assert stream(broker, "consume", "f:events", "billing", "--for", "500ms").text == "4\n5\n6\n7\n8\n9\n10\n"
    assert group(broker, "f:events")["lag_messages"] == 0
    assert stream(broker, "consume", "f:events", "billing", "--for", "200ms") == (1, b"", "")
    assert stream(broker, "seek", "f:events", "billing", "9") == (0, b"", "")
    assert stream(broker, "consume", "f:events", "billing", "--count", "1", "--for", "10s").text == "9\n"
    assert stream(broker, "seek", "f:events", "billing", "beginning").code == 0
    assert group(broker, "f:events")["lag_messages"] == 10
    assert objects(stream(broker, "seek", "f:events", "billing", "end", "--json"))[0]["ack_floor"] == 10
    assert stream(broker, "seek", "f:events", "billing", "nowhere").code == 2
    assert stream(broker, "delete-group", "f:events", "billing") == (0, b"", "")
    assert stream(broker, "delete-group", "f:events", "billing").code == 1
    assert stream(broker, "seek", "f:events", "new", "end").code == 0
    assert stream(broker, "lag", "f:events", "new").text.split("\t")[1] == "0"


@pytest.mark.parametrize("how", ["--no-ack", "--nack"])
def test_given_back(broker: Broker, how: str) -> None:
    name = f"g:{how}"
    filled(broker, name, "1", "2", options=("--backoff-time", "100ms"))
    assert stream(broker, "consume", name, "all", how, "--count", "2").text == "1\n2\n"
    assert group(broker, name)["lag_messages"] == 2
    again = objects(stream(broker, "consume", name, "all", "--count", "2", "--for", "10s", "--json"))
    attempts = 1 if how == "--no-ack" else 2
    assert [(one["value"], one["attempts"]) for one in again] == [("1", attempts), ("2", attempts)]
    assert group(broker, name)["lag_messages"] == 0


def test_commands_and_dead_letters(broker: Broker) -> None:
    filled(broker, "h:events", "good", "bad", "worse", "fine", options=("--max-deliveries", "1"))
    command = 'read word; echo "$NEXO_MESSAGE_ID $word"; case $word in bad|worse) exit 7;; esac'
    done = stream(broker, "consume", "h:events", "all", "--exec", command, "--count", "4")
    assert (done.code, done.text) == (1, "1 good\n2 bad\n3 worse\n4 fine\n")
    rows = [line.split("\t") for line in stream(broker, "dead", "h:events", "all").text.splitlines()]
    assert [(row[0], row[1], row[3], row[5]) for row in rows] == [
        ("2", "1", f"{command}: ended with 7", "bad"),
        ("3", "1", f"{command}: ended with 7", "worse"),
    ]
    assert len(objects(stream(broker, "dead", "h:events", "all", "--json", "--limit", "1"))) == 1
    assert stream(broker, "dead-move", "h:events", "all", "2") == (0, b"1\n", "")
    assert stream(broker, "dead-move", "h:events", "all", "2").code == 1
    assert stream(broker, "consume", "h:events", "all", "--count", "1", "--for", "10s").text == "bad\n"
    assert stream(broker, "dead-delete", "h:events", "all", "2") == (1, b"0\n", "")
    assert stream(broker, "dead-delete", "h:events", "all", "3", "4").text == "1\n"
    assert stream(broker, "dead", "h:events", "all") == (1, b"", "")
    stream(broker, "append", "h:events", stdin=b"bad\nworse\nbad\n")
    stream(broker, "consume", "h:events", "all", "--exec", command, "--count", "3")
    assert stream(broker, "dead-move", "h:events", "all").code == 2
    assert stream(broker, "dead-move", "h:events", "all", "--all", "--json").text == '{"moved":3}\n'
    stream(broker, "consume", "h:events", "all", "--exec", command, "--count", "3")
    assert stream(broker, "dead-purge", "h:events", "all", "--yes").text == "3\n"


def test_a_reader_that_goes_away(broker: Broker) -> None:
    filled(broker, "i:events", *map(str, range(1, 2000)))
    for arguments in (("read", "i:events"), ("consume", "i:events", "all")):
        reading = broker.start("stream", *arguments)
        assert reading.stdout is not None and reading.stderr is not None
        assert reading.stdout.readline() == "1\n"
        reading.stdout.close()
        if arguments[0] == "consume":
            stream(broker, "append", "i:events", "more")
        assert (reading.wait(20), reading.stderr.read()) == (0, "")
