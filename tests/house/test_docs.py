"""The documents name what exists: links, files, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
MENTION = re.compile(r"`((?:src|tests|docs|examples|benchmarks|requirements|deploy|tools|\.ci)/[\w./-]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
COMMAND = re.compile(r"\bmake ([a-z]+)\b")
FIRST_SCREEN_LINES = 45


def anchors(page: Path) -> set[str]:
    """The names that a reader's browser knows the page's headings by."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).strip().replace(" ", "-")
        for heading in headings
    }


def test_there_are_pages() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "protocol.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            dead.append(match[0])
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_mentioned_files_exist(page: Path) -> None:
    missing = [name for name in MENTION.findall(page.read_text()) if not (ROOT / name).exists()]
    assert not missing


def code(text: str) -> str:
    """What stands in fences, indented blocks and back-ticks: prose may make things, too."""
    indented = re.findall(r"^ {4}.*$", text, re.MULTILINE)
    return "\n".join([*FENCE.findall(text), *indented, *re.findall(r"`[^`\n]+`", text)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    assert set(COMMAND.findall(code(page.read_text()))) <= targets


def test_the_first_screen_of_the_readme_runs_it() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:FIRST_SCREEN_LINES])
    assert {"run", "test"} <= set(COMMAND.findall(code(screen)))
    assert "```python" in screen
