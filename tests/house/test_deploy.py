"""What stands in deploy/ agrees with the program: settings, ports, files, and with the rules of its tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexo.limits import CONNECTIONS_MAX
from nexo.server.config import FILE_VARIABLE, SETTINGS, Config, load
from tests.house.sources import ROOT

DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs/deployment.md"
VARIABLE = re.compile(r"\bNEXO_[A-Z_]+\b")
ASSIGNED = re.compile(r"\b(NEXO_[A-Z_]+)(?:=|: )\"?([^\s\"\\]+)")
UNITS = sorted(path for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer"))
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_TENTHS_MAX = 20
"""systemd-analyze security's bound for the broker's unit, in tenths: 1.5 when it was written."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, as (name, rest), continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def compose() -> dict[str, Any]:
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert isinstance(service, dict)
    return service


def unit(name: str) -> dict[str, list[str]]:
    """Directives of a unit, each with its values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    "path", [*sorted(path for path in DEPLOY.rglob("*") if path.is_file()), PAGE], ids=lambda path: path.name
)
def test_variables_are_settings(path: Path) -> None:
    known = {setting.env for setting in SETTINGS.values()} | {FILE_VARIABLE}
    assert set(VARIABLE.findall(path.read_text())) - {"NEXO_"} <= known | {"NEXO_PURE"}


@pytest.mark.parametrize(
    "path", [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *UNITS], ids=lambda path: path.name
)
def test_values_are_valid(path: Path) -> None:
    load(None, dict(ASSIGNED.findall(path.read_text())), {})


def test_ports_are_the_defaults() -> None:
    ports = [str(Config().port), str(Config().http_port)]
    assert [rest.split() for name, rest in instructions() if name == "EXPOSE"] == [ports]
    assert compose()["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    assert f"http://127.0.0.1:{ports[1]}/readyz" in compose()["healthcheck"]["test"][-1]


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[1] == "*"
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source
    for entry in allowed:
        assert (ROOT / entry).exists(), entry


def test_stages_that_are_copied_from_exist() -> None:
    names = [found[1] for name, rest in instructions() if name == "FROM" if (found := rest.split(" AS "))[1:]]
    used = {rest.split()[0].removeprefix("--from=") for name, rest in instructions() if "--from=" in rest}
    assert used == set(names)


def test_the_image_runs_as_nobody_in_particular() -> None:
    final = dict(stages()[-1])
    assert re.fullmatch(r"(\d+):\1", final["USER"]), "a number, which Kubernetes can see not to be root"
    assert f"--uid {final['USER'].partition(':')[0]}" in final["RUN"]
    assert f"NEXO_DATA_DIR={final['VOLUME']}" in final["ENV"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert f"http://127.0.0.1:{Config().http_port}/readyz" in final["HEALTHCHECK"]
    assert compose()["volumes"] == [f"data:{final['VOLUME']}"]


def test_base_images_are_pinned_to_a_version() -> None:
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert all(re.search(r":\d[\w.-]+$", base) for base in bases)


def test_limits_leave_room_for_the_connections() -> None:
    assert int(unit("nexo.service")["LimitNOFILE"][0]) > 2 * CONNECTIONS_MAX
    assert compose()["ulimits"]["nofile"] > 2 * CONNECTIONS_MAX


def test_there_is_time_for_an_orderly_end() -> None:
    assert int(unit("nexo.service")["TimeoutStopSec"][0]) > Config().shutdown_seconds
    assert int(compose()["stop_grace_period"].removesuffix("s")) > Config().shutdown_seconds


def test_the_unit_fits_the_server() -> None:
    directives = unit("nexo.service")
    assert directives["Type"] == ["notify"]
    assert directives["KillMode"] == ["mixed"], "a second SIGTERM ends the server at once"
    assert directives["Environment"] == [f"NEXO_DATA_DIR=/var/lib/{directives['StateDirectory'][0]}"]
    assert directives["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """The units with commands that exist on this machine, which is what `verify` looks for."""
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/nexo", "/usr/bin/true"))
    return tmp_path


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze (Debian: apt-get install systemd)")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path: Path, installed_units: Path) -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", installed_units / path.name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    complaints = [line for line in done.stderr.splitlines() if any(ours.name in line for ours in UNITS)]
    assert done.returncode == 0 and not complaints, done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze (Debian: apt-get install systemd)")
def test_the_unit_is_hardened(installed_units: Path) -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [
            ANALYZE,
            "security",
            "--offline=true",
            "--no-pager",
            f"--threshold={EXPOSURE_TENTHS_MAX}",
            installed_units / "nexo.service",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-200:]
