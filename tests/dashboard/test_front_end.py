"""The front end's own unit tests, which run in Node: numbers, trees, rates, values."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import ROOT

VITEST = ROOT / "dashboard/node_modules/.bin/vitest"


def test_unit_tests_pass() -> None:
    if not VITEST.exists():
        pytest.skip("needs the dashboard's tools: make dashboard, with Node.js 20.19 or later")
    done = subprocess.run(
        [VITEST, "run"], cwd=ROOT / "dashboard", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_sources_make_no_markup_of_data() -> None:
    """Contents of messages are text nodes: nothing in the sources can turn a string into elements or code."""
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    sources = [*(ROOT / "dashboard/src").rglob("*.ts"), *(ROOT / "dashboard/src").rglob("*.tsx")]
    assert len(sources) > 20
    found = [f"{path.name}: {way}" for path in sources for way in ways if way in path.read_text()]
    assert found == []
