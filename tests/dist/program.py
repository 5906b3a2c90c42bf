"""An installed `nexo` command, in an environment of its own: no Python on PATH, none of the checkout's variables."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

READY = re.compile(r"nexo \S+ ready on \S+:(\d+) \(compiled\), pid (\d+)\n")
HTTP = re.compile(r"HTTP API and dashboard on (http://\S+)")
PATIENCE_SECONDS = 60


class Program:
    """A command and a folder in which it works; what it unpacks goes into `temporary`."""

    def __init__(self, command: Path, folder: Path) -> None:
        self.command = command
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "bin").mkdir()
        for tool in ("sh", "cat"):
            (folder / "bin" / tool).symlink_to(f"/bin/{tool}")
        self.environ = {"PATH": str(folder / "bin"), "TMPDIR": str(self.temporary)}

    def run(self, *arguments: str, stdin: str = "") -> str:
        """A command to its good end: what it wrote."""
        done = subprocess.run(
            [self.command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environ,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout


class Serving:
    """`nexo serve` in a process group of its own, as a shell would start it."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self.program = program
        self.log_path = program.folder / "server.log"
        settings = ("--port", "0", "--http-port", "0", "--data-dir", str(program.folder / "data"))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [program.command, "serve", *settings, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=program.folder,
                env=program.environ,
                process_group=0,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = READY.fullmatch(line)
        if found is None:
            self.process.kill()
            raise AssertionError(f"no ready line: {line!r} {self.log()}")
        self.port, self.pid = int(found[1]), int(found[2])

    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def http(self) -> str:
        found = HTTP.search(self.log())
        assert found is not None, self.log()
        return found[1]

    def nexo(self, *arguments: str, stdin: str = "") -> str:
        """A client command."""
        return self.program.run(*arguments, "--port", str(self.port), stdin=stdin)

    def wait(self) -> int:
        """Its exit code, once everything that holds its standard output has ended: server, loader, children."""
        self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode
