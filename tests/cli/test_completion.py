"""Completion as the shells do it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import Broker, run, surroundings

DRIVE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_nexo_completion nexo
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with `nexo` in it, as an installation has."""
    program = tmp_path / "nexo"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nexo "$@"\n')
    program.chmod(0o755)
    return tmp_path


def completed(folder: Path, *words: str, **extra: str) -> list[str]:
    """What bash offers for the last word."""
    script = folder / "script"
    script.write_bytes(run("completion", "bash").out)
    environ = surroundings(**extra)
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", DRIVE, "bash", str(script), "nexo", *words],
        capture_output=True, text=True, env=environ, timeout=30, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_options_and_words_in_bash(folder: Path) -> None:
    assert completed(folder, "stat") == ["status"]
    assert completed(folder, "queue", "des") == ["describe"]
    assert completed(folder, "clients", "--so") == ["--sort"]
    assert completed(folder, "clients", "--sort", "p") == ["pending"]


def test_names_come_from_the_server(folder: Path, broker: Broker) -> None:
    for name in ("completed-a", "completed-b"):
        assert broker.nexo("queue", "create", name, "--durability", "memory").code == 0
    port = str(broker.port)
    assert completed(folder, "queue", "describe", "completed-", NEXO_PORT=port) == [
        "completed-a",
        "completed-b",
    ]
    assert completed(folder, "queue", "describe", "--port", port, "completed-b") == ["completed-b"]


def test_without_a_server_there_are_no_names(folder: Path) -> None:
    assert completed(folder, "queue", "describe", "x", NEXO_PORT="1") == []


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_scripts_are_of_their_shell(shell: str, check: str, tmp_path: Path) -> None:
    script = json.loads(run("completion", shell, "--json").out)["script"]
    assert f"_NEXO_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(script)
    assert subprocess.run([shell, check, str(file)], check=False).returncode == 0
