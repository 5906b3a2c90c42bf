"""Passwords and tokens: how they are made, kept and compared.

A password is kept as an argon2id hash with its parameters in it (RFC 9106); a token, which nobody can guess, as its
SHA-256. Neither can be read back.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER: Final = PasswordHasher()
"""RFC 9106's second choice: 64 MiB, 3 passes, some 50 ms of a core."""
TOKEN_PREFIX: Final = "nexo_"
"""So that a token is recognised where it should not be, in a repository or a log."""


def hash_password(password: str) -> str:
    """What is kept of a password."""
    return HASHER.hash(password)


def is_hash(text: str) -> bool:
    """Whether this is what `hash_password` returns."""
    try:
        HASHER.check_needs_rehash(text)
    except InvalidHashError:
        return False
    return True


def verify_password(kept: str, password: bytes) -> bool:
    """Whether a password is the one that was hashed. With "" kept it takes as long, and is not."""
    try:
        HASHER.verify(kept or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return kept != ""


@cache
def _nobodys() -> str:
    return hash_password(secrets.token_urlsafe(16))


def new_token() -> str:
    """A token with 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest(token: bytes) -> str:
    """What is kept of a token: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token).hexdigest()
