"""The accounts as their files say: read and checked as a whole, so that a mistake changes nothing.

    [accounts.shop]
    password = "$argon2id$v=19$..."            what `nexo user` writes
    permissions = ["queue:push mail.*", "store:* shop/*", "pubsub:subscribe {user}/#"]

    [accounts.shop.tokens.ci]
    sha256 = "6b86b273ff34fce1..."
    expires = 2027-01-01T00:00:00Z

Tables of that kind stand in the accounts file, or in the configuration file. Account `anonymous` has no password
and no token: its permissions are those of whoever has not logged in. Knows no socket and no clock.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from nexo.errors import ConfigError, InvalidArgumentError
from nexo.protocols.grants import Grants
from nexo.server.accounts.secrets import is_hash

TABLE: Final = "accounts"
ANONYMOUS: Final = "anonymous"
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")


Bound = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Token(Struct, forbid_unknown_fields=True):
    """A token of an account; `expires` has a time zone, None is never."""

    sha256: str
    expires: datetime | None = None


class Account(Struct, forbid_unknown_fields=True):
    """One table of the file. `certificate` is the name in a client certificate that logs this account in.

    The bounds are those of all its connections together; 0 is none.
    """

    permissions: list[str] = []
    password: str = ""
    tokens: dict[str, Token] = {}
    certificate: str = ""
    connections_max: Bound = 0
    commands_per_second: Bound = 0
    bytes_per_second: Bound = 0


class Entry(NamedTuple):
    """A token, and whose it is."""

    account: str
    id: str
    token: Token


class Book:
    """All accounts, valid by construction."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts
        # Whoever shows nothing has no name, whatever it may do.
        self.grants = {
            name: Grants(name if name != ANONYMOUS else "", account.permissions)
            for name, account in accounts.items()
        }
        self.tokens = {
            token.sha256: Entry(name, id, token)
            for name, account in accounts.items()
            for id, token in account.tokens.items()
        }
        self.certificates = {
            account.certificate: name for name, account in accounts.items() if account.certificate
        }


def check_name(name: str, where: str) -> None:
    """Raises ConfigError for what cannot be an account's name, or a token's."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: a name has 1 to 64 letters, digits and . _ @ -, and begins with a letter, digit or _"
        )


def check_account(name: str, given: object, file: str) -> Account:
    """One account. Raises ConfigError, which says what is wrong and where."""
    where = f"{TABLE}.{name} in {file}"
    check_name(name, where)
    try:
        account = msgspec.convert(given, Account)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {str(error)[:1].lower()}{str(error)[1:].replace('`', '')}") from None
    if account.password and not is_hash(account.password):
        raise ConfigError(f"{where}: password is not an argon2 hash: `nexo user passwd {name}` writes one")
    if name == ANONYMOUS and (account.password or account.tokens or account.certificate):
        raise ConfigError(f"{where}: it is for those without credentials, and has none itself")
    for id, token in account.tokens.items():
        check_name(id, f"{where}, token {id!r}")
        if not SHA256.fullmatch(token.sha256):
            raise ConfigError(f"{where}: sha256 of token {id!r} is not 64 hexadecimal digits")
        if token.expires is not None and token.expires.tzinfo is None:
            raise ConfigError(
                f"{where}: expires of token {id!r} has no time zone: write 2027-01-01T00:00:00Z"
            )
    try:
        Grants(name, account.permissions)
    except InvalidArgumentError as error:
        raise ConfigError(f"{where}: {error}") from None
    return account


def read_table(file: Path) -> dict[str, Any]:
    """A TOML file; {} when it is not there. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None


def read_book(own: Path, shared: Iterable[Path] = ()) -> Book:
    """The accounts of their own file, and of files that have other tables, too. Raises ConfigError."""
    accounts: dict[str, Account] = {}
    certificates: dict[str, str] = {}
    for file in (own, *shared):
        content = read_table(file)
        if file == own and (others := sorted(set(content) - {TABLE})):
            raise ConfigError(f"{file} has tables [{TABLE}.NAME] alone, and no {others[0]!r}")
        table = content.get(TABLE, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{TABLE} in {file} is no table")
        for name, given in table.items():
            if name in accounts:
                raise ConfigError(f"account {name!r} stands in {file} and in {own}")
            account = check_account(name, given, str(file))
            if account.certificate in certificates and account.certificate:
                raise ConfigError(
                    f"accounts {certificates[account.certificate]!r} and {name!r} have the same certificate"
                )
            certificates[account.certificate] = name
            accounts[name] = account
    return Book(accounts)
