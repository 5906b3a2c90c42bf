"""The server's settings: one declaration gives each its flag, environment variable and file key.

Owns what a setting is called, means and may be, and where its value comes from: file, then
environment, then flag, the later one wins. Knows no socket and no command line.

To add a setting, add a field to `Config`; its names follow from it:

    memory_max_bytes = "512mb"      key in the TOML file
    NEXO_MEMORY_MAX_BYTES=512mb     environment
    --memory-max-bytes 512mb        flag of `nexo serve`
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from nexo import limits
from nexo.errors import ConfigError
from nexo.server.units import parse_bytes, parse_duration_ms

PREFIX: Final = "NEXO_"
FILE_VARIABLE: Final = "NEXO_CONFIG"
OTHER_VARIABLES: Final[dict[str, str]] = {
    FILE_VARIABLE: "the configuration file, as `--config`",
    "NEXO_PURE": "1 runs (and, while installing, builds) the interpreted modules only",
    "NEXO_CONTEXT": "`--context` of the client commands",
    "NEXO_TIMEOUT": "`--timeout` of the client commands",
    "NEXO_USER": "`--user` of the client commands",
    "NEXO_PASSWORD": "the password of that user",
    "NEXO_TOKEN": "a token, instead of user and password",
    "NEXO_TLS": "`--tls` of the client commands",
    "NEXO_CA_FILE": "`--ca-file` of the client commands",
    "NEXO_CERT_FILE": "`--cert-file` of the client commands",
    "NEXO_KEY_FILE": "`--key-file` of the client commands",
    "NEXO_MESSAGE_ID": "set by `consume --exec` for its command: the message's id or sequence",
    "NEXO_MESSAGE_ATTEMPTS": "set by `consume --exec` for its command: deliveries so far",
}
"""Variables of ours that are no settings of the server: known, so not an error."""

DEFAULT: Final = "default"
ACCOUNTS_FILE: Final = "accounts.toml"
"""In data_dir, unless another file is set."""

Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[int, Meta(ge=0, le=1 << 40)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a server, valid by construction when they come from `load`."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 picks a free one.")] = 7654
    http: Annotated[
        Literal["on", "off"], Meta(description="Whether the HTTP API and the dashboard are served.")
    ] = "on"
    http_port: Annotated[
        Port, Meta(description="Port of the HTTP API and the dashboard; 0 picks a free one.")
    ] = 8080
    http_hosts: Annotated[
        str,
        Meta(
            description="Names, separated by commas, by which clients may call the HTTP API besides localhost, host and "
            "addresses: a request for another name is refused, so that no web site can reach it by one of its own."
        ),
    ] = ""
    tls_cert_file: Annotated[
        str,
        Meta(
            description="PEM file with the server's certificate and those between it and its CA; with one, both ports "
            "speak TLS."
        ),
    ] = ""
    tls_key_file: Annotated[
        str, Meta(description="PEM file with its key, not encrypted; none: the key is in tls_cert_file.")
    ] = ""
    tls_mode: Annotated[
        Literal["optional", "required"],
        Meta(description="Whether connections without TLS are still taken where there is a certificate."),
    ] = "optional"
    tls_client_ca_file: Annotated[
        str,
        Meta(
            description="PEM file with the CAs of clients' certificates; with one, clients are asked for theirs."
        ),
    ] = ""
    tls_client_certs: Annotated[
        Literal["optional", "required"],
        Meta(
            description="Whether a TLS client that shows no certificate is taken, where tls_client_ca_file asks."
        ),
    ] = "optional"
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Directory of the log, in which queues and streams are kept; made when it is not there.",
        ),
    ] = "./data"
    accounts_file: Annotated[
        str,
        Meta(
            description="File of the accounts, which `nexo user` edits; accounts.toml in data_dir unless given. "
            "Changes to it need no restart."
        ),
    ] = ""
    without_accounts: Annotated[
        Literal["loopback", "anywhere"],
        Meta(
            description="Where a server without accounts may listen, since everybody who reaches it may do everything."
        ),
    ] = "loopback"
    memory_max_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 62,
            description="Most memory that the store's keys and values may take, accounted; 0 is no limit.",
            extra={"unit": "bytes"},
        ),
    ] = 0
    eviction: Annotated[
        Literal["reject", "lru", "lfu", "ttl"],
        Meta(
            description="What a write does at memory_max_bytes: be refused, or evict the least recently used keys, "
            "the least frequently used, or those soonest to expire."
        ),
    ] = "reject"
    memory_alarm_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 62,
            description="Resident memory of the process past which writes are refused; 0 is memory_alarm_percent.",
            extra={"unit": "bytes"},
        ),
    ] = 0
    memory_alarm_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="The same as a share of the memory that the machine or the container has; 0 is no bound.",
        ),
    ] = limits.MEMORY_ALARM_PERCENT_DEFAULT
    disk_alarm_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 62,
            description="Free room on the disk below which writes are refused; 0 is disk_alarm_percent.",
            extra={"unit": "bytes"},
        ),
    ] = 0
    disk_alarm_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="The same as a share of the file system, but never more than 1 GB; 0 is no bound.",
        ),
    ] = limits.DISK_ALARM_PERCENT_DEFAULT
    retained_level: Annotated[
        Literal["memory", "flush", "fsync"],
        Meta(description="When a retained message is confirmed: at once, written to the log, or on disk."),
    ] = "memory"
    huge_pages: Annotated[
        Literal["auto", "off"],
        Meta(
            description="Whether memory comes in pages of 2 MiB where the system gives them, which is faster; "
            "the server then starts itself once more with PYTHONMALLOC and GLIBC_TUNABLES set."
        ),
    ] = "auto"
    log_file_bytes: Annotated[
        int,
        Meta(
            ge=64 * limits.KIB,
            le=1 << 31,  # an offset in a log file has 32 bits, and the last batch may pass this
            description="A log file that has grown to this is followed by another one.",
            extra={"unit": "bytes"},
        ),
    ] = limits.LOG_FILE_BYTES
    connections_max: Annotated[
        Count, Meta(le=1_000_000, description="Open connections; one more is refused with an error.")
    ] = limits.CONNECTIONS_MAX
    connections_per_address_max: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Open connections of one IP address; 0 is no bound.")
    ] = 0
    commands_per_second: Annotated[
        Rate, Meta(description="Commands of one connection; more are read later; 0 is no bound.")
    ] = 0
    bytes_per_second: Annotated[
        Rate,
        Meta(
            description="Bytes of one connection; more are read later; 0 is no bound.",
            extra={"unit": "bytes"},
        ),
    ] = 0
    address_commands_per_second: Annotated[
        Rate, Meta(description="Commands of all connections of one IP address; 0 is no bound.")
    ] = 0
    address_bytes_per_second: Annotated[
        Rate,
        Meta(
            description="Bytes of all connections of one IP address; 0 is no bound.", extra={"unit": "bytes"}
        ),
    ] = 0
    retained_max: Annotated[
        Count, Meta(le=1 << 40, description="Retained messages; one more topic is refused with an error.")
    ] = limits.RETAINED_DEFAULT
    retained_bytes_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1 << 62,
            description="Topics, values and headers of retained messages together.",
            extra={"unit": "bytes"},
        ),
    ] = limits.RETAINED_BYTES_DEFAULT
    frame_bytes_max: Annotated[
        int,
        Meta(
            ge=256 * limits.KIB,  # a frame must hold the largest key or topic with the largest headers
            le=limits.FRAME_BYTES_MAX,
            description="Largest frame of the native protocol, and so the largest value.",
            extra={"unit": "bytes"},
        ),
    ] = limits.FRAME_BYTES_MAX
    greeting_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Time from accepting a connection to its first complete command.",
            extra={"unit": "seconds"},
        ),
    ] = limits.GREETING_SECONDS_MAX
    shutdown_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long a stopping server lets clients read their last answers.",
            extra={"unit": "seconds"},
        ),
    ] = limits.SHUTDOWN_SECONDS_MAX
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least serious messages on standard error."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="What they look like: lines for people, or a JSON object a line for machines."),
    ] = "text"
    slow_command_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=3_600_000,
            description="Commands and HTTP requests that take as many milliseconds are logged and kept; 0 is off.",
        ),
    ] = 100
    audit_file: Annotated[
        str,
        Meta(
            description="File to which administrative actions are appended as JSON lines; empty: they stand in the log."
        ),
    ] = ""

    @property
    def accounts_path(self) -> Path:
        """Where the accounts are."""
        return Path(self.accounts_file) if self.accounts_file else Path(self.data_dir) / ACCOUNTS_FILE


class Setting(NamedTuple):
    """What is known about one field of `Config`."""

    name: str
    type: Any
    default: Any
    help: str
    unit: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be, where only some are."""
        return get_args(get_args(self.type)[0])

    @property
    def env(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.name.replace("_", "-")


TABLES: Final = ("accounts",)
"""Tables of the configuration file that are no settings: others read and check them."""


class Effective(NamedTuple):
    """A configuration, for each setting where its value comes from, and the file that has the TABLES, if any."""

    config: Config
    sources: dict[str, str]
    file: str | None


def _settings() -> dict[str, Setting]:
    hints = get_type_hints(Config, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(Config):
        annotated = hints[field.name]
        metas = annotated.__metadata__
        text = next(meta.description for meta in reversed(metas) if meta.description)
        unit = next((meta.extra["unit"] for meta in metas if meta.extra), "")
        found[field.name] = Setting(field.name, annotated, field.default, text, unit)
    return found


SETTINGS: Final[dict[str, Setting]] = _settings()


def load(file: str | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """The configuration of a server. ConfigError when a setting is unknown or not valid.

    `file` is a TOML file (None: the one that NEXO_CONFIG names, if any), `flags` maps names of
    settings to what the command line gave, None where it gave nothing.
    """
    return resolve(file, environ, flags).config


def resolve(file: str | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Effective:
    """As `load`, and says where each value comes from."""
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, DEFAULT)
    file = file if file is not None else environ.get(FILE_VARIABLE) or None
    for given in (_from_file(file), _from_environ(environ), _from_flags(flags)):
        for name, (source, value) in given.items():
            values[name] = value
            sources[name] = source
    config = Config(**values)
    _check_tls(config)
    return Effective(config, sources, file)


def _check_tls(config: Config) -> None:
    """ConfigError for a setting of TLS that has no effect without another one: somebody expects it to have."""
    if not config.tls_cert_file:
        for name in ("tls_key_file", "tls_client_ca_file"):
            if getattr(config, name):
                raise ConfigError(f"{name} needs tls_cert_file, the server's certificate")
        if config.tls_mode == "required":
            raise ConfigError("tls_mode = required needs tls_cert_file, the server's certificate")
    if config.tls_client_certs == "required" and not config.tls_client_ca_file:
        raise ConfigError(
            "tls_client_certs = required needs tls_client_ca_file, the CAs of clients' certificates"
        )


Given = dict[str, tuple[str, Any]]
"""Name of a setting → (source, checked value)."""


def _from_file(file: str | None) -> Given:
    if file is None:
        return {}
    try:
        with Path(file).open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    given = {}
    for key, value in table.items():
        if key in TABLES:
            continue
        if key not in SETTINGS:
            raise ConfigError(f"unknown setting {key!r} in {file}{_nearest(key, [*SETTINGS, *TABLES])}")
        given[key] = (file, _check(SETTINGS[key], value, f"{key} in {file}", text=False))
    return given


def _from_environ(environ: Mapping[str, str]) -> Given:
    by_variable = {setting.env: setting for setting in SETTINGS.values()}
    given = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in by_variable:
            known = [*by_variable, *OTHER_VARIABLES]
            raise ConfigError(f"unknown environment variable {variable}{_nearest(variable, known)}")
        if text:  # set but empty is how scripts and compose files spell "not set"
            setting = by_variable[variable]
            given[setting.name] = (
                variable,
                _check(setting, text, f"environment variable {variable}", text=True),
            )
    return given


def _from_flags(flags: Mapping[str, Any]) -> Given:
    given = {}
    for name, value in flags.items():
        if name not in SETTINGS:
            raise ConfigError(f"unknown setting {name!r}{_nearest(name, list(SETTINGS))}")
        if value is not None:
            setting = SETTINGS[name]
            given[name] = (setting.flag, _check(setting, value, setting.flag, text=True))
    return given


def _check(setting: Setting, value: Any, source: str, *, text: bool) -> Any:
    """The value as its type. `text`: it comes from a place that has no numbers, only strings."""
    given = value
    try:
        if isinstance(value, str) and setting.unit == "bytes":
            value = parse_bytes(value)
        elif isinstance(value, str) and setting.unit == "seconds":
            value = parse_duration_ms(value) / 1000
        return msgspec.convert(value, setting.type, strict=not text)
    except (msgspec.ValidationError, ValueError) as error:
        reason = "expected one of " + ", ".join(setting.choices) if setting.choices else _readable(str(error))
        raise ConfigError(f"{source} is {given!r}: {reason}") from None


def _readable(reason: str) -> str:
    return reason[:1].lower() + reason[1:].replace("`", "")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
