"""dist/nexo: the broker, its dashboard and the whole command on a machine without Python."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from nexo.server.allocator import huge_pages_here
from tests.dist.program import Program, Serving


@pytest.fixture
def program(executable: Path, tmp_path: Path) -> Program:
    return Program(executable, tmp_path)


def test_it_is_compiled(program: Program) -> None:
    assert "(compiled), Python" in program.run("--version")


@pytest.mark.parametrize("pages", ["auto", "off"])
def test_a_job_and_the_dashboard(program: Program, pages: str) -> None:
    server = Serving(program, "--huge-pages", pages)
    server.nexo("queue", "create", "mail")
    server.nexo("queue", "push", "mail", "hello")
    assert server.nexo("queue", "consume", "mail", "--count", "1") == "hello\n"
    with urllib.request.urlopen(f"{server.http}/") as answer:
        page = answer.read().decode()
    assert 'type="module"' in page, "the dashboard's index"
    with urllib.request.urlopen(f"{server.http}/openapi.json") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{server.http}/metrics") as answer:
        assert b"nexo_queue_acked_total" in answer.read()
    started_with = Path(f"/proc/{server.pid}/environ").read_bytes()
    assert (b"PYTHONMALLOC=malloc" in started_with) is (pages == "auto" and huge_pages_here())
    server.process.terminate()
    assert server.wait() == 0
    program.run("verify", "--data-dir", "data")
    assert list(program.temporary.iterdir()) == [], "what it unpacked is gone"


@pytest.mark.parametrize("pages", ["auto", "off"])
def test_the_log_is_compacted_in_a_process_of_its_own(program: Program, pages: str) -> None:
    server = Serving(program, "--huge-pages", pages, "--log-file-bytes", "64kb")
    server.nexo("queue", "create", "work")
    server.nexo("queue", "push", "work", "-", stdin="".join(f"{'x' * 100} {n}\n" for n in range(5_000)))
    server.nexo("queue", "consume", "work", "--count", "5000")
    deadline = time.monotonic() + 30
    while "is compacted" not in server.log() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "is compacted" in server.log()
    assert "could not" not in server.log()
    server.process.terminate()
    assert server.wait() == 0


def test_a_backup_and_its_restore(program: Program) -> None:
    server = Serving(program)
    server.nexo("queue", "create", "mail")
    server.nexo("queue", "push", "mail", "hello")
    server.nexo("backup", "--to", "backup.tar")
    server.process.terminate()
    assert server.wait() == 0
    program.run("restore", "backup.tar", "--data-dir", "restored")
    again = Serving(program, "--data-dir", str(program.folder / "restored"))
    assert again.nexo("queue", "consume", "mail", "--count", "1") == "hello\n"
    again.process.terminate()
    assert again.wait() == 0


@pytest.mark.parametrize("pages", ["auto", "off"])
def test_ctrl_c_is_one_signal(program: Program, pages: str) -> None:
    """A terminal sends it to the whole group, and the loader hands on what it gets."""
    server = Serving(program, "--huge-pages", pages)
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.wait() == 0
    assert "SIGINT: shutting down" in server.log()
    assert "again" not in server.log()


def test_a_server_ends_with_its_loader(program: Program) -> None:
    server = Serving(program)
    server.process.kill()
    assert server.wait() == -signal.SIGKILL
    assert "SIGTERM: shutting down" in server.log()
    program.run("verify", "--data-dir", "data")


def test_commands_of_users_get_no_libraries_of_ours(program: Program) -> None:
    server = Serving(program)
    server.nexo("queue", "create", "mail")
    server.nexo("queue", "push", "mail", "hello")
    told = server.nexo(
        "queue", "consume", "mail", "--count", "1", "--exec", 'echo "[${LD_LIBRARY_PATH-none}]"; cat'
    )
    assert told == "[none]\nhello"
    server.process.terminate()
    assert server.wait() == 0
