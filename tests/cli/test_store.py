"""`nexo store …` against a real server: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.processes import Broker, Done


def test_set_get_del(broker: Broker) -> None:
    assert broker.nexo("store", "set", "a:greeting", "grüße") == (0, b"", "")
    assert broker.nexo("store", "get", "a:greeting") == (0, "grüße\n".encode(), "")
    assert broker.nexo("store", "get", "-N", "a:greeting").text == "grüße"
    assert broker.nexo("store", "exists", "a:greeting").code == 0
    assert broker.nexo("store", "del", "a:greeting", "a:nothing") == (0, b"1\n", "")
    assert broker.nexo("store", "get", "a:greeting") == (1, b"", "nexo: no such key: a:greeting\n")
    assert broker.nexo("store", "exists", "a:greeting") == (1, b"0\n", "")
    assert broker.nexo("store", "del", "a:greeting") == (1, b"0\n", "")


def test_bytes_from_a_file_and_from_standard_input(broker: Broker, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8
    (tmp_path / "blob").write_bytes(content)
    assert (
        broker.nexo("store", "set", "b:file", "--file", str(tmp_path / "blob"), "--type", "bytes").code == 0
    )
    assert broker.nexo("store", "get", "b:file") == (0, content, "")
    assert broker.nexo("store", "set", "b:stdin", "-", "--type", "bytes", stdin=content[::-1]).code == 0
    assert broker.nexo("store", "get", "b:stdin").out == content[::-1]
    refused = broker.nexo("store", "set", "b:file", "--file", str(tmp_path / "blob"))
    assert refused.code == 2
    assert "the value is not UTF-8; --type bytes sends it as it is" in refused.err
    assert json.loads(broker.nexo("store", "get", "b:stdin", "--json").out)["type"] == "bytes"


def test_json_comes_back_as_it_is(broker: Broker) -> None:
    for text in ('{"n":[1,2.5,null,true]}', "[]", "null", "true"):
        assert broker.nexo("store", "set", "c:json", text, "--type", "json") == (0, b"", "")
        assert broker.nexo("store", "get", "c:json").text == text + "\n"
        assert json.loads(broker.nexo("store", "get", "c:json", "--json").out)["value"] == json.loads(text)
    assert broker.nexo("store", "set", "c:json", "{", "--type", "json").code == 2


def test_conditions(broker: Broker) -> None:
    first = json.loads(broker.nexo("store", "set", "d:key", "1", "--if-absent", "--json").out)
    assert first["applied"] is True
    version = str(first["version"])
    again = broker.nexo("store", "set", "d:key", "2", "--if-absent")
    assert (again.code, again.out, again.err) == (
        1,
        b"",
        f"nexo: d:key was not set: it has version {version}\n",
    )
    assert broker.nexo("store", "set", "d:key", "2", "--version", version).code == 0
    assert broker.nexo("store", "set", "d:key", "3", "--version", version).code == 1
    assert broker.nexo("store", "get", "d:key").text == "2\n"
    assert broker.nexo("store", "set", "d:none", "3", "--if-present").code == 1
    assert broker.nexo("store", "del", "d:key", "--version", version).code == 1
    for pair in (
        ("--if-absent", "--if-present"),
        ("--if-absent", "--version", "1"),
        ("--ttl", "1s", "--keep-ttl"),
    ):
        assert broker.nexo("store", "set", "d:key", "1", *pair).code == 2


def test_time_to_live(broker: Broker) -> None:
    assert broker.nexo("store", "set", "e:key", "1", "--ttl", "10m").code == 0
    left = int(broker.nexo("store", "ttl", "e:key").text)
    assert 0 < left <= 600_000
    assert broker.nexo("store", "persist", "e:key").code == 0
    assert broker.nexo("store", "ttl", "e:key").text == "forever\n"
    assert broker.nexo("store", "expire", "e:key", "1h").code == 0
    assert 600_000 < json.loads(broker.nexo("store", "ttl", "e:key", "--json").out)["ttl_ms"] <= 3_600_000
    assert broker.nexo("store", "set", "e:key", "2", "--keep-ttl").code == 0
    assert int(broker.nexo("store", "ttl", "e:key").text) > 600_000
    for arguments in (("ttl", "e:none"), ("expire", "e:none", "1s"), ("persist", "e:none")):
        assert broker.nexo("store", *arguments) == (1, b"", "nexo: no such key: e:none\n")
    assert broker.nexo("store", "set", "e:key", "1", "--ttl", "0s").code == 2
    assert broker.nexo("store", "set", "e:key", "1", "--ttl", "soon").code == 2


def test_counters(broker: Broker) -> None:
    assert broker.nexo("store", "incr", "f:n").text == "1\n"
    assert broker.nexo("store", "incr", "f:n", "-5").text == "-4\n"
    assert broker.nexo("store", "incr", "f:n", "-5", "--min", "-6") == (1, b"-4\n", "")
    assert broker.nexo("store", "incr", "f:n", "-5", "--min", "-6", "--saturate") == (0, b"-6\n", "")
    assert broker.nexo("store", "incr", "f:calls", "--max", "1", "--ttl", "1m").code == 0
    assert broker.nexo("store", "incr", "f:calls", "--max", "1", "--ttl", "1m").code == 1
    assert int(broker.nexo("store", "ttl", "f:calls").text) <= 60_000
    assert broker.nexo("store", "set", "f:text", "7").code == 0
    failed = broker.nexo("store", "incr", "f:text")
    assert failed.code == 3
    assert failed.err.startswith("nexo: ")
    assert failed.err.count("\n") == 1
    assert broker.nexo("store", "set", "f:n", "7", "--type", "int").code == 0
    assert broker.nexo("store", "incr", "f:n", "1").text == "8\n"
    assert broker.nexo("store", "set", "f:n", "x", "--type", "int").code == 2
    assert broker.nexo("store", "set", "f:n", str(1 << 63), "--type", "int").code == 2


def test_many_scan_count_clear(broker: Broker) -> None:
    assert broker.nexo("store", "mset", "g:2", "two", "g:1", "one", "g:3", "three").code == 0
    assert broker.nexo("store", "mset", "g:1", "x", "g:9", "y", "--if-absent").code == 1
    assert broker.nexo("store", "mset", "g:1").code == 2
    assert broker.nexo("store", "scan", "g:").text == "g:1\ng:2\ng:3\n"
    assert broker.nexo("store", "scan", "g:", "--values", "--limit", "2").text == "g:1\tone\ng:2\ttwo\n"
    lines = lines_of(broker.nexo("store", "scan", "g:", "--values", "--json"))
    assert [(line["key"], line["type"], line["value"]) for line in lines][2] == ("g:3", "str", "three")
    assert broker.nexo("store", "scan", "g:none") == (1, b"", "")
    lines = lines_of(broker.nexo("store", "mget", "g:3", "g:8"))
    assert [(line["key"], line["type"], line["value"]) for line in lines] == [
        ("g:3", "str", "three"),
        ("g:8", None, None),
    ]
    assert broker.nexo("store", "count", "g:").text == "3\n"
    assert broker.nexo("store", "clear", "g:").text == "3\n"
    assert broker.nexo("store", "count", "g:", "--json").text == '{"count":0}\n'
    assert broker.nexo("store", "clear").code == 2


def test_watch(broker: Broker) -> None:
    watch = broker.start("store", "watch", "h:", "--count", "3")
    one = broker.start("store", "watch", "--key", "h:1", "--count", "2", "--json")
    for process in (watch, one):
        assert process.stderr is not None
        assert process.stderr.readline().startswith("nexo: watching ")
    broker.nexo("store", "set", "h:1", "one")
    broker.nexo("store", "set", "h:12", "twelve")
    broker.nexo("store", "del", "h:1")
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (0, "")
    assert [line.split("\t")[:2] for line in out.splitlines()] == [
        ["set", "h:1"],
        ["set", "h:12"],
        ["deleted", "h:1"],
    ]
    changes = [json.loads(line) for line in one.communicate(timeout=30)[0].splitlines()]
    assert [(change["kind"], change["key"], change.get("value")) for change in changes] == [
        ("set", "h:1", "one"),
        ("deleted", "h:1", None),
    ]
    assert broker.nexo("store", "watch", "h:", "--for", "100ms").code == 1
    resumed = broker.nexo("store", "watch", "h:", "--from", str(changes[0]["version"] - 1), "--count", "3")
    assert resumed.text == out


def lines_of(done: Done) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_maps(broker: Broker) -> None:
    assert broker.nexo("store", "maps", "m:") == (1, b"", "")
    assert broker.nexo("store", "create-map", "m:", "--durability", "flush") == (0, b"created\n", "")
    assert broker.nexo("store", "create-map", "m:", "--durability", "flush") == (0, b"unchanged\n", "")
    refused = broker.nexo("store", "create-map", "m:")
    assert refused.code == 3
    assert "durability: is flush, asked for fsync" in refused.err
    assert broker.nexo("store", "set", "m:1", "x").code == 0
    assert broker.nexo("store", "maps", "m:") == (0, b"m:\tflush\t1\t213\n", "")
    assert json.loads(broker.nexo("store", "maps", "m:", "--json").out)["keys"] == 1
    assert broker.nexo("store", "delete-map", "m:").code == 0
    assert broker.nexo("store", "get", "m:1").text == "x\n"
    assert broker.nexo("store", "delete-map", "m:").code == 1
    assert broker.nexo("store", "create-map", "m:").code == 0
    assert broker.nexo("store", "delete-map", "m:", "--keys", "--yes").code == 0
    assert broker.nexo("store", "exists", "m:1").code == 1
