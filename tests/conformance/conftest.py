"""Runs the published client in its own environment against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.surroundings import ROOT
from tests.vectors.serving import Serving

SCRIPTS = Path(__file__).parent / "published"
SCRIPT_SECONDS_MAX = 60.0

Check = Callable[..., subprocess.Popen[str]]


def interpreter() -> str:
    """The Python that has nexo-client: an environment of its own, as its import name is `nexo` too."""
    found = os.environ.get("NEXO_CLIENT_PYTHON") or str(ROOT / ".venv-client" / "bin" / "python")
    if not Path(found).exists():
        pytest.fail(
            f"no {found}: `make test` sets it up, or name one that has nexo-client in NEXO_CLIENT_PYTHON"
        )
    return found


def begin(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script of tests/conformance/published; -I: it must not see our package."""
    return subprocess.Popen(
        [interpreter(), "-I", str(SCRIPTS / f"{script}.py"), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdict(process: subprocess.Popen[str]) -> dict[str, object]:
    """The JSON that a script prints last; fails with its errors when it has none."""
    try:
        out, err = process.communicate(timeout=SCRIPT_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"no verdict in time\n{out}\n{err}")
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    found = json.loads(out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="session")
def published_server() -> Iterator[Serving]:
    with Serving() as one:
        yield one


@pytest.fixture
def published(published_server: Serving) -> Callable[..., dict[str, object]]:
    """Call with the name of a script: its verdict."""

    def run(script: str, *arguments: object) -> dict[str, object]:
        return verdict(begin(script, published_server.port, *arguments))

    return run
