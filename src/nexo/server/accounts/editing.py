"""Changes to the accounts file: comments and order stay, and a server that reads it sees all of a change or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import Table

from nexo.errors import ConfigError
from nexo.server.accounts.book import TABLE, check_account, check_name, read_book

HEADING: Final = "Accounts of a Nexo server; `nexo user` edits them. See docs/accounts.md."


class Accounts:
    """The tables of a file that is being edited."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, name: str) -> Table:
        """A new account. Raises ConfigError when there is one, or cannot be."""
        check_name(name, f"account {name!r}")
        if name in self._table:
            raise ConfigError(f"there is an account {name!r} already")
        account = tomlkit.table()
        self._table.append(name, account)
        return account

    def get(self, name: str) -> Table:
        """An account. Raises ConfigError when there is none."""
        found = self._table.get(name)
        if not isinstance(found, Table):
            raise ConfigError(f"there is no account {name!r}")
        return found

    def remove(self, name: str) -> None:
        self.get(name)
        del self._table[name]


def tokens_of(account: Table) -> Table:
    """The table of an account's tokens, made when it is not there."""
    if "tokens" not in account:
        account.append("tokens", tomlkit.table(is_super_table=True))
    found = account["tokens"]
    assert isinstance(found, Table)
    return found


def add_token(account: Table, id: str, sha256: str, expires: datetime | None) -> None:
    """Give an account a token. Raises ConfigError when it has one of that id."""
    tokens = tokens_of(account)
    if id in tokens:
        raise ConfigError(f"there is a token {id!r} already: --revoke deletes it")
    entry = tomlkit.table()
    entry["sha256"] = sha256
    if expires is not None:
        entry["expires"] = expires.replace(microsecond=0)
    tokens.append(id, entry)


@contextmanager
def editing(file: Path) -> Iterator[Accounts]:
    """The accounts of a file, written back when the block ends without an error and all of them are valid.

    Raises ConfigError for a file that cannot be read, written or understood, before and after.
    """
    read_book(file)
    try:
        document = tomlkit.parse(file.read_text()) if file.exists() else tomlkit.document()
    except (OSError, ParseError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from None
    if not document.body:
        document.add(tomlkit.comment(HEADING))
    if TABLE not in document:
        document.append(TABLE, tomlkit.table(is_super_table=True))
    table = document[TABLE]
    if not isinstance(table, Table):
        raise ConfigError(f"{TABLE} in {file} is written in another way than [{TABLE}.NAME]: edit it by hand")
    yield Accounts(table)
    for name, account in table.unwrap().items():
        check_account(name, account, str(file))
    _replace(file, tomlkit.dumps(document))


def _replace(file: Path, text: str) -> None:
    """Write a file as a whole, readable by whoever could read it before; a new one by its folder's owner alone."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        known = file.stat() if file.exists() else None
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            owner = known or file.parent.stat()
            if os.geteuid() == 0:
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            if known is not None:
                os.fchmod(out.fileno(), known.st_mode & 0o777)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from None
