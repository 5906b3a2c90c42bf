"""The audit log: every administrative action of every protocol, by whom, from where and how it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nexo
from nexo.brokers.journal import Journal
from nexo.errors import ConfigError, ResourceNotFoundError
from nexo.limits import FRAME_BYTES_MAX
from nexo.node import make_node
from nexo.protocols.audit import ACTIONS, OK, Action, Auditor
from nexo.protocols.native import audited
from nexo.protocols.native import opcodes as op
from nexo.protocols.native.channel import ServerInfo
from nexo.protocols.native.session import NativeSession
from nexo.server.audit import AuditLog
from nexo.server.http.app import RESOURCES
from nexo.server.http.routing import DATA
from tests.conftest import ROOT, Server
from tests.server.http.kit import Api
from tests.vectors.session import Alone, Hand, Recorder
from tests.vectors.wire import b, request


class Kept(Auditor):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.actions: list[Action] = []

    def done(self, action: Action) -> None:
        self.actions.append(action)

    def take(self) -> list[tuple[str, str, str]]:
        found, self.actions = self.actions, []
        return [(one.action, one.resource, one.result) for one in found]


class Audited(Alone):
    """A session whose actions are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Kept()
        info = ServerInfo("0", FRAME_BYTES_MAX, auditor=self.kept)
        self.session = NativeSession(self.node, self.recorder, self.recorder, info)  # type: ignore[arg-type]

    def ask(self, code: int, payload: bytes) -> Any:
        self.send(request(code, 1, payload))
        return self.read()


def message(frame: Any) -> str:
    return str(frame.payload[1:]) if frame is not None else ""


# Nothing is forgotten.


def test_every_opcode_is_audited_or_plain() -> None:
    known = set(audited.COMMANDS) | audited.PLAIN | audited.WITH_PARTS
    assert not set(audited.COMMANDS) & audited.PLAIN
    found = {code for code in range(256) if "unknown opcode" not in message(Audited().ask(code, b""))}
    assert found == known


def test_every_command_behind_another_opcode_is_audited_or_plain() -> None:
    extended = {*audited.EXTENDED, *audited.PLAIN_EXTENDED, op.STREAMX_ADMIN}
    found = {
        code
        for code in range(256)
        if "unknown stream command" not in message(Audited().ask(op.STREAM_EXTENDED, bytes([code])))
    }
    assert found == extended
    backup = {op.BACKUP_BEGIN, *audited.PLAIN_BACKUP}
    found = {
        code
        for code in range(256)
        if "unknown command" not in message(Audited().ask(op.BACKUP, bytes([code])))
    }
    assert found == backup


@pytest.mark.parametrize(
    ("code", "front", "table"),
    [
        (op.QUEUE_ADMIN, "s'q'", audited.QUEUE_ACTIONS),
        (op.STREAM_EXTENDED, "06 s'q' s''", audited.STREAM_ACTIONS),
        (op.MAP_ADMIN, "s'q'", audited.MAP_ACTIONS),
    ],
)
def test_every_json_action_is_audited_or_plain(code: int, front: str, table: dict[str, str]) -> None:
    one = Audited()
    one.ask(op.QUEUE_CREATE, b("s'q' 00"))
    one.ask(op.STREAM_CREATE, b("s'q' 00"))
    told = message(one.ask(code, b(f"{front} s'other' '{{}}'")))
    listed = re.search(r"unknown action 'other': ([a-z_, ]+)", told)
    assert listed, told
    assert set(listed[1].split(", ")) <= {*table, *audited.PLAIN_ACTIONS}
    assert set(table) <= set(listed[1].split(", "))


def test_every_route_that_changes_something_is_audited_or_data() -> None:
    for route in RESOURCES:
        if route.method == "GET":
            assert not route.audit
        else:
            assert route.audit == DATA or route.audit in ACTIONS, f"{route.method} {route.path}"


def test_the_table_of_actions_is_what_is_used_and_what_the_manual_lists() -> None:
    used = {route.audit for route in RESOURCES} - {"", DATA}
    used |= {*audited.COMMANDS.values(), *audited.EXTENDED.values(), "backup"}
    for table in (audited.MAP_ACTIONS, audited.QUEUE_ACTIONS, audited.STREAM_ACTIONS):
        used |= set(table.values())
    assert used == ACTIONS
    page = (ROOT / "docs/observability.md").read_text()
    assert set(re.findall(r"`([a-z_.]+)`", page)) >= ACTIONS


# What is told.


def test_actions_are_told_with_their_results() -> None:
    one = Audited()
    one.session.address = "192.0.2.1:5"
    one.hello()
    one.ask(op.QUEUE_CREATE, b("s'q' 00"))
    (action,) = one.kept.actions
    assert (action.protocol, action.address, action.client, action.account) == (
        "native",
        "192.0.2.1:5",
        "test",
        "",
    )
    assert one.kept.take() == [("queue.create", "q", OK)]
    one.ask(op.QUEUE_ADMIN, b("s'q' s'pause' '{}'"))
    one.ask(op.QUEUE_ADMIN, b("s'q' s'describe' '{}'"))
    one.ask(op.QUEUE_DELETE, b("s'other'"))
    one.ask(op.STREAM_SEEK, b("s'st' s'gr' 00"))
    one.ask(op.QUEUE_DELETE, b("00"))
    one.ask(op.BACKUP, b("01"))
    assert one.kept.take() == [
        ("queue.pause", "q", OK),
        ("queue.delete", "other", "ResourceNotFoundError"),
        ("group.seek", "st/gr", "ResourceNotFoundError"),
        ("queue.delete", "", "InvalidArgumentError"),
        ("backup", "", "NotAvailableError"),
    ]


def fill(one: Audited, keys: int) -> None:
    for number in range(keys):
        one.node.store.set(b"a/%d" % number, b"\x00x", one.node.now)


def test_a_delete_of_many_turns_is_told_once_at_its_end() -> None:
    one = Audited()
    fill(one, 12_000)
    one.ask(op.MAP_CLEAR_PREFIX, b("s'a/'"))
    assert one.kept.take() == [("store.delete_prefix", "a/", OK)]


def test_a_delete_whose_client_has_gone_is_told_too() -> None:
    one = Audited()
    fill(one, 12_000)
    one.session.data_received(request(op.MAP_CLEAR_PREFIX, 1, b("s'a/'")))
    while len(one.node.store) == 12_000:
        one.node.turn()
    assert one.kept.take() == []
    one.session.connection_lost(None)
    one.turn()
    assert 0 < len(one.node.store) < 12_000
    assert one.kept.take() == [("store.delete_prefix", "a/", "ConnectionClosedError")]


# Where it stands.


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_gets_lines_of_all_protocols_and_may_be_moved(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    path = tmp_path / "audit.log"
    server = start_server("--audit-file", str(path), "--log-level", "error")
    with nexo.blocking.connect(port=server.port, name="shell") as client:
        client.queue.create("jobs", durability="memory")
        client.queue.create("none", durability="memory")
        client.queue.delete("none")
        with pytest.raises(ResourceNotFoundError):
            client.queue.delete("none")
        first, *_, last = lines(path)
        path.rename(tmp_path / "audit.log.1")
        client.queue.delete("jobs")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first.pop("address")) and first.pop("time")
    assert first == {
        "level": "info", "logger": "nexo.audit", "message": "administration", "action": "queue.create",
        "resource": "jobs", "protocol": "native", "client": "shell", "account": "", "result": "ok",
    }  # fmt: skip
    assert (last["action"], last["result"]) == ("queue.delete", "ResourceNotFoundError")
    assert [one["action"] for one in lines(path)] == ["queue.delete"]
    assert server.log() == ""


def test_without_a_file_they_stand_in_the_log(server: Server) -> None:
    api = Api(server.http)
    api.post("/v1/queues", {"name": "b c", "options": {"durability": "memory"}}, 201)
    api.post("/v1/queues/b%20c/messages", {"messages": []}, 201)
    api.delete("/v1/queues/none", 404)
    api.post("/v1/queues/b%20c/purge", {"state": "some"}, 400)
    api.client.close()
    told = [line for line in server.log().splitlines() if " nexo.audit: " in line]
    assert len(told) == 3
    assert re.search(
        r'administration action=queue\.create resource="b c" protocol=http address=127\.0\.0\.1:\d+ '
        r'client="" account="" result=ok$',
        told[0],
    )
    assert "action=queue.delete resource=none " in told[1] and told[1].endswith(
        "result=ResourceNotFoundError"
    )
    assert told[2].endswith("result=InvalidArgumentError")


def test_a_file_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"audit_file .*none/audit\.log: No such file"):
        AuditLog(str(tmp_path / "none/audit.log"))


def test_what_cannot_be_recorded_is_told_and_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(str(folder / "audit.log"))
    (folder / "audit.log").unlink()
    folder.rmdir()
    audit.done(Action("queue.purge", "q", "native", "", "", "", OK))
    audit.close()
    assert "cannot write the audit file" in caplog.text


def test_a_node_without_an_auditor_keeps_nothing() -> None:
    recorder = Recorder()
    session = NativeSession(
        make_node(Hand(), Journal()), recorder, recorder, ServerInfo("0", FRAME_BYTES_MAX)
    )  # type: ignore[arg-type]
    session.data_received(request(op.QUEUE_CREATE, 1, b("s'q' 00")))
    assert session.server.auditor.done(Action("backup", "", "", "", "", "", OK)) is None
