"""The example of docs/backup.md is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.surroundings import ROOT, environment


def test_the_example_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs/backup.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "nexo").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nexo "$@"\n')
    (bin / "nexo").chmod(0o755)
    variables = environment(PATH=f"{bin}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        ["sh", "-euc", script], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("one\ntwo\n"), done.stdout
    assert "restored, nothing is damaged" in done.stdout
