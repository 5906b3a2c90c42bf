"""The wheel in an environment that has nothing else: compiled, with the dashboard, and with all that it needs."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.dist.program import Program, Serving
from tests.house.test_build import load_setup
from tests.surroundings import ROOT


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `nexo` command of an environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pins = folder / "pins.txt"
    pins.write_text((ROOT / "requirements/dev.txt").read_text().replace("[mypyc]", ""))  # pip wants none here
    install = [folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "--constraint", pins, wheel], check=True)
    return folder / "bin/nexo"


def test_it_holds_each_compiled_module_and_the_dashboard(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for module in load_setup().hot_modules():
        stem = module.removeprefix("src/").removesuffix(".py")
        assert any(name.startswith(f"{stem}.") and name.endswith(".so") for name in names), module
    built = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/nexo/dashboard").rglob("*.*")}
    assert "nexo/dashboard/index.html" in built
    assert built <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "build/"))]


def test_it_serves(installed: Path, tmp_path: Path) -> None:
    program = Program(installed, tmp_path)
    assert "(compiled)" in program.run("--version")
    server = Serving(program)
    server.nexo("queue", "create", "mail")
    server.nexo("queue", "push", "mail", "hello")
    assert server.nexo("queue", "consume", "mail", "--count", "1") == "hello\n"
    with urllib.request.urlopen(f"{server.http}/") as answer:
        assert 'type="module"' in answer.read().decode()
    server.process.terminate()
    assert server.wait() == 0
    program.run("verify", "--data-dir", "data")
