"""examples/pipeline.py, as a user runs it: with a broker that is killed, and with one that runs already."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.processes import Broker, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "pipeline.py"
RECORDS = Path(__file__).with_name("packages-status")
ACTIONS = (
    "install",
    "upgrade",
    "configure",
    "status unpacked",
    "status half-installed",
    "trigproc",
    "remove",
)


def example(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    """The table: what was compared → expected, got, verdict."""
    return {row.rsplit(maxsplit=3)[0]: row.split()[-3:] for row in done.stdout.splitlines()[1:]}


def test_totals_agree_although_the_broker_is_killed(tmp_path: Path) -> None:
    lines = [
        f"2026-01-31 12:{number // 60:02}:{number % 60:02} {ACTIONS[number % 7]} package{number % 31}:amd64 1 2"
        for number in range(900)
    ]
    (tmp_path / "dpkg.log").write_text("\n".join(lines))
    done = example(str(tmp_path / "dpkg.log"), "--kill", "2", "--seconds", "50")
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done)
    assert all(row[2] == "✓" for row in table.values())
    assert table["store: a marker for each line"][1] == "900"
    assert table["store: counters by action"][1] == "7"
    assert table["store: counters by package"][1] == "31"
    assert table["broker: times killed"][1] == "2"
    assert done.stderr.count(" ready on ") == 3
    assert "the fold begins again" in done.stderr


def test_with_a_running_broker_twice(broker: Broker) -> None:
    for _ in range(2):
        done = example(str(RECORDS), "--port", str(broker.port))
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(row[2] == "✓" for row in rows(done).values())
    assert broker.nexo("store", "get", "pipeline:count:action:Package").text == "7\n"
    assert broker.nexo("store", "get", "pipeline:count:package:libc6").text == "2\n"
    assert broker.nexo("stream", "lag", "pipeline-lines", "to-jobs").text.split("\t")[1] == "0"
    assert broker.nexo("queue", "dlq", "pipeline-jobs").code == 1


def test_what_cannot_be_done_is_said() -> None:
    done = example("/nowhere/dpkg.log")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere/dpkg.log does not exist" in done.stderr
    assert example("--kill", "1", "--port", "1").returncode == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-01-31 12:00:00 startup archives unpack", ("startup", "-")),
        ("2026-01-31 12:00:00 upgrade libc6:amd64 2.36-9 2.36-10", ("upgrade", "libc6")),
        ("2026-01-31 12:00:00 status half-installed libc6:amd64 2.36-9", ("status half-installed", "libc6")),
        ("2026-01-31 12:00:00 conffile /etc/issue keep", ("conffile", "-")),
        ("2026-01-31 12:00:00 odd", ("(text)", "-")),
        ("Package: libc6", ("Package", "libc6")),
        ("Version: 2:1.0", ("Version", "-")),
        (" a line: that goes on", ("(text)", "-")),
        ("", ("(text)", "-")),
    ],
)
def test_lines_are_read_right(line: str, expected: tuple[str, str]) -> None:
    assert module().action_and_package(line) == expected
