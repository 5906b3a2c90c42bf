"""Contexts: the file, the order of sources, and what is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from nexo.cli import exits, main
from tests.cli.processes import Broker, run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("NEXO_HOST", "NEXO_PORT", "NEXO_TIMEOUT", "NEXO_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "nexo" / "contexts.toml"


def shown(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[object, str]]:
    capfd.readouterr()
    assert main(["context", "show", "--json", *arguments]) == exits.OK
    rows = map(json.loads, capfd.readouterr().out.splitlines())
    return {one["name"]: (one["value"], one["source"]) for one in rows}


def test_flag_then_environment_then_context_then_default(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(capfd)["port"] == (7654, "default")
    assert (
        main(["context", "add", "a", "--server", "nexo://broker.example:7001", "--timeout", "2s"]) == exits.OK
    )
    assert main(["context", "add", "b", "--host", "other.example"]) == exits.OK
    assert shown(capfd)["host"] == ("127.0.0.1", "default")
    assert main(["context", "use", "a"]) == exits.OK
    assert shown(capfd) == {
        "host": ("broker.example", "context a"),
        "port": (7001, "context a"),
        "timeout": ("2s", "context a"),
        "tls": (False, "default"),
        **dict.fromkeys(("ca_file", "cert_file", "key_file", "user"), (None, "default")),
    }
    assert shown(capfd, "--context", "b")["host"] == ("other.example", "context b")
    monkeypatch.setenv("NEXO_CONTEXT", "b")
    assert shown(capfd)["host"] == ("other.example", "context b")
    monkeypatch.setenv("NEXO_HOST", "env.example")
    assert shown(capfd)["host"] == ("env.example", "NEXO_HOST")
    assert shown(capfd, "--host", "flag.example")["host"] == ("flag.example", "--host")


def test_the_file_is_its_owners_alone(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["context", "add", "x.y", "--port", "7001"]) == exits.OK
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert [one.name for one in home.parent.iterdir()] == ["contexts.toml"]
    assert main(["context", "add", "x.y", "--port", "7002"]) == exits.OK
    assert capfd.readouterr().out == "created\nreplaced\n"
    assert main(["context", "use", "x.y"]) == main(["context", "list", "--json"]) == exits.OK
    listed = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert listed == {"name": "x.y", "current": True, "port": "7002"}
    assert main(["context", "remove", "x.y"]) == exits.OK
    assert main(["context", "list"]) == exits.NEGATIVE
    assert shown(capfd)["port"] == (7654, "default")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["context", "add", "a b"], "a name is"),
        (["context", "add", "a", "--server", "http://x"], "is not nexo://HOST"),
        (["context", "add", "a", "--server", "nexo://x:port"], "is not nexo://HOST"),
        (["context", "add", "a", "--server", "nexo://x", "--port", "1"], "either --server"),
        (["context", "add", "a", "--timeout", "soon"], "soon"),
        (["context", "use", "nobody"], "no context 'nobody'"),
        (["context", "remove", "nobody"], "no context 'nobody'"),
        (["ping", "--context", "nobody"], "no context 'nobody'"),
    ],
)
def test_refused(arguments: list[str], reason: str, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == exits.USAGE
    assert reason in capfd.readouterr().err
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("current = 7", "nothing else"),
        ("[context.a]\nhots = 'x'", "'hots'"),
        ("[context.a]\nport = [1]", "port of context a"),
        ("context.a = 1", "is a table"),
        ("= 1", "is not TOML"),
        ("current = 'gone'", "no context 'gone'"),
        ("current = 'a'\n[context.a]\nport = 'x'", "port"),
    ],
)
def test_a_file_that_is_wrong(text: str, reason: str, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home.parent.mkdir()
    home.write_text(text)
    assert main(["ping"]) == exits.USAGE
    assert reason in capfd.readouterr().err


def test_a_command_goes_where_the_context_says(broker: Broker, tmp_path: Path) -> None:
    home = str(tmp_path)
    where = f"127.0.0.1:{broker.port}"
    assert run("context", "add", "here", "--server", where, XDG_CONFIG_HOME=home).code == 0
    done = run("ping", NEXO_CONTEXT="here", XDG_CONFIG_HOME=home)
    assert done.text.startswith(f"{where} answered")
