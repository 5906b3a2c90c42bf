"""The program on the README's first screen is run as it stands there, against a real broker."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import Server
from tests.house.sources import ROOT, SOURCE


def test_the_readme_program_runs(server: Server) -> None:
    program = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert program is not None
    assert program[1].count("nexo.connect()") == 1
    code = program[1].replace("nexo.connect()", f"nexo.connect(port={server.port})")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'name': 'Ada'}\n21.5\n"
