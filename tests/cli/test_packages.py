"""examples/packages.py, as a user runs it: over this machine's packages, and over records with every oddity."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.processes import Broker, environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "packages.py"
RECORDS = Path(__file__).with_name("packages-status")
MACHINE = Path("/var/lib/dpkg/status")


def example(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packages_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_with_a_broker_of_its_own() -> None:
    path = MACHINE if MACHINE.exists() else RECORDS
    done = example(str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == 12
    assert all(row.endswith("✓") for row in rows)
    names = sum(line.startswith("Package: ") for line in path.read_text().splitlines())
    everything = next(row for row in rows if row.startswith("packages/# "))
    assert everything.split()[1:3] == [str(names), str(names)]


def test_with_a_running_broker_and_odd_records(broker: Broker) -> None:
    done = example(str(RECORDS), "--port", str(broker.port))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row.rsplit(maxsplit=3)[0]: row.split()[-3:] for row in done.stdout.splitlines()[1:]}
    assert rows["packages/#"] == ["7", "7", "✓"]
    assert rows["count pkg:"] == ["6", "6", "✓"]  # one name stands there twice
    assert rows["packages/libs/+"] == ["3", "3", "✓"]  # without non-free/libs
    assert '"name":"libstdc++6"' in broker.nexo("store", "get", "pkg:libstdc++6").text
    assert broker.nexo("store", "count", "pkg:python3").text == "2\n"


def test_no_such_file_is_said() -> None:
    done = example("/nowhere/status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("/nowhere/status does not exist")


def test_the_records_are_read_right() -> None:
    records = list(module().read_records(RECORDS))
    assert [record["name"] for record in records] == [
        "libstdc++6",
        "python3",
        "python3-apt",
        "libc6",
        "libc6",
        "nvidia-cuda-lib",
        "left-over",
    ]
    assert records[0] == {
        "name": "libstdc++6",
        "version": "12.2.0-14+deb12u1",
        "architecture": "amd64",
        "section": "libs",
        "installed": True,
        "installed_kib": 2640,
        "depends": ["gcc-12-base (= 12.2.0-14+deb12u1)", "libc6 (>= 2.36)", "libgcc-s1 (>= 4.2)"],
        "description": "GNU Standard C++ Library v3",
    }
    assert (records[6]["section"], records[6]["installed"]) == ("unknown", False)
    assert [module().topic(record) for record in records[::5]] == [
        "packages/libs/libstdc%2B%2B6",
        "packages/non-free.libs/nvidia-cuda-lib",
    ]


@pytest.mark.parametrize(("expected", "got"), [([1, 2], [2, 1]), ({"a": 1}, {"a": 2}), (3, 4)])
def test_a_difference_is_seen(expected: object, got: object, capsys: pytest.CaptureFixture[str]) -> None:
    table = module().Table()
    table.compare("same", expected, expected)
    assert table.print()
    table.compare("other", expected, got)
    assert not table.print()
    assert "✗ DIFFERENT" in capsys.readouterr().out
