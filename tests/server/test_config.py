"""Settings: names, precedence, units, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nexo import limits
from nexo.errors import ConfigError
from nexo.server.config import OTHER_VARIABLES, SETTINGS, Config, load, resolve
from nexo.server.units import format_bytes, parse_bytes, parse_duration_ms

DOCS = Path(__file__).parents[2] / "docs"


def write(folder: Path, text: str) -> str:
    path = folder / "nexo.toml"
    path.write_text(text)
    return str(path)


def test_defaults() -> None:
    config = load(None, {}, {})
    assert (config.host, config.port, config.http_port) == ("127.0.0.1", 7654, 8080)
    assert config.frame_bytes_max == limits.FRAME_BYTES_MAX
    assert config == Config()


def test_every_default_is_valid_and_every_setting_has_help() -> None:
    for setting in SETTINGS.values():
        assert msgspec.convert(setting.default, setting.type) == setting.default
        assert setting.help.endswith(".")
        assert setting.env == "NEXO_" + setting.name.upper()


def test_precedence_file_environment_flag(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\nhttp_port = 2\nconnections_max = 3\n")
    effective = resolve(file, {"NEXO_PORT": "11", "NEXO_HTTP_PORT": "12"}, {"port": "21", "host": None})
    config = effective.config
    assert (config.port, config.http_port, config.connections_max) == (21, 12, 3)
    assert effective.sources["port"] == "--port"
    assert effective.sources["http_port"] == "NEXO_HTTP_PORT"
    assert effective.sources["connections_max"] == file
    assert effective.sources["host"] == "default"


def test_the_environment_names_the_file_and_a_flag_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1")
    assert load(None, {"NEXO_CONFIG": file}, {}).port == 1
    other = tmp_path / "other.toml"
    other.write_text("port = 2")
    assert load(str(other), {"NEXO_CONFIG": file}, {}).port == 2


def test_a_wrong_value_is_an_error_even_where_a_later_source_wins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"port in .*nexo\.toml"):
        load(write(tmp_path, "port = -1"), {}, {"port": "5"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64kb", 65_536),
        ("512MB", 512 << 20),
        ("1.5gb", 1536 << 20),
        ("2 GiB", 2 << 30),
    ],
)
def test_sizes(text: str, value: int, tmp_path: Path) -> None:
    assert load(None, {"NEXO_MEMORY_MAX_BYTES": text}, {}).memory_max_bytes == value
    assert load(None, {}, {"memory_max_bytes": text}).memory_max_bytes == value
    assert load(write(tmp_path, f'memory_max_bytes = "{text}"'), {}, {}).memory_max_bytes == value
    assert parse_bytes(format_bytes(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5.0), ("2.5", 2.5), ("500ms", 0.5), ("1m", 60.0), ("0", 0.0), ("0.1s", 0.1)]
)
def test_seconds(text: str, value: float) -> None:
    assert load(None, {}, {"shutdown_seconds": text}).shutdown_seconds == value


def test_durations_are_exact() -> None:
    assert parse_duration_ms("9007199254740993ms") == 9007199254740993
    assert parse_duration_ms("1.5h") == 5_400_000
    assert parse_duration_ms("7d") == 604_800_000
    for text in ("", "s", "-1s", "1w", "1s2", "0x10", "1e3", "nan", "١s"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration_ms(text)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(None, {"NEXO_PORT": "", "NEXO_CONFIG": ""}, {}).port == 7654


def test_variables_of_others_are_left_alone() -> None:
    assert load(None, {"HOME": "/", "NEXOS_PORT": "1", **dict.fromkeys(OTHER_VARIABLES, "")}, {}).port == 7654


@pytest.mark.parametrize(
    ("file", "environ", "flags", "message"),
    [
        ("hots = 'x'", {}, {}, "unknown setting 'hots' in FILE; did you mean host?"),
        ("[store]\nx = 1", {}, {}, "unknown setting 'store' in FILE"),
        ("port = 'x'", {}, {}, "port in FILE is 'x': expected int, got str"),
        ("port = '1'", {}, {}, "port in FILE is '1': expected int, got str"),
        ("port = 1.5", {}, {}, "port in FILE is 1.5: expected int, got float"),
        ("port = true", {}, {}, "port in FILE is True: expected int, got bool"),
        ("shutdown_seconds = nan", {}, {}, "shutdown_seconds in FILE is nan: expected float >= 0.0"),
        ("shutdown_seconds = inf", {}, {}, "shutdown_seconds in FILE is inf: expected float <= 3600.0"),
        ("eviction = 3", {}, {}, "eviction in FILE is 3: expected one of reject, lru, lfu, ttl"),
        ("port =", {}, {}, "FILE is not TOML: "),
        (None, {"NEXO_PROT": "1"}, {}, "unknown environment variable NEXO_PROT; did you mean NEXO_PORT?"),
        (None, {"NEXO_PORT": "x"}, {}, "environment variable NEXO_PORT is 'x': expected int, got str"),
        (
            None,
            {"NEXO_PORT": "65536"},
            {},
            "environment variable NEXO_PORT is '65536': expected int <= 65535",
        ),
        (None, {"NEXO_MEMORY_MAX_BYTES": "5tb"}, {}, "'5tb' is not a size such as 4096, 64kb, 512mb or 2gb"),
        (None, {"NEXO_GREETING_SECONDS": "0"}, {}, "NEXO_GREETING_SECONDS is '0': expected float > 0.0"),
        (
            None,
            {"NEXO_CONFIG": "/nowhere/x.toml"},
            {},
            "cannot read the configuration file /nowhere/x.toml: No such",
        ),
        (None, {}, {"port": "-1"}, "--port is '-1': expected int >= 0"),
        (None, {}, {"eviction": "lrx"}, "--eviction is 'lrx': expected one of reject, lru, lfu, ttl"),
        (None, {}, {"frame_bytes_max": "11mb"}, "--frame-bytes-max is '11mb': expected int <= 10485760"),
        (None, {}, {"host": ""}, "--host is '': expected str of length >= 1"),
        (
            None,
            {},
            {"connection_max": "1"},
            "unknown setting 'connection_max'; did you mean connections_max?",
        ),
    ],
)
def test_errors_name_the_setting_and_its_source(
    file: str | None, environ: dict[str, str], flags: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, file) if file is not None else None
    with pytest.raises(ConfigError) as caught:
        load(path, environ, flags)
    assert message.replace("FILE", str(path)) in str(caught.value)


def test_the_page_describes_every_setting() -> None:
    page = (DOCS / "configuration.md").read_text()
    for setting in SETTINGS.values():
        shown = format_bytes(setting.default) if setting.unit == "bytes" else str(setting.default)
        assert f"| `{setting.name}` | {shown} |" in page
    for variable in OTHER_VARIABLES:
        assert f"`{variable}`" in page
