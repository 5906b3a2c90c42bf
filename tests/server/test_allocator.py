"""A server that finds large pages starts itself once more to have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexo.server import allocator
from nexo.server.allocator import (
    ALLOCATOR,
    KEPT,
    TUNABLE,
    TUNABLES,
    huge_pages_here,
    started_again,
    with_huge_pages,
)
from tests.cli.processes import Broker


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the kernel says whether it gives large pages; a C library that can ask for them."""
    file = tmp_path / "enabled"
    file.write_text("always [madvise] never\n")
    monkeypatch.setattr(allocator, "HUGE_PAGES", file)
    monkeypatch.setattr("os.confstr", lambda name: "glibc 2.35")
    return file


def test_the_environment_asks_for_large_pages(pages: Path) -> None:
    assert with_huge_pages({"A": "1"}) == {"A": "1", ALLOCATOR: "malloc", TUNABLES: f"{TUNABLE}:{KEPT}"}


def test_what_the_environment_says_already_stays(pages: Path) -> None:
    assert with_huge_pages({ALLOCATOR: "pymalloc"}) is None
    found = with_huge_pages({TUNABLES: "glibc.malloc.arena_max=1"})
    assert found is not None and found[TUNABLES] == f"glibc.malloc.arena_max=1:{TUNABLE}:{KEPT}"


def test_started_once_more_is_enough(pages: Path) -> None:
    found = with_huge_pages({})
    assert found is not None and with_huge_pages(found) is None
    assert started_again(found)


def test_a_python_that_lacks_a_function_stays_as_it_was_started(
    pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_huge_pages({})
    monkeypatch.setattr(allocator, "SET_DEFAULT", "_PyMem_IsNotThere")
    assert with_huge_pages({}) is None
    assert found is not None and not started_again(found)


@pytest.mark.parametrize("choice", ["always madvise [never]\n", None])
def test_a_system_without_large_pages(pages: Path, choice: str | None) -> None:
    if choice is None:
        pages.unlink()
    else:
        pages.write_text(choice)
    assert with_huge_pages({}) is None


@pytest.mark.parametrize("library", ["glibc 2.34", "musl 1.2.3", "", None])
def test_a_library_that_cannot_ask(pages: Path, monkeypatch: pytest.MonkeyPatch, library: str | None) -> None:
    monkeypatch.setattr("os.confstr", lambda name: library)
    assert with_huge_pages({}) is None


@pytest.mark.parametrize(("setting", "again"), [("auto", huge_pages_here()), ("off", False)])
def test_a_server_has_them_unless_it_is_told_not_to(setting: str, again: bool) -> None:
    broker = Broker(["--huge-pages", setting])
    started_with = Path(f"/proc/{broker.pid}/environ").read_bytes().split(b"\0")
    assert broker.stop()[0] == 0
    assert broker.process.pid == broker.pid
    assert (f"{ALLOCATOR}=malloc".encode() in started_with) is again


MANY_OBJECTS = """
import gc, sys
from nexo.cli import main
import nexo.cli

def run(arguments):
    def deep(depth):
        return depth if depth == 0 else deep(depth - 1) + 1
    many = [[str(number) for number in range(200_000)] for _ in range(3)]
    del many[1]
    assert deep(800) == 800
    gc.collect()
    return len(many)

nexo.cli._run = run
sys.exit(main([]))
"""


@pytest.mark.skipif(not huge_pages_here(), reason="no large pages here, or no way to ask for them")
def test_small_objects_come_and_go_in_arenas_of_the_c_library() -> None:
    environ = with_huge_pages({**os.environ, "PYTHONMALLOCSTATS": "1"})
    assert environ is not None
    done = subprocess.run(
        [sys.executable, "-c", MANY_OBJECTS], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "# arenas allocated total" in done.stderr
