"""The scripts of the documents are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.surroundings import ROOT, environment


@pytest.mark.parametrize(
    ("page", "says", "end"),
    [
        ("backup.md", "restored, nothing is damaged", "one\ntwo\n"),
        ("deployment.md", "restored, nothing is damaged", "first\n"),
        (
            "accounts.md",
            "refused with 3",
            "ann\tpassword\tadmin\nshop\ttoken web\tqueue:push mail.*; store:* shop/*\n",
        ),
    ],
)
def test_the_example_runs(tmp_path: Path, page: str, says: str, end: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "nexo").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nexo "$@"\n')
    (bin / "nexo").chmod(0o755)
    variables = environment(PATH=f"{bin}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run(
        ["sh", "-euc", script], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(end), done.stdout
    assert says in done.stdout
