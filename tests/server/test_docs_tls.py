"""The examples of docs/tls.md are run as they stand there, one after another."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_docs import CONNECT, run
from tests.conftest import ROOT, Server
from tests.surroundings import environment

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVE = re.compile(r"^nexo serve ((?:.*\\\n)*.*)$", re.MULTILINE)
PROGRAMS = all(shutil.which(name) for name in ("openssl", "curl", "bash"))


@pytest.mark.debian
@pytest.mark.skipif(not PROGRAMS, reason="no openssl, curl or bash here")
@pytest.mark.asyncio
async def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nexo serve` goes on running at a free port; one that follows takes its place."""
    monkeypatch.chdir(tmp_path)
    servers: list[Server] = []

    def serve(arguments: str) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *shlex.split(arguments.replace("\\\n", " "))))
        return servers[-1]

    def shell(script: str) -> None:
        port = servers[-1].port if servers else 7654
        nexo = f'nexo() {{ "{sys.executable}" -m nexo "$@"; }}\n'
        done = subprocess.run(
            ["bash", "-e", "-c", nexo + script.replace("7654", str(port))],
            env=environment(NEXO_HOST="localhost", NEXO_PORT=str(port), no_proxy="*"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, script + done.stderr

    blocks = BLOCK.findall((ROOT / "docs/tls.md").read_text())
    assert [kind for kind, _ in blocks] == ["sh", "sh", "sh", "python"]
    try:
        for kind, block in blocks:
            if kind == "python":
                # The server of the trial, which asks for no certificate.
                source = CONNECT.sub(rf"\1(port={servers[0].port}, ", block)
                await run(source, "tls.md", {})
            elif (found := SERVE.search(block)) is not None:
                shell(block[: found.start()])
                serve(found[1])
                shell(block[found.end() :])
            else:
                shell(block)
    finally:
        for server in servers:
            assert server.stop() == 0, server.log()
