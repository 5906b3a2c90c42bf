"""`nexo verify` and `nexo repair` over a data directory that is good, torn, damaged, in use and not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nexo.cli import exits, main
from nexo.storage.files import Files
from nexo.storage.format import log_name
from tests.simulation.run import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = Run(Files(str(tmp_path)))
    for number in range(5):
        run.write(b"%d" % number)
    run.files.unlock()
    return tmp_path


def nexo(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def test_a_good_directory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nexo("verify", "--data-dir", folder) == exits.OK
    out = capsys.readouterr().out
    assert out == f"{log_name(1)}: log, 5 records, 226 bytes\n{folder}: nothing is damaged\n"
    assert nexo("repair", "--data-dir", folder) == exits.OK
    assert "nothing to repair" in capsys.readouterr().out


def test_a_torn_tail_is_no_damage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / log_name(1)
    path.write_bytes(path.read_bytes()[:-1])
    assert nexo("verify", "--data-dir", folder) == exits.OK
    assert "the next start cuts it at byte 192" in capsys.readouterr().out


def test_damage_is_found_planned_and_repaired(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / log_name(1)
    good = path.read_bytes()
    path.write_bytes(good[:100] + b"\xff" + good[101:])
    assert nexo("verify", "--data-dir", folder, "--json") == exits.NEGATIVE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["file"] == log_name(1)
    assert lines[-1]["offset"] == 90
    assert lines[-1]["problem"] == "damaged"
    assert nexo("repair", "--data-dir", folder) == exits.NEGATIVE
    out = capsys.readouterr().out
    assert "3 whole records would be lost, 136 bytes moved away" in out
    assert len(path.read_bytes()) == len(good)
    assert nexo("repair", "--data-dir", folder, "--yes") == exits.OK
    assert path.read_bytes() == good[:90]
    assert len((folder / f"{log_name(1)}.damaged-90").read_bytes()) == 136
    assert nexo("verify", "--data-dir", folder) == exits.OK


def test_a_directory_that_is_in_use_or_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = Files(str(folder))
    files.lock()
    for name in ("verify", "repair"):
        assert nexo(name, "--data-dir", folder) == exits.FAILED
        assert "is in use by process" in capsys.readouterr().err
        assert nexo(name, "--data-dir", folder / "nowhere") == exits.FAILED
        written = capsys.readouterr()
        assert written.out == ""
        assert "No such file or directory" in written.err
    files.unlock()
