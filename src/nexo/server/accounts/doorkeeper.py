"""Who may come in: looks at credentials for every protocol.

A password is verified in a thread, since that takes 50 ms by design, and remembered while the files are as they
are, since a client over HTTP shows it with each request. Runs in the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final

from nexo.errors import ConfigError, LimitExceededError, NotAuthorizedError, ServerError
from nexo.limits import LOGINS_PER_ADDRESS_MAX, LOGINS_WAITING_MAX
from nexo.protocols.grants import NOTHING
from nexo.protocols.logins import NOBODY, Login, Logins, LoginWaiter, Share
from nexo.server.accounts.book import ANONYMOUS, Account, Book, read_book
from nexo.server.accounts.secrets import digest, verify_password
from nexo.server.accounts.throttle import Throttle, network
from nexo.server.origins import Rates, limiter_of

log: Final = logging.getLogger("nexo.accounts")

REMEMBERED_MAX: Final = 1_000
"""Passwords that were right, of which none is kept itself."""
REFUSED: Final = "wrong user or password"
"""For an account that does not exist as well, so that nobody learns which ones do."""


class Doorkeeper(Logins):
    """The accounts of a server. `on` says whether there are any; without, everybody may do everything.

    `changed` is called when logins that were given may be worth less or more: ask `renewed` about each.
    """

    def __init__(self, own: Path, shared: Path | None, now_ms: Callable[[], int]) -> None:
        """Reads the files. Raises ConfigError."""
        super().__init__()
        self.changed: Callable[[], None] = lambda: None
        self.succeeded = 0
        self.failed = 0
        self.broken = ""  # what is wrong with the files, while the accounts of before stand
        self._own = own
        self._shared = [shared] if shared is not None else []
        self._now_ms = now_ms
        self._throttle = Throttle()
        self._waiting: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, Login] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._looked_ms = now_ms()
        self._take(read_book(own, self._shared))

    @property
    def on(self) -> bool:
        return bool(self.book.accounts)

    def _take(self, book: Book) -> None:
        self.book = book
        self._remembered.clear()
        now = self._now_ms()
        self._shares = {name: _share(name, account, now) for name, account in book.accounts.items()}
        if ANONYMOUS in book.accounts:
            self.nobody = self._login(ANONYMOUS, "")
        else:
            self.nobody = Login(NOTHING, "", 0) if self.on else NOBODY

    def _login(self, account: str, credential: str, until: int = 0) -> Login:
        return Login(self.book.grants[account], credential, until, self._shares[account])

    # The files.

    @property
    def paths(self) -> list[str]:
        """The files that have accounts."""
        return [str(file) for file in (self._own, *self._shared)]

    def load(self) -> None:
        """Read the files again. ConfigError, and the accounts of before stand, when something is wrong with them."""
        try:
            book = read_book(self._own, self._shared)
            if self.on and not book.accounts:
                raise ConfigError(f"there are no accounts in {self._own} any more")
        except ConfigError as error:
            self.broken = str(error)
            raise
        self.broken = ""
        self._take(book)
        self.changed()

    def look(self) -> None:
        """Called now and then: tokens end."""
        since, self._looked_ms = self._looked_ms, self._now_ms()
        ends = (entry_until(entry.token.expires) for entry in self.book.tokens.values())
        if any(since < end <= self._looked_ms for end in ends if end):
            self.changed()

    def stop(self) -> None:
        """Nobody is let in any more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def renewed(self, login: Login) -> Login | None:
        """What a login that was given is worth now; None when its connection must end."""
        if not login.credential:
            fresh: Login | None = self.nobody
        else:
            fresh = self._again(login)
        if fresh is None or not fresh.grants.holds(login.grants):
            return None
        return fresh

    def _again(self, login: Login) -> Login | None:
        if login.account not in self.book.accounts or 0 < login.until <= self._now_ms():
            return None
        kind, _, id = login.credential.partition(" ")
        if kind == "token" and id not in self.book.accounts[login.account].tokens:
            return None
        if kind == "certificate" and self.book.certificates.get(id) != login.account:
            return None
        return self._login(login.account, login.credential, login.until)

    # Credentials.

    def by_password(self, waiter: LoginWaiter, user: bytes, password: bytes, address: str) -> None:
        if not self.on:
            raise self.none()
        proof = hashlib.blake2b(b"%d %s%s" % (len(user), user, password), key=self._key).digest()
        known = self._remembered.get(proof)
        if known is not None:
            self._welcome(waiter, known, network(address))
            return
        name = user.decode(errors="replace")
        account = self.book.accounts.get(name)
        kept = account.password if account is not None else ""

        async def verify() -> Login | None:
            right = await asyncio.get_running_loop().run_in_executor(
                self._pool(), verify_password, kept, password
            )
            if not right or self.book.accounts.get(name) is not account:
                return None
            login = self._login(name, "password")
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[proof] = login
            return login

        self._admit(waiter, address, f"account {name!r}", verify)

    def by_token(self, waiter: LoginWaiter, token: bytes, address: str) -> None:
        if not self.on:
            raise self.none()
        entry = self.book.tokens.get(digest(token))
        until = entry_until(entry.token.expires) if entry is not None else 0
        if entry is not None and not 0 < until <= self._now_ms():
            login = self._login(entry.account, f"token {entry.id}", until)
            self._welcome(waiter, login, network(address))
            return
        expired = entry is not None

        async def refuse() -> Login | None:
            raise NotAuthorizedError("the token has expired" if expired else "no such token")

        self._admit(waiter, address, f"token {entry.id!r}" if entry is not None else "a token", refuse)

    def by_certificate(self, name: str) -> Login | None:
        account = self.book.certificates.get(name)
        return self._login(account, f"certificate {name}") if account is not None else None

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "nexo-logins")
        return self._threads

    def _welcome(self, waiter: LoginWaiter, login: Login, host: str) -> None:
        self.succeeded += 1
        self._throttle.succeeded(host)
        waiter.logged_in(login)

    def _admit(
        self, waiter: LoginWaiter, address: str, who: str, verify: Callable[[], Awaitable[Login | None]]
    ) -> None:
        """Have credentials looked at, later when this address has failed before."""
        host = network(address)
        waiting = self._waiting.get(host, 0)
        if len(self._tasks) >= LOGINS_WAITING_MAX:
            raise LimitExceededError(f"logins_waiting_max is {LOGINS_WAITING_MAX}: try again")
        if waiting >= LOGINS_PER_ADDRESS_MAX:
            raise LimitExceededError(f"logins_per_address_max is {LOGINS_PER_ADDRESS_MAX}: try again")
        self._waiting[host] = waiting + 1
        task = asyncio.get_running_loop().create_task(self._decide(waiter, address, who, verify))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decide(
        self, waiter: LoginWaiter, address: str, who: str, verify: Callable[[], Awaitable[Login | None]]
    ) -> None:
        host = network(address)
        try:
            await asyncio.sleep(self._throttle.wait_seconds(host, time.monotonic()))
            login = await verify()
            error: ServerError = NotAuthorizedError(REFUSED)
        except ServerError as refusal:
            login, error = None, refusal
        finally:
            left = self._waiting.pop(host) - 1
            if left:
                self._waiting[host] = left
        if login is not None:
            self._welcome(waiter, login, host)
            return
        self.failed += 1
        failures = self._throttle.failed(host, time.monotonic())
        log.warning("login with %s from %s refused: %s; failure %d in a row", who, address, error, failures)
        waiter.login_refused(error)


def _share(name: str, account: Account, now: int) -> Share | None:
    """What the connections of an account share; None when they are not bounded."""
    limiter = limiter_of(Rates(account.commands_per_second, account.bytes_per_second), now)
    if account.connections_max == 0 and limiter.is_empty:
        return None
    return Share(name, account.connections_max, limiter)


def entry_until(expires: datetime | None) -> int:
    """When a token ends, in ms; 0 for never."""
    return int(expires.timestamp() * 1000) if expires is not None else 0
