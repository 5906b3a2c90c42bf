"""What protocols ask of whoever knows the accounts, and how they are answered. The server has the implementation.

Knows no password hash, no file and no protocol.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64, mypyc_attr

from nexo.errors import LimitExceededError, NotAuthorizedError, ServerError
from nexo.protocols.grants import EVERYTHING, Grants
from nexo.protocols.rates import Limiter


@final
class Share:
    """What the connections of one account have together. `connections_max` 0 is no bound, as is an empty limiter."""

    def __init__(self, account: str, connections_max: i64, limiter: Limiter) -> None:
        self.account = account
        self.connections_max = connections_max
        self.limiter = limiter
        self.connections: i64 = 0

    def enter(self) -> None:
        """One connection more. LimitExceededError when it is one too many; then it does not count."""
        if 0 < self.connections_max <= self.connections:
            raise LimitExceededError(f"connections_max of account {self.account!r} is {self.connections_max}")
        self.connections += 1

    def leave(self) -> None:
        """One less."""
        self.connections -= 1


@final
class Login:
    """Who somebody is, and may do. `until` is node time in ms, 0 for ever; `credential` says what was shown.

    `share` is what there is to share; None where nothing is bounded.
    """

    def __init__(self, grants: Grants, credential: str, until: i64, share: Share | None = None) -> None:
        self.account = grants.account
        self.share = share
        self.grants = grants
        self.credential = credential
        self.until = until


NOBODY: Login = Login(EVERYTHING, "", 0)
"""Everybody, where there are no accounts."""


@mypyc_attr(allow_interpreted_subclasses=True)
class LoginWaiter:
    """Who wants to log in, told once."""

    def logged_in(self, login: Login) -> None:
        raise NotImplementedError

    def login_refused(self, error: ServerError) -> None:
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class Logins:
    """The accounts of a server. This one is of a server without any: everybody may do everything.

    `nobody` is the login of a connection that has shown no credentials.
    """

    def __init__(self) -> None:
        self.nobody = NOBODY

    def by_password(self, waiter: LoginWaiter, user: bytes, password: bytes, address: str) -> None:
        """Have a waiter told. NotAuthorizedError where there are no accounts, LimitExceededError when many wait."""
        raise self.none()

    def by_token(self, waiter: LoginWaiter, token: bytes, address: str) -> None:
        """As `by_password`."""
        raise self.none()

    def by_certificate(self, name: str) -> Login | None:
        """The login of a client certificate, whose chain has been verified; None: it is of no account."""
        return None

    def none(self) -> NotAuthorizedError:
        return NotAuthorizedError("this server has no accounts: connect without credentials")
