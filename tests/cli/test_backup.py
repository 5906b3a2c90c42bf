"""`nexo backup` and `nexo restore` as somebody types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nexo.cli import exits, main
from nexo.storage.files import Files
from nexo.storage.format import log_name
from tests.cli.processes import Broker, run
from tests.simulation.run import Run
from tests.storage.archives import bodies_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory of five batches."""
    log = Run(Files(str(tmp_path / "data")))
    for number in range(5):
        log.write(b"%d" % number)
    log.files.unlock()
    return tmp_path / "data"


def nexo(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_backing_up_a_running_broker_and_bringing_it_back(tmp_path: Path) -> None:
    broker = Broker()
    assert broker.nexo("queue", "create", "mail").code == exits.OK
    assert broker.nexo("queue", "push", "mail", "before").code == exits.OK
    done = broker.nexo("backup", "--to", str(tmp_path))
    assert done.code == exits.OK, done.err
    assert done.err == ""  # no progress into a pipe
    (archive,) = tmp_path.glob("nexo-*.tar")
    assert done.text.startswith(f"{archive}: everything up to batch ")
    assert broker.nexo("queue", "push", "mail", "after").code == exits.OK
    told = broker.nexo("backup", "--to", str(tmp_path / "second.tar"), "--json")
    progress, *_, result = [json.loads(line) for line in told.text.splitlines()]
    assert progress["bytes"] == progress["total"] == result["bytes"]
    assert progress["percent"] == 100
    assert progress["bytes_per_second"] > 0
    assert result["file"] == str(tmp_path / "second.tar")
    assert result["damaged"] is False
    taken = broker.nexo("backup", "--to", str(tmp_path / "second.tar"))
    assert taken.code == exits.FAILED
    assert "is there already, and is not overwritten" in taken.err
    broker.stop()

    assert run("restore", "--check", str(archive)).code == exits.OK
    data = tmp_path / "data"
    restored = run("restore", str(archive), "--data-dir", str(data))
    assert restored.code == exits.OK, restored.err
    assert restored.text.endswith(f"{data}: restored, nothing is damaged\n")
    again = Broker(NEXO_DATA_DIR=str(data))
    found = again.nexo("queue", "browse", "mail")
    assert "before" in found.text
    assert "after" not in found.text
    in_use = run("restore", str(archive), "--data-dir", str(data), "--force")
    assert in_use.code == exits.FAILED
    assert "is in use by process" in in_use.err
    again.stop()


def test_while_the_broker_is_down(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nexo("backup", "--data-dir", folder, "--to", tmp_path / "a.tar", "--json") == exits.OK
    progress, result = lines(capsys)
    assert progress["total"] == result["bytes"]
    assert (result["batch"], result["files"]) == (5, 1)
    assert nexo("restore", tmp_path / "a.tar", "--data-dir", tmp_path / "new", "--json") == exits.OK
    (told,) = lines(capsys)
    assert (told["batch"], told["moved_to"], told["damaged"]) == (5, "", False)
    assert bodies_in(tmp_path / "new") == [b"%d" % number for number in range(5)]


def test_a_directory_in_use_or_not_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files(str(folder))
    files.lock()
    assert nexo("backup", "--data-dir", folder, "--to", tmp_path / "a.tar") == exits.FAILED
    assert "is in use by process" in capsys.readouterr().err
    files.unlock()
    assert nexo("backup", "--data-dir", tmp_path / "no", "--to", tmp_path / "a.tar") == exits.FAILED
    assert "No such file or directory" in capsys.readouterr().err
    usage = nexo("backup", "--data-dir", folder, "--host", "x", "--to", tmp_path / "a.tar")
    assert usage == exits.USAGE
    assert "exclude each other" in capsys.readouterr().err
    assert nexo("restore", tmp_path / "a.tar", "--data-dir", tmp_path / "new") == exits.FAILED
    assert "No such file or directory" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["data"]


def test_a_directory_that_is_not_empty(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nexo("backup", "--data-dir", folder, "--to", tmp_path / "a.tar")
    capsys.readouterr()
    assert nexo("restore", tmp_path / "a.tar", "--data-dir", folder) == exits.FAILED
    assert "is not empty: it holds log-0000000001.nexo" in capsys.readouterr().err
    assert nexo("restore", tmp_path / "a.tar", "--data-dir", folder, "--force") == exits.OK
    (aside,) = folder.glob("before-restore-*")
    assert f"what was there is in {aside}" in capsys.readouterr().out
    assert (aside / log_name(1)).exists()
    assert nexo("verify", "--data-dir", folder) == exits.OK


def test_a_damaged_backup(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tar"
    nexo("backup", "--data-dir", folder, "--to", path)
    good = path.read_bytes()
    at = good.index(b"NEXOLOG") + 70
    for content, said in (
        (good[:at] + b"\xff" + good[at + 1 :], "checksum of log-"),
        (good[:-1], "ends early"),
    ):
        path.write_bytes(content)
        for arguments in (("--check",), ("--data-dir", tmp_path / "new")):
            assert nexo("restore", path, *arguments) == exits.NEGATIVE
            assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    path.write_bytes(good.replace(b'"version": 1,', b'"version": 2,'))
    assert nexo("restore", "--check", path) == exits.FAILED
    assert "has format version 2, which a later release has written" in capsys.readouterr().err


def test_what_was_damaged_before_it_was_backed_up(tmp_path: Path) -> None:
    """The archive is a true copy: it is kept, and the command says what is wrong with it."""
    broker = Broker(NEXO_DATA_DIR=str(tmp_path / "data"))
    broker.nexo("queue", "create", "mail")
    for number in range(3):
        broker.nexo("queue", "push", "mail", f"message {number}")
    (log,) = (tmp_path / "data").glob("log-*.nexo")
    log.write_bytes(log.read_bytes().replace(b"message 1", b"massage 1"))
    done = broker.nexo("backup", "--to", str(tmp_path / "a.tar"))
    assert done.code == exits.NEGATIVE
    assert f"{log.name}: DAMAGED, a broker does not start with it, at byte" in done.text
    broker.process.kill()
    broker.process.communicate()
    refused = run("restore", str(tmp_path / "a.tar"), "--data-dir", str(tmp_path / "new"))
    assert refused.code == exits.NEGATIVE
    assert "nothing was restored" in refused.err
    assert not (tmp_path / "new").exists()
    offline = run("backup", "--data-dir", str(tmp_path / "data"), "--to", str(tmp_path / "b.tar"))
    assert offline.code == exits.FAILED
    assert "see `nexo verify`" in offline.err
