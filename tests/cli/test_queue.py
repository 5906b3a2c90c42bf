"""`nexo queue …` against a real server: what it prints, how it settles, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nexo.brokers.queue.definition import OPTIONS
from nexo.cli.queue import SETTINGS
from tests.cli.processes import Broker, Done, environment


def queue(broker: Broker, *arguments: str, stdin: bytes = b"") -> Done:
    return broker.nexo("queue", *arguments, stdin=stdin)


def objects(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def info(broker: Broker, name: str) -> dict[str, Any]:
    (found,) = objects(queue(broker, "describe", name, "--json"))
    return found


def dead(broker: Broker, name: str, *values: str) -> None:
    """A queue with these dead letters."""
    assert queue(broker, "create", name, "--max-deliveries", "1").code == 0
    queue(broker, "push", name, stdin="".join(f"{value}\n" for value in values).encode())
    given = queue(broker, "consume", name, "--count", str(len(values)), "--nack", "--for", "10s")
    assert given.text.splitlines() == list(values)


def test_every_option_of_a_definition_has_a_flag() -> None:
    assert [setting.name for setting in SETTINGS] == list(OPTIONS)
    for setting in SETTINGS:
        option = OPTIONS[setting.name]
        if option.words:
            assert tuple(setting.kind.choices) == option.words  # type: ignore[union-attr]


def test_create_describe_list_delete(broker: Broker) -> None:
    given = ("--visibility-timeout", "5m", "--bytes-max", "1mb", "--backoff", "fixed", "--backoff-time", "2s")
    assert queue(broker, "create", "a:jobs", *given) == (0, b"created\n", "")
    assert queue(broker, "create", "a:jobs", *given) == (0, b"unchanged\n", "")
    assert queue(broker, "create", "a:jobs", "--json").text == '{"name":"a:jobs","status":"unchanged"}\n'
    other = queue(broker, "create", "a:jobs", "--visibility-timeout", "1s", "--backoff", "fixed", "--json")
    assert other.code == 3
    assert "  visibility_timeout_ms: is 300000, asked for 1000\n" in other.err
    assert "backoff:" not in other.err
    (conflict,) = objects(other)
    assert conflict["differences"][0]["path"] == "visibility_timeout_ms"
    described = queue(broker, "describe", "a:jobs").text.splitlines()
    assert {"visibility_timeout_ms\t300000", "bytes_max\t1048576", "backoff\tfixed"} <= set(described)
    assert queue(broker, "push", "a:jobs", "one").code == 0
    assert queue(broker, "list", "a:").text == "a:jobs\t1\t0\t0\t0\t0\n"
    assert objects(queue(broker, "list", "a:", "--json"))[0]["ready"] == 1
    assert queue(broker, "list", "a:none") == (1, b"", "")
    assert queue(broker, "delete", "a:jobs") == (0, b"", "")
    for arguments in (("describe",), ("delete",), ("purge",), ("consume", "--for", "1s"), ("push", "-")):
        gone = queue(broker, arguments[0], "a:jobs", *arguments[1:])
        assert gone.code == 1
        assert gone.err.startswith("nexo: ") and gone.err.count("\n") == 1


def test_what_is_pushed_is_consumed(broker: Broker) -> None:
    queue(broker, "create", "b:jobs")
    assert queue(broker, "push", "b:jobs", "first").text.strip().isdigit()
    lines = queue(broker, "push", "b:jobs", "--json", stdin=b"zwei\n\ntab\there\n")
    assert lines.text == '{"name":"b:jobs","pushed":3}\n'
    assert queue(broker, "consume", "b:jobs", "--count", "2").text == "first\nzwei\n"
    rest = queue(broker, "consume", "b:jobs", "--format", "tsv", "--for", "500ms")
    assert [line.split("\t")[1:] for line in rest.text.splitlines()] == [
        ["1", "0", ""],
        ["1", "0", "tab\\there"],
    ]
    assert queue(broker, "consume", "b:jobs", "--for", "100ms") == (1, b"", "")
    figures = info(broker, "b:jobs")
    assert (figures["messages"], figures["acked"], figures["nacked"]) == (0, 4, 0)


def test_many_lines(broker: Broker) -> None:
    queue(broker, "create", "c:lines")
    content = b"".join(b"%d\n" % number for number in range(3_000)) + b"\n" * 12_000
    assert queue(broker, "push", "c:lines", stdin=content) == (0, b"", "")
    out = queue(broker, "consume", "c:lines", "--count", "15000").out
    assert out == content
    assert info(broker, "c:lines")["messages"] == 0


def test_options_of_a_push(broker: Broker, tmp_path: Path) -> None:
    queue(broker, "create", "d:jobs", "--on-expiry", "dead_letter")
    (tmp_path / "two").write_text("two\nlines\n")
    first = objects(queue(broker, "push", "d:jobs", '{"n": 1}', "--type", "json", "--dedup", "k", "--json"))[
        0
    ]
    again = objects(queue(broker, "push", "d:jobs", "{}", "--type", "json", "--dedup", "k", "--json"))[0]
    assert (first["duplicate"], again) == (False, {"id": first["id"], "duplicate": True})
    queue(broker, "push", "d:jobs", "--file", str(tmp_path / "two"), "--whole", "--priority", "9")
    queue(broker, "push", "d:jobs", "later", "--delay", "1h")
    queue(broker, "push", "d:jobs", "much later", "--at", "2099-01-01T00:00Z")
    queue(broker, "push", "d:jobs", "a", "--group", "g", "--header", "unit=C", "--ttl", "1h")
    queue(broker, "push", "d:jobs", "b", "--group", "g")
    delayed = objects(queue(broker, "browse", "d:jobs", "--state", "delayed", "--json"))
    assert [(one["value"], one["state"]) for one in delayed] == [
        ("later", "delayed"),
        ("much later", "delayed"),
    ]
    assert delayed[1]["due_at_ms"] // 1000 == 4_070_908_800
    held = queue(broker, "browse", "d:jobs", "--state", "held")
    assert [line.split("\t")[-1] for line in held.text.splitlines()] == ["b"]
    got = objects(queue(broker, "consume", "d:jobs", "--count", "3", "--json"))
    assert [one["value"] for one in got] == ["two\nlines\n", {"n": 1}, "a"]
    assert (got[0]["priority"], got[1]["type"], got[2]["group"]) == (9, "json", "g")
    assert got[2]["headers"] == [["unit", "C"]]
    for wrong in (
        ("x", "--at", "soon"),
        ("x", "--at", "2099-01-01", "--delay", "1s"),
        ("x", "--file", "y"),
        ("--dedup", "k"),
        ("x", "--priority", "256"),
    ):
        assert queue(broker, "push", "d:jobs", *wrong).code == 2


def test_get_and_remove(broker: Broker) -> None:
    queue(broker, "create", "e:jobs")
    id = queue(broker, "push", "e:jobs", "content").text.strip()
    assert queue(broker, "get", "e:jobs", id).text == "content\n"
    assert objects(queue(broker, "get", "e:jobs", id, "--json"))[0]["state"] == "ready"
    assert queue(broker, "remove", "e:jobs", id, "99") == (0, b"1\n", "")
    assert queue(broker, "remove", "e:jobs", id) == (1, b"0\n", "")
    assert queue(broker, "get", "e:jobs", id).code == 1
    queue(broker, "push", "e:jobs", stdin=b"1\n2\n3\n")
    assert queue(broker, "browse", "e:jobs", "--limit", "2").text.count("\n") == 2
    assert queue(broker, "purge", "e:jobs") == (0, b"3\n", "")
    assert queue(broker, "browse", "e:jobs") == (1, b"", "")


def test_given_back(broker: Broker) -> None:
    queue(broker, "create", "f:jobs", "--max-deliveries", "2")
    queue(broker, "push", "f:jobs", stdin=b"1\n2\n")
    assert queue(broker, "consume", "f:jobs", "--no-ack", "--for", "300ms").text == "1\n2\n"
    assert info(broker, "f:jobs")["ready"] == 2
    failed = queue(broker, "consume", "f:jobs", "--nack", "--count", "1", "--json")
    assert objects(failed)[0]["attempts"] == 1
    attempts = {one["value"]: one["attempts"] for one in objects(queue(broker, "browse", "f:jobs", "--json"))}
    assert attempts == {"1": 1, "2": 0}
    assert queue(broker, "consume", "f:jobs", "--nack", "--no-ack").code == 2


def test_a_command_for_each_job(broker: Broker, tmp_path: Path) -> None:
    queue(broker, "create", "g:jobs", "--max-deliveries", "1")
    queue(broker, "push", "g:jobs", stdin=b"good\nbad\nfine\n")
    command = (
        f'read word; echo "$NEXO_MESSAGE_ATTEMPTS $word"; echo $word >> {tmp_path}/seen; [ "$word" != bad ]'
    )
    done = queue(broker, "consume", "g:jobs", "--exec", command, "--count", "3")
    assert (done.code, done.text) == (1, "1 good\n1 bad\n1 fine\n")
    assert (tmp_path / "seen").read_text() == "good\nbad\nfine\n"
    (letter,) = objects(queue(broker, "dlq", "g:jobs", "--json"))
    assert (letter["value"], letter["state"], letter["reason"]) == ("bad", "dead", f"{command}: ended with 1")
    assert info(broker, "g:jobs")["acked"] == 2
    queue(broker, "push", "g:jobs", "good")
    assert queue(broker, "consume", "g:jobs", "--exec", "cat; kill -9 $$", "--count", "1").code == 1
    assert queue(broker, "consume", "g:jobs", "--exec", "true", "--json").code == 2


def test_a_reader_that_goes_away_loses_nothing(broker: Broker) -> None:
    queue(broker, "create", "h:jobs")
    queue(broker, "push", "h:jobs", "1")
    consuming = broker.start("queue", "consume", "h:jobs")
    assert consuming.stdout is not None and consuming.stderr is not None
    assert consuming.stdout.readline() == "1\n"
    consuming.stdout.close()
    queue(broker, "push", "h:jobs", "2")
    assert (consuming.wait(20), consuming.stderr.read()) == (0, "")
    assert queue(broker, "consume", "h:jobs", "--count", "1", "--json").text.startswith(
        '{"id":2,"attempts":1'
    )


def test_dead_letters_and_their_way_back(broker: Broker) -> None:
    dead(broker, "i:jobs", "1", "2", "3", "4")
    rows = [line.split("\t") for line in queue(broker, "dlq", "i:jobs").text.splitlines()]
    assert [(row[1], row[3], row[4]) for row in rows[:2]] == [
        ("1", "given back at the command line", "1"),
        ("1", "given back at the command line", "2"),
    ]
    assert queue(broker, "redrive", "i:jobs", "--reason", "timeout").code == 1
    assert queue(broker, "redrive", "i:jobs", rows[3][0]) == (0, b"1\n", "")
    assert queue(broker, "dlq-delete", "i:jobs", rows[0][0], "77").text == "1\n"
    assert queue(broker, "redrive", "i:jobs", "--reason", "command line").text == "2\n"
    assert queue(broker, "dlq", "i:jobs") == (1, b"", "")
    assert queue(broker, "redrive", "i:jobs") == (1, b"0\n", "")
    assert sorted(queue(broker, "consume", "i:jobs", "--count", "3").text.split()) == ["2", "3", "4"]
    dead(broker, "i:other", "1", "2")
    assert queue(broker, "dlq-purge", "i:other", "--json").text == '{"removed":2}\n'


def test_redrive_tells_how_far_it_is(broker: Broker) -> None:
    dead(broker, "j:jobs", *map(str, range(1500)))
    done = queue(broker, "redrive", "j:jobs")
    assert (done.code, done.text) == (0, "1500\n")
    assert done.err == "nexo: 1000 of 1500 dead letters are back\n"
    assert info(broker, "j:jobs")["ready"] == 1500


def test_on_a_terminal(broker: Broker) -> None:
    """Headings, a bar, and a question before anything is thrown away."""
    dead(broker, "k:jobs", "1", "2")
    assert "NAME" in terminal(broker, "list", "k:")[1]
    code, shown = terminal(broker, "redrive", "k:jobs")
    assert code == 0
    assert "redriving" in shown and "2/2" in shown and "\r\n2\r\n" in shown
    code, shown = terminal(broker, "purge", "k:jobs", answer="n\n")
    assert (code, "Delete all messages" in shown) == (130, True)
    assert info(broker, "k:jobs")["ready"] == 2
    assert terminal(broker, "purge", "k:jobs", answer="y\n")[0] == 0
    assert info(broker, "k:jobs")["ready"] == 0


def terminal(broker: Broker, *arguments: str, answer: str = "") -> tuple[int, str]:
    """A command as a person runs it: its exit code, and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nexo", "queue", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(NEXO_PORT=str(broker.port), TERM="xterm"),
        close_fds=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return process.wait(20), shown.decode()


def test_pause_and_resume(broker: Broker) -> None:
    queue(broker, "create", "l:jobs")
    queue(broker, "push", "l:jobs", "1")
    assert queue(broker, "pause", "l:jobs") == (0, b"", "")
    assert "paused_until\tresumed" in queue(broker, "describe", "l:jobs").text
    assert queue(broker, "consume", "l:jobs", "--for", "200ms").code == 1
    assert queue(broker, "resume", "l:jobs", "--json").text == '{"name":"l:jobs","paused":false}\n'
    assert queue(broker, "pause", "l:jobs", "--for", "10m").code == 0
    left = info(broker, "l:jobs")["paused_until"] / 1000 - time.time()
    assert 500 < left <= 601
    assert queue(broker, "pause", "l:jobs", "--for", "1s").code == 0
    assert queue(broker, "consume", "l:jobs", "--count", "1", "--for", "10s").text == "1\n"


@pytest.mark.parametrize("how", ["--no-ack", "--nack"])
def test_ctrl_c_gives_back(broker: Broker, how: str) -> None:
    name = f"m:{how}"
    queue(broker, "create", name)
    queue(broker, "push", name, "1")
    consuming = broker.start("queue", "consume", name, how)
    assert consuming.stdout is not None
    assert consuming.stdout.readline() == "1\n"
    consuming.send_signal(2)
    assert consuming.wait(20) == 130
    figures = info(broker, name)
    assert (figures["ready"] + figures["delayed"], figures["leased"]) == (1, 0)


def test_ctrl_c_ends_a_command_and_gives_its_job_back(broker: Broker) -> None:
    queue(broker, "create", "n:jobs")
    queue(broker, "push", "n:jobs", "1")
    consuming = broker.start("queue", "consume", "n:jobs", "--exec", "echo begun; exec sleep 60")
    assert consuming.stdout is not None
    assert consuming.stdout.readline() == "begun\n"
    consuming.send_signal(2)
    assert consuming.wait(20) == 130
    (job,) = objects(queue(broker, "browse", "n:jobs", "--json"))
    assert (job["value"], job["attempts"]) == ("1", 0)
